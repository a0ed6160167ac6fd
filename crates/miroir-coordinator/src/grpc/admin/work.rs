//! Operations and migrations as operators see them.

use miroir_core::cluster::{ClusterState, Operation, OperationKind, OperationState};
use miroir_core::id::{MigrationId, OperationId};
use miroir_core::migration::{Comparison, Phase, Record};
use miroir_core::planning;
use miroir_proto::v1;

use super::progress::{self, Pace};
use super::views::count;
use crate::migration::Paces;

/// Every operation, oldest first.
pub fn operations(state: &ClusterState, now_ms: u64) -> v1::ListOperationsReply {
    let all = state.operations.values();
    v1::ListOperationsReply {
        operations: all.map(|one| operation(state, one, now_ms)).collect(),
    }
}

/// One operation, with the progress of its migrations.
pub fn operation(state: &ClusterState, operation: &Operation, now_ms: u64) -> v1::Operation {
    let records: Vec<&Record> = operation
        .migrations
        .iter()
        .filter_map(|id| state.migrations.get(id))
        .collect();
    let sum = |of: fn(&Record) -> u64| records.iter().map(|record| of(record)).sum::<u64>();
    let pace = pace(&records, now_ms);
    let failed = records
        .iter()
        .rev()
        .find(|record| !record.progress.last_error.is_empty());
    v1::Operation {
        id: operation.id.0,
        kind: operation.kind.name().to_owned(),
        state: state_name(operation.state).to_owned(),
        node: operation.kind.node().map(|node| node.0),
        migrations: operation.migrations.iter().map(|id| id.0).collect(),
        created_at_ms: operation.created_at_ms,
        finished_at_ms: operation.finished_at_ms,
        migrations_done: count(
            records
                .iter()
                .filter(|record| record.phase.is_final())
                .count(),
        ),
        paused: operation.paused,
        excused: count(operation.excused.len()),
        group: group_of(&operation.kind),
        index: index_of(state, &operation.kind),
        documents_done: sum(|record| record.progress.documents_done),
        documents_total: sum(|record| record.progress.documents_total),
        bytes_done: sum(|record| record.progress.bytes_done),
        documents_per_s: pace.documents_per_s,
        eta_ms: pace.eta_ms,
        last_error: failed.map_or_else(String::new, |record| {
            format!("migration {}: {}", record.id, record.progress.last_error)
        }),
    }
}

fn state_name(state: OperationState) -> &'static str {
    match state {
        OperationState::Accepted => "accepted",
        OperationState::Running => "running",
        OperationState::Cancelling => "cancelling",
        OperationState::Done => "done",
        OperationState::Cancelled => "cancelled",
    }
}

fn group_of(kind: &OperationKind) -> Option<u32> {
    match kind {
        OperationKind::AddGroup { group }
        | OperationKind::RemoveGroup { group }
        | OperationKind::RemoveNode { group, .. } => Some(group.0),
        OperationKind::AddNode { .. }
        | OperationKind::DrainNode { .. }
        | OperationKind::ChangeReplicationFactor { .. }
        | OperationKind::Rebalance { .. }
        | OperationKind::MoveShard
        | OperationKind::Repair
        | OperationKind::ReplaceLost { .. } => None,
    }
}

fn index_of(state: &ClusterState, kind: &OperationKind) -> Option<String> {
    match kind {
        OperationKind::ChangeReplicationFactor { uid: name, .. }
        | OperationKind::Rebalance { uid: Some(name) } => Some(state.uid_of(name).to_string()),
        OperationKind::Rebalance { uid: None } => None,
        OperationKind::AddNode { .. }
        | OperationKind::DrainNode { .. }
        | OperationKind::RemoveNode { .. }
        | OperationKind::AddGroup { .. }
        | OperationKind::RemoveGroup { .. }
        | OperationKind::MoveShard
        | OperationKind::Repair
        | OperationKind::ReplaceLost { .. } => None,
    }
}

/// The pace of all that copy, together. What has not been counted yet is guessed to be like what has.
fn pace(records: &[&Record], now_ms: u64) -> Pace {
    let rates = records
        .iter()
        .filter_map(|record| progress::pace(record, now_ms).documents_per_s);
    let rate: u64 = rates.sum();
    if rate == 0 {
        return Pace::default();
    }
    let builds = || records.iter().filter(|record| record.kind.builds());
    let counted = builds().filter(|record| record.progress.documents_total > 0);
    let (known, documents) = counted.fold((0_u64, 0_u64), |sum, record| {
        (sum.0 + 1, sum.1 + record.progress.documents_total)
    });
    let waiting = builds().filter(|record| record.phase == Phase::Planned);
    let guessed = u64::from(count(waiting.count())) * documents.checked_div(known).unwrap_or(0);
    let open = builds().filter(|record| !record.phase.is_final());
    let left: u64 = open
        .map(|record| {
            let progress = &record.progress;
            progress
                .documents_total
                .saturating_sub(progress.documents_done)
        })
        .sum();
    Pace {
        documents_per_s: Some(rate),
        eta_ms: Some((left + guessed).saturating_mul(1_000).div_ceil(rate)),
    }
}

/// The migrations of an operation, or of all. The counts are of all that belong to it, whatever is listed.
pub fn migrations(
    state: &ClusterState,
    operation: Option<OperationId>,
    unfinished_only: bool,
    at_ms: u64,
) -> v1::ListMigrationsReply {
    let mut reply = v1::ListMigrationsReply {
        at_ms,
        ..Default::default()
    };
    let wanted = |record: &&Record| operation.is_none_or(|id| record.operation == id);
    for record in state.migrations.values().filter(wanted) {
        reply.total += 1;
        reply.done += u32::from(record.phase.is_final());
        if !(unfinished_only && record.phase.is_final()) {
            reply.migrations.push(migration(state, record, at_ms));
        }
    }
    reply
}

/// Adds to migrations that copy how fast they may do that now, and why no faster.
pub fn add_paces(migrations: &mut [v1::Migration], paces: &Paces) {
    for migration in migrations {
        let copies = matches!(
            migration.phase(),
            v1::Phase::Copying | v1::Phase::CatchingUp
        );
        if let Some(pace) = paces.of(MigrationId(migration.id)).filter(|_| copies) {
            migration.pace_docs_per_s = pace.limit();
            let reason = pace.strain().map(|strain| strain.to_string());
            migration.pace_reason = reason.unwrap_or_default();
        }
    }
}

/// One migration with its whole history. Whether it would get a slot now is not looked at: that takes all others.
pub fn migration(state: &ClusterState, record: &Record, now_ms: u64) -> v1::Migration {
    let progress = &record.progress;
    let pace = progress::pace(record, now_ms);
    let change = |change: &miroir_core::migration::PhaseChange| v1::PhaseChange {
        phase: v1::Phase::from(change.phase).into(),
        at_ms: change.at_ms,
        event: change.event.to_string(),
    };
    let paused = !record.phase.is_final() && state.is_paused(record);
    v1::Migration {
        id: record.id.0,
        operation: record.operation.0,
        index: state.uid_of(&record.index).to_string(),
        shard: record.shard.0.into(),
        group: record.group.0,
        source: record.source.0,
        target: record.target.0,
        replaces: record.replaces.map(|node| node.0),
        phase: v1::Phase::from(record.phase).into(),
        phase_epoch: record.phase_epoch.0,
        step: record.step,
        documents_total: progress.documents_total,
        documents_done: progress.documents_done,
        bytes_done: progress.bytes_done,
        attempts: progress.attempts,
        last_error: progress.last_error.clone(),
        throttle_docs_per_s: record.throttle_docs_per_s,
        history: record.history.iter().map(change).collect(),
        kind: progress::kind(record.kind).to_owned(),
        paused,
        throttle_bytes_per_s: record.throttle_bytes_per_s,
        comparison: record.comparison.as_ref().map(comparison),
        documents_per_s: pace.documents_per_s,
        eta_ms: pace.eta_ms,
        // Of the leader's actors, not of the state: `add_paces`.
        pace_docs_per_s: None,
        pace_reason: String::new(),
        waits_for: match record.phase {
            Phase::Planned if !paused => "it waits for a slot.".to_owned(),
            Phase::Planned
            | Phase::Preparing
            | Phase::Copying
            | Phase::CatchingUp
            | Phase::Fenced
            | Phase::Mirroring
            | Phase::CutOver
            | Phase::Holding
            | Phase::Cleaning
            | Phase::Done
            | Phase::Reversing
            | Phase::Dropping
            | Phase::Cancelled => planning::waits_for(state, record),
        },
    }
}

/// One migration, with why it has no slot if it waits for one.
pub fn migration_in_full(state: &ClusterState, record: &Record, now_ms: u64) -> v1::Migration {
    v1::Migration {
        waits_for: planning::waits_for(state, record),
        ..migration(state, record, now_ms)
    }
}

fn comparison(known: &Comparison) -> v1::Comparison {
    v1::Comparison {
        at_ms: known.at_ms,
        documents: known.documents,
        differing: known.differing,
        ids: known.ids.clone(),
    }
}
