//! The one thread that processes tasks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use time::OffsetDateTime;

use super::finish::Stamp;
use super::process::{Done, Run, all_failed};
use super::store::Prepared;
use super::task::{Task, TaskId};
use super::{TaskQueue, lock, payload_file};
use crate::engine::{Engine, IndexUpdate};
use crate::error::{ApiError, Code};

/// Pause after the store could not be written, before the batch is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How soon it is noticed that tasks need not wait any more.
const HOLD_PAUSE: Duration = Duration::from_millis(20);

/// How long the idle worker sleeps before it looks again on its own.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// The running worker thread.
pub struct Worker {
    queue: Arc<TaskQueue>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Stops after the current step and waits for the thread. Unfinished work is done again at
    /// the next start.
    pub fn stop(mut self) {
        self.signal();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the task worker panicked");
        }
    }

    fn signal(&self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(lock(&self.queue.first_open));
        self.queue.wake.notify_all();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.signal();
    }
}

/// Settles what a crash left open and starts the thread. As long as there is a file `hold`, tasks wait in the queue:
/// tests see what is read meanwhile.
pub fn spawn(
    engine: Arc<Engine>,
    queue: Arc<TaskQueue>,
    limit: BatchLimitBytes,
    hold: PathBuf,
) -> Result<Worker, ApiError> {
    recover(&engine, &queue)?;
    let stop = Arc::new(AtomicBool::new(false));
    let worker = Loop {
        engine,
        queue: queue.clone(),
        stop: stop.clone(),
        limit,
        hold,
    };
    let thread = std::thread::Builder::new()
        .name("tasks".to_owned())
        .spawn(move || worker.run())?;
    Ok(Worker {
        queue,
        stop,
        thread: Some(thread),
    })
}

/// Payload bytes after which a batch takes no further task.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimitBytes(pub u64);

/// If the prepared batch's index was committed, its tasks are finished; if not, they run again.
fn recover(engine: &Engine, queue: &TaskQueue) -> Result<(), ApiError> {
    let Some(Prepared {
        index_uid,
        updated_at_ns,
        tasks,
    }) = queue.store.prepared()?
    else {
        return Ok(());
    };
    let committed = match engine.index(&index_uid) {
        Ok(index) => {
            let rtxn = index.read_txn()?;
            index.updated_at(&rtxn)?.unix_timestamp_nanos() == updated_at_ns
        }
        Err(_) => false,
    };
    if !committed {
        return queue.store.discard_prepared();
    }
    let old = stored(queue, &tasks)?;
    queue.conclude(&old, &tasks, &IndexUpdate::None)
}

fn stored(queue: &TaskQueue, tasks: &[Task]) -> Result<Vec<Task>, ApiError> {
    tasks
        .iter()
        .filter_map(|task| queue.store.task(task.uid).transpose())
        .collect()
}

struct Loop {
    engine: Arc<Engine>,
    queue: Arc<TaskQueue>,
    stop: Arc<AtomicBool>,
    limit: BatchLimitBytes,
    /// No batch is begun as long as this file exists.
    hold: PathBuf,
}

impl Loop {
    fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            if self.hold.exists() {
                self.pause(HOLD_PAUSE);
                continue;
            }
            match self.queue.next_batch(&self.engine, self.limit) {
                Ok(Some(batch)) => {
                    if let Err(error) = self.process(&batch) {
                        tracing::error!(%error, "cannot store how a batch ended; trying again");
                        self.pause(RETRY_PAUSE);
                    }
                }
                Ok(None) => self.wait_for_work(),
                Err(error) => {
                    tracing::error!(%error, "cannot read the task queue; trying again");
                    self.pause(RETRY_PAUSE);
                }
            }
        }
    }

    fn wait_for_work(&self) {
        let first_open = lock(&self.queue.first_open);
        let idle = self.queue.heads().first_enqueued(*first_open).is_none();
        if idle && !self.stop.load(Ordering::Relaxed) {
            drop(self.queue.wake.wait_timeout(first_open, IDLE_WAIT));
        }
    }

    fn pause(&self, pause: Duration) {
        let guard = lock(&self.queue.first_open);
        drop(self.queue.wake.wait_timeout(guard, pause));
    }

    /// Processes a batch. Errors of the store put its tasks back; errors of the tasks end them.
    fn process(&self, batch: &[Task]) -> Result<(), ApiError> {
        let uids: Vec<TaskId> = batch.iter().map(|task| task.uid).collect();
        let stamp = Stamp {
            batch_uid: self.queue.next_batch.fetch_add(1, Ordering::Relaxed),
            started_at: OffsetDateTime::now_utc(),
        };
        self.queue.start(&uids, stamp);
        let result = self.attempt(batch, stamp);
        if self.stop.load(Ordering::Relaxed) && result.is_err() {
            self.queue.abandon(&uids);
            return Ok(());
        }
        let done = match result {
            Ok(done) => done,
            // One task may have spoilt it for the others: do them one by one.
            Err(_) if batch.len() > 1 => {
                self.queue.abandon(&uids);
                return batch
                    .iter()
                    .try_for_each(|task| self.process(std::slice::from_ref(task)));
            }
            Err(error) => Done {
                tasks: all_failed(stamp, batch, &error),
                update: IndexUpdate::None,
                created: None,
            },
        };
        self.conclude(batch, done)
            .inspect_err(|_| self.queue.abandon(&uids))
    }

    fn attempt(&self, batch: &[Task], stamp: Stamp) -> Result<Done, ApiError> {
        let run = Run {
            engine: &self.engine,
            queue: &self.queue,
            stamp,
            stop: &self.stop,
        };
        // A panic of the engine fails the batch, not the node: its transaction is rolled back.
        catch_unwind(AssertUnwindSafe(|| run.process(batch))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("unknown");
            let message = format!("An unexpected crash occurred when processing the task: {text}");
            Err(ApiError::new(Code::Internal, message))
        })
    }

    fn conclude(&self, batch: &[Task], done: Done) -> Result<(), ApiError> {
        // A deleted index disappears before its task says so, a created one is there before.
        self.queue
            .conclude_with(batch, &done.tasks, &done.update, || match &done.update {
                IndexUpdate::Create { uid, .. } => {
                    if let Some((directory, index)) = done.created.clone() {
                        self.engine.adopt(uid.clone(), directory, index);
                    }
                }
                IndexUpdate::Delete { uid } => self.engine.forget(uid),
                IndexUpdate::None => (),
            })
    }
}

impl TaskQueue {
    fn start(&self, uids: &[TaskId], stamp: Stamp) {
        self.heads_mut()
            .start(uids, stamp.batch_uid, stamp.started_at);
    }

    fn abandon(&self, uids: &[TaskId]) {
        self.heads_mut().abandon(uids);
    }

    /// Stores the finished tasks, then shows them as finished and drops their payloads.
    fn conclude(&self, old: &[Task], new: &[Task], update: &IndexUpdate) -> Result<(), ApiError> {
        self.conclude_with(old, new, update, || ())
    }

    fn conclude_with(
        &self,
        old: &[Task],
        new: &[Task],
        update: &IndexUpdate,
        stored: impl FnOnce(),
    ) -> Result<(), ApiError> {
        self.store.finish(new, update)?;
        stored();
        {
            let mut heads = self.heads_mut();
            new.iter().for_each(|task| heads.finish(task));
        }
        for task in old {
            if let Some(file) = payload_file(task) {
                self.payloads.remove(file);
            }
        }
        Ok(())
    }

    fn heads_mut(&self) -> std::sync::RwLockWriteGuard<'_, super::Heads> {
        self.heads
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
