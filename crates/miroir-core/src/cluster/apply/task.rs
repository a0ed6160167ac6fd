//! Tasks about tasks, and tasks that every node carries out by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::At;
use crate::api_error::{ApiError, Code};
use crate::cluster::{
    Broadcast, ClusterState, NewTask, Outcome, TaskKind, TaskPart, TaskQuery, TaskStatus,
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
        self.done_at_once(at, TaskKind::TaskCancelation, details)
    }

    pub(super) fn delete_tasks(&mut self, at: At, query: &TaskQuery, filter: &str) -> Outcome {
        let matching = self.tasks.iter().filter(|task| query.matches(task));
        let matching: Vec<TaskUid> = matching.map(|task| task.uid).collect();
        let finished = matching.iter().filter(|uid| self.tasks.forget(**uid));
        let deleted = finished.count();
        let details = json!({
            "matchedTasks": matching.len(), "deletedTasks": deleted, "originalFilter": filter,
        });
        self.done_at_once(at, TaskKind::TaskDeletion, details)
    }

    /// Registers a task that this very command has carried out.
    fn done_at_once(&mut self, at: At, kind: TaskKind, details: Value) -> Outcome {
        let task = NewTask {
            kind,
            details,
            custom_metadata: None,
            failure: None,
        };
        let uid = self.new_task(at, None, &task, Vec::new());
        self.tasks.change(uid, |task| {
            task.status = TaskStatus::Succeeded;
            task.started_at_ms = Some(at.ms);
            task.finished_at_ms = Some(at.ms);
        });
        Outcome::TaskRegistered(uid)
    }

    pub(super) fn broadcast(&mut self, at: At, uid: Option<&IndexUid>, task: &NewTask) -> Outcome {
        let index = uid.map(|uid| self.indexes.get(uid));
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
                index: uid.cloned(),
                waiting: nodes,
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
        if !broadcast.waiting.remove(&node) {
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
        self.broadcasts.retain(|one| !one.waiting.is_empty());
    }
}

fn index_not_found(uid: &IndexUid) -> Value {
    json!(ApiError::new(
        Code::IndexNotFound,
        format!("Index `{uid}` not found.")
    ))
}
