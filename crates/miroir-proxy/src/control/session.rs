//! The session with the leader: made, kept, and made again.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::id::{Epoch, ProxyId};
use miroir_core::routing::RoutingTable;
use miroir_proto::v1::coordinator_message::Message as FromLeader;
use miroir_proto::v1::proxy_message::Message as ToLeader;
use miroir_proto::v1::routing_client::RoutingClient;
use miroir_proto::v1::{self, ProxyMessage};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};

use super::Shared;
use super::acks::Acks;
use super::lease::{Lease, Renewals};
use super::table::{Follower, TableError, supersedes};
use crate::backoff::Backoff;

/// The longest wait for a connection, for the welcome and for the first table.
const OPENING: Duration = Duration::from_secs(5);
/// Dirty ids gather for this long before they are sent.
const GATHER: Duration = Duration::from_millis(20);
/// A leader that is ahead by less than this is about to send the change.
const GAP_GRACE: Duration = Duration::from_millis(500);
/// The longest wait for writes under way, once the proxy is to leave.
const DRAIN: Duration = Duration::from_secs(15);
/// The longest wait for the leader to confirm a goodbye by ending the stream.
const FAREWELL: Duration = Duration::from_secs(2);
/// Beyond any use, and within what a clock can count.
const STATIC_READS_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const TABLE_BYTES_MAX: usize = 64 << 20;

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The coordinator does not lead, and said who does.
    #[error("another coordinator leads")]
    Redirected,
    /// No session could be made.
    #[error("no session: {0}")]
    Refused(String),
    /// The leader ended it, or the connection broke.
    #[error("the session broke: {0}")]
    Broken(String),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Stalled(Duration),
    /// A table message did not fit.
    #[error("the table has a gap: {0}")]
    Gap(#[from] TableError),
    /// The leader has a newer table and does not send it.
    #[error("the leader is at epoch {0}, and does not send the change")]
    Behind(Epoch),
    /// The proxy gave its identity up.
    #[error("resigned")]
    Resigned,
    /// The coordinators gave this proxy up.
    #[error("the coordinators gave this proxy up: {0}")]
    Lost(String),
    /// The proxy said goodbye.
    #[error("goodbye")]
    Left,
}

/// Keeps a session up until the proxy has left.
pub(super) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    let mut redirects = 0_u32;
    loop {
        let endpoint = shared.coordinators.choose();
        let end = one_session(&shared, &endpoint, &shutdown, &mut backoff).await;
        shared.dirty.lost();
        let was_connected = shared.link.borrow().connected;
        shared.link.send_modify(|link| {
            link.connected = false;
            link.reconnects += u64::from(was_connected);
        });
        if matches!(end, End::Left) || shutdown.is_cancelled() {
            break;
        }
        if was_connected {
            tracing::warn!(endpoint, %end, "the session with the leader ended");
        } else {
            tracing::debug!(endpoint, %end, "no session");
        }
        // Two coordinators that name each other must not be asked in a tight loop.
        let at_once = matches!(end, End::Redirected) && redirects < 3;
        redirects = if at_once { redirects + 1 } else { 0 };
        if !at_once {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }
    shared.link.send_modify(|link| link.ended = true);
}

/// One session, from connecting to its end.
async fn one_session(
    shared: &Shared,
    endpoint: &str,
    shutdown: &CancellationToken,
    backoff: &mut Backoff,
) -> End {
    let opening = timeout(OPENING, open(shared, endpoint));
    let opened = tokio::select! {
        () = shutdown.cancelled() => return End::Left,
        opened = opening => opened,
    };
    let opened = opened.unwrap_or_else(|_| {
        let detail = format!("{endpoint} did not answer in time");
        Err(refused(
            shared,
            endpoint,
            &Status::deadline_exceeded(detail),
        ))
    });
    let mut session = match opened {
        Ok(session) => session,
        Err(end) => return end,
    };
    shared.coordinators.confirm(endpoint);
    backoff.reset();
    shared.link.send_modify(|link| link.connected = true);
    tracing::info!(endpoint, proxy = %session.lease.proxy(), "session with the leader");
    let end = match session.keep(shutdown).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    if matches!(end, End::Lost(_)) {
        shared.revoke(session.lease.proxy());
    }
    if !matches!(
        end,
        End::Gap(_) | End::Behind(_) | End::Resigned | End::Lost(_)
    ) {
        // Whoever broke off may lead no more; the others are asked first.
        shared
            .coordinators
            .learn(endpoint, &Status::unavailable(end.to_string()));
    }
    end
}

fn refused(shared: &Shared, endpoint: &str, status: &Status) -> End {
    if shared.coordinators.learn(endpoint, status) {
        End::Redirected
    } else {
        End::Refused(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// A session that has its welcome and its first table.
struct Session<'a> {
    shared: &'a Shared,
    instance: String,
    outbound: mpsc::Sender<ProxyMessage>,
    inbound: Streaming<v1::CoordinatorMessage>,
    lease: Lease,
    lease_length: Duration,
    renewals: Renewals,
    follower: Follower,
    acks: Acks,
    heard: Instant,
    /// Whether a table of this session had this proxy.
    listed: bool,
    /// The leader's epoch that has not come yet, and since when.
    awaited: Option<(Epoch, Instant)>,
}

/// Connects, says hello and waits for welcome and table.
async fn open<'a>(shared: &'a Shared, endpoint: &str) -> Result<Session<'a>, End> {
    let channel = shared
        .coordinators
        .connect(endpoint)
        .await
        .map_err(|detail| refused(shared, endpoint, &Status::unavailable(detail)))?;
    let mut client = RoutingClient::new(channel).max_decoding_message_size(TABLE_BYTES_MAX);
    let (outbound, messages) = mpsc::channel(32);
    let mut request = Request::new(ReceiverStream::new(messages));
    shared.coordinators.authorize(&mut request);
    let instance = shared
        .instance
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let hello = v1::Hello {
        instance: instance.clone(),
        name: shared.config.name.clone(),
        url: shared.config.url.clone(),
        epoch: shared.table.borrow().epoch.0,
    };
    let sent = Instant::now();
    // The channel is empty and its other end is in `request`: this neither waits nor fails.
    let _ = outbound.try_send(ProxyMessage {
        message: Some(ToLeader::Hello(hello)),
    });
    let answer = client.session(request).await;
    let mut inbound = answer
        .map_err(|status| refused(shared, endpoint, &status))?
        .into_inner();

    let welcome = match next(&mut inbound)
        .await
        .map_err(|status| refused(shared, endpoint, &status))?
    {
        FromLeader::Welcome(welcome) => welcome,
        other @ (FromLeader::Table(_) | FromLeader::Delta(_) | FromLeader::Renewed(_)) => {
            return Err(End::Broken(format!(
                "{} came before the welcome",
                name_of(&other)
            )));
        }
    };
    let lease_length = Duration::from_millis(welcome.lease_ms.into());
    let static_reads = Duration::from_millis(welcome.static_reads_ms).min(STATIC_READS_MAX);
    let lease = Lease::granted(ProxyId(welcome.proxy_id), sent, lease_length, static_reads);
    let mut follower = Follower::default();
    let listed = match next(&mut inbound)
        .await
        .map_err(|status| refused(shared, endpoint, &status))?
    {
        FromLeader::Table(table) => {
            let table = follower.whole(table)?;
            let listed = table.proxies.contains_key(&lease.proxy());
            shared.publish(table);
            listed
        }
        other @ (FromLeader::Welcome(_) | FromLeader::Delta(_) | FromLeader::Renewed(_)) => {
            return Err(End::Broken(format!(
                "{} came before the first table",
                name_of(&other)
            )));
        }
    };
    let before = shared.lease.borrow().map(|lease| lease.proxy());
    if before.is_some_and(|before| before != lease.proxy()) {
        tracing::warn!(?before, is = %lease.proxy(), "the coordinators had given this proxy up");
    }
    if !shared.grant(lease, &instance) {
        return Err(End::Resigned);
    }
    Ok(Session {
        shared,
        instance,
        outbound,
        inbound,
        lease,
        lease_length,
        renewals: Renewals::default(),
        follower,
        acks: Acks::default(),
        heard: Instant::now(),
        listed,
        awaited: None,
    })
}

async fn next(inbound: &mut Streaming<v1::CoordinatorMessage>) -> Result<FromLeader, Status> {
    match inbound.message().await? {
        Some(v1::CoordinatorMessage {
            message: Some(message),
        }) => Ok(message),
        Some(v1::CoordinatorMessage { message: None }) => Err(Status::internal(
            "a message of a kind that this proxy does not know",
        )),
        None => Err(Status::unavailable("the leader ended the stream")),
    }
}

fn ended_by(status: &Status) -> End {
    let why = status.message().to_owned();
    if status.code() == Code::Aborted {
        End::Lost(why)
    } else {
        End::Broken(why)
    }
}

fn name_of(message: &FromLeader) -> &'static str {
    match message {
        FromLeader::Welcome(_) => "a welcome",
        FromLeader::Table(_) => "a table",
        FromLeader::Delta(_) => "a change",
        FromLeader::Renewed(_) => "a renewal",
    }
}

impl Session<'_> {
    fn read_latencies(&self) -> Vec<v1::ReadLatency> {
        let upstream = self.shared.upstream.get();
        let latencies = upstream.map(|upstream| upstream.latencies());
        let told = latencies
            .into_iter()
            .flatten()
            .map(|(node, latency)| v1::ReadLatency {
                node: node.0,
                latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
            });
        told.collect()
    }

    /// Renews, follows, acknowledges and reports until something ends it.
    async fn keep(&mut self, shutdown: &CancellationToken) -> Result<Infallible, End> {
        let shared = self.shared;
        let stall = self.lease_length * 3 / 4;
        let mut renew =
            tokio::time::interval((self.lease_length / 4).max(Duration::from_millis(1)));
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut flush_at: Option<Instant> = None;
        let mut leave_by: Option<Instant> = None;
        self.acknowledge().await?;
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                message = next(&mut self.inbound) => {
                    let message = message.map_err(|status| ended_by(&status))?;
                    self.on_message(message)?;
                }
                _ = renew.tick() => {
                    let number = self.renewals.send(Instant::now());
                    let read_latencies = self.read_latencies();
                    self.send(ToLeader::Renew(v1::Renew { number, read_latencies })).await?;
                }
                () = shared.in_flight.moved() => self.acknowledge().await?,
                () = shared.dirty.added(), if flush_at.is_none() => flush_at = Some(Instant::now() + GATHER),
                () = sleep_until(flush_at.unwrap_or(far).into()), if flush_at.is_some() => {
                    flush_at = None;
                    self.report().await?;
                }
                () = shared.resigned.notified() => return Err(End::Resigned),
                () = sleep_until((self.heard + stall).into()) => return Err(End::Stalled(stall)),
                () = shutdown.cancelled(), if leave_by.is_none() => leave_by = Some(Instant::now() + DRAIN),
                () = sleep_until(leave_by.unwrap_or(far).into()), if leave_by.is_some() => return self.leave().await,
            }
            if leave_by.is_some() && shared.in_flight.no_writes() {
                return self.leave().await;
            }
        }
    }

    fn on_message(&mut self, message: FromLeader) -> Result<(), End> {
        let now = Instant::now();
        self.heard = now;
        match message {
            // A table may always begin anew; a second welcome says nothing new.
            FromLeader::Table(table) => {
                let table = self.follower.whole(table)?;
                self.follow(table)?;
            }
            FromLeader::Delta(delta) => {
                let table = self.follower.change(delta)?;
                self.follow(table)?;
            }
            FromLeader::Renewed(renewed) => self.on_renewed(&renewed, now)?,
            FromLeader::Welcome(_) => {}
        }
        Ok(())
    }

    /// Goes over to `table`, unless it says that this proxy is lost: another one may write its indexes by now.
    fn follow(&mut self, table: Arc<RoutingTable>) -> Result<(), End> {
        let proxy = self.lease.proxy();
        let listed = table.proxies.contains_key(&proxy);
        let newer = supersedes(&table, &self.shared.table.borrow());
        if self.listed && !listed && newer {
            self.shared.revoke(proxy);
            return Err(End::Lost(format!("{proxy} is not in the table any more")));
        }
        self.listed |= listed;
        self.shared.publish(table);
        Ok(())
    }

    fn on_renewed(&mut self, renewed: &v1::Renewed, now: Instant) -> Result<(), End> {
        if let Some(sent) = self.renewals.answered(renewed.number) {
            self.lease.renewed(sent);
            if !self.shared.grant(self.lease, &self.instance) {
                return Err(End::Resigned);
            }
            self.shared.dirty.confirm(renewed.number);
        }
        let behind = |epoch: Epoch| self.follower.epoch() < Some(epoch);
        match self.awaited.filter(|(epoch, _)| behind(*epoch)) {
            Some((epoch, since)) if now.saturating_duration_since(since) > GAP_GRACE => {
                Err(End::Behind(epoch))
            }
            Some(_) => Ok(()),
            None => {
                let newest = Epoch(renewed.epoch);
                self.awaited = behind(newest).then_some((newest, now));
                Ok(())
            }
        }
    }

    /// Sends the acknowledgement that is due, after the dirty ids of every write it covers.
    async fn acknowledge(&mut self) -> Result<(), End> {
        // Drained first, reports second: a write reports before it ends, so its ids are among them.
        let drained = self.shared.in_flight.drained();
        let Some(ack) = self.acks.due(drained) else {
            return Ok(());
        };
        self.report().await?;
        self.send(ToLeader::Ack(ack)).await
    }

    async fn report(&mut self) -> Result<(), End> {
        for dirty in self.shared.dirty.take(self.renewals.next()) {
            self.send(ToLeader::Dirty(dirty)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: ToLeader) -> Result<(), End> {
        let sending = self.outbound.send(ProxyMessage {
            message: Some(message),
        });
        match timeout(self.lease_length, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Broken("the connection is closed".to_owned())),
            Err(_) => Err(End::Stalled(self.lease_length)),
        }
    }

    /// Says goodbye and waits until the leader has heard it.
    async fn leave(&mut self) -> Result<Infallible, End> {
        // Whoever is to write next must not meet a write that begins now.
        self.shared.revoke(self.lease.proxy());
        let in_flight = &self.shared.in_flight;
        let drained = async {
            while !in_flight.no_writes() {
                in_flight.moved().await;
            }
        };
        // What is still under way then is reported below.
        let _ = timeout(FAREWELL, drained).await;
        self.report().await?;
        self.acknowledge().await?;
        if !self.shared.in_flight.no_writes() {
            // A goodbye claims that every copy is equal. Without it the lease runs out and copies are compared.
            tracing::warn!("leaving with writes under way");
            return Err(End::Left);
        }
        self.send(ToLeader::Goodbye(v1::Goodbye {})).await?;
        let until_the_end = async { while next(&mut self.inbound).await.is_ok() {} };
        if timeout(FAREWELL, until_the_end).await.is_err() {
            tracing::debug!("the leader did not confirm the goodbye");
        }
        Err(End::Left)
    }
}
