//! What operators and failures do to a migration that is under way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use miroir_coordinator::cluster::Cluster as _;
use miroir_core::cluster::{Command, Control, ReplicaState};
use miroir_core::id::{NodeId, ShardId};
use miroir_core::migration::{Kind, Phase, Strain};
use miroir_core::planning;

use super::node::TestNode;
use super::world::{QUEUE_MAX, World, beside, books, eventually};
use super::writer::idle;

const DOCUMENTS: u64 = 400;

/// Two nodes; the index with its documents on the first.
async fn two() -> (World, [TestNode; 2]) {
    let nodes = [TestNode::start().await, TestNode::start().await];
    nodes[0].fill(DOCUMENTS).await;
    let mut world = World::new(&nodes, 1).await;
    world.lead().await;
    (world, nodes)
}

async fn holds(node: &TestNode, documents: usize) {
    eventually("documents on a node", async || match node.count().await {
        count if count == documents => Ok(()),
        count => Err(format!("{count}")),
    })
    .await;
}

async fn has_some(node: &TestNode) {
    eventually("the first documents", async || match node.count().await {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
}

/// At one document a second the copying would take minutes; every change must count while a chunk is slept off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_a_pause_and_its_end_count_at_once() {
    let (world, nodes) = two().await;
    beside(idle(&world), async {
        let id = world.begin(Kind::Move, (1, 2), Some(1));
        world.throttle(id, Some(1));
        has_some(&nodes[1]).await;
        world.control(id, Control::Pause);
        world.throttle(id, None);
        let before = nodes[1].received().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let sent = nodes[1].received().await - before;
        assert!(sent <= 1, "{sent} documents were sent during a pause");
        assert_eq!(world.record(id).phase, Phase::Copying);
        world.control(id, Control::Resume);
        world.reaches(id, Phase::Done).await;
        assert_eq!((nodes[0].count().await, nodes[1].count().await), (0, 400));
    })
    .await;
}

/// Whoever asks how a migration gets on is told that it was slowed down, and why, for as long as it copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pace_that_was_lowered_is_told_with_its_reason() {
    let (world, nodes) = two().await;
    beside(idle(&world), async {
        let tasks = QUEUE_MAX + 1;
        world.fleet.queue.store(tasks, Ordering::Relaxed);
        let id = world.begin(Kind::Move, (1, 2), Some(1));
        // So that it stays where it is.
        world.throttle(id, Some(1));
        has_some(&nodes[1]).await;
        let pace = eventually("a pace", async || {
            world.paces.of(id).ok_or("none".to_owned())
        })
        .await;
        assert!(pace.limit().is_some(), "{pace:?}");
        let max = QUEUE_MAX;
        assert_eq!(pace.strain(), Some(Strain::Queue { tasks, max }));
        world.fleet.queue.store(0, Ordering::Relaxed);
        world.throttle(id, None);
        world.reaches(id, Phase::Done).await;
        eventually("nothing of it", async || match world.paces.of(id) {
            Some(pace) => Err(format!("{pace:?}")),
            None => Ok(()),
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_copy_ends_while_it_sleeps_and_leaves_nothing() {
    let (world, nodes) = two().await;
    beside(idle(&world), async {
        let id = world.begin(Kind::Move, (1, 2), Some(1));
        world.throttle(id, Some(1));
        has_some(&nodes[1]).await;
        world.control(id, Control::Cancel);
        world.reaches(id, Phase::Cancelled).await;
        holds(&nodes[1], 0).await;
        assert_eq!(nodes[0].count().await, 400);
        assert!(leftovers(&world).is_empty());
    })
    .await;
}

fn leftovers(world: &World) -> Vec<(NodeId, ShardId)> {
    world.cluster.read(|state| {
        let index = state.indexes.get(&books());
        index.map_or_else(Vec::new, |index| index.leftovers.iter().copied().collect())
    })
}

/// A new leader goes on where the last one reported that it was, by whole chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_resumes_from_the_checkpoint() {
    let (mut world, nodes) = two().await;
    let id = world.begin(Kind::Move, (1, 2), Some(1));
    world.throttle(id, Some(100));
    let done = beside(idle(&world), async {
        eventually("a checkpoint", async || {
            let progress = world.record(id).progress;
            match progress.checkpoint {
                Some(_) if progress.documents_done >= 200 => Ok(progress.documents_done),
                _ => Err(format!("{progress:?}")),
            }
        })
        .await
    })
    .await;
    world.lead().await;
    world.throttle(id, None);
    beside(idle(&world), async {
        world.reaches(id, Phase::Done).await;
        let sent = nodes[1].received().await;
        assert!(
            (DOCUMENTS..DOCUMENTS + done).contains(&sent),
            "{sent} documents were sent, {done} of them before the leader changed"
        );
        assert_eq!((nodes[0].count().await, nodes[1].count().await), (0, 400));
    })
    .await;
}

/// The target dies and the move is cancelled: that must not wait for the target, and what is left there is swept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_move_to_a_dead_node_ends_and_is_swept_later() {
    let (world, mut nodes) = two().await;
    beside(idle(&world), async {
        let id = world.begin(Kind::Move, (1, 2), Some(1));
        world.throttle(id, Some(20));
        has_some(&nodes[1]).await;
        nodes[1].stop().await;
        world.fleet.down.send_replace(vec![NodeId(2)]);
        world.control(id, Control::Cancel);
        world.reaches(id, Phase::Cancelled).await;
        assert_eq!(leftovers(&world), [(NodeId(2), ShardId(0))]);

        nodes[1].run().await;
        world.fleet.down.send_replace(Vec::new());
        assert!(nodes[1].count().await > 0, "something is left to sweep");
        let moves = world.cluster.read(planning::plan_repair);
        assert_eq!(moves.len(), 1, "{moves:?}");
        let sweep = world.begin(Kind::Sweep, (2, 2), Some(2));
        world.reaches(sweep, Phase::Done).await;
        holds(&nodes[1], 0).await;
        assert!(leftovers(&world).is_empty());
        assert_eq!(nodes[0].count().await, 400, "the copy in use is untouched");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_copy_goes_and_the_other_stays() {
    let nodes = [TestNode::start().await, TestNode::start().await];
    for node in &nodes {
        node.fill(50).await;
    }
    let mut world = World::new(&nodes, 2).await;
    world.lead().await;
    beside(idle(&world), async {
        let id = world.begin(Kind::Drop, (1, 1), Some(2));
        world.reaches(id, Phase::Done).await;
        assert_eq!((nodes[0].count().await, nodes[1].count().await), (50, 0));
    })
    .await;
}

/// What was to be deleted is gone already, with the whole index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_clean() {
    let mut nodes = [TestNode::start().await, TestNode::start().await];
    for node in &nodes {
        node.fill(50).await;
    }
    let mut world = World::new(&nodes, 2).await;
    let id = world.begin(Kind::Drop, (1, 1), Some(2));
    nodes[1].wipe().await;
    world.lead().await;
    beside(idle(&world), world.reaches(id, Phase::Done)).await;
}

/// The copy that is to stay is lost while the other waits to be deleted: the other is all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_given_up_when_the_copy_that_stays_is_lost() {
    let nodes = [TestNode::start().await, TestNode::start().await];
    for node in &nodes {
        node.fill(50).await;
    }
    let mut world = World::new(&nodes, 2).await;
    let id = world.begin(Kind::Drop, (1, 1), Some(2));
    let (uid, incarnation, node) = (books(), world.incarnation, NodeId(1));
    let created_at = "then".to_owned();
    world.cluster.must(Command::IndexSeen {
        uid: uid.clone(),
        incarnation,
        node,
        created_at: created_at.clone(),
    });
    world.cluster.must(Command::IndexLost {
        uid,
        incarnation,
        node,
        created_at,
    });
    world.lead().await;
    beside(idle(&world), async {
        world.reaches(id, Phase::Cancelled).await;
        let states = world.cluster.read(|state| {
            let index = state.indexes.get(&books()).expect("it exists");
            let shard = index.shard(ShardId(0)).expect("its only shard");
            let of = |replica: &miroir_core::cluster::Replica| (replica.node.0, replica.state);
            let mut states: Vec<_> = shard.replicas.iter().map(of).collect();
            states.sort_unstable();
            states
        });
        assert_eq!(
            states,
            [(1, ReplicaState::Stale), (2, ReplicaState::InSync)]
        );
        assert_eq!(nodes[1].count().await, 50);
    })
    .await;
}

/// The planned source is in sync and dead; another copy takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_source_gives_way_to_another_copy() {
    let mut nodes = [
        TestNode::start().await,
        TestNode::start().await,
        TestNode::start().await,
    ];
    nodes[0].fill(50).await;
    nodes[1].fill(50).await;
    let mut world = World::new(&nodes, 2).await;
    nodes[0].stop().await;
    world.fleet.down.send_replace(vec![NodeId(1)]);
    let id = world.begin(Kind::Move, (1, 3), Some(1));
    world.lead().await;
    beside(idle(&world), async {
        let record = world.reaches(id, Phase::Done).await;
        assert_eq!(record.source, NodeId(2));
        assert_eq!(nodes[2].count().await, 50);
        assert_eq!(leftovers(&world), [(NodeId(1), ShardId(0))]);
    })
    .await;
}
