//! Which copies an operation moves.

use crate::cluster::{
    ClusterState, Index, Operation, OperationKind, OperationState, PlannedMove, ReplicaState,
};
use crate::id::{GroupId, NodeId, OperationId};
use crate::placement::{self, Scope};

/// The oldest operation that waits for its plan, with its moves. One is planned at a time, when those before
/// it are done: a plan made over moving shards would move some of them twice.
#[must_use]
pub fn plan_operation(state: &ClusterState) -> Option<(OperationId, Vec<PlannedMove>)> {
    let waiting = |operation: &&Operation| operation.state != OperationState::Done;
    let first = state.operations.values().find(waiting)?;
    if first.state != OperationState::Accepted || state.unfinished_migrations().next().is_some() {
        return None;
    }
    let moves = match first.kind {
        OperationKind::AddNode { node } => balance_group(state, node)?,
        OperationKind::Repair => Vec::new(),
    };
    Some((first.id, moves))
}

/// The moves that give every node of the new node's group its share of every index. `None` while an index cannot
/// be planned: the operation then waits, it does not end with nothing moved.
fn balance_group(state: &ClusterState, node: NodeId) -> Option<Vec<PlannedMove>> {
    let group = state.nodes.get(&node)?.group;
    let mut moves = Vec::new();
    for index in state.indexes.values() {
        moves.extend(balance_index(state, index, group)?);
    }
    Some(moves)
}

fn balance_index(state: &ClusterState, index: &Index, group: GroupId) -> Option<Vec<PlannedMove>> {
    let current: Vec<Vec<NodeId>> = index
        .placement
        .iter()
        .map(|shard| {
            shard
                .replicas
                .iter()
                .filter(|r| r.group == group)
                .map(|r| r.node)
                .collect()
        })
        .collect();
    let scope = Scope {
        index: index.uid.as_str(),
        group,
    };
    let planned = placement::rebalance(
        &scope,
        index.replication_factor,
        &current,
        &state.candidates(group),
    )
    .ok()?;
    let mut moves: Vec<PlannedMove> = Vec::new();
    for one in planned {
        // A shard has one migration at a time; a stale copy is repaired, not moved.
        let readable = index
            .shard(one.shard)
            .and_then(|shard| shard.on(one.from))
            .is_some_and(|replica| replica.state == ReplicaState::InSync);
        if readable && moves.last().is_none_or(|last| last.shard != one.shard) {
            moves.push(PlannedMove {
                uid: index.uid.clone(),
                incarnation: index.incarnation,
                shard: one.shard,
                group,
                source: one.from,
                target: one.to,
                replaces_source: true,
            });
        }
    }
    Some(moves)
}

/// Moves that rebuild stale copies, each from a copy in sync, whatever else is going on.
#[must_use]
pub fn plan_repair(state: &ClusterState) -> Vec<PlannedMove> {
    let mut moves = Vec::new();
    for index in state.indexes.values() {
        for (shard, placement) in index
            .shards()
            .filter(|(_, placement)| placement.moving.is_none())
        {
            let stale = placement
                .replicas
                .iter()
                .find(|r| r.state == ReplicaState::Stale);
            if let (Some(stale), Some(source)) = (stale, placement.readable().next()) {
                moves.push(PlannedMove {
                    uid: index.uid.clone(),
                    incarnation: index.incarnation,
                    shard,
                    group: stale.group,
                    source: source.node,
                    target: stale.node,
                    replaces_source: false,
                });
            }
        }
    }
    moves
}
