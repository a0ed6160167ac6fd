//! Writes, tasks, and copies that missed a write.

use super::{Applied, At};
use crate::cluster::{
    ClusterState, NewTask, Outcome, Rejection, ReplicaState, Task, TaskPart, TaskStatus,
    TaskUpdate, Write,
};
use crate::id::{Incarnation, IndexUid, MigrationId, NodeId, ProxyId, ShardId, TaskUid};
use crate::migration::Event;

/// What a missed write does to the copy that missed it.
enum Verdict {
    /// It is taken out of use.
    Stale,
    /// It is a migration's target, which goes back to being built.
    GoBack(MigrationId),
    /// It was out of use already.
    Nothing,
}

impl ClusterState {
    pub(super) fn new_task(
        &mut self,
        at: At,
        index: Option<IndexUid>,
        new: &NewTask,
        parts: Vec<TaskPart>,
    ) -> TaskUid {
        let failed = new.failure.is_some();
        let uid = self.tasks.add(|uid| Task {
            uid,
            index,
            kind: new.kind,
            status: if failed {
                TaskStatus::Failed
            } else {
                TaskStatus::Enqueued
            },
            details: new.details.clone(),
            error: new.failure.clone(),
            custom_metadata: new.custom_metadata.clone(),
            parts,
            enqueued_at_ms: at.ms,
            started_at_ms: failed.then_some(at.ms),
            finished_at_ms: failed.then_some(at.ms),
        });
        self.note_write(at, new, uid);
        let finished_max = usize::try_from(self.policy.finished_tasks_max).unwrap_or(usize::MAX);
        self.tasks.trim(finished_max);
        uid
    }

    pub(super) fn register_writes(&mut self, at: At, proxy: ProxyId, writes: &[Write]) -> Outcome {
        Outcome::WritesRegistered(
            writes
                .iter()
                .map(|write| self.register_write(at, proxy, write))
                .collect(),
        )
    }

    /// The in-sync rule: copies that missed the write leave the in-sync set in the command that acknowledges it.
    ///
    /// A write that nodes were sent is registered even if its key is known, as a task of its own: its copies have it.
    /// The writer sees to it that this does not happen, by looking before it sends.
    fn register_write(
        &mut self,
        at: At,
        proxy: ProxyId,
        write: &Write,
    ) -> Result<TaskUid, Rejection> {
        let index = self.index_written_by((&write.uid, write.incarnation, proxy))?;
        let called = index.uid.clone();
        if let Some(key) = write.task.idempotency
            && write.parts.is_empty()
            && write.missed.is_empty()
        {
            self.check_repeated(key, at.ms)?;
        }
        self.eject(at, &write.uid, &write.missed)?;
        if let Some(index) = self.indexes.get_mut(&write.uid) {
            index.updated_at_ms = at.ms;
        }
        Ok(self.new_task(at, Some(called), &write.task, write.parts.clone()))
    }

    pub(super) fn eject_replica(
        &mut self,
        at: At,
        (uid, incarnation): (&IndexUid, Incarnation),
        shard: ShardId,
        node: NodeId,
    ) -> Applied {
        self.index_of(uid, incarnation)?;
        self.eject(at, uid, &[(shard, node)])?;
        Ok(Outcome::Done)
    }

    /// Takes copies out of use, all or none.
    fn eject(
        &mut self,
        at: At,
        uid: &IndexUid,
        missed: &[(ShardId, NodeId)],
    ) -> Result<(), Rejection> {
        if missed.is_empty() {
            return Ok(());
        }
        let verdicts = self.judge(uid, missed)?;
        let mut changed = false;
        for ((shard, node), verdict) in missed.iter().zip(verdicts) {
            match verdict {
                Verdict::Nothing => {}
                Verdict::GoBack(id) => {
                    self.go_back(at, id, Event::TargetBehind);
                    changed = true;
                }
                Verdict::Stale => {
                    let index = self.indexes.get_mut(uid);
                    if let Some(placement) = index.and_then(|index| index.shard_mut(*shard)) {
                        placement
                            .replicas
                            .iter_mut()
                            .filter(|r| r.node == *node)
                            .for_each(|r| {
                                r.state = ReplicaState::Stale;
                            });
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.touch(at);
        }
        Ok(())
    }

    /// Decides what each miss means, or refuses all when too few copies would be left.
    fn judge(
        &self,
        uid: &IndexUid,
        missed: &[(ShardId, NodeId)],
    ) -> Result<Vec<Verdict>, Rejection> {
        let index = self
            .indexes
            .get(uid)
            .ok_or_else(|| Rejection::UnknownIndex(uid.clone()))?;
        let mut verdicts = Vec::with_capacity(missed.len());
        for (shard, node) in missed {
            let placement = index
                .shard(*shard)
                .ok_or_else(|| Rejection::Invalid(format!("index `{uid}` has no shard {shard}")))?;
            let lost = |replica: NodeId| missed.contains(&(*shard, replica));
            let moving = placement.moving.and_then(|id| self.migrations.get(&id));
            let back = moving.filter(|m| {
                m.phase.mirrors_writes() && m.target == *node && m.goes_back_when_behind()
            });
            // A target can be given up as long as some other copy that takes writes took this one.
            let others = || {
                placement
                    .writable()
                    .filter(|r| r.node != *node && !lost(r.node))
            };
            let (verdict, in_sync) = match (placement.on(*node).map(|r| r.state), back) {
                (Some(ReplicaState::InSync | ReplicaState::Mirror), Some(m))
                    if others().next().is_some() =>
                {
                    (Verdict::GoBack(m.id), others().count())
                }
                (Some(ReplicaState::InSync | ReplicaState::Mirror), _) => (
                    Verdict::Stale,
                    placement.readable().filter(|r| !lost(r.node)).count(),
                ),
                (Some(ReplicaState::Building | ReplicaState::Stale) | None, _) => {
                    (Verdict::Nothing, usize::from(self.policy.min_in_sync))
                }
            };
            if in_sync < usize::from(self.policy.min_in_sync) {
                return Err(Rejection::TooFewInSync {
                    uid: uid.clone(),
                    shard: *shard,
                    in_sync: u32::try_from(in_sync).unwrap_or(u32::MAX),
                    min_in_sync: self.policy.min_in_sync,
                });
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    pub(super) fn update_tasks(&mut self, at: At, updates: &[TaskUpdate]) -> Outcome {
        for update in updates {
            self.tasks.change(update.uid, |task| {
                task.status = update.status;
                if let Some(details) = &update.details {
                    task.details = details.clone();
                }
                if update.error.is_some() {
                    task.error.clone_from(&update.error);
                }
                task.started_at_ms = update.started_at_ms.or(task.started_at_ms);
                task.finished_at_ms = update.finished_at_ms.or(task.finished_at_ms);
            });
            self.settle_settings_task(at, update.uid);
        }
        self.settle_deletions(at);
        let finished_max = usize::try_from(self.policy.finished_tasks_max).unwrap_or(usize::MAX);
        self.tasks.trim(finished_max);
        Outcome::Done
    }

    /// Moves a migration back by an event that its phase is known to take.
    pub(super) fn go_back(&mut self, at: At, id: MigrationId, event: Event) {
        let step = self.migrations.get(&id).map(|m| m.step);
        if let Some(step) = step {
            // An illegal pair would change nothing; the callers' phases are all legal.
            let _legal = self.advance(at, (id, step), event);
        }
    }
}
