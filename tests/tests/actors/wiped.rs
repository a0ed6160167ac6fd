//! Nodes that come back without what they held.

use miroir_coordinator::actor::wiped;
use miroir_coordinator::cluster::Cluster as _;
use miroir_core::cluster::{NodeIndex, ReplicaState};
use miroir_core::id::{NodeId, ShardId};
use tokio_util::sync::CancellationToken;

use super::node::TestNode;
use super::world::{World, beside, books, eventually};
use super::writer::idle;

fn known(world: &World, node: u64) -> NodeIndex {
    world.cluster.read(|state| {
        let index = state.indexes.get(&books()).expect("it exists");
        index.nodes.get(&NodeId(node)).cloned().unwrap_or_default()
    })
}

fn state_on(world: &World, node: u64) -> ReplicaState {
    world.cluster.read(|state| {
        let index = state.indexes.get(&books()).expect("it exists");
        let shard = index.shard(ShardId(0)).expect("its only shard");
        shard.on(NodeId(node)).expect("a copy").state
    })
}

async fn seen(world: &World, node: u64) {
    eventually("the index is seen", async || {
        let known = known(world, node);
        known.created_at.clone().ok_or(format!("{known:?}"))
    })
    .await;
}

async fn lost(world: &World, node: u64) {
    eventually("the copy is out of use", async || {
        let state = state_on(world, node);
        if state == ReplicaState::Stale {
            Ok(())
        } else {
            Err(format!("{state:?}"))
        }
    })
    .await;
}

/// Waits until everything is to be made anew on the node.
async fn forgotten(world: &World, node: u64) {
    eventually("the node gets everything anew", async || {
        match known(world, node) {
            known if known == NodeIndex::default() => Ok(()),
            known => Err(format!("{known:?}")),
        }
    })
    .await;
}

/// The actor, and a proxy that acknowledges every table. Never ends.
async fn watched(world: &World) {
    let actor = wiped::run(world.context(), CancellationToken::new());
    tokio::join!(actor, idle(world));
}

async fn two() -> (World, [TestNode; 2]) {
    let nodes = [TestNode::start().await, TestNode::start().await];
    let world = World::new(&nodes, 2).await;
    (world, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_recognised_and_another_life_is_seen_anew() {
    let (world, mut nodes) = two().await;
    beside(watched(&world), async {
        seen(&world, 1).await;
        seen(&world, 2).await;
        let before = known(&world, 2);
        nodes[1].wipe().await;
        lost(&world, 2).await;
        forgotten(&world, 2).await;
        assert_eq!(state_on(&world, 1), ReplicaState::InSync);
        // The index comes to be again, by settings.
        let task = nodes[1].settings().await;
        assert_eq!(
            known(&world, 2).created_at,
            None,
            "not before its settings are known"
        );
        world.report_settings(2, task);
        seen(&world, 2).await;
        assert_ne!(known(&world, 2).created_at, before.created_at);
    })
    .await;
}

/// A restart is no loss, and neither is silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_restarts_has_lost_nothing() {
    let (world, mut nodes) = two().await;
    beside(watched(&world), async {
        seen(&world, 2).await;
        let before = known(&world, 2);
        nodes[1].stop().await;
        // Node 1 is wiped meanwhile: that it is noticed shows that looks go on.
        nodes[0].wipe().await;
        lost(&world, 1).await;
        forgotten(&world, 1).await;
        nodes[1].run().await;
        let task = nodes[0].settings().await;
        world.report_settings(1, task);
        seen(&world, 1).await;
        assert_eq!(known(&world, 2), before);
        assert_eq!(state_on(&world, 2), ReplicaState::InSync);
    })
    .await;
}

/// It is wiped before anybody has asked it when it created the index, and the index is made again by a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_wiped_before_it_was_seen_is_recognised_by_its_tasks() {
    let (world, mut nodes) = two().await;
    nodes[1].wipe().await;
    let task = nodes[1].put(&[("d1".to_owned(), 1)]).await;
    nodes[1].processed(task).await;
    beside(watched(&world), async {
        lost(&world, 2).await;
        seen(&world, 1).await;
        assert_eq!(state_on(&world, 1), ReplicaState::InSync);
    })
    .await;
}
