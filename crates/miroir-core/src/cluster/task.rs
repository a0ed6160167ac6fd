//! Client-visible tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cut;
use crate::id::{IndexUid, NodeId, TaskUid};

/// What a task does, in Meilisearch's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskKind {
    /// Adds or replaces documents, or updates some of their fields.
    DocumentAdditionOrUpdate,
    /// Deletes documents.
    DocumentDeletion,
    /// Changes settings.
    SettingsUpdate,
    /// Creates an index.
    IndexCreation,
    /// Changes an index's primary key.
    IndexUpdate,
    /// Exchanges the uids of indexes.
    IndexSwap,
    /// Deletes an index.
    IndexDeletion,
    /// Gives back disk space that an index does not use.
    IndexCompaction,
    /// Calls tasks off.
    TaskCancelation,
    /// Forgets finished tasks.
    TaskDeletion,
    /// Has every node write a dump.
    DumpCreation,
    /// Has every node write a snapshot.
    SnapshotCreation,
    /// Makes, changes or deletes a dynamic search rule.
    DsrUpdate,
    /// Deletes every dynamic search rule.
    DsrClear,
}

impl TaskKind {
    /// Every kind, in Meilisearch's order.
    pub const ALL: [Self; 14] = [
        Self::DocumentAdditionOrUpdate,
        Self::DocumentDeletion,
        Self::SettingsUpdate,
        Self::IndexCreation,
        Self::IndexDeletion,
        Self::IndexUpdate,
        Self::IndexSwap,
        Self::TaskCancelation,
        Self::TaskDeletion,
        Self::DumpCreation,
        Self::SnapshotCreation,
        Self::IndexCompaction,
        Self::DsrUpdate,
        Self::DsrClear,
    ];

    /// The name clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DocumentAdditionOrUpdate => "documentAdditionOrUpdate",
            Self::DocumentDeletion => "documentDeletion",
            Self::SettingsUpdate => "settingsUpdate",
            Self::IndexCreation => "indexCreation",
            Self::IndexUpdate => "indexUpdate",
            Self::IndexSwap => "indexSwap",
            Self::IndexDeletion => "indexDeletion",
            Self::IndexCompaction => "indexCompaction",
            Self::TaskCancelation => "taskCancelation",
            Self::TaskDeletion => "taskDeletion",
            Self::DumpCreation => "dumpCreation",
            Self::SnapshotCreation => "snapshotCreation",
            Self::DsrUpdate => "dsrUpdate",
            Self::DsrClear => "dsrClear",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How far a task has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskStatus {
    /// No node has begun it.
    Enqueued,
    /// Some node has begun it, not every copy has finished it.
    Processing,
    /// Every copy has applied it.
    Succeeded,
    /// It changed nothing, or some copy refused it.
    Failed,
    /// It was called off.
    Canceled,
}

impl TaskStatus {
    /// Whether it will not change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Canceled => true,
            Self::Enqueued | Self::Processing => false,
        }
    }

    /// The name clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Enqueued,
            Self::Processing,
            Self::Succeeded,
            Self::Failed,
            Self::Canceled,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }
}

/// A node's share of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPart {
    /// The node.
    pub node: NodeId,
    /// The node's own uid for it.
    pub node_task: u32,
    /// Whether what it counts is counted: true on exactly one copy of every shard touched.
    pub counts: bool,
}

/// A deletion of tasks that waits for some of them to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDeletion {
    /// The task that deletes.
    pub task: TaskUid,
    /// The tasks that it means.
    pub matched: BTreeSet<TaskUid>,
    /// Those of them that were being carried out when it was asked for, and still are.
    pub waits_for: BTreeSet<TaskUid>,
}

/// A task that every node concerned carries out by itself, as long as some have not been asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// The task.
    pub task: TaskUid,
    /// What each node is asked for.
    pub kind: TaskKind,
    /// The index it is about, by its name on nodes.
    pub index: Option<IndexUid>,
    /// The nodes that have still to be asked.
    pub waiting: BTreeSet<NodeId>,
    /// Set for a dump, which is a cut through the whole cluster: how far that has got.
    #[serde(default)]
    pub cut: Option<Cut>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its uid.
    pub uid: TaskUid,
    /// The index it is about, by the uid that clients know it by: swaps and renames change it.
    pub index: Option<IndexUid>,
    /// What it does.
    pub kind: TaskKind,
    /// How far it has got.
    pub status: TaskStatus,
    /// Meilisearch's `details` object.
    pub details: Value,
    /// Meilisearch's error object, when it failed.
    pub error: Option<Value>,
    /// The client's own `customMetadata`.
    pub custom_metadata: Option<String>,
    /// The nodes' shares.
    pub parts: Vec<TaskPart>,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub enqueued_at_ms: u64,
    /// When the first node began it.
    pub started_at_ms: Option<u64>,
    /// When the last node finished it.
    pub finished_at_ms: Option<u64>,
}

/// All tasks that are still remembered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRegistry {
    by_uid: BTreeMap<TaskUid, Task>,
    unfinished: BTreeSet<TaskUid>,
    next: u32,
}

impl TaskRegistry {
    /// The task of that uid.
    #[must_use]
    pub fn get(&self, uid: TaskUid) -> Option<&Task> {
        self.by_uid.get(&uid)
    }

    /// All tasks, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.by_uid.values()
    }

    /// Tasks that are not final, oldest first.
    pub fn unfinished(&self) -> impl Iterator<Item = &Task> {
        self.unfinished
            .iter()
            .filter_map(|uid| self.by_uid.get(uid))
    }

    /// The newest uid that was ever given.
    #[must_use]
    pub fn newest(&self) -> Option<TaskUid> {
        self.next.checked_sub(1).map(TaskUid)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// Adds a task under the next uid. Uids are dense.
    pub(crate) fn add(&mut self, build: impl FnOnce(TaskUid) -> Task) -> TaskUid {
        let uid = TaskUid(self.next);
        self.next += 1;
        let task = build(uid);
        if !task.status.is_final() {
            self.unfinished.insert(uid);
        }
        self.by_uid.insert(uid, task);
        uid
    }

    /// Changes a task that is not final; a final one stays as it is.
    pub(crate) fn change(&mut self, uid: TaskUid, change: impl FnOnce(&mut Task)) {
        if !self.unfinished.contains(&uid) {
            return;
        }
        if let Some(task) = self.by_uid.get_mut(&uid) {
            change(task);
            if task.status.is_final() {
                self.unfinished.remove(&uid);
            }
        }
    }

    /// Shows every task to `change`, which must leave uid and status as they are.
    pub(crate) fn revise(&mut self, change: impl FnMut(&mut Task)) {
        self.by_uid.values_mut().for_each(change);
    }

    /// Forgets a task, if it is final; answers whether it was.
    pub(crate) fn forget(&mut self, uid: TaskUid) -> bool {
        !self.unfinished.contains(&uid) && self.by_uid.remove(&uid).is_some()
    }

    /// Forgets the oldest finished tasks beyond `finished_max`.
    pub(crate) fn trim(&mut self, finished_max: usize) {
        let mut excess = (self.by_uid.len() - self.unfinished.len()).saturating_sub(finished_max);
        while excess > 0 {
            let Some(uid) = self
                .by_uid
                .keys()
                .find(|uid| !self.unfinished.contains(uid))
                .copied()
            else {
                return;
            };
            self.by_uid.remove(&uid);
            excess -= 1;
        }
    }
}
