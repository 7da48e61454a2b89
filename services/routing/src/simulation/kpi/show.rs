//! The figures as a table for people.

use std::fmt::Write as _;

use super::{Group, Kpi, Summary};

const CHANNELS: [&str; 6] = ["voice", "chat", "messaging", "social", "email", "review"];
const ENTITLEMENTS: [&str; 3] = ["gold", "silver", "bronze"];

/// The table of the reference simulator.
pub fn show(kpi: &Kpi, title: &str) -> String {
    let mut text = format!("== {title} ==\n");
    let _ = writeln!(
        text,
        "{:<17} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>7}",
        "group", "n", "answ", "ASA_s", "ASAleg_s", "p50_s", "p90_s", "SL%", "aband%", "late", "normW"
    );
    let known = known_first(&CHANNELS, &kpi.channel).chain(known_first(&ENTITLEMENTS, &kpi.ent));
    for (name, group) in known.chain([("all", &kpi.all)]) {
        let Group {
            n,
            answered,
            asa,
            asa_leg,
            p50,
            p90,
            sl,
            aband,
            late_open,
            norm,
            ..
        } = group;
        let _ = writeln!(
            text,
            "{name:<17} {n:>6} {answered:>6} {asa:>8.1} {asa_leg:>8.1} {p50:>8.1} {p90:>8.1} {sl:>6.1} \
             {aband:>6.1} {late_open:>6} {norm:>7.2}"
        );
    }
    let mut cells: Vec<_> = kpi.cell.iter().collect();
    cells.sort_by(|one, other| one.0.cmp(&other.0));
    let cells: Vec<String> = cells
        .iter()
        .map(|(name, group)| format!("{name} {:.0}", group.sl))
        .collect();
    let _ = writeln!(text, "cells SL%: {}", cells.join("  "));
    let _ = writeln!(text, "summary: {}", in_one_line(&kpi.summary));
    text
}

/// In the usual order, then what this world has besides.
fn known_first<'a>(
    usual: &'a [&'a str],
    groups: &'a [(String, Group)],
) -> impl Iterator<Item = (&'a str, &'a Group)> {
    let named = |name: &&'a str| {
        let (_, group) = groups.iter().find(|(known, _)| known == name)?;
        Some((*name, group))
    };
    let others = groups.iter().filter(|(name, _)| !usual.contains(&name.as_str()));
    usual
        .iter()
        .filter_map(named)
        .chain(others.map(|(name, group)| (name.as_str(), group)))
}

fn in_one_line(summary: &Summary) -> String {
    let Summary {
        n,
        sl,
        aband,
        shortfall_pp,
        worst_cell,
        sl_spread_pp,
        norm_ratio,
        asa_ratio_rt,
        jain_sl,
        occ_mean,
        occ_p10,
        occ_p90,
        occ_min,
        occ_max,
        util_mean,
        jain_occ,
        offers_per_item,
        declines,
        timeouts,
        rescinded,
        invalid,
        underskilled,
        transfers,
        preferred_hit,
        switched,
        switched_aband,
        switched_asa_since_first_contact,
        aband_after_answer,
        requeued_lost,
        unfinished,
    } = summary;
    format!(
        "n={n}, sl={sl:?}, aband={aband:?}, shortfall_pp={shortfall_pp:?}, worst_cell={worst_cell}, \
         sl_spread_pp={sl_spread_pp:?}, norm_ratio={norm_ratio:?}, asa_ratio_rt={asa_ratio_rt:?}, \
         jain_sl={jain_sl:?}, occ_mean={occ_mean:?}, occ_p10={occ_p10:?}, occ_p90={occ_p90:?}, \
         occ_min={occ_min:?}, occ_max={occ_max:?}, util_mean={util_mean:?}, jain_occ={jain_occ:?}, \
         offers_per_item={offers_per_item:?}, declines={declines}, timeouts={timeouts}, rescinded={rescinded}, \
         invalid={invalid}, underskilled={underskilled:?}, transfers={transfers}, \
         preferred_hit={preferred_hit:?}, switched={switched}, switched_aband={switched_aband:?}, \
         switched_asa_since_first_contact={switched_asa_since_first_contact:?}, \
         aband_after_answer={aband_after_answer}, requeued_lost={requeued_lost}, unfinished={unfinished}"
    )
}
