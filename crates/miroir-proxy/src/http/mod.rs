//! Meilisearch's HTTP API.
//!
//! Handlers check who asks and what is asked, hand it to [`Reads`](crate::read::Reads),
//! [`Writes`](crate::write::Writes) or [`Catalog`](crate::catalog::Catalog), and write down what
//! comes back. They decide nothing about nodes or shards.

mod aliases;
mod auth;
mod batches;
mod body;
mod document_query;
mod documents;
mod facet_search;
mod features;
mod fields;
mod idempotency;
mod incoming;
mod indexes;
mod keys;
mod metrics;
mod multi_search;
mod params;
mod path;
mod reads;
mod refusals;
mod registry;
mod render;
pub mod routes;
mod search_rules;
mod service;
mod settings;
mod similar;
mod stats;
mod sub_settings;
mod swap;
mod task_query;
mod tasks;
mod unsupported;
mod upkeep;
mod view;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::IndexUid;
use tower_http::compression::CompressionLayer;

use crate::catalog::{Catalog, CatalogError};
use crate::control::Control;
use crate::error::HttpError;
use crate::read::Reads;
use crate::write::Writes;
pub use auth::{Allowed, Keys};

/// What the handlers work with.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    in_flight: AtomicUsize,
}

/// The parts of a proxy that its HTTP server joins.
pub struct Parts {
    /// The session with the coordinators.
    pub control: Control,
    /// Tasks.
    pub catalog: Catalog,
    /// Reads.
    pub reads: Reads,
    /// Writes.
    pub writes: Writes,
    /// Who may do what.
    pub keys: Keys,
    /// The longest request body, in bytes.
    pub payload_limit: usize,
}

impl Server {
    /// A server of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                in_flight: AtomicUsize::new(0),
            }),
        }
    }

    /// The service of all routes. Answers are packed as the client's `Accept-Encoding` asks. Serve it with the clients' addresses
    /// (`into_make_service_with_connect_info::<SocketAddr>`).
    pub fn router(&self) -> Router {
        let routes = routes::router()
            .layer(middleware::from_fn_with_state(self.clone(), auth::guard))
            .layer(CompressionLayer::new())
            .layer(middleware::from_fn_with_state(self.clone(), count))
            .with_state(self.clone());
        // Around the router, since it changes what is routed.
        let resolve = middleware::map_request_with_state(self.clone(), aliases::in_path);
        Router::new().fallback_service(routes).layer(resolve)
    }

    /// The body of a request that must be JSON.
    async fn json_body(&self, request: Request) -> Result<Bytes, HttpError> {
        let (head, content) = request.into_parts();
        body::require_json(&head.headers)?;
        Ok(body::read(&head.headers, content, self.parts().payload_limit).await?)
    }

    fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Requests that have begun and not been answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }
}

/// Where a request comes from.
type Peer = axum::extract::ConnectInfo<SocketAddr>;

/// One request that is counted; also when the client goes away and its handler is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn count(State(server): State<Server>, request: Request, next: Next) -> Response {
    server.inner.in_flight.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&server.inner.in_flight);
    next.run(request).await
}

/// An index uid from a path.
fn index_uid(text: &str) -> Result<IndexUid, ApiError> {
    IndexUid::parse(text).map_err(|error| ApiError::new(Code::InvalidIndexUid, error.to_string()))
}

impl From<CatalogError> for HttpError {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::NoLeader { .. } | CatalogError::Unknown { .. } => {
                Self::unavailable("no_leader", format!("{error}. Try again."))
            }
            CatalogError::Rejected(_) | CatalogError::Protocol { .. } => {
                Self::internal(error.to_string())
            }
        }
    }
}
