//! The proxy's side of the routing session: the table, the lease, and what is under way.
//!
//! ```text
//! leader --> session --> table --> Control::begin_read / begin_write --> requests
//!    ^          |                                                           |
//!    +-- acks, dirty ids, renewals <---- in flight <------------------------+
//! ```
//!
//! The table outlives the coordinators: with no leader to be found, reads go on by the last one until
//! `static_reads_ms` without contact, writes until the lease is over.

mod acks;
mod dirty;
mod inflight;
mod lease;
mod nodes;
mod session;
mod table;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::id::{Epoch, MigrationId, ProxyId};
use miroir_core::routing::RoutingTable;
use miroir_meili::{MeiliError, Secret};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::catalog::{Coordinators, CoordinatorsError};
use crate::upstream::Upstream;
use dirty::DirtyReports;
use inflight::{InFlight, Kind, Slot};
pub use lease::Lease;
pub use nodes::NodePool;
use nodes::NodePools;

/// What the control session needs to know.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The coordinators' API addresses.
    pub endpoints: Vec<String>,
    /// The token that the coordinators ask for.
    pub cluster_token: Secret,
    /// The proxy's configured name.
    pub name: String,
    /// Where other proxies reach it.
    pub url: String,
    /// A random token of this run.
    pub instance: String,
    /// The nodes' master key.
    pub node_master_key: Option<Secret>,
    /// The longest wait for a connection to a node.
    pub node_connect_timeout: Duration,
    /// The longest wait for a node's whole answer.
    pub node_timeout: Duration,
}

/// A configuration that cannot work. Found before anything is served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The coordinators cannot be addressed.
    #[error(transparent)]
    Coordinators(#[from] CoordinatorsError),
    /// No HTTP client for the nodes can be made.
    #[error(transparent)]
    Nodes(#[from] MeiliError),
}

impl ControlError {
    /// Whether trying again may help: never, it is the configuration that is wrong.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Coordinators(_) | Self::Nodes(_) => false,
        }
    }
}

/// Reads are not safe at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadsOver {
    /// No table has come yet.
    #[error("the proxy has no routing table yet; no coordinator leads, or none can be reached")]
    NoTable,
    /// The last contact was too long ago.
    #[error(
        "the proxy had no contact with the coordinators for too long to know where documents are"
    )]
    NoContact,
}

/// Nodes must not be sent writes at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's lease is over; no coordinator leads, or none can be reached")]
pub struct LeaseOver;

/// A read under way. Hold it until the last node has answered.
#[derive(Debug)]
pub struct ReadGuard {
    /// The table that routes it.
    pub table: Arc<RoutingTable>,
    _slot: Slot,
}

/// A write under way. Hold it until all nodes have answered and the write is registered.
#[derive(Debug)]
pub struct WriteGuard {
    /// The table that routes it.
    pub table: Arc<RoutingTable>,
    /// As whom this proxy writes.
    pub proxy: ProxyId,
    _slot: Slot,
}

/// How the session is doing, for health and statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlStatus {
    /// Whether a session is up and has its table.
    pub connected: bool,
    /// The coordinator that leads, as far as is known.
    pub leader: Option<String>,
    /// Under which id the proxy is registered.
    pub proxy: Option<u64>,
    /// The epoch of the table in use; 0 for none.
    pub epoch: u64,
    /// Whether writes are held for a dump of the whole cluster.
    pub writes_held: bool,
    /// How long nodes may still be sent writes.
    pub lease_left_ms: u64,
    /// How long the table may still be read by.
    pub reads_left_ms: u64,
    /// Sessions that ended and had to be made anew.
    pub reconnects: u64,
}

/// A handle on the session. Cloning is cheap.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    config: ControlConfig,
    /// The token of this run; another one after the proxy resigned.
    instance: Mutex<String>,
    resigned: Notify,
    coordinators: Coordinators,
    table: watch::Sender<Arc<RoutingTable>>,
    lease: watch::Sender<Option<Lease>>,
    /// Until when the table may be read by. Unlike the lease it outlives a resignation.
    reads_until: Mutex<Option<Instant>>,
    in_flight: Arc<InFlight>,
    dirty: DirtyReports,
    pools: NodePools,
    nodes: Mutex<NodePool>,
    link: watch::Sender<Link>,
    /// Whose answering times the leader is told, so that migrations give way to reads.
    upstream: OnceLock<Arc<Upstream>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    connected: bool,
    reconnects: u64,
    ended: bool,
}

/// Begins the session. It ends, with its requests drained and a goodbye, after `shutdown`: cancel that only
/// when no new request can arrive and [`Writes`](crate::write::Writes) are drained.
///
/// # Errors
/// [`ControlError`] for a configuration that cannot work; an unreachable coordinator is no error.
pub fn spawn(config: ControlConfig, shutdown: CancellationToken) -> Result<Control, ControlError> {
    let coordinators = Coordinators::new(&config.endpoints, &config.cluster_token)?;
    let pools = NodePools::new(
        config.node_master_key.clone(),
        config.node_connect_timeout,
        config.node_timeout,
    )?;
    let shared = Arc::new(Shared {
        instance: Mutex::new(config.instance.clone()),
        resigned: Notify::new(),
        config,
        coordinators,
        table: watch::Sender::new(Arc::default()),
        lease: watch::Sender::new(None),
        reads_until: Mutex::default(),
        in_flight: Arc::default(),
        dirty: DirtyReports::default(),
        pools,
        nodes: Mutex::default(),
        link: watch::Sender::new(Link::default()),
        upstream: OnceLock::new(),
    });
    tokio::spawn(session::run(Arc::clone(&shared), shutdown));
    Ok(Control { shared })
}

impl Control {
    /// Has the leader told with every renewal how long nodes take to answer reads. The first `upstream` counts.
    pub fn tell_latencies_of(&self, upstream: Arc<Upstream>) {
        // A second one would be the same process's reads again.
        let _ = self.shared.upstream.set(upstream);
    }

    /// The present table; an empty one of epoch 0 before the first came. Requests begin with
    /// [`begin_read`](Self::begin_read) or [`begin_write`](Self::begin_write) instead.
    #[must_use]
    pub fn table(&self) -> Arc<RoutingTable> {
        Arc::clone(&self.shared.table.borrow())
    }

    /// The present table and every later one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.shared.table.subscribe()
    }

    /// Begins a read.
    ///
    /// # Errors
    /// [`ReadsOver`] when the table is too old to be trusted, or there is none.
    pub fn begin_read(&self) -> Result<ReadGuard, ReadsOver> {
        let reads = *self
            .shared
            .reads_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (table, slot) = self.shared.in_flight.begin(Kind::Read);
        match reads {
            None => Err(ReadsOver::NoTable),
            Some(until) if Instant::now() >= until => Err(ReadsOver::NoContact),
            Some(_) => Ok(ReadGuard { table, _slot: slot }),
        }
    }

    /// Begins a write. Nodes may be sent it as long as [`may_write`](Self::may_write) holds.
    ///
    /// # Errors
    /// [`LeaseOver`]: hold the write until [`lease`](Self::lease) changes.
    pub fn begin_write(&self) -> Result<WriteGuard, LeaseOver> {
        // Counted first: whoever takes the lease away and sees no write under way must be sure that none begins.
        let (table, slot) = self.shared.in_flight.begin(Kind::Write);
        let lease = self.valid_lease().ok_or(LeaseOver)?;
        if table.epoch == Epoch(0) {
            return Err(LeaseOver);
        }
        Ok(WriteGuard {
            table,
            proxy: lease.proxy(),
            _slot: slot,
        })
    }

    /// Whether a node may be sent a write, by this proxy as `proxy`, right now. Asked before every request.
    #[must_use]
    pub fn may_write(&self, proxy: ProxyId) -> bool {
        self.valid_lease()
            .is_some_and(|lease| lease.proxy() == proxy)
    }

    /// The lease, present and future. `None` before the first session.
    #[must_use]
    pub fn lease(&self) -> watch::Receiver<Option<Lease>> {
        self.shared.lease.subscribe()
    }

    /// Under which id the proxy is registered; `None` before the first session. It changes when the
    /// coordinators had given it up.
    #[must_use]
    pub fn proxy_id(&self) -> Option<ProxyId> {
        self.shared.lease.borrow().map(|lease| lease.proxy())
    }

    /// How long nodes may still be sent writes; zero once the lease is over.
    #[must_use]
    pub fn lease_left(&self) -> Duration {
        self.shared
            .lease
            .borrow()
            .map_or(Duration::ZERO, |lease| lease.left(Instant::now()))
    }

    /// Waits until the table is of `epoch` or later; false when `deadline` came first.
    pub async fn wait_epoch(&self, epoch: Epoch, deadline: Instant) -> bool {
        self.wait_table(deadline, |table| table.epoch >= epoch)
            .await
    }

    /// Waits until the table is as wanted; false when `deadline` came first.
    pub async fn wait_table(
        &self,
        deadline: Instant,
        wanted: impl FnMut(&RoutingTable) -> bool,
    ) -> bool {
        let mut wanted = wanted;
        let mut tables = self.subscribe();
        let found = tables.wait_for(|table| wanted(table));
        tokio::time::timeout_at(deadline.into(), found)
            .await
            .is_ok_and(|found| found.is_ok())
    }

    /// Clients of the nodes of the present table.
    #[must_use]
    pub fn nodes(&self) -> NodePool {
        self.shared
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reports ids of documents that were written to the shard of a migration. Call it before the write's
    /// guard is dropped: no acknowledgement overtakes it then.
    pub fn report_dirty(&self, migration: MigrationId, ids: impl IntoIterator<Item = String>) {
        self.shared.dirty.add(migration, ids);
    }

    /// Reports that anything in the shard of a migration may have changed. As [`report_dirty`](Self::report_dirty).
    pub fn report_whole_shard(&self, migration: MigrationId) {
        self.shared.dirty.add_whole_shard(migration);
    }

    /// How the session is doing.
    #[must_use]
    pub fn status(&self) -> ControlStatus {
        let now = Instant::now();
        let ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let lease = *self.shared.lease.borrow();
        let link = *self.shared.link.borrow();
        let reads_until = *self
            .shared
            .reads_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (epoch, writes_held) = {
            let table = self.shared.table.borrow();
            (table.epoch.0, table.writes_held)
        };
        ControlStatus {
            connected: link.connected,
            leader: self.shared.coordinators.leader(),
            proxy: lease.map(|lease| lease.proxy().0),
            epoch,
            writes_held,
            lease_left_ms: lease.map_or(0, |lease| ms(lease.left(now))),
            reads_left_ms: reads_until.map_or(0, |until| ms(until.saturating_duration_since(now))),
            reconnects: link.reconnects,
        }
    }

    /// The coordinators, for other clients of them.
    #[must_use]
    pub fn coordinators(&self) -> Coordinators {
        self.shared.coordinators.clone()
    }

    /// The random token of this run, as configured.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.shared.config.instance
    }

    /// Gives up being `proxy`, without a goodbye, and registers anew. For a writer that cannot tell whether
    /// copies are equal: once its lease has run out, the coordinators trust one copy of each shard it wrote.
    pub fn resign(&self, proxy: ProxyId) {
        let mut instance = self
            .shared
            .instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.proxy_id() == Some(proxy) {
            *instance = Uuid::new_v4().to_string();
            self.shared.lease.send_replace(None);
            self.shared.resigned.notify_one();
        }
    }

    /// Completes when the session has ended after its shutdown.
    pub async fn ended(&self) {
        let mut link = self.shared.link.subscribe();
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = link.wait_for(|link| link.ended).await;
    }

    fn valid_lease(&self) -> Option<Lease> {
        let lease = *self.shared.lease.borrow();
        lease.filter(|lease| !lease.left(Instant::now()).is_zero())
    }
}

impl Shared {
    /// Goes on under `lease`, which the session of `instance` got; false when the proxy resigned meanwhile.
    fn grant(&self, lease: Lease, instance: &str) -> bool {
        let present = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if *present != instance {
            return false;
        }
        *self
            .reads_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(lease.reads_until());
        self.lease.send_replace(Some(lease));
        true
    }

    /// Takes back the lease that `proxy` has, at once: no write begins, and nodes are sent none.
    fn revoke(&self, proxy: ProxyId) {
        let of_it = |lease: &Lease| lease.proxy() == proxy;
        self.lease.send_if_modified(|lease| {
            let revoked = lease.as_ref().is_some_and(of_it);
            if revoked {
                *lease = None;
            }
            revoked
        });
    }

    /// Goes over to `table` if it is newer than the one in use.
    fn publish(&self, table: Arc<RoutingTable>) {
        let present = Arc::clone(&self.table.borrow());
        if !table::supersedes(&table, &present) {
            return;
        }
        if !present.cluster_id.is_empty() && present.cluster_id != table.cluster_id {
            tracing::error!(
                was = present.cluster_id,
                is = table.cluster_id,
                "the coordinators belong to another cluster"
            );
        }
        {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            *nodes = self.pools.next(&nodes, &table);
        }
        self.in_flight.publish(Arc::clone(&table));
        self.table.send_replace(table);
    }
}
