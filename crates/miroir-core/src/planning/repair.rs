//! What is put right without anyone asking.

use crate::cluster::{
    ClusterState, GroupState, Index, OperationKind, PlannedMove, ReplicaState, ShardPlacement,
};
use crate::id::{GroupId, NodeId, ShardId};
use crate::migration::Kind;
use crate::placement::Change;

use super::moves::{Goal, as_move, changes_of, source_among};

/// Moves that rebuild stale copies, each from a copy in sync, whatever else is going on; that fill gaps where a
/// group has too few copies; and that sweep what was left behind.
#[must_use]
pub fn plan_repair(state: &ClusterState) -> Vec<PlannedMove> {
    plan_repair_among(state, |_| true)
}

/// The same between nodes of which `is_up` holds: of a shard with several things to repair the one that can be.
#[must_use]
pub fn plan_repair_among(state: &ClusterState, is_up: impl Fn(NodeId) -> bool) -> Vec<PlannedMove> {
    let mut moves = Vec::new();
    for index in state.indexes.values() {
        for (id, shard) in index
            .shards()
            .filter(|(_, placement)| placement.moving.is_none())
        {
            let broken = stale(index, (id, shard), &is_up)
                .or_else(|| left_behind(state, index, (id, shard), &is_up));
            moves.extend(broken);
        }
    }
    moves.extend(gaps(state, &moves, &is_up));
    moves
}

fn stale(
    index: &Index,
    (id, shard): (ShardId, &ShardPlacement),
    is_up: impl Fn(NodeId) -> bool,
) -> Option<PlannedMove> {
    let stale = shard
        .replicas
        .iter()
        .find(|r| r.state == ReplicaState::Stale && is_up(r.node))?;
    Some(PlannedMove {
        uid: index.name().clone(),
        incarnation: index.incarnation,
        shard: id,
        group: stale.group,
        kind: Kind::Build,
        source: source_among(shard, id, is_up, stale.group)?,
        target: stale.node,
        replaces: None,
    })
}

/// Documents of a copy that was dropped while its node did not answer.
fn left_behind(
    state: &ClusterState,
    index: &Index,
    (id, shard): (ShardId, &ShardPlacement),
    is_up: impl Fn(NodeId) -> bool,
) -> Option<PlannedMove> {
    let left =
        |(node, at): &&(NodeId, ShardId)| *at == id && shard.on(*node).is_none() && is_up(*node);
    let (node, _) = index.leftovers.iter().find(left)?;
    Some(PlannedMove {
        uid: index.name().clone(),
        incarnation: index.incarnation,
        shard: id,
        group: state.nodes.get(node)?.group,
        kind: Kind::Sweep,
        source: *node,
        target: *node,
        replaces: Some(*node),
    })
}

/// Copies that a searchable group lacks. A group that some operation is filling or emptying is left to it.
fn gaps(
    state: &ClusterState,
    planned: &[PlannedMove],
    is_up: impl Fn(NodeId) -> bool,
) -> Vec<PlannedMove> {
    let mut moves: Vec<PlannedMove> = Vec::new();
    let busy = busy_groups(state);
    let searched = state
        .groups
        .values()
        .filter(|group| group.state == GroupState::Searchable && !busy.contains(&group.id));
    for group in searched {
        let goal = Goal::of(state, group.id);
        for index in state.indexes.values().filter(|i| lacks_copies(i, &goal)) {
            let taken = |shard| {
                planned
                    .iter()
                    .chain(&moves)
                    .any(|one| one.uid == *index.name() && one.shard == shard)
            };
            let missing = |change: &Change| change.from.is_none();
            let added = changes_of(state, index, &goal, missing).unwrap_or_default();
            let new: Vec<_> = added
                .into_iter()
                .filter(|change| !taken(change.shard))
                .filter_map(|change| as_move(index, group.id, change))
                .filter_map(|one| read_from(index, one, &is_up))
                .collect();
            moves.extend(new);
        }
    }
    moves
}

/// The same move with a source that is up; `None` when its target is not, or no source is.
fn read_from(
    index: &Index,
    one: PlannedMove,
    is_up: impl Fn(NodeId) -> bool,
) -> Option<PlannedMove> {
    if !is_up(one.target) {
        return None;
    }
    let source = source_among(index.shard(one.shard)?, one.shard, is_up, one.group)?;
    Some(PlannedMove { source, ..one })
}

fn lacks_copies(index: &Index, goal: &Goal) -> bool {
    let wanted = usize::from(goal.copies(index));
    index.placement.iter().any(|shard| {
        shard
            .replicas
            .iter()
            .filter(|r| r.group == goal.group)
            .count()
            < wanted
    })
}

fn busy_groups(state: &ClusterState) -> Vec<GroupId> {
    let under_way = state.operations.values().filter(|o| !o.state.is_final());
    let mut groups = Vec::new();
    for operation in under_way {
        match &operation.kind {
            OperationKind::AddNode { node }
            | OperationKind::DrainNode { node }
            | OperationKind::ReplaceLost { node } => {
                groups.extend(state.nodes.get(node).map(|node| node.group));
            }
            OperationKind::RemoveNode { group, .. }
            | OperationKind::AddGroup { group }
            | OperationKind::RemoveGroup { group } => groups.push(*group),
            OperationKind::ChangeReplicationFactor { .. } | OperationKind::Rebalance { .. } => {
                groups.extend(state.groups.keys());
            }
            OperationKind::MoveShard | OperationKind::Repair => {}
        }
    }
    groups
}
