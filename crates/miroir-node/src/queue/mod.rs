//! The durable task queue: what was accepted is done, in order, whatever crashes in between.

mod batch;
mod dump;
mod finish;
pub mod heads;
pub mod payload;
mod process;
#[cfg(test)]
mod recovery_tests;
pub mod store;
pub mod task;
mod worker;

use std::collections::HashSet;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use time::OffsetDateTime;

pub use worker::{BatchLimitBytes, Worker, spawn};

use crate::error::{ApiError, Code};
use heads::{Heads, Selection, TaskFilter, TaskPage};
use payload::Payloads;
use store::Store;
use task::{Operation, Payload, Status, Task, TaskId};

/// A task to accept.
#[derive(Debug)]
pub struct NewTask {
    /// The index it works on; empty for a task of the whole node.
    pub index_uid: String,
    /// What it does.
    pub operation: Operation,
    /// Shown in the task, for the client's own use.
    pub custom_metadata: Option<String>,
    /// Documents to store beside the task.
    pub row: Option<Vec<u8>>,
}

impl NewTask {
    /// A task without documents or metadata.
    pub fn new(index_uid: String, operation: Operation) -> Self {
        Self {
            index_uid,
            operation,
            custom_metadata: None,
            row: None,
        }
    }
}

/// The payload file of a task, if it has one.
fn payload_file(task: &Task) -> Option<&str> {
    match &task.operation {
        Some(Operation::Addition {
            payload: Payload::File(name),
            ..
        }) => Some(name),
        _ => None,
    }
}

struct Pending {
    task: NewTask,
    answer: SyncSender<Result<Task, ApiError>>,
}

/// Accepts, lists and hands out tasks.
pub struct TaskQueue {
    /// Where tasks are stored.
    pub store: Store,
    /// Where payloads are stored.
    pub payloads: Payloads,
    heads: RwLock<Heads>,
    pending: Mutex<Vec<Pending>>,
    /// Held while a group of accepted tasks is committed.
    committing: Mutex<()>,
    /// Lowest uid that may still be unfinished; everything below is finished.
    first_open: Mutex<TaskId>,
    wake: Condvar,
    /// A number above every finished batch's.
    next_batch: AtomicU32,
}

impl TaskQueue {
    /// Reads the stored tasks and drops payload files no open task refers to.
    pub fn open(store: Store, payloads: Payloads) -> Result<Self, ApiError> {
        let mut heads = Heads::default();
        let mut used = HashSet::new();
        let mut next_batch = 0;
        store.for_each_task(|task| {
            if let Some(file) = payload_file(&task) {
                used.insert(file.to_owned());
            }
            next_batch = next_batch.max(task.batch_uid.map_or(0, |uid| uid + 1));
            heads.push(&task);
        })?;
        payloads.retain(&used)?;
        Ok(Self {
            store,
            payloads,
            heads: RwLock::new(heads),
            pending: Mutex::default(),
            committing: Mutex::default(),
            first_open: Mutex::default(),
            wake: Condvar::new(),
            next_batch: AtomicU32::new(next_batch),
        })
    }

    /// Accepts a task. When this returns, the task survives a crash. Blocks for a disk write,
    /// which concurrent callers share.
    pub fn register(&self, task: NewTask) -> Result<Task, ApiError> {
        let (answer, answered) = sync_channel(1);
        lock(&self.pending).push(Pending { task, answer });
        {
            let _turn = lock(&self.committing);
            // Whoever gets the turn commits for everyone who waits; often that was our task too.
            let group = std::mem::take(&mut *lock(&self.pending));
            if !group.is_empty() {
                self.commit(group);
            }
        }
        let lost = || ApiError::new(Code::Internal, "The task queue lost a registration.");
        answered.recv().map_err(|_| lost())?
    }

    fn commit(&self, group: Vec<Pending>) {
        let first = self.heads().next_uid();
        let (answers, tasks): (Vec<_>, Vec<_>) = (first..)
            .zip(group)
            .map(|(uid, Pending { task, answer })| (answer, new_task(uid, task)))
            .unzip();
        let stored = self.store.put_tasks(&tasks);
        if stored.is_ok() {
            let mut heads = self.heads.write().unwrap_or_else(PoisonError::into_inner);
            tasks.iter().for_each(|(task, _)| heads.push(task));
        }
        for (answer, (task, _)) in answers.into_iter().zip(tasks) {
            // A caller that gave up is no reason to fail: its task is registered all the same.
            let _ = answer.send(stored.clone().map(|()| task));
        }
        // Taking the lock orders this wake-up after a worker's decision to wait.
        drop(lock(&self.first_open));
        self.wake.notify_all();
    }

    /// One task as it is now.
    pub fn get(&self, uid: TaskId) -> Result<Task, ApiError> {
        let not_found = || ApiError::new(Code::TaskNotFound, format!("Task `{uid}` not found."));
        let mut task = self.store.task(uid)?.ok_or_else(not_found)?;
        if let Some(head) = self.heads().get(uid)
            && head.status == Status::Processing
            && task.status == Status::Enqueued
        {
            task.status = head.status;
            task.batch_uid = head.batch_uid;
            task.started_at = head.started_at;
        }
        Ok(task)
    }

    /// A page of the tasks that match.
    pub fn list(
        &self,
        filter: &TaskFilter,
        page: TaskPage,
    ) -> Result<(Vec<Task>, Selection), ApiError> {
        let selection = self.heads().select(filter, page);
        let tasks = selection
            .uids
            .iter()
            .map(|uid| self.get(*uid))
            .collect::<Result<_, _>>()?;
        Ok((tasks, selection))
    }

    /// Whether a task of this index is being processed.
    pub fn is_indexing(&self, index_uid: &str) -> bool {
        let from = *lock(&self.first_open);
        self.heads().is_indexing(index_uid, from)
    }

    fn heads(&self) -> std::sync::RwLockReadGuard<'_, Heads> {
        self.heads.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_task(uid: TaskId, new: NewTask) -> (Task, Option<Vec<u8>>) {
    let task = Task {
        uid,
        batch_uid: None,
        index_uid: new.index_uid,
        status: Status::Enqueued,
        kind: new.operation.kind(),
        details: Some(new.operation.initial_details()),
        operation: Some(new.operation),
        error: None,
        enqueued_at: OffsetDateTime::now_utc(),
        started_at: None,
        finished_at: None,
        custom_metadata: new.custom_metadata,
    };
    (task, new.row)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
