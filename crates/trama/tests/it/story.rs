//! The story's assertions hold, whatever a provider may do to the order and number of its deliveries.

use std::process::Command;

fn play(arguments: &[&str]) {
    let folder = std::env::temp_dir().join(format!(
        "trama-story-{}-{}",
        std::process::id(),
        arguments.join("")
    ));
    let output = Command::new(env!("CARGO_BIN_EXE_trama"))
        .args(["story", "play", "examples/stories/anna.yaml"])
        .args(arguments)
        .arg("--dev-dir")
        .arg(&folder)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("the binary runs");
    let _ = std::fs::remove_dir_all(folder);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("checks held"), "{text}");
}

#[test]
fn the_story_holds() {
    play(&[]);
}

#[test]
fn the_story_holds_when_everything_comes_twice() {
    play(&["--copies", "2"]);
}

#[test]
fn the_story_holds_when_everything_comes_thrice_and_in_reverse() {
    play(&["--copies", "3", "--disorder"]);
}
