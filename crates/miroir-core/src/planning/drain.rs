//! What keeps a node from being emptied.

use crate::cluster::{ClusterState, Index};
use crate::id::NodeId;

use super::future::is_pinned;

/// Whether nothing of any index is on a node, nor on its way there.
#[must_use]
pub fn is_empty(state: &ClusterState, node: NodeId) -> bool {
    let held = |index: &Index| {
        let copies = index.placement.iter().flat_map(|shard| &shard.replicas);
        copies.into_iter().any(|replica| replica.node == node)
    };
    let mut coming = state.unfinished_migrations();
    !state.indexes.values().any(held)
        && !coming.any(|m| m.target == node || m.replaces == Some(node))
}

/// Why copies on a node could go nowhere if it were drained; empty when all could.
#[must_use]
pub fn blocking_drain(state: &ClusterState, node: NodeId) -> Vec<String> {
    let Some(group) = state.nodes.get(&node).map(|node| node.group) else {
        return Vec::new();
    };
    let room = state.members(group).filter(|n| n.id != node).count();
    let mut blocking = Vec::new();
    for index in state.indexes.values() {
        for (shard, placement) in index.shards() {
            if placement.on(node).is_none() {
                continue;
            }
            let uid = &index.uid;
            let copies = index.replication_factor;
            if room < usize::from(copies) {
                blocking.push(format!(
                    "shard {shard} of `{uid}` needs {copies} nodes in group {group} and {room} would be left"
                ));
            } else if is_pinned(index, node, shard) {
                blocking.push(format!("shard {shard} of `{uid}` is pinned to it"));
            } else if placement.readable().next().is_none() {
                blocking.push(format!(
                    "shard {shard} of `{uid}` has no copy in sync to copy from"
                ));
            }
        }
    }
    blocking
}
