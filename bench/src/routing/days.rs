//! The days to compare on: recorded ones, or drawn ones of many kinds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::Value;
use trama_routing::simulation::{
    generator::{self, DayParams},
    trace::Trace,
};

/// Recorded days.
pub fn read(folders: &[PathBuf]) -> anyhow::Result<Vec<(String, Trace)>> {
    let read = |folder: &PathBuf| {
        let trace = Trace::read(folder).with_context(|| folder.display().to_string())?;
        let name = folder
            .file_name()
            .map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        Ok((name, trace))
    };
    folders.iter().map(read).collect()
}

/// Draws one day of each kind.
pub fn draw(usual: &Path, kinds: &Path) -> anyhow::Result<Vec<(String, Trace)>> {
    let usual: Value = json(usual)?;
    let kinds: BTreeMap<String, Value> = json(kinds)?;
    let mut days = Vec::new();
    for (name, difference) in kinds {
        let mut params = usual.clone();
        merge(&mut params, difference);
        let params = DayParams::parse(&params.to_string()).with_context(|| format!("day {name:?}"))?;
        let trace = Trace::parse(&generator::generate(&params)).with_context(|| format!("day {name:?}"))?;
        days.push((name, trace));
    }
    Ok(days)
}

fn json<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    into.remove(&name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}
