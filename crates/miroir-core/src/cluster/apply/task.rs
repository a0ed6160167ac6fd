//! Tasks about tasks, and tasks that every node carries out by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::At;
use crate::api_error::{ApiError, Code};
use crate::cluster::{
    Broadcast, ClusterState, Cut, NewTask, Outcome, TaskDeletion, TaskKind, TaskPart, TaskQuery,
    TaskStatus,
};
use crate::id::{IndexUid, NodeId, TaskUid};

impl ClusterState {
    /// No task is ever certainly nowhere: a write is registered once its copies have it, settings are ordered before
    /// they are registered, and the rest is asked for as soon as it is. So this counts, and calls off nothing.
    pub(super) fn cancel_tasks(&mut self, at: At, query: &TaskQuery, filter: &str) -> Outcome {
        let matched = self.tasks.iter().filter(|task| query.matches(task)).count();
        let details = json!({
            "matchedTasks": matched, "canceledTasks": 0, "originalFilter": filter,
        });
        let task = plain(TaskKind::TaskCancelation, details);
        let uid = self.new_task(at, None, &task, Vec::new());
        self.end_well(at, uid);
        Outcome::TaskRegistered(uid)
    }

    /// As in Meilisearch, a deletion comes after what is being carried out: the oldest unfinished task of each index. It
    /// jumps the queue of the others, which it leaves.
    pub(super) fn delete_tasks(&mut self, at: At, query: &TaskQuery, filter: &str) -> Outcome {
        let matching = self.tasks.iter().filter(|task| query.matches(task));
        let matched: BTreeSet<TaskUid> = matching.map(|task| task.uid).collect();
        let mut indexes = BTreeSet::new();
        let mut waits_for = BTreeSet::new();
        for task in self.tasks.unfinished() {
            if indexes.insert(task.index.clone()) && matched.contains(&task.uid) {
                waits_for.insert(task.uid);
            }
        }
        let details = json!({
            "matchedTasks": matched.len(), "deletedTasks": null, "originalFilter": filter,
        });
        let uid = self.new_task(
            at,
            None,
            &plain(TaskKind::TaskDeletion, details),
            Vec::new(),
        );
        self.deletions.push(TaskDeletion {
            task: uid,
            matched,
            waits_for,
        });
        self.settle_deletions(at);
        Outcome::TaskRegistered(uid)
    }

    /// Carries out the deletions of tasks that wait for none any more. To be called whenever tasks have ended.
    pub(super) fn settle_deletions(&mut self, at: At) {
        if self.deletions.is_empty() {
            return;
        }
        let unfinished: BTreeSet<TaskUid> = self.tasks.unfinished().map(|task| task.uid).collect();
        for mut deletion in std::mem::take(&mut self.deletions) {
            deletion.waits_for.retain(|uid| unfinished.contains(uid));
            if !deletion.waits_for.is_empty() {
                self.deletions.push(deletion);
                continue;
            }
            let forgotten = deletion
                .matched
                .iter()
                .filter(|uid| self.tasks.forget(**uid));
            let deleted = forgotten.count();
            self.tasks.change(deletion.task, |task| {
                if let Some(count) = task.details.get_mut("deletedTasks") {
                    *count = json!(deleted);
                }
            });
            self.end_well(at, deletion.task);
        }
    }

    pub(super) fn end_well(&mut self, at: At, uid: TaskUid) {
        self.tasks.change(uid, |task| {
            task.status = TaskStatus::Succeeded;
            task.started_at_ms = Some(at.ms);
            task.finished_at_ms = Some(at.ms);
        });
    }

    pub(super) fn broadcast(&mut self, at: At, uid: Option<&IndexUid>, task: &NewTask) -> Outcome {
        let index = uid.map(|uid| self.index_called(uid));
        let name = index.flatten().map(|index| index.name().clone());
        let (nodes, failure) = match index {
            None => (self.nodes.keys().copied().collect(), None),
            Some(Some(index)) => (self.holders(index), None),
            Some(None) => (BTreeSet::new(), uid.map(index_not_found)),
        };
        let new = NewTask {
            failure: failure.or_else(|| task.failure.clone()),
            ..task.clone()
        };
        let registered = self.new_task(at, uid.cloned(), &new, Vec::new());
        if !nodes.is_empty() {
            self.broadcasts.push(Broadcast {
                task: registered,
                kind: task.kind,
                index: name,
                waiting: nodes,
                cut: (task.kind == TaskKind::DumpCreation).then(Cut::default),
            });
        }
        Outcome::TaskRegistered(registered)
    }

    pub(super) fn broadcast_sent(
        &mut self,
        at: At,
        uid: TaskUid,
        node: NodeId,
        answer: &Result<u32, Value>,
    ) -> Outcome {
        let Some(broadcast) = self.broadcasts.iter_mut().find(|one| one.task == uid) else {
            return Outcome::Done;
        };
        if broadcast.cut.is_some() || !broadcast.waiting.remove(&node) {
            return Outcome::Done;
        }
        match answer {
            Ok(node_task) => self.tasks.change(uid, |task| {
                task.parts.push(TaskPart {
                    node,
                    node_task: *node_task,
                    counts: true,
                });
            }),
            Err(error) => {
                // What other nodes do of it does not make it whole any more.
                broadcast.waiting.clear();
                self.tasks.change(uid, |task| {
                    task.status = TaskStatus::Failed;
                    task.error = Some(error.clone());
                    task.started_at_ms = task.started_at_ms.or(Some(at.ms));
                    task.finished_at_ms = Some(at.ms);
                });
                self.settle_deletions(at);
            }
        }
        self.forget_sent_broadcasts();
        Outcome::Done
    }

    /// Asks nothing more of a node that is gone.
    pub(super) fn forget_broadcasts_to(&mut self, node: NodeId) {
        for broadcast in &mut self.broadcasts {
            broadcast.waiting.remove(&node);
        }
        self.forget_sent_broadcasts();
    }

    fn forget_sent_broadcasts(&mut self) {
        self.broadcasts
            .retain(|one| one.cut.is_some() || !one.waiting.is_empty());
    }
}

pub(super) fn plain(kind: TaskKind, details: Value) -> NewTask {
    NewTask {
        kind,
        details,
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

fn index_not_found(uid: &IndexUid) -> Value {
    json!(ApiError::new(
        Code::IndexNotFound,
        format!("Index `{uid}` not found.")
    ))
}
