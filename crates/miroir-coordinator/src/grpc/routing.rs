//! The routing service: sessions for proxies, a read-only stream for observers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use miroir_core::routing::RoutingTable;
use miroir_proto::v1;
use miroir_proto::v1::coordinator_message::Message as Answer;
use miroir_proto::v1::routing_server::Routing;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Cluster;
use crate::session::{Host, Tables, serve};

/// Messages that may wait for a slow reader. A session that falls behind further stops being read, and its
/// lease runs out.
const OUTBOX: usize = 16;

/// How often an observer is told the epoch although nothing changed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The service.
#[derive(Debug, Clone)]
pub struct RoutingService<C> {
    host: Host<C>,
}

impl<C: Cluster> RoutingService<C> {
    /// A service that serves sessions on `host`.
    pub fn new(host: Host<C>) -> Self {
        Self { host }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::CoordinatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl<C: Cluster> Routing for RoutingService<C> {
    type SessionStream = Answers;
    type WatchStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<v1::ProxyMessage>>,
    ) -> Result<Response<Answers>, Status> {
        let (out, answers) = mpsc::channel(OUTBOX);
        let host = self.host.clone();
        // Not supervised: it ends with its stream, with leadership, or with the process.
        tokio::spawn(async move {
            let last = out.clone();
            if let Err(status) = serve(&host, request.into_inner(), out).await {
                // Nobody may be listening any more.
                let _heard = last.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Answers>, Status> {
        let (out, answers) = mpsc::channel(OUTBOX);
        // Not supervised: it ends with its stream or with the process.
        tokio::spawn(observe(self.host.tables.clone(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Sends the table and its changes until nobody listens.
async fn observe(mut tables: Tables, out: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>) {
    let mut sent: Option<Arc<RoutingTable>> = None;
    loop {
        let newest = tables.borrow_and_update().clone();
        let message = match (&sent, &newest) {
            (None, Some(table)) => Some(Answer::Table(table.as_ref().into())),
            (Some(old), Some(table)) if table.epoch > old.epoch => {
                Some(Answer::Delta((&table.delta_from(old)).into()))
            }
            (Some(old), _) => Some(Answer::Renewed(v1::Renewed {
                number: 0,
                epoch: old.epoch.0,
            })),
            (None, None) => None,
        };
        if let Some(message) = message {
            if out
                .send(Ok(v1::CoordinatorMessage {
                    message: Some(message),
                }))
                .await
                .is_err()
            {
                return;
            }
            sent = newest.or(sent);
        }
        tokio::select! {
            () = out.closed() => return,
            changed = tables.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
    }
}
