//! The last good resources on disk, for a start while the API server is away.
//!
//! A container that restarts keeps its pod's `emptyDir`; a pod that is new was placed by an API server that is there.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use trama_platform::{Error, Lifecycle};
use trama_proto::resources::Document;

const FILE: &str = "resources.json";

/// Raised when a reader of this version could no longer understand the file.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    documents: Vec<Document>,
}

/// What was kept. None: nothing, or nothing that can be used.
pub(crate) fn load(dir: &Path) -> Option<Vec<Document>> {
    let file = dir.join(FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the last good resources cannot be read");
            return None;
        }
    };
    match serde_json::from_slice::<Snapshot>(&text) {
        Ok(snapshot) if snapshot.version == VERSION => Some(snapshot.documents),
        Ok(snapshot) => {
            tracing::warn!(
                version = snapshot.version,
                "the last good resources are of another version"
            );
            None
        }
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the last good resources are no longer readable");
            None
        }
    }
}

/// Keeps writing what the channel shows.
pub(crate) fn keep(dir: PathBuf, mut good: watch::Receiver<Option<Vec<Document>>>, lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    lifecycle.spawn("resources-snapshot", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                changed = good.changed() => if changed.is_err() { return Ok(()) },
            }
            let Some(documents) = good.borrow_and_update().clone() else {
                continue;
            };
            let dir = dir.clone();
            let saved = tokio::task::spawn_blocking(move || save(&dir, documents))
                .await
                .map_err(|e| Error::new(trama_platform::Kind::Internal, e.to_string()))?;
            if let Err(error) = saved {
                tracing::warn!(%error, "the last good resources cannot be kept for the next start");
            }
        }
    });
}

/// As a whole or not at all: a start may follow at any moment.
fn save(dir: &Path, documents: Vec<Document>) -> io::Result<()> {
    let text = serde_json::to_vec(&Snapshot {
        version: VERSION,
        documents,
    })?;
    fs::create_dir_all(dir)?;
    let beside = dir.join(format!("{FILE}.new"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(beside, dir.join(FILE))
}
