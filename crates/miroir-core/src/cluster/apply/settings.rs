//! Settings that turn out to be none: a node refuses them, or its task fails.
//!
//! What is desired of an index is sent to every node that comes to hold it. Settings that no node takes must not stay
//! there: every later change would contain them and be refused as well, and a new node could not be given the index.

use serde_json::Value;

use super::{Applied, At};
use crate::cluster::{ClusterState, Outcome, Settings, TaskKind, TaskStatus, UnprovenSettings};
use crate::id::{Incarnation, IndexUid, ProxyId, TaskUid};

/// The most changes that are remembered as unproven. Older ones count as proven.
const UNPROVEN_MAX: usize = 64;

impl Settings {
    /// Makes `desired` what is wanted, for a client's task; answers the version.
    pub(super) fn change(&mut self, task: TaskUid, desired: Value) -> u64 {
        let before = std::mem::replace(&mut self.desired, desired);
        self.unproven.push(UnprovenSettings {
            task,
            before,
            failed: false,
        });
        if self.unproven.len() > UNPROVEN_MAX {
            self.unproven.remove(0);
        }
        self.version += 1;
        self.version
    }

    /// The settings that nodes have for certain, as long as a change of them is not proven.
    #[must_use]
    pub fn before(&self) -> Option<&Value> {
        self.unproven.first().map(|change| &change.before)
    }

    /// Takes note of how the task of a change ended; answers whether that changes what proxies have to know.
    fn settle(&mut self, task: TaskUid, succeeded: bool) -> bool {
        let Some(at) = self.unproven.iter().position(|change| change.task == task) else {
            return false;
        };
        if succeeded {
            // Later changes contain it and those before it.
            self.unproven.drain(..=at);
            return true;
        }
        self.unproven[at].failed = true;
        let last_hope = self.unproven.iter().rposition(|change| !change.failed);
        let first = last_hope.map_or(0, |at| at + 1);
        let Some(back_to) = self.unproven.drain(first..).next() else {
            return false;
        };
        self.desired = back_to.before;
        self.version += 1;
        true
    }
}

impl ClusterState {
    /// Fails the changes that a refused version is made of, and goes back on them.
    pub(super) fn refuse_settings(
        &mut self,
        at: At,
        whose: (&IndexUid, Incarnation, ProxyId),
        version: u64,
        error: &Value,
    ) -> Applied {
        let index = self.index_written_by(whose)?;
        // Whoever reports an older version has not seen the newest yet, which may be good.
        if index.settings.version != version {
            return Ok(Outcome::Done);
        }
        let unproven: Vec<TaskUid> = index.settings.unproven.iter().map(|c| c.task).collect();
        for task in unproven {
            // What some node has taken is for that node's task to prove.
            let untaken = |uid| {
                let task = self.tasks.get(uid);
                task.is_none_or(|task| task.parts.is_empty())
            };
            if untaken(task) {
                self.tasks.change(task, |task| {
                    task.status = TaskStatus::Failed;
                    task.error = Some(error.clone());
                    task.started_at_ms = Some(at.ms);
                    task.finished_at_ms = Some(at.ms);
                });
                self.settle_settings(at, whose.0, task, false);
            }
        }
        Ok(Outcome::Done)
    }

    /// Has the same settings sent to every node once more.
    pub(super) fn restate_settings(
        &mut self,
        at: At,
        (uid, incarnation): (&IndexUid, Incarnation),
        version: u64,
    ) -> Applied {
        let settings = &mut self.index_of(uid, incarnation)?.settings;
        if settings.version == version {
            settings.version += 1;
            self.touch(at);
        }
        Ok(Outcome::Done)
    }

    /// Takes note of the end of a task, if it changed settings.
    pub(super) fn settle_settings_task(&mut self, at: At, uid: TaskUid) {
        let Some(task) = self.tasks.get(uid) else {
            return;
        };
        let index = task.index.as_ref().and_then(|uid| self.index_called(uid));
        let Some(index) = index.map(|index| index.name().clone()) else {
            return;
        };
        if task.kind == TaskKind::SettingsUpdate && task.status.is_final() {
            let succeeded = task.status == TaskStatus::Succeeded;
            self.settle_settings(at, &index, uid, succeeded);
        }
    }

    fn settle_settings(&mut self, at: At, uid: &IndexUid, task: TaskUid, succeeded: bool) {
        let index = self.indexes.get_mut(uid);
        if index.is_some_and(|index| index.settings.settle(task, succeeded)) {
            self.touch(at);
        }
    }
}
