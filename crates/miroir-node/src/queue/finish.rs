//! Writing down how tasks ended.

use serde_json::json;
use time::OffsetDateTime;

use super::task::{Status, Task};
use crate::engine::ingest::OpResult;
use crate::error::ApiError;

/// When and in which batch tasks were processed.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The batch.
    pub batch_uid: u32,
    /// When it began.
    pub started_at: OffsetDateTime,
}

impl Stamp {
    /// The task, succeeded after it indexed or deleted this many documents.
    pub fn counted(self, task: &Task, count: u64) -> Task {
        self.finished(task, Status::Succeeded, count, None)
    }

    /// The task, failed.
    pub fn failed(self, task: &Task, error: &ApiError) -> Task {
        self.finished(task, Status::Failed, 0, Some(error))
    }

    /// The tasks of a batch of additions.
    pub fn all(self, batch: &[Task], results: &[OpResult]) -> Vec<Task> {
        batch
            .iter()
            .zip(results)
            .map(|(task, result)| match &result.error {
                Some(error) => self.failed(task, error),
                None => self.counted(task, result.count),
            })
            .collect()
    }

    fn finished(self, task: &Task, status: Status, count: u64, error: Option<&ApiError>) -> Task {
        let details = task
            .operation
            .as_ref()
            .map(|operation| operation.details(json!(count)));
        Task {
            status,
            details,
            error: error.map(ApiError::body),
            batch_uid: Some(self.batch_uid),
            started_at: Some(self.started_at),
            finished_at: Some(OffsetDateTime::now_utc()),
            operation: None,
            ..task.clone()
        }
    }
}
