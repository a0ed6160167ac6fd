//! A writer that routes by the present state, records ids and acknowledges epochs, as a proxy does.

use std::collections::BTreeSet;
use std::time::Duration;

use miroir_coordinator::cluster::Cluster as _;
use miroir_coordinator::session::Dirty;
use miroir_core::id::{Epoch, MigrationId, NodeId, ShardId};
use tokio::sync::mpsc;

use super::node::TestNode;
use super::world::{World, books};

/// How writes are routed at one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    epoch: Epoch,
    nodes: Vec<NodeId>,
    held: bool,
    recorded_by: Option<MigrationId>,
}

fn route(world: &World) -> Route {
    world.cluster.read(|state| {
        let index = state.indexes.get(&books()).expect("it exists");
        let shard = index.shard(ShardId(0)).expect("its only shard");
        let moving = state.active_migration(&books(), ShardId(0));
        Route {
            epoch: state.epoch,
            nodes: shard.writable().map(|replica| replica.node).collect(),
            held: moving.is_some_and(|m| m.phase.holds_writes()),
            recorded_by: moving.filter(|m| m.phase.records_dirty()).map(|m| m.id),
        }
    })
}

/// Acknowledges every epoch and writes nothing. Never ends.
pub async fn idle(world: &World) {
    write(world, &[], None).await;
}

/// Writes one document to node 1 and whoever else takes writes, without pause; node 2 gets each write `lag` later,
/// in the same order. Never ends.
pub async fn hot(world: &World, nodes: &[TestNode], id: &str, lag: Duration) {
    write(world, nodes, Some((id, lag))).await;
}

async fn write(world: &World, nodes: &[TestNode], what: Option<(&str, Duration)>) {
    let session = world.sessions.opened(world.writer).expect("not condemned");
    let mut acknowledged = None;
    let mut n = 0;
    loop {
        let now = route(world);
        // Nothing is under way here: a round ends when all of it has been answered.
        if acknowledged.as_ref() != Some(&now) {
            let epoch = now.epoch;
            world
                .sessions
                .acknowledged(world.writer, session, epoch, epoch);
            acknowledged = Some(now.clone());
        }
        match what {
            Some((id, lag)) if !now.held => n = round(world, nodes, (id, lag), &now, n).await,
            Some(_) | None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        if let Some(migration) = now.recorded_by {
            let ids = what.iter().map(|(id, _)| (*id).to_owned());
            let dirty = Dirty {
                ids: BTreeSet::from_iter(ids),
                whole_shard: false,
            };
            world
                .sessions
                .recorded(world.writer, session, migration, dirty);
        }
    }
}

/// Writes until the route changes, then waits until the slower node has everything.
async fn round(
    world: &World,
    nodes: &[TestNode],
    (id, lag): (&str, Duration),
    by: &Route,
    mut n: u64,
) -> u64 {
    let (to_slow, mut late) = mpsc::unbounded_channel::<(tokio::time::Instant, u64)>();
    let of = |node: u64| by.nodes.contains(&NodeId(node));
    let fast = async {
        while route(world) == *by {
            n += 1;
            if of(1) {
                nodes[0].put(&[(id.to_owned(), n)]).await;
            }
            // The channel outlives this block.
            let _sent = to_slow.send((tokio::time::Instant::now() + lag, n));
            tokio::time::sleep(Duration::from_millis(10)).await;
            if by.recorded_by.is_some() {
                break;
            }
        }
        drop(to_slow);
        n
    };
    let slow = async {
        while let Some((at, n)) = late.recv().await {
            if of(2) {
                tokio::time::sleep_until(at).await;
                nodes[1].put(&[(id.to_owned(), n)]).await;
            }
        }
    };
    tokio::join!(fast, slow).0
}
