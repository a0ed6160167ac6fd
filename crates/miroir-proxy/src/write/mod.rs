//! Writes: one order per index, on every copy the same.
//!
//! Any proxy takes a write. The index's one writer puts it in order and sends it to the nodes; another proxy
//! forwards it there, unread. It is answered once the coordinators have committed it together with the copies
//! that missed it.

mod active;
mod answers;
mod created;
mod dirty;
mod error;
mod finish;
mod forward;
mod group;
mod hold;
mod lane;
mod op;
mod outcome;
mod pace;
mod plan;
mod prepare;
mod provision;
mod queue;
mod registrar;
mod registry;
mod repeat;
mod request;
mod route;
mod sequencer;
mod stats;
mod swap;
mod tasks;
mod unrouted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use miroir_meili::{MeiliError, Secret, http_client};
use tokio::sync::mpsc;

use crate::catalog::Catalog;
use crate::control::Control;
use active::ActiveCount;
use answers::Answers;
use created::Created;
pub use error::{Fate, WriteError};
use forward::Forwarder;
pub use forward::{
    FORWARDED_HEADER, IDEMPOTENCY_HEADER, MOVED_HEADER, REQUEST_ID_HEADER, TOKEN_HEADER,
};
use hold::Budget;
use registry::Registry;
use repeat::Flights;
pub use repeat::key_reused;
pub use request::{Accepted, AddDocuments, Mode, Operation, RawRequest, WriteRequest};
use stats::Histogram;
pub use stats::HoldStats;

/// Bounds on writes.
#[derive(Debug, Clone)]
pub struct WritesConfig {
    /// The token by which other proxies know a forwarded request.
    pub cluster_token: Secret,
    /// How long a write is held before it is answered 503.
    pub hold: Duration,
    /// How many bytes of writes are held; more wait outside, for as long.
    pub hold_bytes: usize,
    /// The longest a request to a node can stay under way after its connection is closed and the node answers.
    pub late_request: Duration,
}

impl WritesConfig {
    /// The defaults: 10 seconds, 128 MiB, half a second.
    #[must_use]
    pub fn new(cluster_token: Secret) -> Self {
        Self {
            cluster_token,
            hold: Duration::from_secs(10),
            hold_bytes: 128 << 20,
            late_request: Duration::from_millis(500),
        }
    }
}

/// How long writes took, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteStats {
    /// Writes that a fence or the lease held: from arrival until their last part was sent.
    pub held: HoldStats,
    /// Requests to nodes that waited because a migration wants the node's queue short.
    pub paced: HoldStats,
    /// All acknowledged writes of this proxy's clients: from arrival to answer.
    pub answered: HoldStats,
}

/// Takes writes. Cloning is cheap.
#[derive(Clone)]
pub struct Writes {
    shared: Arc<Shared>,
}

struct Shared {
    control: Control,
    catalog: Catalog,
    config: WritesConfig,
    forwarder: Forwarder,
    registry: Registry,
    registrar: mpsc::UnboundedSender<registrar::Item>,
    answers: Answers,
    flights: Flights,
    created: Created,
    budget: Budget,
    active: ActiveCount,
    draining: AtomicBool,
    mark_prefix: Arc<str>,
    sequence: Arc<AtomicU64>,
    holds: Arc<Histogram>,
    paced: Arc<Histogram>,
    answered: Histogram,
}

impl Writes {
    /// Begins to take writes, and to give nodes the settings of the indexes that this proxy writes.
    ///
    /// # Errors
    /// [`MeiliError::Invalid`] when no HTTP client can be set up.
    pub fn new(
        control: Control,
        catalog: Catalog,
        config: WritesConfig,
    ) -> Result<Self, MeiliError> {
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
        let http = http_client(CONNECT_TIMEOUT)?;
        let timeout = route::answer_within(&config) + Duration::from_secs(5);
        let forwarder = Forwarder::new(http, config.cluster_token.clone(), timeout);
        let (registrar, items) = mpsc::unbounded_channel();
        tokio::spawn(registrar::run(catalog.clone(), control.clone(), items));
        let short: String = control
            .instance()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(12)
            .collect();
        let shared = Arc::new(Shared {
            control,
            catalog,
            forwarder,
            registry: Registry::default(),
            registrar,
            answers: Answers::default(),
            flights: Flights::default(),
            created: Created::new(),
            budget: Budget::new(config.hold_bytes),
            active: ActiveCount::new(),
            draining: AtomicBool::new(false),
            mark_prefix: format!("miroir:{short}").into(),
            sequence: Arc::default(),
            holds: Arc::new(Histogram::new()),
            paced: Arc::new(Histogram::new()),
            answered: Histogram::new(),
            config,
        });
        tokio::spawn(registry::follow(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Carries a write out, here or at the index's writer, and answers once it is registered.
    ///
    /// # Errors
    /// [`WriteError`]: a refusal, 503, or [`WriteError::Moved`] for a forwarded request only.
    ///
    /// # Cancel safety
    /// Dropped, it tells nobody the answer; what was handed to a lane goes on.
    pub async fn submit(&self, request: WriteRequest) -> Result<Accepted, WriteError> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(WriteError::held("this proxy is shutting down"));
        }
        let arrived = Instant::now();
        let shared = Arc::clone(&self.shared);
        let answer = if request.forwarded {
            let id = request.request_id;
            self.shared
                .answers
                .once(id, || {
                    Box::pin(async move { shared.carry_out_once(request).await })
                })
                .await
        } else {
            Box::pin(shared.carry_out_once(request)).await
        };
        if answer.is_ok() {
            self.shared.answered.record(arrived.elapsed());
        }
        answer
    }

    /// How long writes were held by a fence or a lease.
    #[must_use]
    pub fn hold_stats(&self) -> HoldStats {
        self.shared.holds.stats()
    }

    /// How long writes took.
    #[must_use]
    pub fn stats(&self) -> WriteStats {
        WriteStats {
            held: self.shared.holds.stats(),
            paced: self.shared.paced.stats(),
            answered: self.shared.answered.stats(),
        }
    }

    /// Takes no more writes and waits until none is under way, at most `within`; false when some still are.
    pub async fn drain(&self, within: Duration) -> bool {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.active.drained(within).await
    }
}
