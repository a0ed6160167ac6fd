//! Snapshots, new members, lost disks and messages for somebody else.

use std::collections::BTreeSet;

use crate::basics::{CLUSTER, add, wait_for};
use crate::cluster::{Cluster, Node};
use crate::support::{Command, Counters};
use miroir_coordinator::raft::{MembershipError, RaftLimits, ReadError};
use miroir_proto::v1 as pb;
use miroir_proto::v1::raft_service_client::RaftServiceClient;
use tonic::transport::Channel;

/// Snapshots after few entries, so that a newcomer cannot be served from the log.
fn eager() -> RaftLimits {
    RaftLimits {
        snapshot_every_entries: 20,
        keep_entries: 2,
        ..RaftLimits::default()
    }
}

/// Fills the state with `count` rows of `bytes` each, one entry for every row.
async fn fill(cluster: &Cluster, prefix: &str, count: usize, bytes: usize) {
    for at in 0..count {
        let filler = "f".repeat(bytes);
        let name = format!("{prefix}-{at}");
        cluster.propose(Command::Fill { name, filler }).await;
    }
}

fn state_of(node: &Node) -> Counters {
    node.consensus.state().read(Clone::clone)
}

async fn wait_for_snapshot(cluster: &Cluster) {
    for node in cluster.nodes.values() {
        wait_for("a snapshot and a purged log", || {
            let m = node.consensus.metrics();
            (m.snapshot_index.is_some() && m.purged_index > Some(5)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_the_snapshot_and_takes_over_a_vote() {
    let mut cluster = Cluster::formed(3, eager()).await;
    // Several snapshot parts and many storage chunks.
    fill(&cluster, "big", 60, 100_000).await;
    wait_for_snapshot(&cluster).await;

    cluster.add(4).await;
    let leader = cluster.leader().await;
    let newcomer = cluster.nodes[&4].member();
    let consensus = cluster.nodes[&leader].consensus.clone();
    consensus
        .add_learner(4, newcomer.clone())
        .await
        .expect("the newcomer catches up");
    let again = consensus.add_learner(4, newcomer).await;
    assert!(
        matches!(again, Err(MembershipError::Invalid(_))),
        "{again:?}"
    );

    // It replaces a follower, which ceases to be a member.
    let leaving = (1..=3).find(|id| *id != leader).expect("a follower");
    let voters: BTreeSet<u64> = (1..=4).filter(|id| *id != leaving).collect();
    consensus
        .change_voters(voters.clone())
        .await
        .expect("the change is committed");
    cluster.stop(leaving).await;
    cluster.propose(add("after", 1)).await;
    cluster.settle().await;
    assert!(
        cluster.nodes[&4]
            .consensus
            .metrics()
            .snapshot_index
            .is_some()
    );
    assert_eq!(
        state_of(&cluster.nodes[&4]),
        state_of(&cluster.nodes[&leader])
    );
    let members: BTreeSet<u64> = cluster.nodes[&4].consensus.members().into_keys().collect();
    assert_eq!(members, voters);

    // With the old leader gone too, the newcomer's vote is needed.
    cluster.stop(leader).await;
    cluster.propose(add("after", 1)).await;
    assert_eq!(cluster.nodes[&cluster.leader().await].value("after"), 2);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_missed_the_purged_log_catches_up() {
    let mut cluster = Cluster::formed(3, eager()).await;
    let leader = cluster.leader().await;
    let late = (1..=3).find(|id| *id != leader).expect("a follower");
    let stopped = cluster.stop(late).await;
    fill(&cluster, "missed", 80, 10).await;
    wait_for_snapshot(&cluster).await;
    cluster.nodes.insert(late, stopped.start().await);
    cluster.settle().await;
    assert_eq!(
        state_of(&cluster.nodes[&late]),
        state_of(&cluster.nodes[&leader])
    );

    // What it received survives its own restart.
    let stopped = cluster.stop(late).await;
    cluster.nodes.insert(late, stopped.start().await);
    cluster.settle().await;
    assert_eq!(
        state_of(&cluster.nodes[&late]),
        state_of(&cluster.nodes[&leader])
    );
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_remembered_across_snapshots_and_restarts() {
    let mut cluster = Cluster::formed(1, eager()).await;
    let id = miroir_coordinator::raft::RequestId::random();
    let first = cluster.propose_as(id, add("once", 1)).await;
    fill(&cluster, "more", 50, 10).await;
    wait_for_snapshot(&cluster).await;
    let stopped = cluster.stop(1).await;
    cluster.nodes.insert(1, stopped.start().await);
    assert_eq!(cluster.propose_as(id, add("once", 1)).await, first);
    assert_eq!(cluster.nodes[&1].value("once"), 1);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_do_not_pile_up_in_memory() {
    let limits = RaftLimits {
        tail_bytes_max: 1 << 20,
        ..RaftLimits::default()
    };
    let cluster = Cluster::formed(1, limits).await;
    let mut highest = 0;
    for at in 0..40 {
        let filler = "f".repeat(200_000);
        let name = at.to_string();
        cluster.propose(Command::Fill { name, filler }).await;
        highest = highest.max(cluster.nodes[&1].consensus.metrics().log_bytes);
    }
    let node = &cluster.nodes[&1].consensus;
    wait_for("a short log", || {
        (node.metrics().log_bytes < 1 << 20).then_some(())
    })
    .await;
    assert!(highest > 1 << 20, "the limit was never reached");
    cluster.shutdown().await;
}

/// A coordinator that lost its disk must not vote under its old number: it has forgotten
/// entries that others count on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_coordinator_is_refused_under_its_old_number() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    cluster.propose(add("n", 1)).await;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let victim = (1..=3).find(|id| *id != leader).expect("a follower");
    let witness = (1..=3)
        .find(|id| ![leader, victim].contains(id))
        .expect("another");
    let old_storage_id = cluster.nodes[&leader].consensus.members()[&victim]
        .member
        .storage_id
        .clone();
    let stopped = cluster.stop(victim).await;
    std::fs::remove_dir_all(stopped.disk.path()).expect("its disk is lost");
    let wiped = stopped.start().await;

    // To it: the leader's messages are for the storage that was lost.
    let answer = vote(
        &wiped.raft_url,
        envelope(leader, victim, "", &old_storage_id),
    )
    .await;
    assert_refused(&answer, "lost the storage");
    // From it: the others know another storage under its number.
    let url = &cluster.nodes[&witness].raft_url;
    let answer = vote(url, envelope(victim, witness, "a-new-storage", "")).await;
    assert_refused(&answer, "lost the storage");
    // So it learns nothing, and without it there is no majority.
    cluster.nodes.insert(victim, wiped);
    cluster.propose(add("n", 1)).await;
    assert_eq!(
        cluster.nodes[&victim].consensus.metrics().last_log_index,
        None
    );
    cluster.stop(witness).await;
    let read = cluster.nodes[&leader].consensus.linearizable().await;
    assert!(matches!(read, Err(ReadError::NoQuorum { .. })), "{read:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_for_somebody_else_are_refused() {
    let cluster = Cluster::formed(1, RaftLimits::default()).await;
    let url = &cluster.nodes[&1].raft_url;
    let foreign = pb::RaftEnvelope {
        cluster_id: "another-cluster".into(),
        ..envelope(2, 1, "", "")
    };
    assert_refused(&vote(url, foreign).await, "another-cluster");
    assert_refused(
        &vote(url, envelope(2, 3, "", "")).await,
        "for coordinator 3",
    );
    let mut client = client(url).await;
    let asked = client
        .identify(pb::RaftIdentifyRequest {
            cluster_id: "another-cluster".into(),
        })
        .await;
    assert_refused(&asked.map(drop), "another-cluster");
    let without = client.vote(pb::RaftVoteRequest::default()).await;
    let status = without.expect_err("no envelope");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_transfer_changes_nothing() {
    use pb::raft_snapshot_part::Part;
    let cluster = Cluster::formed(1, RaftLimits::default()).await;
    cluster.propose(add("n", 1)).await;
    let node = &cluster.nodes[&1];
    let header = |length| {
        Part::Header(pb::RaftSnapshotHeader {
            envelope: Some(envelope(2, 1, "", "")),
            vote: Some(pb::RaftVote {
                term: 99,
                coordinator_id: 2,
                committed: true,
            }),
            meta: Some(pb::RaftSnapshotMeta {
                membership: Some(pb::RaftMembership::default()),
                ..pb::RaftSnapshotMeta::default()
            }),
            length,
        })
    };
    let data = || Part::Data(b"12345".to_vec());
    let crc = crc32fast::hash(b"12345");
    let cases = [
        ("no header", vec![data()]),
        ("no end", vec![header(5), data()]),
        (
            "wrong sum",
            vec![header(5), data(), Part::EndCrc32(crc ^ 1)],
        ),
        ("too long", vec![header(4), data(), Part::EndCrc32(crc)]),
        ("too short", vec![header(6), data(), Part::EndCrc32(crc)]),
        ("too large", vec![header(u64::MAX)]),
        ("two headers", vec![header(5), header(5)]),
    ];
    for (name, parts) in cases {
        let parts = parts
            .into_iter()
            .map(|part| pb::RaftSnapshotPart { part: Some(part) });
        let parts: Vec<_> = parts.collect();
        let answer = client(&node.raft_url)
            .await
            .install_snapshot(tokio_stream::iter(parts))
            .await;
        assert!(answer.is_err(), "{name}: {answer:?}");
    }
    assert_eq!(node.value("n"), 1);
    node.consensus.linearizable().await.expect("it still leads");
    cluster.shutdown().await;
}

async fn client(url: &str) -> RaftServiceClient<Channel> {
    let connected = RaftServiceClient::connect(url.to_owned()).await;
    connected.expect("the coordinator listens")
}

fn envelope(from: u64, to: u64, from_storage: &str, to_storage: &str) -> pb::RaftEnvelope {
    pb::RaftEnvelope {
        cluster_id: CLUSTER.into(),
        from,
        to,
        from_storage_id: from_storage.into(),
        to_storage_id: to_storage.into(),
    }
}

async fn vote(url: &str, envelope: pb::RaftEnvelope) -> Result<(), tonic::Status> {
    let request = pb::RaftVoteRequest {
        envelope: Some(envelope),
        vote: Some(pb::RaftVote::default()),
        last_log_id: None,
    };
    client(url).await.vote(request).await.map(drop)
}

fn assert_refused(answer: &Result<(), tonic::Status>, because: &str) {
    let status = answer.as_ref().expect_err("a refusal");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    assert!(status.message().contains(because), "{status}");
}
