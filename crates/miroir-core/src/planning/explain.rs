//! Why a shard is where it is, and why it is not moving: for operators who ask.

use crate::cluster::{ClusterState, Index, OperationState, ReplicaState, ShardPlacement};
use crate::id::{IndexUid, ShardId};
use crate::migration::{Barrier, Phase, Record};
use crate::placement::Change;

use super::moves::{Goal, changes_of};
use super::slots::grantable;

/// What is known about a shard, one sentence an entry. `None` when there is no such shard.
#[must_use]
pub fn explain_shard(state: &ClusterState, uid: &IndexUid, id: ShardId) -> Option<Vec<String>> {
    let index = state.indexes.get(uid)?;
    let shard = index.shard(id)?;
    let mut lines = copies(index, id, shard);
    match shard.moving.and_then(|m| state.migrations.get(&m)) {
        Some(record) => lines.push(format!(
            "Migration {} of operation {} is in {}: {}",
            record.id,
            record.operation,
            record.phase,
            waits_for(state, record)
        )),
        None => lines.extend(at_rest(state, index, id)),
    }
    if let Some(hold) = &state.hold {
        lines.push(format!("Automatic moves are held: {}", hold.reason));
    }
    Some(lines)
}

fn copies(index: &Index, id: ShardId, shard: &ShardPlacement) -> Vec<String> {
    let mut lines = Vec::new();
    for replica in &shard.replicas {
        let what = match replica.state {
            ReplicaState::InSync => "in sync: it is read and gets every write",
            ReplicaState::Mirror => "gets every write and is not read",
            ReplicaState::Building => "being built",
            ReplicaState::Stale => {
                "stale: it missed a write, and is rebuilt when a copy in sync and its node can be reached"
            }
        };
        let pinned = if index.pins.contains(&(replica.node, id)) {
            "; pinned there"
        } else {
            ""
        };
        lines.push(format!(
            "The copy on node {} in group {} is {what}{pinned}.",
            replica.node, replica.group
        ));
    }
    lines
}

/// What the placement rules would do with a shard that is not moving.
fn at_rest(state: &ClusterState, index: &Index, id: ShardId) -> Vec<String> {
    let mut lines = Vec::new();
    for group in state.groups.values().filter(|group| group.state.stays()) {
        let goal = Goal::of(state, group.id);
        let changes = changes_of(state, index, &goal, |_| true).unwrap_or_default();
        let change = changes.into_iter().find(|change| change.shard == id);
        lines.push(match change {
            None => format!(
                "In group {} it is where the placement rules want it.",
                group.id
            ),
            Some(change) => format!("In group {} {}", group.id, wish(change)),
        });
    }
    let waiting = state
        .operations
        .values()
        .find(|o| !o.state.is_final() && o.state != OperationState::Cancelling);
    if let Some(operation) = waiting {
        let turn = if operation.paused {
            "paused; those after it go first"
        } else {
            "under way; those after it wait while it moves shards"
        };
        lines.push(format!(
            "Operation {} ({}) is {turn}.",
            operation.id,
            operation.kind.name(),
        ));
    }
    lines
}

fn wish(change: Change) -> String {
    match (change.from, change.to) {
        (Some(from), Some(to)) => format!(
            "a rebalance would move it from node {from} to node {to}; it moves only when an operation asks for that."
        ),
        (None, Some(to)) => format!("a copy is missing; it belongs on node {to}."),
        (Some(from), None) => {
            format!("there is a copy too many, on node {from}; a rebalance drops it.")
        }
        (None, None) => "nothing changes.".to_owned(),
    }
}

/// What a migration waits for at this moment, as far as the state tells.
#[must_use]
pub fn waits_for(state: &ClusterState, record: &Record) -> String {
    if state.is_paused(record) {
        return "it is paused.".to_owned();
    }
    let mut text = match record.phase {
        Phase::Planned if grantable(state).contains(&record.id) => "it begins now".to_owned(),
        Phase::Planned => format!(
            "it waits for a slot; {} migrations may work at a time, {} that write to one node, {} that read from one",
            state.policy.max_concurrent_migrations,
            state.policy.max_migrations_per_target,
            state.policy.max_migrations_per_source
        ),
        Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
        | Phase::CutOver
        | Phase::Holding
        | Phase::Cleaning
        | Phase::Reversing
        | Phase::Dropping => {
            let row = record.phase.row();
            let barrier = match row.barrier {
                Barrier::None => "",
                Barrier::Writes => "after the index's writer has acknowledged the phase, ",
                Barrier::Reads => "after every proxy has acknowledged the phase, ",
                Barrier::ReadsAndWrites => {
                    "after every proxy and the index's writer have acknowledged the phase, "
                }
            };
            format!("{barrier}it {}", row.actor)
        }
        Phase::Done | Phase::Cancelled => "it is finished".to_owned(),
    };
    if !record.progress.last_error.is_empty() {
        text.push_str(&format!(
            "; attempt {} failed: {}",
            record.progress.attempts, record.progress.last_error
        ));
    }
    text.push('.');
    text
}
