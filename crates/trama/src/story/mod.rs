//! A story: people, agents, and what happens between them, played through the real doors and checked.

mod actions;
mod chat;
mod checks;
mod desk;
pub mod print;
mod script;
mod world;

use crate::apart::Apart;

pub use script::Script;
pub use world::{Doors, Manner, PATIENCE, World};

/// Plays every step; `false` when a check did not hold. With `crashes`, one of these processes is killed and started
/// again after every step.
pub async fn play(
    script: &Script,
    world: &mut World,
    mut crashes: Option<&mut Apart>,
) -> anyhow::Result<bool> {
    print::title(&script.title);
    world.publish_knowledge(script).await?;
    let mut failed = 0;
    let mut held = 0;
    let mut number = 0;
    for step in &script.steps {
        if let Some(tell) = &step.tell {
            number += 1;
            print::step(number, tell);
        }
        let done = match world.perform(&step.action).await {
            Ok(done) => done,
            Err(error) => {
                print::failed(&format!("{error:#}"));
                return Ok(false);
            }
        };
        for line in done {
            print::action(&line);
        }
        // Before the checks: what the step set in motion is under way.
        if let Some(apart) = &mut crashes {
            let name = apart.crash_next(&world.on_the_line()).await?;
            print::action(&format!("{name} is killed and starts again"));
        }
        for check in &step.expect {
            match world.check(check).await {
                Ok(line) => {
                    held += 1;
                    print::held(&line);
                }
                Err(error) => {
                    failed += 1;
                    print::failed(&format!("{error:#}"));
                }
            }
        }
        if failed > 0 {
            // What follows rests on what did not hold.
            break;
        }
    }
    print::summary(world, script).await?;
    print::verdict(held, failed);
    Ok(failed == 0)
}
