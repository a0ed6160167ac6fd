//! Doing what a batch asks for.
//!
//! An index and the task store commit separately. The order is: (prepare,) commit the index,
//! finish the tasks. A crash between the last two makes the batch run again. Additions and
//! settings end the same when done twice; what does not (deletions, whose count would be zero)
//! is prepared first, see [`Prepared`]. Creating and deleting an index is one commit with the
//! end of its task.

use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;
use milli_core::Index;
use milli_core::heed::RwTxn;
use serde_json::{Value, json};

use super::TaskQueue;
use super::finish::Stamp;
use super::store::Prepared;
use super::task::{Operation, Payload, Task};
use crate::engine::ingest::{Addition, OpResult, Target};
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
        match first.operation.as_ref().ok_or_else(corrupted)? {
            Operation::Addition { may_create, .. } => {
                let index = self.index_or_create(uid, *may_create)?;
                self.additions(&index, batch)
            }
            Operation::DeleteIds(_) => self.deletion_by_ids(uid, batch),
            Operation::DeleteFilter(filter) => self.deletion(first, Some(filter)),
            Operation::Clear => self.deletion(first, None),
            Operation::Settings {
                settings,
                may_create,
            } => self.settings(first, settings, *may_create),
            Operation::IndexCreation(key) => self.create_index(first, key.clone()),
            Operation::IndexUpdate(key) => self.update_index(first, key.clone()),
            Operation::IndexDeletion => self.delete_index(first),
            Operation::Dump => {
                let uid = self.dump(first)?;
                Ok(Done::tasks(vec![Task {
                    details: Some(json!({ "dumpUid": uid })),
                    ..self.stamp.counted(first, 0)
                }]))
            }
        }
    }

    fn additions(&self, index: &Index, batch: &[Task]) -> Result<Done, ApiError> {
        let mut parts = Vec::new();
        let mut primary_key = None;
        for task in batch {
            let Some(Operation::Addition {
                method,
                payload,
                primary_key: key,
                ..
            }) = &task.operation
            else {
                return Err(corrupted());
            };
            primary_key = primary_key.or(key.as_deref());
            parts.push((*method, self.documents(task, payload)?));
        }
        let additions: Vec<Addition<'_>> = parts
            .iter()
            .map(|(method, payload)| Addition {
                method: *method,
                payload,
            })
            .collect();
        let mut wtxn = index.write_txn()?;
        let results = self
            .target(index, batch)
            .add(&mut wtxn, primary_key, &additions)?;
        if results.iter().any(|result| result.error.is_none()) {
            wtxn.commit()?;
        }
        Ok(Done::tasks(self.stamp.all(batch, &results)))
    }

    fn documents(&self, task: &Task, payload: &Payload) -> Result<Mmap, ApiError> {
        match payload {
            Payload::File(name) => Ok(os::map_file(&self.queue.payloads.path(name))?),
            Payload::Row => self
                .queue
                .store
                .with_payload(task.uid, |documents| Ok(os::map_copy(documents)?)),
        }
    }

    fn deletion_by_ids(&self, uid: &str, batch: &[Task]) -> Result<Done, ApiError> {
        let index = self.engine.index(uid)?;
        let mut ids = Vec::new();
        for task in batch {
            let Some(Operation::DeleteIds(of_task)) = &task.operation else {
                return Err(corrupted());
            };
            ids.push(of_task.as_slice());
        }
        let mut wtxn = index.write_txn()?;
        let counts = self.target(&index, batch).delete_by_ids(&mut wtxn, &ids)?;
        let finished = batch
            .iter()
            .zip(counts)
            .map(|(task, n)| self.stamp.counted(task, n));
        self.commit_prepared(uid, &index, wtxn, finished.collect())
    }

    /// Deletes what the filter matches, or everything.
    fn deletion(&self, task: &Task, filter: Option<&Value>) -> Result<Done, ApiError> {
        let index = self.engine.index(&task.index_uid)?;
        let target = self.target(&index, std::slice::from_ref(task));
        let mut wtxn = index.write_txn()?;
        let count = match filter {
            Some(filter) => target.delete_by_filter(&mut wtxn, filter)?,
            None => target.clear(&mut wtxn)?,
        };
        self.commit_prepared(
            &task.index_uid,
            &index,
            wtxn,
            vec![self.stamp.counted(task, count)],
        )
    }

    fn target<'t>(&'t self, index: &'t Index, batch: &'t [Task]) -> Target<'t> {
        let uid = batch.first().map_or("", |task| task.index_uid.as_str());
        Target {
            engine: self.engine,
            index,
            uid,
            stop: self.stop,
        }
    }

    /// Commits the index after its outcome is known to a successor.
    fn commit_prepared(
        &self,
        uid: &str,
        index: &Index,
        wtxn: RwTxn<'_>,
        tasks: Vec<Task>,
    ) -> Result<Done, ApiError> {
        let updated_at_ns = index.updated_at(&wtxn)?.unix_timestamp_nanos();
        let prepared = Prepared {
            index_uid: uid.to_owned(),
            updated_at_ns,
            tasks,
        };
        self.queue.store.prepare(&prepared)?;
        wtxn.commit()?;
        Ok(Done::tasks(prepared.tasks))
    }

    fn settings(&self, task: &Task, settings: &Value, may_create: bool) -> Result<Done, ApiError> {
        let uid = task.index_uid.as_str();
        let settings: Settings = serde_json::from_value(settings.clone())
            .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
        let index = self.index_or_create(uid, may_create)?;
        let mut wtxn = index.write_txn()?;
        let abort = || self.stop.load(Ordering::Relaxed);
        settings_apply::apply(self.engine, &index, &mut wtxn, settings, abort)
            .map_err(|error| ApiError::in_index(uid, error))?;
        wtxn.commit()?;
        Ok(Done::tasks(vec![self.stamp.counted(task, 0)]))
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

fn corrupted() -> ApiError {
    ApiError::new(Code::Internal, "Corrupted task queue.")
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
