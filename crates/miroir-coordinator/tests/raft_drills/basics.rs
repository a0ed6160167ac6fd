//! What every consensus test needs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use miroir_coordinator::raft::{ConsensusConfig, FatalHandler, RaftLimits};
use miroir_coordinator::storage::Identity;

use crate::support::Command;

pub const CLUSTER: &str = "test-cluster";

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn add(name: &str, amount: u64) -> Command {
    Command::Add {
        name: name.into(),
        amount,
    }
}

pub fn identity(id: u64) -> Identity {
    Identity {
        cluster_id: CLUSTER.into(),
        coordinator_id: id,
    }
}

pub fn config(id: u64, limits: &RaftLimits) -> ConsensusConfig {
    ConsensusConfig {
        limits: limits.clone(),
        ..ConsensusConfig::new(identity(id), id as usize - 1, 3)
    }
}

/// Writes down why consensus gave up, instead of ending the test process.
pub fn remember(slot: &Arc<Mutex<Option<String>>>) -> FatalHandler {
    let slot = Arc::clone(slot);
    Arc::new(move |reason| {
        *slot.lock().expect("not poisoned") = Some(reason.to_owned());
    })
}

/// Polls until `find` returns something.
pub async fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
