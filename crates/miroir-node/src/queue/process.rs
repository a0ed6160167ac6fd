//! Doing what a batch asks for.
//!
//! An index and the task store commit separately. The order is: (prepare,) commit the index,
//! finish the tasks. A crash between the last two makes the batch run again. Additions and
//! settings end the same when done twice; what does not (deletions, whose count would be zero)
//! is prepared first, see [`Prepared`]. Creating and deleting an index is one commit with the
//! end of its task.

use std::sync::atomic::{AtomicBool, Ordering};

use milli_core::Index;
use milli_core::heed::RwTxn;
use serde_json::Value;

use super::TaskQueue;
use super::finish::Stamp;
use super::store::Prepared;
use super::task::{Operation, Task};
use crate::engine::ingest::{DocumentsOp, OpResult, Target};
use crate::engine::settings::Settings;
use crate::engine::{Engine, IndexUpdate, settings_apply};
use crate::error::{ApiError, Code};
use crate::os;

/// A batch being processed.
pub(super) struct Run<'a> {
    pub engine: &'a Engine,
    pub queue: &'a TaskQueue,
    pub stamp: Stamp,
    /// Set when the node stops; long work is then given up and done again at the next start.
    pub stop: &'a AtomicBool,
}

/// A batch that is done: its index, if any, is committed.
pub(super) struct Done {
    pub tasks: Vec<Task>,
    pub update: IndexUpdate,
    /// A created index, to be made visible once the tasks are stored.
    pub created: Option<(String, Index)>,
}

impl Done {
    fn tasks(tasks: Vec<Task>) -> Self {
        Self {
            tasks,
            update: IndexUpdate::None,
            created: None,
        }
    }
}

impl Run<'_> {
    /// Processes a batch of tasks of one index. An error concerns the batch as a whole and has
    /// changed nothing.
    pub fn process(&self, batch: &[Task]) -> Result<Done, ApiError> {
        let [first, ..] = batch else {
            return Ok(Done::tasks(Vec::new()));
        };
        let uid = first.index_uid.as_str();
        let missing = || ApiError::new(Code::Internal, "Corrupted task queue.");
        match first.operation.as_ref().ok_or_else(missing)? {
            Operation::Addition { may_create, .. } => {
                let index = self.index_or_create(uid, *may_create)?;
                self.documents(uid, &index, batch)
            }
            Operation::DeleteIds(_) => {
                let index = self.engine.index(uid)?;
                self.documents(uid, &index, batch)
            }
            Operation::DeleteFilter(filter) => self.deletion(first, Some(filter)),
            Operation::Clear => self.deletion(first, None),
            Operation::Settings {
                settings,
                may_create,
            } => self.settings(first, settings, *may_create),
            Operation::IndexCreation(key) => self.create_index(first, key.clone()),
            Operation::IndexUpdate(key) => self.update_index(first, key.clone()),
            Operation::IndexDeletion => self.delete_index(first),
        }
    }

    fn documents(&self, uid: &str, index: &Index, batch: &[Task]) -> Result<Done, ApiError> {
        let mut payloads = Vec::new();
        for task in batch {
            if let Some(Operation::Addition { payload, .. }) = &task.operation {
                payloads.push(os::map_file(&self.queue.payloads.path(payload))?);
            }
        }
        let mut payloads = payloads.iter();
        let mut operations = Vec::new();
        let mut primary_key = None;
        for task in batch {
            match &task.operation {
                Some(Operation::Addition {
                    method,
                    primary_key: key,
                    ..
                }) => {
                    primary_key = primary_key.or(key.as_deref());
                    operations.extend(payloads.next().map(|map| DocumentsOp::Add(*method, map)));
                }
                Some(Operation::DeleteIds(ids)) => operations.push(DocumentsOp::Delete(ids)),
                _ => return Err(ApiError::new(Code::Internal, "Corrupted task queue.")),
            }
        }
        let abort = || self.stop.load(Ordering::Relaxed);
        let target = Target {
            engine: self.engine,
            index,
            uid,
            should_abort: &abort,
        };
        let mut wtxn = index.write_txn()?;
        let results = target.apply(&mut wtxn, primary_key, &operations)?;
        let tasks = self.stamp.all(batch, &results);
        let deletes = operations
            .iter()
            .any(|op| matches!(op, DocumentsOp::Delete(_)));
        if results.iter().all(|result| result.error.is_some()) {
            return Ok(Done::tasks(tasks));
        }
        if deletes {
            self.prepare(uid, index, &wtxn, &tasks)?;
        }
        wtxn.commit()?;
        Ok(Done::tasks(tasks))
    }

    /// Deletes what the filter matches, or everything.
    fn deletion(&self, task: &Task, filter: Option<&Value>) -> Result<Done, ApiError> {
        let uid = task.index_uid.as_str();
        let index = self.engine.index(uid)?;
        let abort = || self.stop.load(Ordering::Relaxed);
        let target = Target {
            engine: self.engine,
            index: &index,
            uid,
            should_abort: &abort,
        };
        let mut wtxn = index.write_txn()?;
        let count = match filter {
            Some(filter) => target.delete_by_filter(&mut wtxn, filter)?,
            None => target.clear(&mut wtxn)?,
        };
        let tasks = vec![self.stamp.counted(task, count)];
        self.prepare(uid, &index, &wtxn, &tasks)?;
        wtxn.commit()?;
        Ok(Done::tasks(tasks))
    }

    /// Makes the outcome known to a successor before the index commits.
    fn prepare(
        &self,
        uid: &str,
        index: &Index,
        wtxn: &RwTxn<'_>,
        tasks: &[Task],
    ) -> Result<(), ApiError> {
        let updated_at_ns = index.updated_at(wtxn)?.unix_timestamp_nanos();
        let tasks = tasks.to_vec();
        self.queue.store.prepare(&Prepared {
            index_uid: uid.to_owned(),
            updated_at_ns,
            tasks,
        })
    }

    fn settings(&self, task: &Task, settings: &Value, may_create: bool) -> Result<Done, ApiError> {
        let uid = task.index_uid.as_str();
        let settings: Settings = serde_json::from_value(settings.clone())
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        let view = settings.view();
        let index = self.index_or_create(uid, may_create)?;
        let mut wtxn = index.write_txn()?;
        let abort = || self.stop.load(Ordering::Relaxed);
        settings_apply::apply(self.engine, &index, &mut wtxn, settings, abort)
            .map_err(|error| ApiError::in_index(uid, error))?;
        wtxn.commit()?;
        Ok(Done::tasks(vec![self.stamp.succeeded(task, Some(view))]))
    }

    fn create_index(&self, task: &Task, primary_key: Option<String>) -> Result<Done, ApiError> {
        let uid = task.index_uid.clone();
        if self.engine.exists(&uid) {
            let message = format!("Index `{uid}` already exists.");
            return Err(ApiError::new(Code::IndexAlreadyExists, message));
        }
        let (directory, index) = self.engine.create_files()?;
        if let Some(key) = primary_key {
            self.set_primary_key(&uid, &index, key)?;
        }
        let update = IndexUpdate::Create {
            uid,
            directory: directory.clone(),
        };
        let tasks = vec![self.stamp.counted(task, 0)];
        Ok(Done {
            tasks,
            update,
            created: Some((directory, index)),
        })
    }

    fn update_index(&self, task: &Task, primary_key: Option<String>) -> Result<Done, ApiError> {
        let index = self.engine.index(&task.index_uid)?;
        if let Some(key) = primary_key {
            self.set_primary_key(&task.index_uid, &index, key)?;
        }
        Ok(Done::tasks(vec![self.stamp.counted(task, 0)]))
    }

    fn set_primary_key(&self, uid: &str, index: &Index, key: String) -> Result<(), ApiError> {
        let mut wtxn = index.write_txn()?;
        settings_apply::set_primary_key(self.engine, index, &mut wtxn, key)
            .map_err(|error| ApiError::in_index(uid, error))?;
        Ok(wtxn.commit()?)
    }

    fn delete_index(&self, task: &Task) -> Result<Done, ApiError> {
        let uid = task.index_uid.clone();
        let index = self.engine.index(&uid)?;
        let rtxn = index.read_txn()?;
        let count = index.number_of_documents(&rtxn)?;
        let tasks = vec![self.stamp.counted(task, count)];
        Ok(Done {
            tasks,
            update: IndexUpdate::Delete { uid },
            created: None,
        })
    }

    /// The index, created first if need be: documents and settings create their index, and it
    /// stays even if they then fail.
    fn index_or_create(&self, uid: &str, may_create: bool) -> Result<Index, ApiError> {
        if self.engine.exists(uid) || !may_create {
            return self.engine.index(uid);
        }
        let (directory, index) = self.engine.create_files()?;
        let update = IndexUpdate::Create {
            uid: uid.to_owned(),
            directory: directory.clone(),
        };
        self.queue.store.finish(&[], &update)?;
        self.engine.adopt(uid.to_owned(), directory, index.clone());
        Ok(index)
    }
}

/// The results of a batch whose every task failed alike.
pub(super) fn all_failed(stamp: Stamp, batch: &[Task], error: &ApiError) -> Vec<Task> {
    let results: Vec<OpResult> = batch
        .iter()
        .map(|_| OpResult {
            count: 0,
            error: Some(error.clone()),
        })
        .collect();
    stamp.all(batch, &results)
}
