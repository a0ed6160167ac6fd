//! Choosing what to process next: the oldest open task, and those after it that can share its
//! transaction.

use super::task::{Operation, Task, TaskId};
use super::{BatchLimitBytes, TaskQueue, lock};
use crate::engine::Engine;
use crate::error::ApiError;

/// Most tasks in one batch; keeps the commit that finishes them small.
const MAX_TASKS: usize = 1000;

impl TaskQueue {
    /// The next batch, or none when every task is finished. Tasks are taken strictly in order
    /// of uid: a batch is a run of consecutive tasks.
    pub(super) fn next_batch(
        &self,
        engine: &Engine,
        limit: BatchLimitBytes,
    ) -> Result<Option<Vec<Task>>, ApiError> {
        let Some(first) = self.first_enqueued() else {
            return Ok(None);
        };
        let Some(task) = self.store.task(first)? else {
            return Ok(None);
        };
        let mut batch = vec![task];
        if !can_lead(engine, &batch[0]) {
            return Ok(Some(batch));
        }
        let mut bytes = payload_bytes(&batch[0]);
        let last = self.heads().next_uid();
        for uid in first + 1..last {
            if batch.len() >= MAX_TASKS || bytes >= limit.0 {
                break;
            }
            let Some(task) = self.store.task(uid)? else {
                break;
            };
            if !can_follow(&batch[0], &task) {
                break;
            }
            bytes += payload_bytes(&task);
            batch.push(task);
        }
        Ok(Some(batch))
    }

    fn first_enqueued(&self) -> Option<TaskId> {
        let mut first_open = lock(&self.first_open);
        let first = self.heads().first_enqueued(*first_open)?;
        *first_open = first;
        Some(first)
    }
}

/// Whether other tasks may join a batch that this task begins. A primary key that is yet to be
/// inferred must not depend on what happens to be batched, so such a task goes alone.
fn can_lead(engine: &Engine, task: &Task) -> bool {
    match &task.operation {
        Some(Operation::Addition { primary_key, .. }) => {
            primary_key.is_some() || has_primary_key(engine, &task.index_uid)
        }
        Some(Operation::DeleteIds(_)) => engine.exists(&task.index_uid),
        _ => false,
    }
}

fn has_primary_key(engine: &Engine, uid: &str) -> bool {
    let Ok(index) = engine.index(uid) else {
        return false;
    };
    let Ok(rtxn) = index.read_txn() else {
        return false;
    };
    matches!(index.primary_key(&rtxn), Ok(Some(_)))
}

fn can_follow(leader: &Task, task: &Task) -> bool {
    if task.index_uid != leader.index_uid {
        return false;
    }
    match (&leader.operation, &task.operation) {
        (
            Some(Operation::Addition {
                primary_key: first, ..
            }),
            Some(Operation::Addition { primary_key, .. }),
        ) => first == primary_key,
        (Some(Operation::DeleteIds(_)), Some(Operation::DeleteIds(_))) => true,
        _ => false,
    }
}

fn payload_bytes(task: &Task) -> u64 {
    match &task.operation {
        Some(Operation::Addition { payload_bytes, .. }) => *payload_bytes,
        _ => 0,
    }
}
