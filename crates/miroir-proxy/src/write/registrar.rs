//! Registers writes with the coordinators, many at a time. Only then are they acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use miroir_core::cluster::{Rejection, Write};
use miroir_core::id::{ProxyId, TaskUid};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::queue::Ticket;
use super::sequencer::Message;
use crate::catalog::{Catalog, CatalogError};
use crate::control::Control;

const WRITES_MAX: usize = 512;
/// A batch is closed once it is this long. The coordinators refuse commands above three times as much.
const BATCH_BYTES: usize = 256 << 10;
/// One try of a batch. It is tried again, under the same request id, until it is answered.
const WITHIN: Duration = Duration::from_secs(10);

/// A write that is to be registered.
pub(super) struct Item {
    /// As whom it was sent.
    pub(super) proxy: ProxyId,
    pub(super) write: Write,
    pub(super) ticket: Ticket,
    pub(super) to: mpsc::UnboundedSender<Message>,
}

/// Why a write was not registered.
#[derive(Debug, Clone)]
pub(super) enum Unregistered {
    /// The coordinators refused it.
    Rejected(Rejection),
    /// The coordinators cannot take it, and never will.
    Unacceptable(String),
    /// This proxy was given up meanwhile; nobody will register it.
    Lost,
}

/// Registers until every sender is gone. One batch is under way at a time, so writes are registered in the
/// order in which they came; the next batch gathers meanwhile.
pub(super) async fn run(
    catalog: Catalog,
    control: Control,
    mut inbox: mpsc::UnboundedReceiver<Item>,
) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(item) => item,
            None => match inbox.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < WRITES_MAX && bytes < BATCH_BYTES {
            match inbox.try_recv() {
                Ok(item) if item.proxy == batch[0].proxy && bytes + item.bytes() <= BATCH_BYTES => {
                    bytes += item.bytes();
                    batch.push(item);
                }
                Ok(item) => {
                    next = Some(item);
                    break;
                }
                Err(_) => break,
            }
        }
        register(&catalog, &control, batch).await;
    }
}

impl Item {
    /// About how long it is in a command.
    fn bytes(&self) -> usize {
        serde_json::to_string(&self.write).map_or(0, |json| json.len())
    }
}

/// Registers a batch, in halves if the coordinators cannot take it as a whole.
async fn register(catalog: &Catalog, control: &Control, batch: Vec<Item>) {
    let catalog = catalog.within(WITHIN);
    let mut batches = VecDeque::from([batch]);
    while let Some(mut batch) = batches.pop_front() {
        let Some(proxy) = batch.first().map(|item| item.proxy) else {
            continue;
        };
        let writes: Vec<Write> = batch.iter().map(|item| item.write.clone()).collect();
        match register_all(&catalog, control, proxy, &writes).await {
            Ok(results) => deliver(results, batch),
            Err(_) if batch.len() > 1 => {
                let second = batch.split_off(batch.len() / 2);
                batches.push_front(second);
                batches.push_front(batch);
            }
            Err(detail) => deliver(vec![Err(Unregistered::Unacceptable(detail))], batch),
        }
    }
}

/// Registers `writes` in one command, which is tried until it is answered. The error is that the coordinators
/// cannot take it, however often it is sent.
async fn register_all(
    catalog: &Catalog,
    control: &Control,
    proxy: ProxyId,
    writes: &[Write],
) -> Result<Vec<Result<TaskUid, Unregistered>>, String> {
    let id = Uuid::now_v7();
    let same = |result: Unregistered| Ok(vec![Err(result); writes.len()]);
    loop {
        // Copies that missed a write stay in use until this commits: as long as this proxy is the writer
        // it must not give up. Once it is not, the coordinators distrust the copies themselves.
        if control.proxy_id() != Some(proxy) {
            return same(Unregistered::Lost);
        }
        match catalog.register_writes(id, proxy, writes).await {
            Ok(results) => {
                let results = results.into_iter();
                return Ok(results
                    .map(|result| result.map_err(Unregistered::Rejected))
                    .collect());
            }
            Err(CatalogError::Rejected(rejection)) => {
                return same(Unregistered::Rejected(*rejection));
            }
            Err(CatalogError::Protocol { detail }) => {
                let writes = writes.len();
                tracing::error!(detail, writes, "writes cannot be registered together");
                return Err(detail);
            }
            Err(error @ (CatalogError::NoLeader { .. } | CatalogError::Unknown { .. })) => {
                tracing::warn!(%error, writes = writes.len(), "writes are not registered yet");
            }
        }
    }
}

fn deliver(results: Vec<Result<TaskUid, Unregistered>>, batch: Vec<Item>) {
    for (result, item) in results.into_iter().zip(batch) {
        let ticket = item.ticket;
        // A sequencer that ended has answered its clients already.
        let _ = item.to.send(Message::Registered { ticket, result });
    }
}
