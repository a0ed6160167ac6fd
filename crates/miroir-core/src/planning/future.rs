//! Where copies will be when the migrations under way have ended.

use crate::cluster::{ClusterState, Index, ShardPlacement};
use crate::id::{GroupId, NodeId, ShardId};
use crate::migration::{Phase, Record};
use crate::placement::Holder;

/// By shard, who will hold a copy in the group.
pub(super) fn future_holders(
    state: &ClusterState,
    index: &Index,
    group: GroupId,
) -> Vec<Vec<Holder>> {
    index
        .shards()
        .map(|(id, shard)| {
            let holders = nodes_after(state, shard, group);
            let pinned = |node| is_pinned(index, node, id);
            let holder = |node| Holder {
                node,
                pinned: pinned(node),
            };
            holders.into_iter().map(holder).collect()
        })
        .collect()
}

pub(super) fn is_pinned(index: &Index, node: NodeId, shard: ShardId) -> bool {
    index.pins.contains(&(node, shard))
}

fn nodes_after(state: &ClusterState, shard: &ShardPlacement, group: GroupId) -> Vec<NodeId> {
    let here = shard.replicas.iter().filter(|r| r.group == group);
    let mut nodes: Vec<NodeId> = here.map(|r| r.node).collect();
    let moving = shard.moving.and_then(|id| state.migrations.get(&id));
    if let Some(record) = moving.filter(|record| record.group == group) {
        settle(&mut nodes, record);
    }
    nodes
}

/// What a migration that ends as it means to leaves.
fn settle(nodes: &mut Vec<NodeId>, record: &Record) {
    let given_up = match record.phase {
        Phase::Reversing | Phase::Dropping | Phase::Cancelled => true,
        Phase::Planned
        | Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
        | Phase::CutOver
        | Phase::Holding
        | Phase::Cleaning
        | Phase::Done => false,
    };
    let goes = if given_up {
        (record.kind.builds() && !record.repairs).then_some(record.target)
    } else {
        record.replaces
    };
    nodes.retain(|node| Some(*node) != goes);
    if !given_up && record.kind.builds() && !nodes.contains(&record.target) {
        nodes.push(record.target);
    }
}
