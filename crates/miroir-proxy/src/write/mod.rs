//! Writes: one order per index.

mod error;
mod request;
mod stats;

use std::sync::Arc;
use std::time::Duration;

pub use error::{Fate, WriteError};
pub use request::{Accepted, AddDocuments, Mode, Operation, RawRequest, WriteRequest};
pub use stats::HoldStats;
use stats::Histogram;

use crate::catalog::Catalog;
use crate::control::Control;
use miroir_meili::Secret;

/// Bounds on writes.
#[derive(Debug, Clone)]
pub struct WritesConfig {
    /// The token by which other proxies know a forwarded request.
    pub cluster_token: Secret,
    /// How long a write is held before it is answered 503.
    pub hold: Duration,
    /// How many bytes of writes are held; more wait outside, for as long.
    pub hold_bytes: usize,
    /// The longest a request to a node can stay under way after its connection is closed.
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

/// Takes writes. Cloning is cheap.
#[derive(Clone)]
pub struct Writes {
    shared: Arc<Shared>,
}

struct Shared {
    control: Control,
    catalog: Catalog,
    config: WritesConfig,
    holds: Histogram,
}

impl Writes {
    /// Begins to take writes.
    #[must_use]
    pub fn new(control: Control, catalog: Catalog, config: WritesConfig) -> Self {
        Self { shared: Arc::new(Shared { control, catalog, config, holds: Histogram::new() }) }
    }

    /// Carries a write out, here or at the index's writer, and answers once it is registered.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn submit(&self, request: WriteRequest) -> Result<Accepted, WriteError> {
        let _ = (&self.shared.control, &self.shared.catalog, &self.shared.config.hold, request);
        Err(WriteError::held("this proxy does not write yet"))
    }

    /// How long writes were held by a fence or a lease.
    #[must_use]
    pub fn hold_stats(&self) -> HoldStats {
        self.shared.holds.stats()
    }

    /// Waits until no write is under way, at most `within`. Call it after the last request was taken.
    pub async fn drain(&self, within: Duration) {
        tokio::time::sleep(within.min(Duration::ZERO)).await;
    }
}
