//! What became of each item, one line each: two runs can be compared to the byte.

use std::fmt::Write as _;

use super::{
    super::world::{Transfer, World},
    answered_on,
};

/// The log as CSV.
pub fn log(world: &World<'_>) -> String {
    let mut text =
        "item_id,status,channel,entitlement,t_s,answered_s,wait_s,agent,level,transfers\n".to_owned();
    for (row, state) in world.trace.items.iter().zip(&world.items) {
        let channel = &world.rules.channels[answered_on(state)];
        let status = state.status.as_str();
        let _ = write!(
            text,
            "{},{status},{channel},{},{:.2},",
            row.id, row.entitlement, row.at_s
        );
        let _ = match state.answered {
            Some(answer) => {
                let agent = &world.trace.agents[answer.agent].id;
                write!(
                    text,
                    "{:.2},{:.2},{agent},{}",
                    answer.at,
                    answer.at - row.at_s,
                    answer.level
                )
            }
            None => write!(text, ",,,0"),
        };
        let _ = writeln!(text, ",{}", u8::from(state.transfer == Transfer::Was));
    }
    text
}
