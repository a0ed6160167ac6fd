//! Three coordinators: elections, failures, restarts, retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::basics::{PATIENCE, add, wait_for};
use crate::cluster::Cluster;
use crate::support::Command;
use miroir_coordinator::raft::{
    MembershipError, ProposeError, RaftLimits, ReadError, RequestId, Role, StepDownError,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_coordinators_execute_the_same_commands_in_the_same_order() {
    let cluster = Cluster::formed(3, RaftLimits::default()).await;
    let leader = cluster.nodes[&cluster.leader().await].consensus.clone();
    let proposals = (0..200_u64).map(|n| {
        let leader = leader.clone();
        tokio::spawn(async move {
            let name = format!("counter-{}", n % 7);
            leader.propose(&add(&name, 1)).await
        })
    });
    let proposals: Vec<_> = proposals.collect();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for proposal in proposals {
        let outcome = proposal
            .await
            .expect("no panic")
            .expect("a healthy cluster");
        *seen.entry(outcome.index).or_default() += 1;
    }
    // Commands that arrive together share entries; otherwise each costs its own fsync.
    assert!(seen.len() < 100, "{} entries for 200 commands", seen.len());
    cluster.settle().await;
    let states: Vec<_> = cluster
        .nodes
        .values()
        .map(|n| n.consensus.state().read(Clone::clone))
        .collect();
    assert_eq!(states[0].values.values().sum::<u64>(), 200);
    assert!(states[0].last_at_ms > 0);
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_name_the_leader() {
    let cluster = Cluster::formed(3, RaftLimits::default()).await;
    let leader = cluster.leader().await;
    cluster.settle().await;
    for (id, node) in cluster.nodes.iter().filter(|(id, _)| **id != leader) {
        let refused = node.consensus.propose(&add("x", 1)).await;
        let Err(ProposeError::NotLeader { leader: Some(hint) }) = refused else {
            panic!("coordinator {id} answered {refused:?}");
        };
        assert_eq!(hint.id, leader);
        assert_eq!(hint.api_url, format!("http://api-of-{leader}"));
        let refused = node.consensus.linearizable().await;
        assert!(matches!(refused, Err(ReadError::NotLeader { leader: Some(h) }) if h == hint));
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    let mut acked = 0;
    for round in 0..3 {
        for _ in 0..10 {
            cluster.propose(add("acked", 1)).await;
            acked += 1;
        }
        let dead = cluster.leader().await;
        let stopped = cluster.stop(dead).await;
        let died = Instant::now();
        let successor = cluster.leader().await;
        println!(
            "round {round}: {dead} -> {successor} in {:?}",
            died.elapsed()
        );
        // Announced only with a complete state: no linearizable() before this read.
        assert_eq!(cluster.nodes[&successor].value("acked"), acked);
        cluster.propose(add("acked", 1)).await;
        acked += 1;
        let back = stopped.start().await;
        cluster.nodes.insert(dead, back);
        cluster.settle().await;
        for node in cluster.nodes.values() {
            assert_eq!(node.value("acked"), acked, "coordinator {}", node.id);
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_coordinators_restart_with_everything() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    for _ in 0..20 {
        cluster.propose(add("kept", 1)).await;
    }
    let mut stopped = Vec::new();
    for id in 1..=3 {
        stopped.push(cluster.stop(id).await);
    }
    for one in stopped {
        cluster.nodes.insert(one.id, one.start().await);
    }
    let leader = cluster.leader().await;
    assert_eq!(cluster.nodes[&leader].value("kept"), 20);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_executed_once_also_under_another_leader() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    cluster.propose(add("once", 5)).await;
    let id = RequestId::random();
    let first = cluster.propose_as(id, add("once", 7)).await;
    assert_eq!(first.before, 5);
    assert_eq!(cluster.propose_as(id, add("once", 7)).await, first);
    let dead = cluster.leader().await;
    let stopped = cluster.stop(dead).await;
    assert_eq!(cluster.propose_as(id, add("once", 7)).await, first);
    cluster.nodes.insert(dead, stopped.start().await);
    cluster.settle().await;
    for node in cluster.nodes.values() {
        assert_eq!(node.value("once"), 12);
    }
    cluster.shutdown().await;
}

/// Restarts the leader again and again while others write, and reads at the restarted one:
/// a read it calls linearizable must never miss what was acknowledged before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_never_answers_a_stale_read() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    for _ in 0..4 {
        let id = cluster.leader().await;
        let acked = Arc::new(AtomicU64::new(cluster.nodes[&id].value("n")));
        let done = Arc::new(AtomicBool::new(false));
        let restarted = cluster.stop(id).await.start().await;
        let reader = {
            let (acked, done) = (Arc::clone(&acked), Arc::clone(&done));
            let consensus = restarted.consensus.clone();
            tokio::spawn(async move {
                let mut confirmed = 0_u64;
                while !done.load(Ordering::SeqCst) {
                    let floor = acked.load(Ordering::SeqCst);
                    if consensus.linearizable().await.is_ok() {
                        let value = |m: &crate::support::Counters| m.values.get("n").copied();
                        let seen = consensus.state().read(value).unwrap_or(0);
                        assert!(seen >= floor, "read {seen}, {floor} was acknowledged");
                        confirmed += 1;
                    }
                    tokio::task::yield_now().await;
                }
                confirmed
            })
        };
        cluster.nodes.insert(id, restarted);
        for _ in 0..20 {
            cluster.propose(add("n", 1)).await;
            acked.fetch_add(1, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
        let confirmed = reader.await.expect("no stale read");
        println!("coordinator {id}: {confirmed} confirmed reads after its restart");
        let leader = &cluster.nodes[&cluster.leader().await];
        leader
            .consensus
            .linearizable()
            .await
            .expect("a healthy leader");
        assert_eq!(leader.value("n"), acked.load(Ordering::SeqCst));
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_says_so() {
    let mut cluster = Cluster::formed(3, RaftLimits::default()).await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    let mut stopped = Vec::new();
    for id in others {
        stopped.push(cluster.stop(id).await);
    }
    let lonely = cluster.nodes[&leader].consensus.clone();
    let id = RequestId::random();
    let command = add("late", 1);
    let (read, write) = tokio::join!(lonely.linearizable(), lonely.propose_as(id, &command));
    assert!(matches!(read, Err(ReadError::NoQuorum { .. })), "{read:?}");
    assert!(
        matches!(&write, Err(ProposeError::UnknownOutcome { request_id, .. }) if *request_id == id),
        "{write:?}"
    );
    let mut leadership = lonely.leadership();
    let demoted = leadership.wait_for(|l| l.role != Role::Leader);
    tokio::time::timeout(PATIENCE, demoted)
        .await
        .expect("it notices")
        .expect("consensus lives");
    for one in stopped {
        cluster.nodes.insert(one.id, one.start().await);
    }
    // The retry finds the command executed already, or executes it now: once either way.
    cluster.propose_as(id, command).await;
    cluster.settle().await;
    for node in cluster.nodes.values() {
        assert_eq!(node.value("late"), 1);
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_formed_once_and_only_by_those_who_are_named() {
    let cluster = Cluster::start(3, RaftLimits::default()).await;
    let first = &cluster.nodes[&1].consensus;
    let all: BTreeMap<_, _> = cluster
        .nodes
        .iter()
        .map(|(id, n)| (*id, n.member()))
        .collect();

    let mut without_me = all.clone();
    without_me.remove(&1);
    let refused = first.initialize(without_me).await;
    assert!(
        matches!(refused, Err(MembershipError::Invalid(_))),
        "{refused:?}"
    );

    let mut swapped = all.clone();
    swapped.insert(2, cluster.nodes[&3].member());
    let refused = first.initialize(swapped).await;
    let Err(MembershipError::Unsuitable { id: 2, reason, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("coordinator 3 answers"), "{reason}");

    let mut unreachable = all.clone();
    unreachable.insert(
        2,
        miroir_coordinator::raft::Member::new("http://127.0.0.1:1", "x"),
    );
    let refused = first.initialize(unreachable).await;
    assert!(
        matches!(refused, Err(MembershipError::Unsuitable { id: 2, .. })),
        "{refused:?}"
    );

    // Nothing of this has formed anything.
    assert!(first.members().is_empty());
    assert_eq!(first.metrics().last_log_index, None);
    let refused = first.propose(&add("x", 1)).await;
    assert!(matches!(
        refused,
        Err(ProposeError::NotLeader { leader: None })
    ));

    first.initialize(all.clone()).await.expect("a new cluster");
    cluster.leader().await;
    let refused = first.initialize(all).await;
    assert_eq!(refused, Err(MembershipError::AlreadyInitialized));
    cluster.settle().await;
    for node in cluster.nodes.values() {
        let members = node.consensus.members();
        assert_eq!(members.len(), 3);
        assert!(
            members
                .values()
                .all(|m| m.voter && !m.member.storage_id.is_empty())
        );
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_command_is_refused_before_it_is_proposed() {
    let cluster = Cluster::formed(1, RaftLimits::default()).await;
    let node = &cluster.nodes[&1];
    let before = node.consensus.metrics().last_log_index;
    let huge = Command::Fill {
        name: "x".into(),
        filler: "y".repeat(1 << 20),
    };
    let refused = node.consensus.propose(&huge).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })));
    assert_eq!(node.consensus.metrics().last_log_index, before);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_everything_says_stopped() {
    let cluster = Cluster::formed(1, RaftLimits::default()).await;
    let consensus = cluster.nodes[&1].consensus.clone();
    cluster.shutdown().await;
    let refused = consensus.propose(&add("x", 1)).await;
    assert!(
        matches!(refused, Err(ProposeError::Stopped { .. })),
        "{refused:?}"
    );
    let refused = consensus.linearizable().await;
    assert!(
        matches!(refused, Err(ReadError::Stopped { .. })),
        "{refused:?}"
    );
    wait_for("the end", || {
        let role = consensus.leadership().borrow().role;
        (role == Role::Stopped).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_steps_down_is_replaced_and_follows() {
    let cluster = Cluster::formed(3, RaftLimits::default()).await;
    cluster.propose(add("kept", 1)).await;
    let old = cluster.leader().await;
    let leader = &cluster.nodes[&old].consensus;
    let term = leader.leadership().borrow().term;
    for (id, node) in &cluster.nodes {
        let refused = node
            .consensus
            .step_down(term + 1, PATIENCE)
            .expect_err("no");
        match id == &old {
            true => assert!(
                matches!(refused, StepDownError::OtherTerm { .. }),
                "{refused}"
            ),
            false => assert!(
                matches!(refused, StepDownError::NotLeader { .. }),
                "{refused}"
            ),
        }
    }
    leader.step_down(term, PATIENCE).expect("it leads");
    let refused = leader.propose(&add("kept", 1)).await;
    assert!(
        matches!(refused, Err(ProposeError::NotLeader { .. })),
        "{refused:?}"
    );
    let another = wait_for("another leader", || {
        let mut nodes = cluster.nodes.values();
        nodes
            .find(|n| n.id != old && n.consensus.is_leader())
            .map(|n| n.id)
    });
    another.await;
    // It hears of the other only once that one has appended to it.
    cluster.propose(add("kept", 1)).await;
    cluster.settle().await;
    assert_eq!(cluster.nodes[&old].value("kept"), 2);
    // It is as good as any other again: it takes over when it must.
    let now = cluster.leader().await;
    let term = cluster.nodes[&now].consensus.leadership().borrow().term;
    cluster.nodes[&now]
        .consensus
        .step_down(term, PATIENCE)
        .expect("it leads");
    cluster.propose(add("kept", 1)).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_that_nobody_uses_ends_by_itself() {
    let cluster = Cluster::formed(3, RaftLimits::default()).await;
    let leader = &cluster.nodes[&cluster.leader().await].consensus;
    let term = leader.leadership().borrow().term;
    // Shorter than the others' lease.
    let brief = Duration::from_millis(200);
    leader.step_down(term, brief).expect("it leads");
    assert_eq!(
        leader.step_down(term, PATIENCE),
        Err(StepDownError::AlreadySilent)
    );
    let ended = || match leader.step_down(term, Duration::ZERO) {
        Err(StepDownError::AlreadySilent) => None,
        Ok(()) | Err(_) => Some(()),
    };
    wait_for("the end of the silence", ended).await;
    cluster.propose(add("kept", 1)).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_others_does_not_step_down() {
    let cluster = Cluster::formed(1, RaftLimits::default()).await;
    let leader = &cluster.nodes[&1].consensus;
    let term = leader.leadership().borrow().term;
    assert_eq!(leader.step_down(term, PATIENCE), Err(StepDownError::Alone));
    cluster.propose(add("kept", 1)).await;
    cluster.shutdown().await;
}
