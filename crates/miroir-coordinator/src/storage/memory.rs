//! An engine that keeps everything in memory and can lose power on request.
//!
//! [`MemoryDisk`] outlives the engines opened on it, as a disk outlives a process. What was
//! applied but not synced is gone after [`MemoryDisk::crash`], so a test that skips a sync
//! fails here without needing a power switch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::kv::{Batch, Change, Kv, Visitor};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    durable: Rows,
    current: Rows,
    syncs: u64,
    syncs_until_failure: Option<u64>,
}

/// A disk made of memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine on this disk.
    pub fn open(&self) -> MemoryKv {
        MemoryKv { disk: self.clone() }
    }

    /// Forgets everything that was not synced, as a power failure would.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.current = state.durable.clone();
    }

    /// Lets `successes` more syncs pass and fails all after them.
    pub fn fail_syncs_after(&self, successes: u64) {
        self.lock().syncs_until_failure = Some(successes);
    }

    /// How many syncs succeeded.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Flips one bit in the value of `key`, also in what is durable. Returns whether the row
    /// exists and is not empty.
    pub fn damage(&self, key: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(value) = state.current.get_mut(key).filter(|v| !v.is_empty()) else {
            return false;
        };
        let last = value.len() - 1;
        value[last] ^= 1;
        let damaged = value.clone();
        state.durable.insert(key.to_vec(), damaged);
        true
    }

    /// Removes the row of `key`, also from what is durable. Returns whether it existed.
    pub fn lose(&self, key: &[u8]) -> bool {
        let mut state = self.lock();
        state.durable.remove(key);
        state.current.remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryKv {
    disk: MemoryDisk,
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.disk.lock().current.get(key).cloned())
    }

    fn scan(&self, range: Range<Vec<u8>>, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        for (key, value) in self.disk.lock().current.range(range) {
            visit(key, value)?;
        }
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut state = self.disk.lock();
        for change in batch.changes() {
            match change {
                Change::Put { key, value } => {
                    state.current.insert(key.clone(), value.clone());
                }
                Change::Delete { key } => {
                    state.current.remove(key);
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.disk.lock();
        match state.syncs_until_failure {
            Some(0) => {
                return Err(StoreError::Engine {
                    action: "sync",
                    detail: "the test asked for a failure".into(),
                });
            }
            Some(left) => state.syncs_until_failure = Some(left - 1),
            None => {}
        }
        state.durable = state.current.clone();
        state.syncs += 1;
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, StoreError> {
        let state = self.disk.lock();
        let bytes: usize = state.current.iter().map(|(k, v)| k.len() + v.len()).sum();
        Ok(bytes as u64)
    }
}
