//! Plans and migrations: what each change of phase does to the placement.

use super::{Applied, At, next_id};
use crate::cluster::{
    ClusterState, MigrationReport, NodeIndex, OperationKind, OperationState, Outcome, PlannedMove,
    Rejection, ReplicaState,
};
use crate::id::{MigrationId, NodeId, OperationId};
use crate::migration::{Event, Phase, Progress, Record};

impl ClusterState {
    pub(super) fn plan(
        &mut self,
        at: At,
        operation: Option<OperationId>,
        moves: &[PlannedMove],
    ) -> Applied {
        if let Some(id) = operation {
            let known = self
                .operations
                .get(&id)
                .ok_or(Rejection::UnknownOperation(id))?;
            if known.state != OperationState::Accepted {
                return Err(Rejection::StalePlan(format!(
                    "operation {id} is planned already"
                )));
            }
        } else if moves.is_empty() {
            return Err(Rejection::Invalid(
                "a repair needs at least one move".to_owned(),
            ));
        }
        for (n, one) in moves.iter().enumerate() {
            self.check_move(one)?;
            let twice = moves[..n]
                .iter()
                .any(|other| other.uid == one.uid && other.shard == one.shard);
            if twice {
                return Err(Rejection::StalePlan(format!(
                    "shard {} of `{}` moves twice",
                    one.shard, one.uid
                )));
            }
        }
        let operation = operation.unwrap_or_else(|| {
            self.accept_operation(at, OperationKind::Repair, OperationState::Accepted)
        });
        let migrations: Vec<_> = moves
            .iter()
            .map(|one| self.begin(at, operation, one))
            .collect();
        if let Some(known) = self.operations.get_mut(&operation) {
            known.migrations.clone_from(&migrations);
            known.state = OperationState::Running;
        }
        self.settle_operation(at, operation);
        Ok(Outcome::Planned {
            operation,
            migrations,
        })
    }

    /// A plan is made on a state that the log may have outrun; what it assumed is checked again here.
    fn check_move(&self, one: &PlannedMove) -> Result<(), Rejection> {
        let stale = |why: &str| {
            Err(Rejection::StalePlan(format!(
                "shard {} of `{}` from {} to {}: {why}",
                one.shard, one.uid, one.source, one.target
            )))
        };
        let Some(index) = self
            .indexes
            .get(&one.uid)
            .filter(|index| index.incarnation == one.incarnation)
        else {
            return stale("the index is gone");
        };
        let Some(placement) = index.shard(one.shard) else {
            return stale("there is no such shard");
        };
        if placement.moving.is_some() {
            return stale("the shard is moving");
        }
        if !placement
            .on(one.source)
            .is_some_and(|r| r.state.is_readable())
        {
            return stale("the source is not in sync");
        }
        if placement
            .on(one.target)
            .is_some_and(|r| r.state != ReplicaState::Stale)
        {
            return stale("the target holds a copy");
        }
        match self.nodes.get(&one.target) {
            Some(node) if node.group == one.group => Ok(()),
            Some(_) => stale("the target is in another group"),
            None => stale("the target is gone"),
        }
    }

    fn begin(&mut self, at: At, operation: OperationId, one: &PlannedMove) -> MigrationId {
        let id = MigrationId(next_id(&mut self.next.migration));
        let record = Record {
            id,
            operation,
            index: one.uid.clone(),
            incarnation: one.incarnation,
            shard: one.shard,
            group: one.group,
            source: one.source,
            replaces: one.replaces_source.then_some(one.source),
            target: one.target,
            phase: Phase::Planned,
            phase_epoch: at.epoch(),
            step: 0,
            throttle_docs_per_s: self.policy.throttle_docs_per_s,
            progress: Progress::default(),
            history: Vec::new(),
        };
        self.migrations.insert(id, record);
        if let Some(shard) = self
            .indexes
            .get_mut(&one.uid)
            .and_then(|index| index.shard_mut(one.shard))
        {
            shard.moving = Some(id);
        }
        id
    }

    pub(super) fn advance(
        &mut self,
        at: At,
        (id, step): (MigrationId, u32),
        event: Event,
    ) -> Applied {
        let record = self
            .migrations
            .get_mut(&id)
            .ok_or(Rejection::UnknownMigration(id))?;
        if record.step != step {
            return Err(Rejection::StaleStep {
                id,
                step: record.step,
            });
        }
        if relies_on_source(event) && !readable(self.indexes.get(&record.index), record) {
            let node = record.source;
            return Err(Rejection::Invalid(format!(
                "node {node}, which migration {id} copies from, is not in sync any more"
            )));
        }
        if event == Event::Verified && !is_mirror(self.indexes.get(&record.index), record) {
            let node = record.target;
            return Err(Rejection::Invalid(format!(
                "node {node}, which migration {id} builds, does not take writes any more"
            )));
        }
        let phase = record.advance(event, at.epoch(), at.ms)?;
        let record = record.clone();
        self.settle_placement(&record);
        if phase.is_final() {
            self.settle_operation(at, record.operation);
        }
        self.touch(at);
        Ok(Outcome::Advanced(phase))
    }

    /// Makes the placement say what the phase just entered says.
    fn settle_placement(&mut self, record: &Record) {
        let Some(index) = self.indexes.get_mut(&record.index) else {
            return;
        };
        if index.incarnation != record.incarnation {
            return;
        }
        let (target, key) = (record.target, (record.target, record.shard));
        if record.phase == Phase::Preparing {
            // A target that lost everything needs its settings again.
            let lost = record
                .history
                .last()
                .is_some_and(|change| change.event == Event::TargetLost);
            let known = index.nodes.entry(target).or_default();
            if lost {
                *known = NodeIndex::default();
            }
            index.leftovers.remove(&key);
        }
        if record.phase == Phase::Cancelled {
            index.leftovers.insert(key);
        }
        if let (Phase::Cleaning, Some(replaced)) = (record.phase, record.replaces) {
            index.leftovers.insert((replaced, record.shard));
        }
        if let (Phase::Done, Some(replaced)) = (record.phase, record.replaces) {
            index.leftovers.remove(&(replaced, record.shard));
        }
        let Some(shard) = index.shard_mut(record.shard) else {
            return;
        };
        match record.phase {
            Phase::Planned | Phase::Fenced | Phase::Holding => {}
            Phase::Preparing | Phase::Copying | Phase::CatchingUp => {
                shard.set(target, record.group, ReplicaState::Building);
                // Reads that had moved come back to a copy that was written to all along.
                if let Some(replica) = record.replaces.and_then(|node| find(shard, node))
                    && replica.state == ReplicaState::Mirror
                {
                    replica.state = ReplicaState::InSync;
                }
            }
            Phase::Mirroring => shard.set(target, record.group, ReplicaState::Mirror),
            Phase::CutOver => {
                shard.set(target, record.group, ReplicaState::InSync);
                if let Some(replica) = record.replaces.and_then(|node| find(shard, node))
                    && replica.state == ReplicaState::InSync
                {
                    replica.state = ReplicaState::Mirror;
                }
            }
            Phase::Cleaning => {
                if let Some(replaced) = record.replaces {
                    shard.remove(replaced);
                }
            }
            Phase::Done => shard.moving = None,
            Phase::Cancelled => {
                shard.moving = None;
                shard.remove(target);
            }
        }
    }

    /// Ends a migration whose index is gone from the state already.
    pub(super) fn end_abandoned(&mut self, at: At, id: MigrationId, event: Event) {
        let Some(record) = self.migrations.get_mut(&id) else {
            return;
        };
        if record.advance(event, at.epoch(), at.ms).is_ok() {
            let operation = record.operation;
            self.settle_operation(at, operation);
        }
    }

    fn settle_operation(&mut self, at: At, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let finished =
            |id: &MigrationId| self.migrations.get(id).is_none_or(|m| m.phase.is_final());
        if operation.state == OperationState::Running && operation.migrations.iter().all(finished) {
            operation.state = OperationState::Done;
            operation.finished_at_ms = Some(at.ms);
        }
    }

    pub(super) fn change_source(
        &mut self,
        at: At,
        (id, step): (MigrationId, u32),
        source: NodeId,
    ) -> Applied {
        let record = self
            .migrations
            .get(&id)
            .ok_or(Rejection::UnknownMigration(id))?;
        if record.step != step {
            return Err(Rejection::StaleStep {
                id,
                step: record.step,
            });
        }
        let readable = self
            .indexes
            .get(&record.index)
            .and_then(|index| index.shard(record.shard))
            .and_then(|shard| shard.on(source))
            .is_some_and(|replica| replica.state.is_readable());
        if !readable || source == record.target {
            return Err(Rejection::Invalid(format!(
                "node {source} has no copy in sync to read from"
            )));
        }
        record.phase.after(Event::SourceChanged, record.kind())?;
        if let Some(record) = self.migrations.get_mut(&id) {
            record.source = source;
        }
        self.advance(at, (id, step), Event::SourceChanged)
    }

    pub(super) fn report_migrations(&mut self, reports: &[MigrationReport]) -> Outcome {
        for report in reports {
            if let Some(record) = self
                .migrations
                .get_mut(&report.id)
                .filter(|m| m.step == report.step)
            {
                record.progress.clone_from(&report.progress);
            }
        }
        Outcome::Done
    }
}

/// Whether an event says that the target has what the source has: that is worth nothing when the source lacks a
/// write itself.
fn relies_on_source(event: Event) -> bool {
    match event {
        Event::Copied | Event::CaughtUp | Event::FenceDrained | Event::Verified => true,
        Event::SlotGranted
        | Event::TargetClean
        | Event::FenceOverrun
        | Event::Mismatch
        | Event::ReadsMoved
        | Event::WindowOver
        | Event::Cleaned
        | Event::TargetBehind
        | Event::TargetLost
        | Event::SourceChanged
        | Event::Abandoned => false,
    }
}

fn readable(index: Option<&crate::cluster::Index>, record: &Record) -> bool {
    let shard = index.and_then(|index| index.shard(record.shard));
    shard
        .and_then(|shard| shard.on(record.source))
        .is_some_and(|replica| replica.state.is_readable())
}

/// Whether the target takes every client write: what was compared is worth nothing when it missed one since.
fn is_mirror(index: Option<&crate::cluster::Index>, record: &Record) -> bool {
    let shard = index.and_then(|index| index.shard(record.shard));
    shard
        .and_then(|shard| shard.on(record.target))
        .is_some_and(|replica| replica.state == ReplicaState::Mirror)
}

fn find(
    shard: &mut crate::cluster::ShardPlacement,
    node: NodeId,
) -> Option<&mut crate::cluster::Replica> {
    shard
        .replicas
        .iter_mut()
        .find(|replica| replica.node == node)
}
