//! One coordinator from start to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use miroir_core::cluster::ClusterState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::actor::{Context, ScrubBoard, SettingsBoard, leadership};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::error::AppError;
use crate::grpc::auth::CheckToken;
use crate::grpc::server::{bind, serve_api, serve_raft};
use crate::http::serve_http;
use crate::machine::Handle;
use crate::migration::{Paces, Underway};
use crate::nodes::{HealthBoard, NodePool};
use crate::raft::{Consensus, ConsensusConfig, FatalHandler, RaftLimits, RaftTimings};
use crate::session::{Host, LeaseRules, Seat, Sessions, publish};
use crate::storage::{Identity, Storage};

/// Runs a coordinator until `shutdown`, or until it cannot go on.
///
/// The configuration must have been checked ([`Config::load`] does).
///
/// # Errors
/// [`AppError`] with the reason. Consensus that died is one: the process has to be started again.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AppError> {
    let api = bind("the API", config.api_addr).await?;
    let raft = bind("consensus", config.raft_addr).await?;
    let http = bind("HTTP", config.http_addr).await?;
    run_on(config, Listeners { api, raft, http }, shutdown).await
}

/// Bound addresses. Whoever binds them first and configures peers afterwards can use port 0.
#[derive(Debug)]
pub struct Listeners {
    /// For administration, catalog and routing.
    pub api: TcpListener,
    /// For consensus.
    pub raft: TcpListener,
    /// For administration over plain HTTP.
    pub http: TcpListener,
}

/// As [`run`], on addresses that are bound already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), AppError> {
    let check = CheckToken::new(&config.token()).map_err(|error| {
        AppError::Config(ConfigError::Invalid {
            field: "cluster_token".to_owned(),
            rule: error.to_string(),
        })
    })?;
    let (fatal, mut died) = watch::channel(None);
    let consensus = start_consensus(&config, fatal).await?;
    let mut app = App::new(config, consensus)?;
    let mut servers = app.serve(listeners, check);
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        reason = died.wait_for(Option::is_some) => Err(fatal_error(reason.ok().and_then(|r| r.clone()))),
        served = servers.join_next() => Err(server_error(served)),
        worked = app.work.join_next() => Err(work_error(worked)),
    };
    if let Err(error) = &ended {
        tracing::error!(%error, "this coordinator stops");
    }
    app.stop(servers).await;
    ended
}

fn fatal_error(reason: Option<String>) -> AppError {
    AppError::ConsensusStopped(reason.unwrap_or_else(|| "for an unknown reason".to_owned()))
}

/// A server never ends before it is told to.
fn server_error(served: Option<Result<Result<(), AppError>, tokio::task::JoinError>>) -> AppError {
    let detail = match served {
        Some(Ok(Err(error))) => return error,
        Some(Err(panic)) => panic.to_string(),
        Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
    };
    AppError::Serve {
        what: "API, consensus or HTTP",
        detail,
    }
}

/// Neither does what follows leadership and what publishes tables. Without them this coordinator would lead and
/// do nothing, or show proxies a table that stands still.
fn work_error(worked: Option<Result<(), tokio::task::JoinError>>) -> AppError {
    let detail = match worked {
        Some(Err(panic)) => panic.to_string(),
        Some(Ok(())) | None => "it ended by itself".to_owned(),
    };
    AppError::ConsensusStopped(format!("what follows it failed: {detail}"))
}

async fn start_consensus(
    config: &Config,
    fatal: watch::Sender<Option<String>>,
) -> Result<Consensus<ClusterState>, AppError> {
    let identity = Identity {
        cluster_id: config.cluster.clone(),
        coordinator_id: config.id,
    };
    let (dir, owner) = (config.data_dir.clone(), identity.clone());
    let opened = tokio::task::spawn_blocking(move || Storage::open_dir(&dir, &owner)).await;
    let storage = opened.map_err(|panic| AppError::ConsensusStopped(panic.to_string()))??;
    let on_fatal: FatalHandler = Arc::new(move |reason| {
        fatal.send_replace(Some(reason.to_owned()));
    });
    Ok(Consensus::start(consensus_config(config, identity), storage, on_fatal).await?)
}

fn consensus_config(config: &Config, identity: Identity) -> ConsensusConfig {
    let ids: BTreeMap<u64, ()> = config.peers.iter().map(|peer| (peer.id, ())).collect();
    let position = ids.keys().position(|id| *id == config.id).unwrap_or(0);
    let timings = RaftTimings {
        heartbeat_ms: config.raft.heartbeat_ms,
        election_min_ms: config.raft.election_min_ms,
        election_span_ms: config.raft.election_span_ms,
        propose_timeout_ms: config.raft.propose_timeout_ms,
        ..RaftTimings::default()
    };
    let limits = RaftLimits {
        snapshot_every_entries: config.raft.snapshot_every_entries,
        ..RaftLimits::default()
    };
    ConsensusConfig {
        timings,
        limits,
        token: config.token(),
        ..ConsensusConfig::new(identity, position, ids.len())
    }
}

/// How leases are counted, by configuration.
fn lease_rules(config: &Config) -> LeaseRules {
    LeaseRules {
        lease: config.lease(),
        static_reads: Duration::from_millis(config.static_reads_ms),
        late_request: Duration::from_millis(config.late_request_ms),
        read_timeout: Duration::from_millis(config.nodes.request_timeout_ms),
    }
}

/// The running parts.
struct App {
    ctx: Context,
    seat: watch::Receiver<Seat>,
    tables: crate::session::Tables,
    /// Ends leadership, tables and sessions.
    stop_work: CancellationToken,
    /// Ends the servers, once nothing is left for them to serve.
    stop_servers: CancellationToken,
    work: JoinSet<()>,
}

impl App {
    fn new(config: Config, consensus: Consensus<ClusterState>) -> Result<Self, AppError> {
        let stop_work = CancellationToken::new();
        let stop_servers = CancellationToken::new();
        let ctx = Context {
            underway: Underway::default(),
            paces: Paces::default(),
            // Told of changes to the end: an actor that heard no more of them would take that for a failure.
            cluster: Handle::new(consensus, stop_servers.clone()),
            nodes: NodePool::new(&config)?,
            health: HealthBoard::default(),
            scrub: ScrubBoard::default(),
            settings: SettingsBoard::default(),
            sessions: Sessions::new(lease_rules(&config)),
            clock: Arc::new(SystemClock),
            config: Arc::new(config),
        };
        let mut work = JoinSet::new();
        let (seat_of, seat) = watch::channel(Seat::Follower { leader: None });
        let (tables_of, tables) = watch::channel(None);
        work.spawn(publish(ctx.cluster.clone(), tables_of, stop_work.clone()));
        work.spawn(leadership::run(ctx.clone(), seat_of, stop_work.clone()));
        Ok(Self {
            ctx,
            seat,
            tables,
            stop_work,
            stop_servers,
            work,
        })
    }

    fn serve(&self, listeners: Listeners, check: CheckToken) -> JoinSet<Result<(), AppError>> {
        let host = Host {
            cluster: self.ctx.cluster.clone(),
            sessions: self.ctx.sessions.clone(),
            tables: self.tables.clone(),
            seat: self.seat.clone(),
        };
        let mut servers = JoinSet::new();
        let service = self.ctx.cluster.consensus().service();
        servers.spawn(serve_raft(
            listeners.raft,
            service,
            check.clone(),
            self.stop_servers.clone(),
        ));
        servers.spawn(serve_http(
            listeners.http,
            self.ctx.clone(),
            check.clone(),
            self.stop_servers.clone(),
        ));
        servers.spawn(serve_api(
            listeners.api,
            self.ctx.clone(),
            host,
            check,
            self.stop_servers.clone(),
        ));
        servers
    }

    /// Ends everything: first the leader's work, then the servers, then consensus. Whatever has not ended in
    /// time is cut off; the log is on disk, and nothing else has to survive.
    async fn stop(mut self, mut servers: JoinSet<Result<(), AppError>>) {
        tracing::info!("stopping");
        let patience = self.ctx.config.drain();
        self.stop_work.cancel();
        // Leadership has its own deadline for its actors and aborts them after it.
        while self.work.join_next().await.is_some() {}
        self.stop_servers.cancel();
        drop((self.tables, self.seat));
        let drained = async { while servers.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!("open calls did not end in time and are cut off");
            servers.shutdown().await;
        }
        self.ctx.cluster.consensus().shutdown().await;
        tracing::info!("stopped");
    }
}
