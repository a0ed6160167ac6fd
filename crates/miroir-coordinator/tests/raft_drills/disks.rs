//! A coordinator whose disk fails or loses power.

use std::sync::{Arc, Mutex};

use crate::basics::{PATIENCE, add, config, identity, remember, wait_for};
use crate::cluster::{Cluster, Disk};
use crate::support::Counters;
use miroir_coordinator::raft::{Consensus, Member, ProposeError, RaftLimits};
use miroir_coordinator::storage::Storage;
use miroir_coordinator::storage::memory::MemoryDisk;

type Verdict = Arc<Mutex<Option<String>>>;

/// A cluster of one on `disk`.
async fn start(disk: &MemoryDisk) -> (Consensus<Counters>, Verdict) {
    let storage = Storage::open(Box::new(disk.open()), &identity(1)).expect("opens");
    let created = storage.created;
    let fatal = Verdict::default();
    let limits = RaftLimits::default();
    let consensus = Consensus::start(config(1, &limits), storage, remember(&fatal))
        .await
        .expect("starts");
    if created {
        let me = Member::new("http://127.0.0.1:1", "http://127.0.0.1:1");
        let formed = consensus.initialize([(1, me)].into()).await;
        formed.expect("a cluster of one");
    }
    (consensus, fatal)
}

/// Stops without writing anything more, as if the power failed.
async fn lose_power(disk: &MemoryDisk, consensus: Consensus<Counters>) {
    disk.fail_syncs_after(0);
    consensus.shutdown().await;
    disk.crash();
    disk.fail_syncs_after(u64::MAX);
}

async fn until_leader(consensus: &Consensus<Counters>) {
    wait_for("a leader", || consensus.is_leader().then_some(())).await;
}

fn value(consensus: &Consensus<Counters>) -> Option<u64> {
    consensus.state().read(|m| m.values.get("n").copied())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_ends_consensus_and_says_why() {
    let disk = MemoryDisk::new();
    let (consensus, fatal) = start(&disk).await;
    until_leader(&consensus).await;
    let command = add("n", 1);
    consensus.propose(&command).await.expect("a healthy disk");

    disk.fail_syncs_after(0);
    let failed = consensus.propose(&command).await;
    assert!(
        matches!(
            failed,
            Err(ProposeError::UnknownOutcome { .. } | ProposeError::Stopped { .. })
        ),
        "{failed:?}"
    );
    let verdict = || fatal.lock().expect("not poisoned").clone();
    let reason = wait_for("the verdict", verdict).await;
    assert!(reason.contains("asked for a failure"), "{reason}");
    lose_power(&disk, consensus).await;

    let (again, _) = start(&disk).await;
    until_leader(&again).await;
    assert_eq!(value(&again), Some(1));
    again.shutdown().await;
}

/// The committed position is written without a sync, so a crash loses it. A leader that
/// resumed its leadership would then confirm reads of what it knew to be committed before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_crashed_does_not_confirm_a_read_before_it_knows_what_was_committed() {
    let disks: Vec<_> = (0..3).map(|_| MemoryDisk::new()).collect();
    let on = disks.iter().cloned().map(Disk::Memory).collect();
    let mut cluster = Cluster::start_on(on, RaftLimits::default())
        .await
        .form()
        .await;
    for round in 1..=4 {
        cluster.propose(add("n", 1)).await;
        let leader = cluster.leader().await;
        let disk = &disks[leader as usize - 1];
        disk.fail_syncs_after(0);
        let stopped = cluster.stop(leader).await;
        disk.crash();
        disk.fail_syncs_after(u64::MAX);
        let node = stopped.start().await;
        // At once, and until somebody else has taken over.
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            assert!(std::time::Instant::now() < deadline, "nobody leads");
            if node.consensus.linearizable().await.is_ok() {
                assert_eq!(node.value("n"), round, "a stale read");
                break;
            }
            let mut others = cluster.nodes.values();
            if others.any(|other| other.consensus.is_leader()) {
                break;
            }
        }
        cluster.nodes.insert(leader, node);
        cluster.leader().await;
    }
    cluster.shutdown().await;
}
