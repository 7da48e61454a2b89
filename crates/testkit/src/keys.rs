//! Keys of sealed texts.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trama_platform::Config;

/// A folder of keys, as a mounted Secret. Gone with this.
pub struct Keys(PathBuf);

impl Keys {
    /// With keys of these ids; the name tells it from those of other tests.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn new(name: &str, ids: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("trama-sealing-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let keys = Self(dir);
        for id in ids {
            keys.put(id);
        }
        keys
    }

    /// Adds a key.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, id: &str) {
        let mut bytes = [0; 32];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        std::fs::write(self.0.join(id), STANDARD.encode(bytes)).expect("a file");
    }

    /// Takes a key away.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, id: &str) {
        std::fs::remove_file(self.0.join(id)).expect("a file");
    }

    /// Seals by one of the keys.
    pub fn in_use(&self, id: &'static str) -> impl FnOnce(&mut Config) + Send + 'static {
        let dir = self.0.clone();
        move |config| {
            config.sealing.keys_dir = Some(dir);
            config.sealing.key = id.to_owned();
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
