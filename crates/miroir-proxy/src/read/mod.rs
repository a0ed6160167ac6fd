//! Reading: searches, documents, statistics and settings, each from one copy of every shard.
//!
//! ```text
//! client -> begin (table, guard) -> cover (one copy of each shard) -> nodes -> merge -> client
//!                                        ^ another copy, when a node fails |
//! ```
//!
//! Everything a read needs is in the table that it begins with; the guard keeps coordinators from
//! cleaning a copy away while a read may use it.

mod choice;
mod cover;
mod documents;
mod facet_search;
mod fault;
mod fields;
mod multi;
mod render;
mod search;
mod session;
mod settings;
mod similar;
mod size;
mod stats;
mod sticky;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::routing::IndexRoute;
use miroir_meili::{NodeClient, NodeVersion};
use serde_json::Value;
use tokio::time::Instant;

use crate::control::{Control, ReadGuard, ReadsOver};
use crate::error::HttpError;
use crate::upstream::Upstream;
use cover::{Piece, Scope};
pub use documents::DocumentsQuery;
use fault::Fault;
pub use fields::FieldsQuery;
pub use render::RenderQuery;
pub use session::{SESSION_HEADER, Sessions, session_of};
pub use size::SizeFormat;
pub use stats::StatsQuery;
use sticky::Sticky;
use versions::Versions;

/// What of a client's request nodes are told beside the request itself. They are asked with the
/// cluster's own key: the client's was judged here.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Headers of the client that mean something to a node.
    pub headers: HeaderMap,
    /// The session whose writes the read is to show.
    pub session: Option<HeaderValue>,
}

impl Caller {
    /// A request of nobody's but this proxy's.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers
    }
}

/// The header with which a client asks for search metadata.
pub const METADATA_HEADER: HeaderName = HeaderName::from_static("meili-include-metadata");

/// Answers reads. Cloning is cheap.
#[derive(Clone)]
pub struct Reads {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    upstream: Arc<Upstream>,
    sessions: Sessions,
    timeout: Duration,
    versions: Arc<Versions>,
    sticky: Arc<Sticky>,
}

/// A request to a node.
struct Ask<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
}

/// A read that has begun: where it goes, and the guard that keeps that true.
struct Begun {
    scope: Scope,
    _guard: ReadGuard,
}

impl Reads {
    /// Reads by `control`'s table. `timeout` bounds one read, `concurrency` the reads under way on
    /// one node.
    #[must_use]
    pub fn new(
        control: Control,
        sessions: Sessions,
        timeout: Duration,
        concurrency: usize,
    ) -> Self {
        let upstream = Arc::new(Upstream::new(concurrency));
        control.tell_latencies_of(Arc::clone(&upstream));
        let inner = Inner {
            versions: Versions::follow(control.clone()),
            control,
            upstream,
            sessions,
            timeout,
            sticky: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What is known of the nodes.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.inner.upstream
    }

    fn guard(&self) -> Result<ReadGuard, HttpError> {
        self.inner.control.begin_read().map_err(|over| match over {
            ReadsOver::NoTable => HttpError::unavailable("no_routing_table", over.to_string()),
            ReadsOver::NoContact => {
                HttpError::unavailable("routing_table_too_old", over.to_string())
            }
        })
    }

    /// Begins a read of the index `uid`, whatever its caller wrote.
    fn begin_now(&self, uid: &str) -> Result<Begun, HttpError> {
        let guard = self.guard()?;
        let Some(route) = guard.table.index(uid).cloned() else {
            return Err(no_such_index(uid));
        };
        let scope = self.scope(&guard, route);
        Ok(Begun {
            scope,
            _guard: guard,
        })
    }

    fn scope(&self, guard: &ReadGuard, route: Arc<IndexRoute>) -> Scope {
        Scope {
            table: Arc::clone(&guard.table),
            route,
            only: None,
            failed: BTreeMap::new(),
            key: 0,
            sticky: Arc::clone(&self.inner.sticky),
            continues: false,
            deadline: Instant::now() + self.inner.timeout,
        }
    }

    /// Asks a piece's node with a JSON body.
    async fn post(
        &self,
        piece: &Piece,
        path: &str,
        body: &Value,
        caller: &Caller,
    ) -> Result<Bytes, Fault> {
        let ask = Ask {
            method: Method::POST,
            path,
            body: Bytes::from(body.to_string()),
        };
        self.send(piece.node, piece.deadline, ask, caller).await
    }

    /// Asks a piece's node for a resource.
    async fn get(&self, piece: &Piece, path: &str, caller: &Caller) -> Result<Bytes, Fault> {
        let ask = Ask {
            method: Method::GET,
            path,
            body: Bytes::new(),
        };
        self.send(piece.node, piece.deadline, ask, caller).await
    }

    async fn send(
        &self,
        node: NodeId,
        deadline: Instant,
        ask: Ask<'_>,
        caller: &Caller,
    ) -> Result<Bytes, Fault> {
        let client = self.client(node)?;
        let exchange = || {
            let left = deadline.saturating_duration_since(Instant::now());
            let client = client.with_timeout(left);
            let headers = caller.headers();
            async move { client.raw(ask.method, ask.path, headers, ask.body).await }
        };
        let upstream = self.upstream();
        match upstream
            .run((node, &client), deadline, exchange, fault::is_nodes_fault)
            .await
        {
            Some(result) => fault::judge(result).map(|answer| answer.body),
            None => Err(Fault::Failed(
                "too many reads are under way on it".to_owned(),
            )),
        }
    }

    fn client(&self, node: NodeId) -> Result<NodeClient, Fault> {
        let nodes = self.inner.control.nodes();
        nodes
            .get(node)
            .cloned()
            .ok_or_else(|| Fault::Failed("it is not part of the cluster".to_owned()))
    }

    /// The version of some node. `None` when none answers.
    pub async fn node_version(&self) -> Option<NodeVersion> {
        let versions = &self.inner.versions;
        if versions.any().is_none() {
            versions.ask(&self.inner.control).await;
        }
        versions.any()
    }
}

fn no_such_index(uid: &str) -> HttpError {
    match IndexUid::parse(uid) {
        Ok(uid) => HttpError::index_not_found(uid.as_str()),
        Err(error) => ApiError::new(Code::InvalidIndexUid, error.to_string()).into(),
    }
}
