//! Keys that so many have that they find nobody: whoever has read one need not read it again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashSet;

use super::hash::BlockKey;

/// Keys that were seen to have too many holders. A key seldom becomes rare again, when people are erased; it is read anew when
/// the policy is, when this process starts, and when these have become too many.
#[derive(Debug, Clone, Default)]
pub struct Crowded(Arc<Mutex<FxHashSet<BlockKey>>>);

/// So many are remembered: some megabytes.
const MOST: usize = 200_000;

impl Crowded {
    /// Whether a key is known to find nobody.
    pub fn holds(&self, key: BlockKey) -> bool {
        self.keys().contains(&key)
    }

    /// Remembers a key that finds nobody.
    pub fn add(&self, key: BlockKey) {
        let mut keys = self.keys();
        if keys.len() >= MOST {
            keys.clear();
        }
        keys.insert(key);
    }

    fn keys(&self) -> MutexGuard<'_, FxHashSet<BlockKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
