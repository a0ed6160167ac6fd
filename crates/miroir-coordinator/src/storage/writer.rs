//! The one thread that touches the engine.
//!
//! It takes what is queued, applies it in order, syncs once for all of it if anything asked
//! to be durable, and then reports in order. Votes, log entries, truncations, purges and
//! snapshot chunks share the one queue, because reordering them can lose committed data.
//!
//! After the first failure nothing is written any more: a failed fsync says nothing about
//! what reached the disk, and a second one would report success for data that is gone.

use std::thread;

use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::kv::{BATCH_BYTES_MAX, Batch, Kv};

/// Called once with the outcome of a write, on the writer thread; must not block.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

type Read = Box<dyn FnOnce(&dyn Kv) + Send>;

const QUEUE_OPS_MAX: usize = 256;

enum Op {
    Write {
        batch: Batch,
        durable: bool,
        done: Option<Done>,
    },
    Read(Read),
    Close(oneshot::Sender<()>),
}

/// Handle to the writer thread. Clones share it; it ends when all are dropped or after
/// [`Writer::close`].
#[derive(Debug, Clone)]
pub struct Writer {
    ops: mpsc::Sender<Op>,
    failure: watch::Receiver<Option<StoreError>>,
}

impl Writer {
    /// Starts the thread; it owns `kv` from here on.
    pub fn start(kv: Box<dyn Kv>) -> Result<Self, StoreError> {
        let (ops, queue) = mpsc::channel(QUEUE_OPS_MAX);
        let (failed, failure) = watch::channel(None);
        thread::Builder::new()
            .name("kv-writer".into())
            .spawn(move || run(kv, queue, &failed))
            .map_err(|e| StoreError::Engine {
                action: "start its writer thread",
                detail: e.to_string(),
            })?;
        Ok(Self { ops, failure })
    }

    /// Queues `batch`. With `durable`, `done` is called after it has been synced; without,
    /// once it was applied. Returns as soon as it is queued; waits only while the queue is
    /// full.
    pub async fn enqueue(
        &self,
        batch: Batch,
        durable: bool,
        done: Option<Done>,
    ) -> Result<(), StoreError> {
        self.check()?;
        let op = Op::Write {
            batch,
            durable,
            done,
        };
        self.ops.send(op).await.map_err(|_| self.gone())
    }

    /// Queues `batch` and waits until it is applied and, with `durable`, synced.
    pub async fn write(&self, batch: Batch, durable: bool) -> Result<(), StoreError> {
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // The waiter may have been cancelled; the write stands all the same.
            let _ = tx.send(result);
        });
        self.enqueue(batch, durable, Some(done)).await?;
        rx.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Runs `read` on the writer thread, after everything queued before it.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Kv) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check()?;
        let (tx, rx) = oneshot::channel();
        let op = Op::Read(Box::new(move |kv| {
            // The waiter may have been cancelled; a read leaves nothing behind.
            let _ = tx.send(read(kv));
        }));
        self.ops.send(op).await.map_err(|_| self.gone())?;
        rx.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Finishes what is queued, closes the engine and releases its files. Later calls on any
    /// clone fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (tx, rx) = oneshot::channel();
        if self.ops.send(Op::Close(tx)).await.is_ok() {
            // An error means the thread ended on its own: the engine is closed either way.
            let _ = rx.await;
        }
        self.ops.closed().await;
    }

    /// Announces the first failure, after which this storage writes nothing any more.
    pub fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.failure.clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failure.borrow().as_ref() {
            Some(first) => Err(poisoned(first)),
            None => Ok(()),
        }
    }

    fn gone(&self) -> StoreError {
        self.check().err().unwrap_or(StoreError::Closed)
    }
}

fn poisoned(first: &StoreError) -> StoreError {
    StoreError::Poisoned {
        first: first.to_string(),
    }
}

fn run(kv: Box<dyn Kv>, mut queue: mpsc::Receiver<Op>, failed: &watch::Sender<Option<StoreError>>) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = queue.blocking_recv() else {
            break;
        };
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(op) = next {
            if let Some(reply) = group.take(kv.as_ref(), op, failed) {
                closing = Some(reply);
                break;
            }
            next = if group.is_full() {
                None
            } else {
                queue.try_recv().ok()
            };
        }
        group.finish(kv.as_ref(), failed);
    }
    // What was not asked to be durable becomes so on a clean stop; nobody waits for it.
    let healthy = failed.borrow().is_none();
    if healthy && let Err(error) = kv.sync() {
        tracing::warn!(%error, "the last sync of the storage failed");
    }
    // Files are closed before anyone hears that they are.
    drop(kv);
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

/// Writes that are applied and wait for one sync.
#[derive(Default)]
struct Group {
    waiting: Vec<(Done, Result<(), StoreError>)>,
    ops: usize,
    bytes: usize,
    durable: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.ops >= QUEUE_OPS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Executes `op` except for its sync; returns the reply channel of a close.
    fn take(
        &mut self,
        kv: &dyn Kv,
        op: Op,
        failed: &watch::Sender<Option<StoreError>>,
    ) -> Option<oneshot::Sender<()>> {
        match op {
            Op::Write {
                batch,
                durable,
                done,
            } => {
                self.ops += 1;
                self.bytes += batch.bytes();
                self.durable |= durable;
                let result = apply(kv, &batch, failed);
                self.waiting.extend(done.map(|done| (done, result)));
                None
            }
            Op::Read(read) => {
                read(kv);
                None
            }
            Op::Close(reply) => Some(reply),
        }
    }

    fn finish(self, kv: &dyn Kv, failed: &watch::Sender<Option<StoreError>>) {
        // Read out first: the guard must not live on while the failure is latched.
        let healthy = failed.borrow().is_none();
        if self.durable
            && healthy
            && let Err(error) = kv.sync()
        {
            latch(failed, &error);
        }
        let failure = failed.borrow().clone();
        for (done, applied) in self.waiting {
            // A failure anywhere in the group fails all of it: none of it was synced.
            done(match &failure {
                Some(first) => Err(applied.err().unwrap_or_else(|| poisoned(first))),
                None => applied,
            });
        }
    }
}

fn apply(
    kv: &dyn Kv,
    batch: &Batch,
    failed: &watch::Sender<Option<StoreError>>,
) -> Result<(), StoreError> {
    if let Some(first) = failed.borrow().as_ref() {
        return Err(poisoned(first));
    }
    let result = kv.apply(batch);
    if let Err(error) = &result {
        latch(failed, error);
    }
    result
}

fn latch(failed: &watch::Sender<Option<StoreError>>, error: &StoreError) {
    tracing::error!(%error, "storage failed; nothing is written any more");
    failed.send_if_modified(|slot| {
        let first = slot.is_none();
        slot.get_or_insert_with(|| error.clone());
        first
    });
}

/// Lets openraft's callbacks take our errors.
impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
