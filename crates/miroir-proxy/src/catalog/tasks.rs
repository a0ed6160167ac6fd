//! Reading tasks.

use miroir_core::cluster::{Task, TaskKind, TaskStatus};
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::registry::IndexPattern;
use miroir_proto::{ConvertError, v1};

use super::{Catalog, CatalogError};

/// Which tasks to list: Meilisearch's filters. An empty list filters nothing; times are milliseconds since
/// the Unix epoch, bounds excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
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
    /// The largest uid to return; with `reverse` the smallest.
    pub from: Option<TaskUid>,
    /// The most tasks to return; 20 when absent.
    pub limit: Option<u32>,
    /// Oldest first.
    pub reverse: bool,
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

/// A page of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskList {
    /// The tasks, newest first unless asked otherwise.
    pub results: Vec<Task>,
    /// How many match in all.
    pub total: u32,
    /// Where the next page begins; `None` on the last.
    pub next: Option<TaskUid>,
}

impl Catalog {
    /// A task, or `None` if there is none of that uid, or no longer.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn get_task(&self, task: TaskUid) -> Result<Option<Task>, CatalogError> {
        let uids = vec![task];
        let list = self
            .list_tasks(&TaskFilter {
                uids,
                limit: Some(1),
                ..TaskFilter::default()
            })
            .await?;
        Ok(list.results.into_iter().next())
    }

    /// A page of tasks.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_tasks(&self, filter: &TaskFilter) -> Result<TaskList, CatalogError> {
        let message = v1::ListTasksRequest {
            uids: filter.uids.iter().map(|uid| uid.0).collect(),
            index_uids: filter.index_uids.iter().map(ToString::to_string).collect(),
            index_patterns: filter
                .index_patterns
                .iter()
                .map(ToString::to_string)
                .collect(),
            statuses: filter
                .statuses
                .iter()
                .map(|status| status.as_str().to_owned())
                .collect(),
            kinds: filter
                .kinds
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect(),
            from: filter.from.map(|uid| uid.0),
            limit: filter.limit,
            reverse: filter.reverse,
            after_enqueued_at_ms: filter.after_enqueued_at_ms,
            before_enqueued_at_ms: filter.before_enqueued_at_ms,
            after_started_at_ms: filter.after_started_at_ms,
            before_started_at_ms: filter.before_started_at_ms,
            after_finished_at_ms: filter.after_finished_at_ms,
            before_finished_at_ms: filter.before_finished_at_ms,
        };
        let answer = self.call(message, |mut client, request| async move {
            client.list_tasks(request).await
        });
        let answer = answer.await?;
        let results = answer
            .results
            .into_iter()
            .map(Task::try_from)
            .collect::<Result<_, ConvertError>>();
        Ok(TaskList {
            results: results.map_err(|error| CatalogError::Protocol {
                detail: error.to_string(),
            })?,
            total: answer.total,
            next: answer.next.map(TaskUid),
        })
    }
}
