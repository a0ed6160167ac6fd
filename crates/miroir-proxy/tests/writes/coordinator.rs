//! A coordinator of one: the real cluster state behind the real gRPC services, and a script of failures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use miroir_core::cluster::{ClusterState, Command, Outcome, Rejection, Task};
use miroir_core::id::{Epoch, MigrationId};
use miroir_core::migration::Event;
use miroir_core::routing::RoutingTable;
use miroir_proto::v1::catalog_server::CatalogServer;
use miroir_proto::v1::coordinator_message::Message as ToProxy;
use miroir_proto::v1::proxy_message::Message as FromProxy;
use miroir_proto::v1::routing_server::{Routing, RoutingServer};
use miroir_proto::v1::{self, CoordinatorMessage};
use miroir_proto::{LEADER_METADATA, REJECTION_METADATA};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

pub const TOKEN: &str = "cluster-token";

/// What a proxy said on its sessions, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Hello(v1::Hello),
    Ack(v1::Ack),
    Dirty(v1::Dirty),
    Goodbye,
}

pub(super) struct Inner {
    pub(super) world: Mutex<World>,
    table: watch::Sender<Arc<RoutingTable>>,
    heard: watch::Sender<Vec<Heard>>,
    /// Ends all sessions when it changes.
    kick: watch::Sender<u32>,
    leads: AtomicBool,
    renews: AtomicBool,
    /// Changes that are left out of the stream, so that the next one does not fit.
    gaps: AtomicU32,
    /// Catalog calls that are carried out and whose answers are lost.
    lost_answers: AtomicU32,
    /// Registrations wait while this is set.
    pub(super) stalls: watch::Sender<bool>,
    /// The most writes that a registration may have.
    pub(super) writes_max: AtomicUsize,
    lease_ms: AtomicU64,
    redirect: Mutex<Option<String>>,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) cluster: ClusterState,
    index: u64,
    answered: HashMap<String, Outcome>,
}

/// A running coordinator. Dropping it ends it.
pub struct Coordinator {
    pub url: String,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Coordinator {
    /// Starts one that leads an empty cluster.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner {
            world: Mutex::default(),
            table: watch::Sender::new(Arc::default()),
            heard: watch::Sender::new(Vec::new()),
            kick: watch::Sender::new(0),
            leads: AtomicBool::new(true),
            renews: AtomicBool::new(true),
            gaps: AtomicU32::new(0),
            lost_answers: AtomicU32::new(0),
            stalls: watch::Sender::new(false),
            writes_max: AtomicUsize::new(usize::MAX),
            lease_ms: AtomicU64::new(600),
            redirect: Mutex::new(None),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let service = Service {
            inner: Arc::clone(&inner),
        };
        let server = tonic::transport::Server::builder()
            .add_service(RoutingServer::with_interceptor(
                service.clone(),
                check_token,
            ))
            .add_service(CatalogServer::with_interceptor(service, check_token))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.expect("serving") });
        Self { url, inner, server }
    }

    /// Applies a command, which must be accepted.
    pub fn apply(&self, command: &Command) -> Outcome {
        let outcome = self.inner.propose(command);
        assert!(
            !matches!(outcome, Outcome::Rejected(_)),
            "{command:?}: {outcome:?}"
        );
        outcome
    }

    /// Moves a migration on.
    pub fn advance(&self, id: MigrationId, event: Event) -> Epoch {
        let step = self.state(|state| state.migrations[&id].step);
        self.apply(&Command::Advance { id, step, event });
        self.epoch()
    }

    pub fn state<T>(&self, read: impl FnOnce(&ClusterState) -> T) -> T {
        read(
            &self
                .inner
                .world
                .lock()
                .expect("no panic while locked")
                .cluster,
        )
    }

    pub fn epoch(&self) -> Epoch {
        self.state(|state| state.epoch)
    }

    pub fn tasks(&self) -> Vec<Task> {
        self.state(|state| state.tasks.iter().cloned().collect())
    }

    pub fn heard(&self) -> watch::Receiver<Vec<Heard>> {
        self.inner.heard.subscribe()
    }

    /// The newest acknowledgement.
    pub fn acked(&self) -> Option<v1::Ack> {
        let heard = self.inner.heard.borrow();
        heard.iter().rev().find_map(|one| match one {
            Heard::Ack(ack) => Some(*ack),
            Heard::Hello(_) | Heard::Dirty(_) | Heard::Goodbye => None,
        })
    }

    /// Whether it leads; if not, it names `leader`.
    pub fn lead(&self, leads: bool, leader: Option<&str>) {
        *self.inner.redirect.lock().expect("no panic while locked") = leader.map(str::to_owned);
        self.inner.leads.store(leads, Ordering::SeqCst);
        self.kick();
    }

    pub fn kick(&self) {
        self.inner.kick.send_modify(|n| *n += 1);
    }

    pub fn renew(&self, renews: bool) {
        self.inner.renews.store(renews, Ordering::SeqCst);
    }

    pub fn leave_out_changes(&self, count: u32) {
        self.inner.gaps.store(count, Ordering::SeqCst);
    }

    pub fn lose_answers(&self, count: u32) {
        self.inner.lost_answers.store(count, Ordering::SeqCst);
    }

    /// Refuses registrations of more writes, as the coordinators do with commands that are too long.
    pub fn take_writes(&self, writes_max: usize) {
        self.inner.writes_max.store(writes_max, Ordering::SeqCst);
    }

    pub fn set_lease_ms(&self, lease_ms: u64) {
        self.inner.lease_ms.store(lease_ms, Ordering::SeqCst);
    }

    pub fn stall(&self, stalls: bool) {
        self.inner.stalls.send_replace(stalls);
    }

    /// Sends everybody a table of an older epoch, as a leader does that has not caught up.
    pub fn send_old_table(&self, table: RoutingTable) {
        self.inner.table.send_replace(Arc::new(table));
        self.kick();
    }

    pub fn table(&self) -> RoutingTable {
        self.state(|state| RoutingTable::build(state).expect("initialised"))
    }
}

impl Inner {
    fn propose(&self, command: &Command) -> Outcome {
        let mut world = self.world.lock().expect("no panic while locked");
        self.apply(&mut world, command)
    }

    fn apply(&self, world: &mut World, command: &Command) -> Outcome {
        world.index += 1;
        let before = world.cluster.epoch;
        let index = world.index;
        let outcome = world.cluster.apply(index, now_ms(), command);
        if world.cluster.epoch != before
            && let Some(table) = RoutingTable::build(&world.cluster)
        {
            self.table.send_replace(Arc::new(table));
        }
        outcome
    }

    /// Carries a command out once per request id; the answer may get lost.
    pub(super) fn command(&self, id: &str, command: &Command) -> Result<(Outcome, u64), Status> {
        self.check_leads()?;
        let (outcome, epoch) = {
            let mut world = self.world.lock().expect("no panic while locked");
            let outcome = match world.answered.get(id) {
                Some(outcome) => outcome.clone(),
                None => self.apply(&mut world, command),
            };
            world.answered.insert(id.to_owned(), outcome.clone());
            (outcome, world.cluster.epoch.0)
        };
        let lost = self
            .lost_answers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if lost.is_ok() {
            return Err(Status::deadline_exceeded("the answer got lost"));
        }
        match outcome {
            Outcome::Rejected(rejection) => Err(refusal(&rejection)),
            outcome => Ok((outcome, epoch)),
        }
    }

    pub(super) fn check_leads(&self) -> Result<(), Status> {
        if self.leads.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut status = Status::unavailable("not the leader");
        if let Some(leader) = &*self.redirect.lock().expect("no panic while locked") {
            status
                .metadata_mut()
                .insert(LEADER_METADATA, leader.parse().expect("ASCII"));
        }
        Err(status)
    }

    fn hear(&self, heard: Heard) {
        self.heard.send_modify(|all| all.push(heard));
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("fits")
}

fn check_token(request: Request<()>) -> Result<Request<()>, Status> {
    let token = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if token == Some(&format!("Bearer {TOKEN}")) {
        Ok(request)
    } else {
        Err(Status::unauthenticated("wrong token"))
    }
}

pub(super) fn refusal(rejection: &Rejection) -> Status {
    let mut status = Status::failed_precondition(rejection.to_string());
    let json = serde_json::to_vec(rejection).expect("JSON");
    status
        .metadata_mut()
        .insert_bin(REJECTION_METADATA, MetadataValue::from_bytes(&json));
    status
}

#[derive(Clone)]
pub(super) struct Service {
    pub(super) inner: Arc<Inner>,
}

type Messages = mpsc::Sender<Result<CoordinatorMessage, Status>>;

async fn say(to: &Messages, message: ToProxy) {
    // A proxy that has gone hears nothing.
    let _ = to
        .send(Ok(CoordinatorMessage {
            message: Some(message),
        }))
        .await;
}

#[tonic::async_trait]
impl Routing for Service {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;
    type WatchStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ProxyMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.inner.check_leads()?;
        let (to, messages) = mpsc::channel(64);
        tokio::spawn(session(Arc::clone(&self.inner), request.into_inner(), to));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("no observers here"))
    }
}

async fn session(inner: Arc<Inner>, mut inbound: Streaming<v1::ProxyMessage>, to: Messages) {
    let mut kick = inner.kick.subscribe();
    let Ok(Some(v1::ProxyMessage {
        message: Some(FromProxy::Hello(hello)),
    })) = inbound.message().await
    else {
        return;
    };
    inner.hear(Heard::Hello(hello.clone()));
    let command = Command::RegisterProxy {
        instance: hello.instance,
        name: hello.name,
        url: hello.url,
    };
    let Outcome::ProxyRegistered(proxy) = inner.propose(&command) else {
        return;
    };
    let lease_ms = u32::try_from(inner.lease_ms.load(Ordering::SeqCst)).expect("fits");
    let welcome = v1::Welcome {
        proxy_id: proxy.0,
        lease_ms,
        static_reads_ms: 60_000,
    };
    say(&to, ToProxy::Welcome(welcome)).await;
    let mut tables = inner.table.subscribe();
    let mut sent = Arc::clone(&tables.borrow_and_update());
    say(&to, ToProxy::Table(sent.as_ref().into())).await;
    loop {
        tokio::select! {
            _ = kick.changed() => return,
            _ = tables.changed() => {
                let next = Arc::clone(&tables.borrow_and_update());
                let gap = inner.gaps.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                if gap.is_err() {
                    say(&to, ToProxy::Delta((&next.delta_from(&sent)).into())).await;
                }
                sent = next;
            }
            message = inbound.message() => match message {
                Ok(Some(v1::ProxyMessage { message: Some(message) })) => match message {
                    FromProxy::Renew(renew) if inner.renews.load(Ordering::SeqCst) => {
                        let renewed = v1::Renewed { number: renew.number, epoch: sent.epoch.0 };
                        say(&to, ToProxy::Renewed(renewed)).await;
                    }
                    FromProxy::Renew(_) | FromProxy::Hello(_) => {}
                    FromProxy::Ack(ack) => inner.hear(Heard::Ack(ack)),
                    FromProxy::Dirty(dirty) => inner.hear(Heard::Dirty(dirty)),
                    FromProxy::Goodbye(_) => {
                        inner.hear(Heard::Goodbye);
                        inner.propose(&Command::ForgetProxy { proxy });
                        return;
                    }
                },
                Ok(Some(v1::ProxyMessage { message: None }) | None) | Err(_) => return,
            },
        }
    }
}
