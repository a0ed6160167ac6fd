//! What an operation would do first, and what would keep it from that.

use std::collections::BTreeSet;

use miroir_core::cluster::{
    ClusterState, Command, Index, Operation, OperationKind, OperationState, PlannedMove, Replica,
    ReplicaState,
};
use miroir_core::id::{NodeId, OperationId};
use miroir_core::planning::{self, MOVES_MAX, Step};

/// Entries of one kind that an answer names; the rest is counted.
const NAMED_MAX: usize = 10;

/// What would happen.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    /// The first moves.
    pub moves: Vec<PlannedMove>,
    /// Whether more follow.
    pub more: bool,
    /// What keeps it from beginning, or from ending.
    pub blocked_by: Vec<String>,
}

/// What `operation`, just accepted in `state`, would do once it is its turn.
pub(super) fn of_operation(
    state: &ClusterState,
    operation: OperationId,
    down: impl Fn(NodeId) -> bool,
) -> Foresight {
    let Some(known) = state.operations.get(&operation) else {
        return Foresight::default();
    };
    let mut blocked_by = before(state, known);
    if known.kind.is_planned_once() {
        let records = known
            .migrations
            .iter()
            .filter_map(|id| state.migrations.get(id));
        let moves: Vec<_> = records
            .map(|m| PlannedMove {
                uid: m.index.clone(),
                incarnation: m.incarnation,
                shard: m.shard,
                group: m.group,
                kind: m.kind,
                source: m.source,
                target: m.target,
                replaces: m.replaces,
            })
            .collect();
        blocked_by.extend(unreachable(&moves, down));
        return Foresight {
            moves,
            more: false,
            blocked_by,
        };
    }
    let mut alone = alone(state, operation);
    let (moves, waits) = first_moves(&alone);
    blocked_by.extend(waits.map(ToOwned::to_owned));
    blocked_by.extend(pinned(&alone, &moves));
    blocked_by.extend(moving(state, known));
    blocked_by.extend(unreachable(&moves, down));
    let more = moves.len() >= MOVES_MAX || {
        finish(&mut alone, &moves);
        !moves.is_empty() && !first_moves(&alone).0.is_empty()
    };
    Foresight {
        moves,
        more,
        blocked_by,
    }
}

/// What keeps a change that makes no operation from having an effect at once.
pub(super) fn of_control(state: &ClusterState, command: &Command) -> Foresight {
    let mut blocked_by = Vec::new();
    if let Command::ControlMigration { id, .. } = command
        && let Some(record) = state.migrations.get(id)
        && !record.paused
        && state.is_paused(record)
    {
        blocked_by.push(format!(
            "operation {} is paused, and its migrations with it",
            record.operation
        ));
    }
    Foresight {
        blocked_by,
        ..Foresight::default()
    }
}

/// The state in which nothing else waits for its turn.
fn alone(state: &ClusterState, operation: OperationId) -> ClusterState {
    let mut alone = state.clone();
    alone
        .operations
        .retain(|id, other| *id == operation || other.state.is_final());
    alone
}

fn first_moves(alone: &ClusterState) -> (Vec<PlannedMove>, Option<&'static str>) {
    match planning::next_step(alone).map(|(_, step)| step) {
        Some(Step::Move(moves)) => (moves, None),
        Some(Step::Wait) => (
            Vec::new(),
            Some(
                "there is something to do that cannot be planned: shards that are pinned, that move, or that have no copy in sync",
            ),
        ),
        Some(Step::Complete | Step::CompleteAfterReads(_)) | None => (Vec::new(), None),
    }
}

/// Operations whose turn comes first.
fn before(state: &ClusterState, operation: &Operation) -> Vec<String> {
    if operation.kind.is_planned_once() {
        return Vec::new();
    }
    let earlier = state.operations.values().filter(|other| {
        other.id < operation.id
            && !other.state.is_final()
            && other.state != OperationState::Cancelling
            && !other.paused
            && !other.kind.is_planned_once()
    });
    earlier
        .map(|other| format!("operation {} ({}) comes first", other.id, other.kind.name()))
        .collect()
}

/// Copies that would move if they were not pinned.
fn pinned(alone: &ClusterState, moves: &[PlannedMove]) -> Vec<String> {
    if alone.indexes.values().all(|index| index.pins.is_empty()) {
        return Vec::new();
    }
    let mut free = alone.clone();
    for index in free.indexes.values_mut() {
        index.pins.clear();
    }
    let (freely, _) = first_moves(&free);
    let is_pinned = |one: &PlannedMove| {
        let pins = alone.indexes.get(&one.uid).map(|index: &Index| &index.pins);
        let held = one.replaces.map(|node| (node, one.shard));
        held.is_some_and(|pin| pins.is_some_and(|pins| pins.contains(&pin)))
    };
    let kept = freely
        .iter()
        .filter(|one| is_pinned(one) && !moves.contains(one));
    named(
        kept.map(|one| {
            format!(
                "shard {} of `{}` is pinned to node {}",
                one.shard,
                alone.uid_of(&one.uid),
                one.replaces.unwrap_or(one.source)
            )
        })
        .collect(),
    )
}

/// Shards that other operations are moving: theirs are planned when those have ended.
fn moving(state: &ClusterState, operation: &Operation) -> Vec<String> {
    let about = |index: &Index| match &operation.kind {
        OperationKind::ChangeReplicationFactor { uid, .. } => index.name() == uid,
        OperationKind::Rebalance { uid } => uid.as_ref().is_none_or(|uid| index.name() == uid),
        OperationKind::AddNode { .. }
        | OperationKind::DrainNode { .. }
        | OperationKind::RemoveNode { .. }
        | OperationKind::AddGroup { .. }
        | OperationKind::RemoveGroup { .. }
        | OperationKind::MoveShard
        | OperationKind::Repair
        | OperationKind::ReplaceLost { .. } => true,
    };
    let records = state.unfinished_migrations().filter(|record| {
        record.operation != operation.id && state.indexes.get(&record.index).is_some_and(about)
    });
    named(
        records
            .map(|record| {
                format!(
                    "shard {} of `{}` is being moved by migration {}",
                    record.shard,
                    state.uid_of(&record.index),
                    record.id
                )
            })
            .collect(),
    )
}

/// Nodes that do not answer and have a part in it.
fn unreachable(moves: &[PlannedMove], down: impl Fn(NodeId) -> bool) -> Vec<String> {
    let nodes: BTreeSet<NodeId> = moves
        .iter()
        .flat_map(|one| [one.source, one.target])
        .collect();
    nodes
        .into_iter()
        .filter(|node| down(*node))
        .map(|node| format!("node {node} is down"))
        .collect()
}

fn named(mut all: Vec<String>) -> Vec<String> {
    if all.len() > NAMED_MAX {
        let more = all.len() - NAMED_MAX;
        all.truncate(NAMED_MAX);
        all.push(format!("and {more} more like these"));
    }
    all
}

/// Makes the copies what they are once `moves` have ended.
fn finish(state: &mut ClusterState, moves: &[PlannedMove]) {
    for one in moves {
        let Some(shard) = state
            .indexes
            .get_mut(&one.uid)
            .and_then(|index| index.placement.get_mut(usize::from(one.shard.0)))
        else {
            continue;
        };
        shard.replicas.retain(|replica| {
            Some(replica.node) != one.replaces && (replica.node != one.target || !one.kind.builds())
        });
        if one.kind.builds() {
            shard.replicas.push(Replica {
                node: one.target,
                group: one.group,
                state: ReplicaState::InSync,
            });
            shard.replicas.sort_by_key(|replica| replica.group);
        }
    }
}
