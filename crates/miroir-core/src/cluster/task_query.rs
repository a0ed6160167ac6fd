//! Which tasks a client means.

use serde::{Deserialize, Serialize};

use super::{Task, TaskKind, TaskStatus};
use crate::id::{IndexUid, TaskUid};
use crate::registry::IndexPattern;

/// Meilisearch's filters over tasks, all of which a task has to pass. An empty list filters nothing; times are
/// milliseconds since the Unix epoch, bounds excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskQuery {
    /// No task passes: the client named only what no task of a cluster is.
    pub nothing: bool,
    /// Only tasks that some node has begun: those that are in a batch.
    pub begun: bool,
    /// Only these tasks.
    pub uids: Vec<TaskUid>,
    /// Only tasks of these indexes.
    pub index_uids: Vec<IndexUid>,
    /// Only tasks of an index that one of these names.
    pub index_patterns: Vec<IndexPattern>,
    /// Only tasks in one of these states.
    pub statuses: Vec<TaskStatus>,
    /// Only tasks of these types.
    pub kinds: Vec<TaskKind>,
    /// Enqueued after this time.
    pub after_enqueued_at_ms: Option<u64>,
    /// Enqueued before this time.
    pub before_enqueued_at_ms: Option<u64>,
    /// Started after this time.
    pub after_started_at_ms: Option<u64>,
    /// Started before this time.
    pub before_started_at_ms: Option<u64>,
    /// Finished after this time.
    pub after_finished_at_ms: Option<u64>,
    /// Finished before this time.
    pub before_finished_at_ms: Option<u64>,
}

impl TaskQuery {
    /// Whether a task is meant.
    #[must_use]
    pub fn matches(&self, task: &Task) -> bool {
        fn listed<T: PartialEq>(list: &[T], value: Option<&T>) -> bool {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        }
        let after = |bound: Option<u64>, at: Option<u64>| {
            bound.is_none_or(|bound| at.is_some_and(|at| at > bound))
        };
        let before = |bound: Option<u64>, at: Option<u64>| {
            bound.is_none_or(|bound| at.is_some_and(|at| at < bound))
        };
        !self.nothing
            && (!self.begun || task.started_at_ms.is_some())
            && listed(&self.uids, Some(&task.uid))
            && listed(&self.index_uids, task.index.as_ref())
            && self.is_allowed(task.index.as_ref())
            && listed(&self.statuses, Some(&task.status))
            && listed(&self.kinds, Some(&task.kind))
            && after(self.after_enqueued_at_ms, Some(task.enqueued_at_ms))
            && before(self.before_enqueued_at_ms, Some(task.enqueued_at_ms))
            && after(self.after_started_at_ms, task.started_at_ms)
            && before(self.before_started_at_ms, task.started_at_ms)
            && after(self.after_finished_at_ms, task.finished_at_ms)
            && before(self.before_finished_at_ms, task.finished_at_ms)
    }

    fn is_allowed(&self, index: Option<&IndexUid>) -> bool {
        let named = |uid: &IndexUid| {
            let mut patterns = self.index_patterns.iter();
            patterns.any(|pattern| pattern.matches(uid.as_str()))
        };
        self.index_patterns.is_empty() || index.is_some_and(named)
    }
}
