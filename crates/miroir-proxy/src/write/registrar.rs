//! Registers writes with the coordinators, many at a time. Only then are they acknowledged.

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
    /// This proxy was given up meanwhile; nobody will register it.
    Lost,
}

/// Registers until every sender is gone. One batch is under way at a time, so writes are registered in the
/// order in which they came; the next batch gathers meanwhile.
pub(super) async fn run(catalog: Catalog, control: Control, mut inbox: mpsc::UnboundedReceiver<Item>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(item) => item,
            None => match inbox.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let mut batch = vec![first];
        while batch.len() < WRITES_MAX {
            match inbox.try_recv() {
                Ok(item) if item.proxy == batch[0].proxy => batch.push(item),
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

async fn register(catalog: &Catalog, control: &Control, batch: Vec<Item>) {
    let proxy = batch[0].proxy;
    let (writes, receivers): (Vec<Write>, Vec<_>) =
        batch.into_iter().map(|item| (item.write, (item.ticket, item.to))).unzip();
    let id = Uuid::now_v7();
    let catalog = catalog.within(WITHIN);
    let results = loop {
        // Copies that missed a write stay in use until this commits: as long as this proxy is the writer
        // it must not give up. Once it is not, the coordinators distrust the copies themselves.
        if control.proxy_id() != Some(proxy) {
            break vec![Err(Unregistered::Lost); receivers.len()];
        }
        match catalog.register_writes(id, proxy, &writes).await {
            Ok(results) => break results.into_iter().map(|result| result.map_err(Unregistered::Rejected)).collect(),
            Err(CatalogError::Rejected(rejection)) => {
                break vec![Err(Unregistered::Rejected(*rejection)); receivers.len()];
            }
            Err(error @ CatalogError::Protocol { .. }) => {
                tracing::error!(%error, "writes cannot be registered");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error @ (CatalogError::NoLeader { .. } | CatalogError::Unknown { .. })) => {
                tracing::warn!(%error, writes = writes.len(), "writes are not registered yet");
            }
        }
    };
    deliver(results, receivers);
}

fn deliver(
    results: Vec<Result<TaskUid, Unregistered>>,
    receivers: Vec<(Ticket, mpsc::UnboundedSender<Message>)>,
) {
    for (result, (ticket, to)) in results.into_iter().zip(receivers) {
        // A sequencer that ended has answered its clients already.
        let _ = to.send(Message::Registered { ticket, result });
    }
}
