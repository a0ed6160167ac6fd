//! Plans and migrations: what each change of phase does to the placement.

use super::{Applied, At, next_id};
use crate::cluster::{
    Admission, ClusterState, Index, MigrationReport, NodeIndex, OperationKind, OperationState,
    Outcome, PlannedMove, Rejection, ReplicaState, ShardPlacement,
};
use crate::id::{MigrationId, NodeId, OperationId};
use crate::migration::{Event, Kind, Phase, Progress, Record};

impl ClusterState {
    pub(super) fn plan(
        &mut self,
        at: At,
        operation: Option<OperationId>,
        moves: &[PlannedMove],
    ) -> Applied {
        if let Some(id) = operation {
            self.check_plannable(id)?;
            if moves.is_empty() {
                return self.complete_operation(at, id);
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
        let operation =
            operation.unwrap_or_else(|| self.accept_operation(at, OperationKind::Repair));
        let migrations: Vec<_> = moves
            .iter()
            .map(|one| self.begin(at, operation, one))
            .collect();
        if let Some(known) = self.operations.get_mut(&operation) {
            known.migrations.extend(&migrations);
            known.state = OperationState::Running;
        }
        Ok(Outcome::Planned {
            operation,
            migrations,
        })
    }

    fn check_plannable(&self, id: OperationId) -> Result<(), Rejection> {
        let known = self
            .operations
            .get(&id)
            .ok_or(Rejection::UnknownOperation(id))?;
        let again = known.state == OperationState::Running && !known.kind.is_planned_once();
        if (known.state == OperationState::Accepted || again) && !known.paused {
            return Ok(());
        }
        Err(Rejection::StalePlan(format!(
            "operation {id} takes no more moves"
        )))
    }

    /// A plan is made on a state that the log may have outrun; what it assumed is checked again here.
    pub(super) fn check_move(&self, one: &PlannedMove) -> Result<(), Rejection> {
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
        if let Some(why) = unfit(index, placement, one) {
            return stale(why);
        }
        match self.nodes.get(&one.target) {
            Some(_) if !one.kind.builds() => Ok(()),
            Some(node)
                if node.admission == Admission::Draining && placement.on(node.id).is_none() =>
            {
                stale("the target is draining")
            }
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
            kind: one.kind,
            source: one.source,
            replaces: one.replaces,
            target: one.target,
            repairs: self.has_copy(one),
            paused: false,
            phase: Phase::Planned,
            phase_epoch: at.epoch(),
            step: 0,
            throttle_docs_per_s: self.policy.throttle_docs_per_s,
            throttle_bytes_per_s: self.policy.throttle_bytes_per_s,
            comparison: None,
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

    /// Whether the target of a build is a copy already, which can only be a stale one.
    fn has_copy(&self, one: &PlannedMove) -> bool {
        let index = self.indexes.get(&one.uid);
        let shard = index.and_then(|index| index.shard(one.shard));
        one.kind.builds() && shard.is_some_and(|shard| shard.on(one.target).is_some())
    }

    pub(super) fn advance(
        &mut self,
        at: At,
        (id, step): (MigrationId, u32),
        event: Event,
    ) -> Applied {
        let mut record = self
            .migrations
            .get(&id)
            .cloned()
            .ok_or(Rejection::UnknownMigration(id))?;
        if record.step != step {
            return Err(Rejection::StaleStep {
                id,
                step: record.step,
            });
        }
        // A slot may have been granted just before the pause was committed.
        if event == Event::SlotGranted && self.is_paused(&record) {
            return Err(Rejection::AlreadyPaused(format!("migration {id}")));
        }
        let from = record.phase;
        let phase = record.advance(event, at.epoch(), at.ms)?;
        self.check_copies((&record, from), event)?;
        self.migrations.insert(id, record.clone());
        self.settle_placement(&record, from);
        if phase.is_final() {
            self.settle_operation(at, record.operation);
        }
        self.touch(at);
        Ok(Outcome::Advanced(phase))
    }

    /// Makes the placement say what the phase just entered says.
    fn settle_placement(&mut self, record: &Record, from: Phase) {
        let Some(index) = self.indexes.get_mut(&record.index) else {
            return;
        };
        if index.incarnation != record.incarnation {
            return;
        }
        let replaced = record.replaces.filter(|node| self.nodes.contains_key(node));
        settle_leftovers(index, (record, from), replaced);
        let Some(shard) = index.shard_mut(record.shard) else {
            return;
        };
        match record.phase {
            Phase::Planned | Phase::Fenced | Phase::Holding => {}
            Phase::Preparing | Phase::Copying | Phase::CatchingUp => {
                shard.set(record.target, record.group, ReplicaState::Building);
                read_replaced_again(shard, record);
            }
            Phase::Mirroring => shard.set(record.target, record.group, ReplicaState::Mirror),
            Phase::CutOver => {
                if record.kind.builds() {
                    shard.set(record.target, record.group, ReplicaState::InSync);
                }
                change(
                    shard,
                    record.replaces,
                    (ReplicaState::InSync, ReplicaState::Mirror),
                );
            }
            Phase::Cleaning => {
                if let Some(replaced) = record.replaces {
                    shard.remove(replaced);
                }
            }
            Phase::Done => shard.moving = None,
            Phase::Reversing => {
                read_replaced_again(shard, record);
                // Until every proxy reads elsewhere it gets every write.
                change(
                    shard,
                    Some(record.target),
                    (ReplicaState::InSync, ReplicaState::Mirror),
                );
            }
            Phase::Dropping => drop_target(shard, record),
            Phase::Cancelled => {
                shard.moving = None;
                read_replaced_again(shard, record);
                if undoes_target(record, from) {
                    drop_target(shard, record);
                }
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
        record.phase.after(Event::SourceChanged, record.kind)?;
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
                if report.comparison.is_some() {
                    record.comparison.clone_from(&report.comparison);
                }
            }
        }
        Outcome::Done
    }
}

/// Why a planned move does not fit the copies there are, if it does not.
fn unfit(index: &Index, placement: &ShardPlacement, one: &PlannedMove) -> Option<&'static str> {
    let readable = |node| placement.on(node).is_some_and(|r| r.state.is_readable());
    let held = |node| placement.on(node).map(|r| r.state);
    let pinned = |node| index.pins.contains(&(node, one.shard));
    if one.replaces.is_some_and(pinned) {
        return Some("the copy that goes is pinned");
    }
    match one.kind {
        Kind::Move | Kind::Build if !readable(one.source) => Some("the source is not in sync"),
        Kind::Move | Kind::Build
            if held(one.target).is_some_and(|state| state != ReplicaState::Stale) =>
        {
            Some("the target holds a copy")
        }
        Kind::Move => match one.replaces {
            Some(replaced) if replaced == one.target => Some("it replaces its own target"),
            Some(replaced) if held(replaced).is_none() => Some("the copy it replaces is gone"),
            Some(_) => None,
            None => Some("it replaces no copy"),
        },
        Kind::Build => one.replaces.map(|_| "a copy is built, and none replaced"),
        Kind::Drop => match one.replaces {
            Some(replaced) if held(replaced).is_none() => Some("the copy is gone"),
            Some(replaced) if replaced == one.source || one.source != one.target => {
                Some("a drop names a copy that stays")
            }
            Some(_) if !readable(one.source) => Some("the copy that stays is not in sync"),
            Some(_) => None,
            None => Some("it drops no copy"),
        },
        Kind::Sweep if held(one.target).is_some() => Some("the node has a copy"),
        Kind::Sweep if !index.leftovers.contains(&(one.target, one.shard)) => {
            Some("nothing is left there")
        }
        Kind::Sweep if one.replaces != Some(one.target) => Some("a sweep names one node"),
        Kind::Sweep => None,
    }
}

/// What nodes hold of a shard without having a copy of it.
/// `replaced` is the copy that goes, unless its node is gone: nothing is left on that.
fn settle_leftovers(index: &mut Index, (record, from): (&Record, Phase), replaced: Option<NodeId>) {
    let built = (record.target, record.shard);
    let replaced = replaced.map(|node| (node, record.shard));
    match record.phase {
        Phase::Preparing => {
            // A target that lost everything needs its settings again. Where it is known that it had the index, other
            // copies on it are lost too, and may still be read: then that comes first, and settings after it.
            let lost = record
                .history
                .last()
                .is_some_and(|change| change.event == Event::TargetLost);
            let known = index.nodes.entry(record.target).or_default();
            if lost && known.created_at.is_none() {
                *known = NodeIndex::default();
            }
            index.leftovers.remove(&built);
        }
        Phase::Cleaning => index.leftovers.extend(replaced),
        Phase::Done if is_cleared(record) => {
            if let Some(replaced) = replaced {
                index.leftovers.remove(&replaced);
            }
        }
        Phase::Dropping => {
            index.leftovers.insert(built);
        }
        Phase::Cancelled if is_cleared(record) => {
            index.leftovers.remove(&built);
        }
        Phase::Cancelled if undoes_target(record, from) => {
            index.leftovers.insert(built);
        }
        Phase::Planned
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
        | Phase::CutOver
        | Phase::Holding
        | Phase::Reversing
        | Phase::Done
        | Phase::Cancelled => {}
    }
}

/// Whether the last thing seen was that nothing is left.
fn is_cleared(record: &Record) -> bool {
    record
        .history
        .last()
        .is_some_and(|change| change.event == Event::Cleaned)
}

/// Whether a migration that ends given up leaves something on its target: not before it has begun, not after what
/// it built has been deleted, and not when the copy it built is the one that stays.
fn undoes_target(record: &Record, from: Phase) -> bool {
    record.kind.builds()
        && match from {
            Phase::Preparing
            | Phase::Copying
            | Phase::CatchingUp
            | Phase::Fenced
            | Phase::Mirroring
            | Phase::CutOver
            | Phase::Holding
            | Phase::Reversing => true,
            Phase::Planned | Phase::Cleaning | Phase::Dropping | Phase::Done | Phase::Cancelled => {
                false
            }
        }
}

/// The target's copy goes; one that was stale before stays listed, to be repaired another time.
fn drop_target(shard: &mut ShardPlacement, record: &Record) {
    if record.repairs {
        shard.set(record.target, record.group, ReplicaState::Stale);
    } else {
        shard.remove(record.target);
    }
}

/// Reads that had moved come back to a copy that was written to all along.
fn read_replaced_again(shard: &mut ShardPlacement, record: &Record) {
    change(
        shard,
        record.replaces,
        (ReplicaState::Mirror, ReplicaState::InSync),
    );
}

/// Puts a copy from one state into another; a copy in any other state stays as it is.
fn change(
    shard: &mut ShardPlacement,
    node: Option<NodeId>,
    (from, to): (ReplicaState, ReplicaState),
) {
    let copy = shard
        .replicas
        .iter_mut()
        .find(|replica| Some(replica.node) == node);
    if let Some(replica) = copy.filter(|replica| replica.state == from) {
        replica.state = to;
    }
}
