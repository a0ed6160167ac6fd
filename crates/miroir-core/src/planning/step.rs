//! What an operation needs next.

use crate::cluster::{
    ClusterState, GroupState, Index, Operation, OperationKind, OperationState, PlannedMove,
};
use crate::id::{Epoch, GroupId, NodeId, OperationId};
use crate::placement::Change;

use super::drain::is_empty;
use super::group::{another_is_searched, not_in_sync, only_read_in};
use super::moves::{Goal, as_move, changes_of, source_among};

/// Moves of one plan: it must fit into one command of the log. The rest is planned when these are done.
pub const MOVES_MAX: usize = 512;

/// What an operation needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These moves.
    Move(Vec<PlannedMove>),
    /// Nothing: it can be ended.
    Complete,
    /// Nothing but that every proxy reads by a table of this epoch.
    CompleteAfterReads(Epoch),
    /// Something that nobody plans: a node that comes back, a pin that is lifted.
    Wait,
}

/// Whether [`next_step`] may have something to say: cheap to ask, while the step itself takes the whole placement.
#[must_use]
pub fn is_due(state: &ClusterState) -> bool {
    let mut waiting = waiting(state);
    waiting
        .next()
        .is_some_and(|first| !has_moves_under_way(state, first))
}

fn waiting(state: &ClusterState) -> impl Iterator<Item = &Operation> {
    state.operations.values().filter(|o| {
        matches!(o.state, OperationState::Accepted | OperationState::Running)
            && !o.paused
            && !o.kind.is_planned_once()
    })
}

fn has_moves_under_way(state: &ClusterState, operation: &Operation) -> bool {
    operation.migrations.iter().any(|id| {
        let record = state.migrations.get(id);
        record.is_some_and(|record| !record.phase.is_final())
    })
}

/// The oldest operation that is not paused and whose moves are done, with what it needs next. Operations take
/// turns: those after one with moves under way wait. One that nobody can help now lets the next go first.
#[must_use]
pub fn next_step(state: &ClusterState) -> Option<(OperationId, Step)> {
    let mut stuck = None;
    for operation in waiting(state) {
        if has_moves_under_way(state, operation) {
            return None;
        }
        match step_of(state, operation) {
            Step::Wait => stuck = stuck.or(Some((operation.id, Step::Wait))),
            step @ (Step::Move(_) | Step::Complete | Step::CompleteAfterReads(_)) => {
                return Some((operation.id, step));
            }
        }
    }
    stuck
}

/// The moves that [`next_step`] asks for; none to end the operation. `None` when there is nothing to propose.
#[must_use]
pub fn plan_operation(state: &ClusterState) -> Option<(OperationId, Vec<PlannedMove>)> {
    let (id, step) = next_step(state)?;
    match step {
        Step::Move(moves) => Some((id, moves)),
        Step::Complete => Some((id, Vec::new())),
        Step::CompleteAfterReads(_) | Step::Wait => None,
    }
}

fn step_of(state: &ClusterState, operation: &Operation) -> Step {
    match &operation.kind {
        OperationKind::AddNode { node } => {
            let group = state.nodes.get(node).map(|node| node.group);
            let stays = |group: &GroupId| state.groups.get(group).is_some_and(|g| g.state.stays());
            group.filter(stays).map_or(Step::Complete, |group| {
                settle(state, operation, &[group], |_| true, |_| true)
            })
        }
        OperationKind::AddGroup { group } => add_group(state, operation, *group),
        OperationKind::DrainNode { node } => drain(state, operation, *node),
        OperationKind::RemoveNode { node, group, .. } => {
            if state.nodes.contains_key(node) {
                drain(state, operation, *node)
            } else {
                // It is gone; what it held is built elsewhere.
                let missing = |change: &Change| change.from.is_none();
                settle(state, operation, &[*group], |_| true, missing)
            }
        }
        OperationKind::RemoveGroup { group } => remove_group(state, *group),
        OperationKind::ChangeReplicationFactor {
            uid, incarnation, ..
        } => {
            let meant = |index: &Index| index.name() == uid && index.incarnation == *incarnation;
            settle(state, operation, &staying(state), meant, |_| true)
        }
        OperationKind::Rebalance { uid } => {
            let meant = |index: &Index| uid.as_ref().is_none_or(|uid| index.name() == uid);
            settle(state, operation, &staying(state), meant, |_| true)
        }
        OperationKind::ReplaceLost { node } => replace(state, operation, *node),
        OperationKind::MoveShard | OperationKind::Repair => Step::Wait,
    }
}

/// A shard that is given up, or stale, or moved by another operation keeps the group from being searched.
fn add_group(state: &ClusterState, operation: &Operation, group: GroupId) -> Step {
    let step = settle(state, operation, &[group], |_| true, |_| true);
    if step == Step::Complete && not_in_sync(state, group).is_some() {
        return Step::Wait;
    }
    step
}

/// What the other groups have lost since is repaired from this one before it goes.
fn remove_group(state: &ClusterState, group: GroupId) -> Step {
    let Some(known) = state.groups.get(&group) else {
        return Step::Complete;
    };
    if another_is_searched(state, group) && only_read_in(state, group).is_none() {
        Step::CompleteAfterReads(known.state_epoch)
    } else {
        Step::Wait
    }
}

fn staying(state: &ClusterState) -> Vec<GroupId> {
    let groups = state.groups.values();
    groups
        .filter(|group| group.state != GroupState::Retiring)
        .map(|group| group.id)
        .collect()
}

/// Every change of some indexes in some groups that is of a kind.
fn settle(
    state: &ClusterState,
    operation: &Operation,
    groups: &[GroupId],
    meant: impl Fn(&Index) -> bool,
    of_interest: impl Fn(&Change) -> bool,
) -> Step {
    let goals: Vec<Goal> = groups.iter().map(|group| Goal::of(state, *group)).collect();
    gather(state, operation, &goals, meant, of_interest)
}

fn gather(
    state: &ClusterState,
    operation: &Operation,
    goals: &[Goal],
    meant: impl Fn(&Index) -> bool,
    of_interest: impl Fn(&Change) -> bool,
) -> Step {
    let (mut moves, mut stuck) = (Vec::new(), false);
    for goal in goals {
        for index in state.indexes.values().filter(|index| meant(index)) {
            let Some(changes) = changes_of(state, index, goal, &of_interest) else {
                stuck = true;
                continue;
            };
            let excused = |change: &Change| {
                let key = (index.name().clone(), goal.group, change.shard);
                operation.excused.contains(&key)
            };
            for change in changes {
                if excused(&change) {
                    continue;
                }
                match as_move(index, goal.group, change) {
                    Some(one) => moves.push(one),
                    None => stuck = true,
                }
            }
        }
    }
    // A shard that is to change in two groups changes in one after the other.
    let mut seen = std::collections::BTreeSet::new();
    moves.retain(|one| seen.insert((one.uid.clone(), one.shard)));
    moves.truncate(MOVES_MAX);
    match (moves.is_empty(), stuck) {
        (false, _) => Step::Move(moves),
        (true, true) => Step::Wait,
        (true, false) => Step::Complete,
    }
}

fn drain(state: &ClusterState, operation: &Operation, node: NodeId) -> Step {
    let Some(group) = state.nodes.get(&node).map(|node| node.group) else {
        return Step::Complete;
    };
    let leaves = |change: &Change| change.from == Some(node);
    let step = settle(state, operation, &[group], |_| true, leaves);
    if step == Step::Complete && !is_empty(state, node) {
        // Shards that another operation moves, or that are pinned, are still there.
        return Step::Wait;
    }
    step
}

/// Copies on a lost node are built elsewhere, where there is room.
fn replace(state: &ClusterState, operation: &Operation, node: NodeId) -> Step {
    let Some(group) = state.nodes.get(&node).map(|node| node.group) else {
        return Step::Complete;
    };
    let goal = Goal::of(state, group).without(node);
    let roomy = |index: &Index| goal.candidates.len() >= usize::from(index.replication_factor);
    let leaves = |change: &Change| change.from == Some(node) && change.to.is_some();
    match gather(state, operation, std::slice::from_ref(&goal), roomy, leaves) {
        Step::Move(moves) => {
            let moves: Vec<_> = moves
                .into_iter()
                .filter_map(|one| from_elsewhere(state, node, one))
                .collect();
            if moves.is_empty() {
                Step::Complete
            } else {
                Step::Move(moves)
            }
        }
        // What cannot be built now is tried again by another operation, if the node stays away.
        Step::Wait | Step::Complete => Step::Complete,
        step @ Step::CompleteAfterReads(_) => step,
    }
}

/// The same move with a copy to read from that is not on the lost node; `None` when there is no other.
fn from_elsewhere(state: &ClusterState, lost: NodeId, one: PlannedMove) -> Option<PlannedMove> {
    if one.source != lost {
        return Some(one);
    }
    let shard = state.indexes.get(&one.uid)?.shard(one.shard)?;
    let source = source_among(shard, one.shard, |node| node != lost, one.group)?;
    Some(PlannedMove { source, ..one })
}
