//! Reading: searches, documents, statistics and settings, each from one copy of every shard.
//!
//! ```text
//! client -> begin (table, guard) -> cover (one copy of each shard) -> nodes -> merge -> client
//!                                        ^ another copy, when a node fails |
//! ```
//!
//! Everything a read needs is in the table that it begins with; the guard keeps coordinators from
//! cleaning a copy away while a read may use it.

mod agree;
mod budget;
mod choice;
mod copies;
mod cover;
mod documents;
mod facet_search;
mod fault;
mod fields;
mod hedge;
mod hydrate;
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::routing::IndexRoute;
use miroir_core::search::Missing;
use miroir_meili::{NodeClient, NodeVersion};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::control::{Control, ReadGuard, ReadsOver};
use crate::error::HttpError;
use crate::upstream::Upstream;
use agree::Changes;
use cover::{Piece, Scope};
pub use documents::DocumentsQuery;
use fault::Fault;
pub use fields::FieldsQuery;
use hedge::Hedging;
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

/// An answer for a client, and what of the indexes it is without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A JSON object. It tells what is missing as Meilisearch does, in `remoteErrors`.
    pub body: String,
    /// Shards that nobody answered for; none unless the configuration allows partial answers.
    pub missing: Missing,
}

impl Answer {
    /// The object `body`, told to be without `missing`.
    fn without(body: String, missing: Missing) -> Self {
        Self {
            body: missing.told_in(body),
            missing,
        }
    }
}

/// How reads are carried out.
#[derive(Debug, Clone)]
pub struct ReadsConfig {
    /// How long one read may take, retries on other copies included.
    pub timeout: Duration,
    /// How many reads may be under way on one node.
    pub concurrency: usize,
    /// Whether a read of many shards is answered without those that nobody answers for.
    pub partial: bool,
    /// How many requests of a hundred may be sent to other copies beside late ones; 0 for none.
    pub hedge_percent: u64,
    /// How long every node is waited for before that.
    pub hedge_least: Duration,
}

/// What has happened since the proxy began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadStats {
    /// Answers that were without some shards.
    pub partial_answers: u64,
    /// Requests to other copies beside nodes that were late.
    pub hedges_sent: u64,
    /// Late answers that other copies came before.
    pub hedges_won: u64,
    /// Late answers that were waited for because the budget was spent.
    pub hedges_out_of_budget: u64,
    /// Answers of nodes some of which had carried a change of settings out and some had not.
    pub mixed_settings: u64,
}

/// Answers reads. Cloning is cheap.
#[derive(Clone)]
pub struct Reads {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    upstream: Arc<Upstream>,
    sessions: Sessions,
    changes: Changes,
    config: ReadsConfig,
    versions: Arc<Versions>,
    sticky: Arc<Sticky>,
    hedging: Arc<Hedging>,
    partial_answers: AtomicU64,
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
    /// Whether the copies chosen have the settings from before a change that is under way.
    old: bool,
    guard: ReadGuard,
}

impl Reads {
    /// Reads by `control`'s table.
    #[must_use]
    pub fn new(control: Control, sessions: Sessions, config: ReadsConfig) -> Self {
        let upstream = Arc::new(Upstream::new(config.concurrency));
        control.tell_latencies_of(Arc::clone(&upstream));
        let inner = Inner {
            versions: Versions::follow(control.clone()),
            control,
            upstream,
            sessions,
            changes: Changes::default(),
            hedging: Arc::new(Hedging::new(config.hedge_percent, config.hedge_least)),
            config,
            sticky: Arc::default(),
            partial_answers: AtomicU64::new(0),
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

    /// What has happened since the proxy began.
    #[must_use]
    pub fn stats_of_reads(&self) -> ReadStats {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let hedging = &self.inner.hedging;
        ReadStats {
            partial_answers: of(&self.inner.partial_answers),
            hedges_sent: of(&hedging.sent),
            hedges_won: of(&hedging.won),
            hedges_out_of_budget: of(&hedging.refused),
            mixed_settings: self.inner.changes.mixed(),
        }
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
            old: false,
            guard,
        })
    }

    /// A read of another index by the table and the guard of one that has begun.
    fn scope_beside(&self, begun: &Begun, route: Arc<IndexRoute>) -> Scope {
        self.scope(&begun.guard, route)
    }

    /// Begins a read of the index `uid` that a client may get a part of, if the configuration says so.
    async fn begin_partial(&self, uid: &str, caller: &Caller) -> Result<Begun, HttpError> {
        let mut begun = self.begin_agreeing(uid, caller).await?;
        begun.scope.partial = self.inner.config.partial;
        Ok(begun)
    }

    /// The answer to a client's request, counted if it is partial.
    fn counted(&self, answer: Answer) -> Answer {
        if !answer.missing.is_empty() {
            self.inner.partial_answers.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn scope(&self, guard: &ReadGuard, route: Arc<IndexRoute>) -> Scope {
        Scope {
            table: Arc::clone(&guard.table),
            route,
            only: None,
            failed: BTreeMap::new(),
            key: 0,
            sticky: Arc::clone(&self.inner.sticky),
            hedging: Arc::clone(&self.inner.hedging),
            continues: false,
            partial: false,
            deadline: Instant::now() + self.inner.config.timeout,
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
            .run((node, &client), deadline, exchange, fault::verdict)
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
