//! Operations: accepted, paused, given up, finished, forgotten.

use std::collections::BTreeSet;

use super::{Applied, At, next_id};
use crate::cluster::{
    Admission, ClusterState, Control, Operation, OperationKind, OperationState, Outcome, Rejection,
};
use crate::id::{MigrationId, OperationId};
use crate::migration::{Event, Phase};

impl ClusterState {
    pub(super) fn accept_operation(&mut self, at: At, kind: OperationKind) -> OperationId {
        self.trim_finished();
        let id = OperationId(next_id(&mut self.next.operation));
        let operation = Operation {
            id,
            kind,
            state: OperationState::Accepted,
            paused: false,
            migrations: Vec::new(),
            excused: BTreeSet::new(),
            created_at_ms: at.ms,
            finished_at_ms: None,
        };
        self.operations.insert(id, operation);
        id
    }

    /// Forgets the oldest finished operations with their migrations: the state must not grow without bound.
    fn trim_finished(&mut self) {
        let max = usize::try_from(self.policy.finished_migrations_max).unwrap_or(usize::MAX);
        while self.migrations.len() > max || self.operations.len() > max {
            let oldest = self.operations.values().find(|o| o.state.is_final());
            let Some(oldest) = oldest.map(|o| o.id) else {
                return;
            };
            if let Some(operation) = self.operations.remove(&oldest) {
                for id in &operation.migrations {
                    self.migrations.remove(id);
                }
            }
        }
    }

    /// Ends an operation when the last of its migrations has ended and no more will come.
    pub(super) fn settle_operation(&mut self, at: At, id: OperationId) {
        let Some(operation) = self.operations.get(&id) else {
            return;
        };
        if !self.all_final(operation) {
            return;
        }
        let next = match operation.state {
            OperationState::Cancelling => OperationState::Cancelled,
            OperationState::Running if operation.kind.is_planned_once() => {
                if self.all_cancelled(operation) {
                    OperationState::Cancelled
                } else {
                    OperationState::Done
                }
            }
            OperationState::Accepted
            | OperationState::Running
            | OperationState::Done
            | OperationState::Cancelled => return,
        };
        self.end_operation(at, id, next);
    }

    fn all_final(&self, operation: &Operation) -> bool {
        let finished =
            |id: &MigrationId| self.migrations.get(id).is_none_or(|m| m.phase.is_final());
        operation.migrations.iter().all(finished)
    }

    fn all_cancelled(&self, operation: &Operation) -> bool {
        let cancelled = |id: &MigrationId| {
            self.migrations
                .get(id)
                .is_some_and(|m| m.phase == Phase::Cancelled)
        };
        operation.migrations.iter().all(cancelled)
    }

    fn end_operation(&mut self, at: At, id: OperationId, state: OperationState) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.state = state;
            operation.paused = false;
            operation.finished_at_ms = Some(at.ms);
        }
    }

    /// The last step of an operation of which nothing is left to do.
    pub(super) fn complete_operation(&mut self, at: At, id: OperationId) -> Applied {
        let operation = self
            .operations
            .get(&id)
            .ok_or(Rejection::UnknownOperation(id))?;
        if !self.all_final(operation) {
            return Err(Rejection::StalePlan(format!(
                "migrations of operation {id} are under way"
            )));
        }
        match operation.kind.clone() {
            OperationKind::AddGroup { group } => self.finish_group(at, group)?,
            OperationKind::RemoveGroup { group } => self.finish_group_removal(at, group)?,
            OperationKind::RemoveNode { node, .. } => self.finish_removal(at, node)?,
            OperationKind::AddNode { .. }
            | OperationKind::DrainNode { .. }
            | OperationKind::ChangeReplicationFactor { .. }
            | OperationKind::Rebalance { .. }
            | OperationKind::MoveShard
            | OperationKind::Repair
            | OperationKind::ReplaceLost { .. } => {}
        }
        self.end_operation(at, id, OperationState::Done);
        self.touch(at);
        Ok(Outcome::Planned {
            operation: id,
            migrations: Vec::new(),
        })
    }

    pub(super) fn control_migration(
        &mut self,
        at: At,
        id: MigrationId,
        control: Control,
    ) -> Applied {
        check_throttle(control)?;
        let record = self
            .migrations
            .get_mut(&id)
            .ok_or(Rejection::UnknownMigration(id))?;
        let what = format!("migration {id}");
        if record.phase.is_final() {
            return Err(Rejection::Finished(what));
        }
        match control {
            Control::Pause if record.paused => return Err(Rejection::AlreadyPaused(what)),
            Control::Resume if !record.paused => return Err(Rejection::NotPaused(what)),
            Control::Pause => record.paused = true,
            Control::Resume => record.paused = false,
            Control::Throttle {
                docs_per_s,
                bytes_per_s,
            } => {
                record.throttle_docs_per_s = docs_per_s;
                record.throttle_bytes_per_s = bytes_per_s;
            }
            Control::Cancel => self.give_up(at, id, Event::CancelAsked)?,
            Control::Reverse => self.give_up(at, id, Event::ReverseAsked)?,
        }
        self.touch(at);
        Ok(Outcome::Controlled {
            migrations: vec![id],
            left: Vec::new(),
        })
    }

    /// Cancels or reverses one migration, and keeps its operation from planning it again.
    fn give_up(&mut self, at: At, id: MigrationId, event: Event) -> Result<(), Rejection> {
        let record = self
            .migrations
            .get_mut(&id)
            .ok_or(Rejection::UnknownMigration(id))?;
        if record.phase.after(event, record.kind).is_err() {
            return Err(Rejection::TooLate {
                id,
                phase: record.phase,
                hint: hint(record.phase, event).to_owned(),
            });
        }
        let (step, operation) = (record.step, record.operation);
        let excused = (record.index.clone(), record.group, record.shard);
        self.advance(at, (id, step), event)?;
        // A pause would keep it from undoing what it has done.
        if let Some(record) = self.migrations.get_mut(&id) {
            record.paused = false;
        }
        if let Some(operation) = self.operations.get_mut(&operation) {
            operation.excused.insert(excused);
        }
        Ok(())
    }

    pub(super) fn control_operation(
        &mut self,
        at: At,
        id: OperationId,
        control: Control,
    ) -> Applied {
        check_throttle(control)?;
        let operation = self
            .operations
            .get_mut(&id)
            .ok_or(Rejection::UnknownOperation(id))?;
        let what = format!("operation {id}");
        if operation.state.is_final() {
            return Err(Rejection::Finished(what));
        }
        let outcome = match control {
            Control::Pause if operation.paused => return Err(Rejection::AlreadyPaused(what)),
            Control::Resume if !operation.paused => return Err(Rejection::NotPaused(what)),
            Control::Pause | Control::Resume => {
                operation.paused = control == Control::Pause;
                self.controlled(id)
            }
            Control::Throttle {
                docs_per_s,
                bytes_per_s,
            } => {
                self.throttle_all(id, docs_per_s, bytes_per_s);
                self.controlled(id)
            }
            Control::Cancel if operation.state == OperationState::Cancelling => {
                return Err(Rejection::Invalid(format!(
                    "{what} is being cancelled already"
                )));
            }
            Control::Cancel => self.cancel_operation(at, id),
            Control::Reverse => self.reverse_operation(at, id),
        };
        self.touch(at);
        Ok(outcome)
    }

    fn unfinished_of(&self, id: OperationId) -> Vec<(MigrationId, Phase)> {
        self.unfinished_migrations()
            .filter(|m| m.operation == id)
            .map(|m| (m.id, m.phase))
            .collect()
    }

    fn controlled(&self, id: OperationId) -> Outcome {
        let migrations = self.unfinished_of(id).into_iter().map(|(id, _)| id);
        Outcome::Controlled {
            migrations: migrations.collect(),
            left: Vec::new(),
        }
    }

    fn throttle_all(&mut self, id: OperationId, docs_per_s: Option<u32>, bytes_per_s: Option<u64>) {
        for (migration, _) in self.unfinished_of(id) {
            if let Some(record) = self.migrations.get_mut(&migration) {
                record.throttle_docs_per_s = docs_per_s;
                record.throttle_bytes_per_s = bytes_per_s;
            }
        }
    }

    /// Gives an operation up: what has not moved reads yet is undone, the rest goes on to its end.
    pub(super) fn cancel_operation(&mut self, at: At, id: OperationId) -> Outcome {
        let outcome = self.give_up_all(at, id, &[Event::CancelAsked]);
        self.undo_intent(at, id);
        outcome
    }

    /// Like cancelling, but what has moved reads goes back as well, as long as it can.
    fn reverse_operation(&mut self, at: At, id: OperationId) -> Outcome {
        let outcome = self.give_up_all(at, id, &[Event::CancelAsked, Event::ReverseAsked]);
        self.undo_intent(at, id);
        outcome
    }

    fn give_up_all(&mut self, at: At, id: OperationId, events: &[Event]) -> Outcome {
        let (mut migrations, mut left) = (Vec::new(), Vec::new());
        for (migration, phase) in self.unfinished_of(id) {
            let given_up = events
                .iter()
                .any(|event| self.give_up(at, migration, *event).is_ok());
            match phase {
                Phase::Reversing | Phase::Dropping => {}
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
                | Phase::Cancelled => {
                    if given_up {
                        migrations.push(migration);
                    } else {
                        left.push(migration);
                    }
                }
            }
        }
        Outcome::Controlled { migrations, left }
    }

    /// What the operation changed when it was accepted is changed back, once: given up again, it must not undo what
    /// was asked for since.
    fn undo_intent(&mut self, at: At, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        if operation.state == OperationState::Cancelling {
            return;
        }
        operation.state = OperationState::Cancelling;
        operation.paused = false;
        match operation.kind.clone() {
            OperationKind::DrainNode { node } | OperationKind::RemoveNode { node, .. } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.admission = Admission::Active;
                }
            }
            OperationKind::ChangeReplicationFactor {
                uid,
                incarnation,
                from,
                ..
            } => {
                if let Ok(index) = self.index_of(&uid, incarnation) {
                    index.replication_factor = from;
                }
            }
            OperationKind::RemoveGroup { group } => self.keep_group(at, group),
            OperationKind::AddNode { .. }
            | OperationKind::AddGroup { .. }
            | OperationKind::Rebalance { .. }
            | OperationKind::MoveShard
            | OperationKind::Repair
            | OperationKind::ReplaceLost { .. } => {}
        }
        self.settle_operation(at, id);
    }
}

fn check_throttle(control: Control) -> Result<(), Rejection> {
    let zero = match control {
        Control::Throttle {
            docs_per_s,
            bytes_per_s,
        } => docs_per_s == Some(0) || bytes_per_s == Some(0),
        Control::Pause | Control::Resume | Control::Cancel | Control::Reverse => false,
    };
    if zero {
        return Err(Rejection::Invalid(
            "a throttle must be at least 1 a second; pause to stop, leave it out for no limit"
                .to_owned(),
        ));
    }
    Ok(())
}

/// What an operator can still do about a migration that an event comes too early or too late for.
fn hint(phase: Phase, event: Event) -> &'static str {
    match phase {
        Phase::CutOver | Phase::Holding => "reads have moved; reverse it instead",
        Phase::Cleaning => {
            "the copy it replaces is being deleted; it can be neither cancelled nor reversed, move the shard back when it is done"
        }
        Phase::Reversing | Phase::Dropping => "it is being given up already",
        Phase::Planned
        | Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
            if event == Event::ReverseAsked =>
        {
            "reads have not moved yet; cancel it instead"
        }
        Phase::Planned
        | Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring => "it cannot be given up now",
        Phase::Done | Phase::Cancelled => "it is finished",
    }
}
