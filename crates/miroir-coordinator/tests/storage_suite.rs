//! openraft's own storage suite, on both engines.

mod support;

use miroir_coordinator::raft::state_machine::StateMachine;
use miroir_coordinator::raft::types::{RaftStorageError, TypeConfig};
use miroir_coordinator::storage::memory::MemoryDisk;
use miroir_coordinator::storage::{Identity, LogStore, Storage};
use openraft::testing::{StoreBuilder, Suite};
use support::Counters;
use tempfile::TempDir;

fn identity() -> Identity {
    Identity {
        cluster_id: "suite".into(),
        coordinator_id: 1,
    }
}

struct OnSled;

impl StoreBuilder<TypeConfig, LogStore, StateMachine<Counters>, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine<Counters>), RaftStorageError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let storage = Storage::open_dir(dir.path(), &identity()).expect("a new storage");
        let machine = StateMachine::load(storage.snapshots).await?;
        Ok((dir, storage.log, machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine<Counters>> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine<Counters>), RaftStorageError> {
        let disk = MemoryDisk::new();
        let storage = Storage::open(Box::new(disk.open()), &identity()).expect("a new storage");
        let machine = StateMachine::load(storage.snapshots).await?;
        Ok(((), storage.log, machine))
    }
}

#[test]
fn the_sled_store_passes_the_suite() {
    Suite::test_all(OnSled).expect("the suite passes");
}

#[test]
fn the_memory_store_passes_the_suite() {
    Suite::test_all(InMemory).expect("the suite passes");
}
