//! One proxy's session: what it sends, what it is sent, in one loop so that the order of messages means something.

use std::collections::BTreeMap;
use std::sync::Arc;

use miroir_core::cluster::{Command, Outcome, Rejection};
use miroir_core::id::{Epoch, MigrationId, NodeId, ProxyId};
use miroir_core::routing::RoutingTable;
use miroir_proto::v1;
use miroir_proto::v1::coordinator_message::Message as Answer;
use miroir_proto::v1::proxy_message::Message;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::{debug, info};

use super::seat::{Seat, SeatWatch};
use super::{Connection, Dirty, Sessions, Tables};
use crate::cluster::Cluster;

/// Where a session's messages come from.
pub trait Inbound: Send {
    /// The next message; `None` when the proxy closed the stream.
    fn next(&mut self) -> impl Future<Output = Result<Option<v1::ProxyMessage>, Status>> + Send;
}

impl Inbound for tonic::Streaming<v1::ProxyMessage> {
    async fn next(&mut self) -> Result<Option<v1::ProxyMessage>, Status> {
        self.message().await
    }
}

/// Where its answers go.
pub type Outbound = mpsc::Sender<Result<v1::CoordinatorMessage, Status>>;

/// What a session needs of the coordinator.
#[derive(Debug, Clone)]
pub struct Host<C> {
    /// The replicated state.
    pub cluster: C,
    /// The leader's memory.
    pub sessions: Sessions,
    /// The newest table.
    pub tables: Tables,
    /// Whether this coordinator leads.
    pub seat: SeatWatch,
}

struct Session<'a, C> {
    host: &'a Host<C>,
    proxy: ProxyId,
    connection: Connection,
    /// The table that the proxy has, once these messages have reached it.
    sent: Arc<RoutingTable>,
    out: Outbound,
}

/// Serves a session until the proxy leaves or this coordinator no longer leads.
///
/// # Errors
/// The status that ends the stream.
pub async fn serve<C: Cluster>(
    host: &Host<C>,
    mut inbound: impl Inbound,
    out: Outbound,
) -> Result<(), Status> {
    let mut seat = host.seat.clone();
    refuse_unless_leading(&seat.borrow_and_update())?;
    let Some(Message::Hello(hello)) = inbound.next().await?.and_then(|message| message.message)
    else {
        return Err(Status::invalid_argument("a session begins with hello"));
    };
    let proxy = register(host, hello).await?;
    let lost = || Status::aborted("the lease has run out; register anew");
    let connection = host.sessions.opened(proxy).ok_or_else(lost)?;
    let ended = run(host, (proxy, connection), (&mut inbound, out), &mut seat).await;
    host.sessions.closed(proxy, connection);
    debug!(%proxy, ?ended, "session ended");
    ended
}

async fn run<C: Cluster>(
    host: &Host<C>,
    (proxy, connection): (ProxyId, Connection),
    (inbound, out): (&mut impl Inbound, Outbound),
    seat: &mut SeatWatch,
) -> Result<(), Status> {
    let mut tables = host.tables.clone();
    let first = tables
        .borrow_and_update()
        .clone()
        .ok_or_else(not_initialised)?;
    let mut session = Session {
        host,
        proxy,
        connection,
        sent: Arc::clone(&first),
        out,
    };
    let rules = host.sessions.rules();
    session
        .send(Answer::Welcome(v1::Welcome {
            proxy_id: proxy.0,
            lease_ms: u32::try_from(rules.lease.as_millis()).unwrap_or(u32::MAX),
            static_reads_ms: u64::try_from(rules.static_reads.as_millis()).unwrap_or(u64::MAX),
        }))
        .await?;
    session.send(Answer::Table(first.as_ref().into())).await?;
    loop {
        tokio::select! {
            changed = seat.changed() => {
                changed.map_err(|_| Status::unavailable("this coordinator is stopping"))?;
                refuse_unless_leading(&seat.borrow_and_update())?;
            }
            changed = tables.changed() => {
                changed.map_err(|_| Status::unavailable("this coordinator is stopping"))?;
                let newest = tables.borrow_and_update().clone();
                session.send_table(newest).await?;
            }
            message = inbound.next() => match message?.and_then(|message| message.message) {
                Some(message) => if session.take(message).await? { return Ok(()) },
                None => return Ok(()),
            },
        }
    }
}

impl<C: Cluster> Session<'_, C> {
    async fn send(&self, message: Answer) -> Result<(), Status> {
        let message = v1::CoordinatorMessage {
            message: Some(message),
        };
        self.out
            .send(Ok(message))
            .await
            .map_err(|_| Status::cancelled("the proxy is gone"))
    }

    async fn send_table(&mut self, newest: Option<Arc<RoutingTable>>) -> Result<(), Status> {
        let Some(newest) = newest.filter(|table| table.epoch > self.sent.epoch) else {
            return Ok(());
        };
        let delta = newest.delta_from(&self.sent);
        self.sent = newest;
        self.send(Answer::Delta((&delta).into())).await
    }

    /// Takes one message; `true` when it was the last.
    async fn take(&mut self, message: Message) -> Result<bool, Status> {
        let superseded = || Status::aborted("a newer session of this proxy has begun");
        let sessions = &self.host.sessions;
        let current = match message {
            Message::Hello(_) => return Err(Status::invalid_argument("hello came twice")),
            Message::Renew(renew) => {
                // The lease counts from here: before the answer leaves, never after.
                let current = sessions.renewed(self.proxy, self.connection);
                if current {
                    sessions.reads_took(self.proxy, latencies(&renew));
                    let renewed = v1::Renewed {
                        number: renew.number,
                        epoch: self.sent.epoch.0,
                    };
                    self.send(Answer::Renewed(renewed)).await?;
                }
                current
            }
            Message::Ack(ack) => sessions.acknowledged(
                self.proxy,
                self.connection,
                self.never_ahead(ack.writes_epoch),
                self.never_ahead(ack.reads_epoch),
            ),
            Message::Dirty(dirty) => {
                let recorded = Dirty {
                    ids: dirty.ids.into_iter().collect(),
                    whole_shard: dirty.whole_shard,
                };
                sessions.recorded(
                    self.proxy,
                    self.connection,
                    MigrationId(dirty.migration),
                    recorded,
                )
            }
            Message::Goodbye(_) => {
                info!(proxy = %self.proxy, "the proxy has drained and leaves");
                let command = Command::ForgetProxy { proxy: self.proxy };
                self.host
                    .cluster
                    .propose(command)
                    .await
                    .map_err(|error| Status::unavailable(error.to_string()))?;
                return Ok(true);
            }
        };
        if current {
            Ok(false)
        } else {
            Err(superseded())
        }
    }

    /// An acknowledgement of a table that was never sent is a lie or a bug; it must not open a barrier.
    fn never_ahead(&self, epoch: u64) -> Epoch {
        Epoch(epoch).min(self.sent.epoch)
    }
}

fn latencies(renew: &v1::Renew) -> BTreeMap<NodeId, u64> {
    let told = renew.read_latencies.iter();
    told.map(|told| (NodeId(told.node), told.latency_ms.into()))
        .collect()
}

async fn register<C: Cluster>(host: &Host<C>, hello: v1::Hello) -> Result<ProxyId, Status> {
    if hello.instance.is_empty() || hello.url.is_empty() {
        return Err(Status::invalid_argument(
            "hello names no instance or no url",
        ));
    }
    let command = Command::RegisterProxy {
        instance: hello.instance,
        name: hello.name,
        url: hello.url,
    };
    match host.cluster.propose(command).await {
        Ok(Outcome::ProxyRegistered(proxy)) => Ok(proxy),
        Ok(Outcome::Rejected(Rejection::NotInitialised)) => Err(not_initialised()),
        Ok(other) => Err(Status::internal(format!("registering answered {other:?}"))),
        Err(error) => Err(Status::unavailable(error.to_string())),
    }
}

fn not_initialised() -> Status {
    Status::failed_precondition(Rejection::NotInitialised.to_string())
}

/// The status that sends a proxy to the leader.
#[must_use]
pub fn not_leading(leader: Option<&str>) -> Status {
    let mut status = Status::unavailable("this coordinator does not lead");
    if let Some(leader) = leader.and_then(|leader| leader.parse().ok()) {
        status
            .metadata_mut()
            .insert(miroir_proto::LEADER_METADATA, leader);
    }
    status
}

fn refuse_unless_leading(seat: &Seat) -> Result<(), Status> {
    match seat {
        Seat::Leader => Ok(()),
        Seat::Follower { leader } => Err(not_leading(leader.as_deref())),
    }
}
