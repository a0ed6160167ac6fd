//! A cluster of fakes with real proxies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use miroir_core::cluster::{
    Command, Digest, Idempotency, NodeSpec, Outcome, PlannedMove, Policy, Task,
};
use miroir_core::document::ContentType;
use miroir_core::hidden_field::shard_of;
use miroir_core::id::{GroupId, IndexUid, MigrationId, NodeId, ShardId, TaskUid};
use miroir_core::migration::{Event, Kind};
use miroir_meili::Secret;
use miroir_proxy::catalog::Catalog;
use miroir_proxy::control::{self, Control, ControlConfig};
use miroir_proxy::write::{
    Accepted, AddDocuments, FORWARDED_HEADER, IDEMPOTENCY_HEADER, MOVED_HEADER, Mode, Operation,
    REQUEST_ID_HEADER, RawRequest, TOKEN_HEADER, WriteError, WriteRequest, Writes, WritesConfig,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::coordinator::{Coordinator, TOKEN};
use super::node::Node;

pub const SHARDS: u16 = 4;
/// Long enough for a loaded machine; a test that waits so long fails.
pub const LONG: Duration = Duration::from_secs(20);

/// How long the proxies expect a request to stay under way.
pub const LATE_REQUEST: Duration = Duration::from_millis(100);

/// Waits until `done` answers something.
pub async fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A proxy without its HTTP layer, except for what other proxies send it.
pub struct Proxy {
    pub control: Control,
    pub writes: Writes,
    pub shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
        self.shutdown.cancel();
    }
}

pub fn control_config(endpoints: &[&str], url: &str) -> ControlConfig {
    ControlConfig {
        endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
        cluster_token: Secret::new(TOKEN),
        name: "p".to_owned(),
        url: url.to_owned(),
        instance: Uuid::new_v4().to_string(),
        node_master_key: Some(Secret::new("key")),
        node_connect_timeout: Duration::from_millis(500),
        node_timeout: Duration::from_millis(700),
    }
}

impl Proxy {
    pub async fn start(coordinator: &Coordinator, hold: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let shutdown = CancellationToken::new();
        let control = control::spawn(control_config(&[&coordinator.url], &url), shutdown.clone())
            .expect("a configuration");
        let catalog = Catalog::new(control.coordinators());
        let config = WritesConfig {
            hold,
            late_request: LATE_REQUEST,
            ..WritesConfig::new(Secret::new(TOKEN))
        };
        let writes = Writes::new(control.clone(), catalog, config).expect("a client");
        let app = Router::new().fallback(forwarded).with_state(writes.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("serving") });
        let ready = control.clone();
        until("the proxy is registered", || ready.proxy_id()).await;
        Self {
            control,
            writes,
            shutdown,
            server,
        }
    }

    /// Submits an operation on index `x`.
    pub async fn submit(&self, operation: Operation) -> Result<Accepted, WriteError> {
        self.writes.submit(request(operation)).await
    }

    /// Adds documents.
    pub async fn add(&self, documents: Value) -> Result<Accepted, WriteError> {
        self.submit(add(documents)).await
    }

    /// Submits in the background.
    pub fn begin(
        &self,
        operation: Operation,
    ) -> tokio::task::JoinHandle<Result<Accepted, WriteError>> {
        let writes = self.writes.clone();
        tokio::spawn(async move { writes.submit(request(operation)).await })
    }
}

/// An operation on index `x`, as a client's request.
pub fn request(operation: Operation) -> WriteRequest {
    let (method, path, body) = match &operation {
        Operation::AddDocuments(add) => (Method::POST, "/indexes/x/documents", add.body.clone()),
        Operation::DeleteIndex => (Method::DELETE, "/indexes/x", Bytes::new()),
        Operation::DeleteAll => (Method::DELETE, "/indexes/x/documents", Bytes::new()),
        _ => (Method::POST, "/other", Bytes::new()),
    };
    let raw = RawRequest {
        method,
        path_and_query: path.to_owned(),
        headers: HeaderMap::new(),
        body,
    };
    let index = IndexUid::parse("x").expect("a uid");
    WriteRequest {
        custom_metadata: None,
        index,
        operation,
        may_create: true,
        forwarded: false,
        raw,
        request_id: Uuid::new_v4(),
        idempotency: None,
    }
}

pub fn add(documents: Value) -> Operation {
    Operation::AddDocuments(AddDocuments {
        mode: Mode::Replace,
        content_type: ContentType::Json,
        primary_key: None,
        custom_metadata: None,
        skip_creation: false,
        body: Bytes::from(documents.to_string()),
    })
}

/// What the HTTP layer does with a forwarded write.
async fn forwarded(
    axum::extract::State(writes): axum::extract::State<Writes>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(
        headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes),
        Some(TOKEN.as_bytes())
    );
    assert!(headers.contains_key(FORWARDED_HEADER));
    let id = headers
        .get(REQUEST_ID_HEADER)
        .and_then(|id| id.to_str().ok()?.parse().ok())
        .expect("an id");
    let passed_on = headers.get(IDEMPOTENCY_HEADER).map(|text| {
        let (key, request) = text.to_str().expect("text").split_once('-').expect("two");
        let digest = |text| Digest::parse(text).expect("a digest");
        Idempotency {
            key: digest(key),
            request: digest(request),
        }
    });
    let operation = match (method, uri.path()) {
        (Method::POST, "/indexes/x/documents") => add(serde_json::from_slice(&body).expect("JSON")),
        (Method::DELETE, "/indexes/x") => Operation::DeleteIndex,
        (method, path) => panic!("{method} {path}"),
    };
    let request = WriteRequest {
        custom_metadata: None,
        forwarded: true,
        request_id: id,
        idempotency: passed_on,
        ..request(operation)
    };
    match writes.submit(request).await {
        Ok(accepted) => {
            let body = json!({
                "taskUid": accepted.task_uid, "indexUid": "x", "status": "enqueued",
                "type": accepted.kind.as_str(), "enqueuedAt": "2026-01-01T00:00:00.0Z",
            });
            (StatusCode::ACCEPTED, axum::Json(body)).into_response()
        }
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).expect("a status");
            let mut response = (status, error.body()).into_response();
            if status == StatusCode::MISDIRECTED_REQUEST {
                response
                    .headers_mut()
                    .insert(MOVED_HEADER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

/// A coordinator and nodes.
pub struct Cluster {
    pub coordinator: Arc<Coordinator>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    pub async fn start(nodes: usize, replication_factor: u8) -> Self {
        Self::start_with(nodes, replication_factor, 1).await
    }

    pub async fn start_with(nodes: usize, replication_factor: u8, min_in_sync: u8) -> Self {
        let coordinator = Arc::new(Coordinator::start().await);
        let policy = Policy {
            default_shards: SHARDS,
            default_replication_factor: replication_factor,
            min_in_sync,
            ..Policy::default()
        };
        coordinator.apply(&Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy,
        });
        let mut cluster = Self {
            coordinator,
            nodes: Vec::new(),
        };
        for _ in 0..nodes {
            cluster.add_node();
        }
        cluster
    }

    pub fn add_node(&mut self) -> NodeId {
        let node = Node::start();
        let spec = NodeSpec {
            url: node.url.clone(),
            group: GroupId(1),
            zone: None,
            weight: 1,
            version: "1.26.0".to_owned(),
        };
        let Outcome::NodeAdded { node: id, .. } =
            self.coordinator.apply(&Command::AddNode { node: spec })
        else {
            panic!("not added");
        };
        self.nodes.push(node);
        id
    }

    pub async fn proxy(&self) -> Proxy {
        Proxy::start(&self.coordinator, Duration::from_secs(10)).await
    }

    pub async fn impatient_proxy(&self) -> Proxy {
        Proxy::start(&self.coordinator, Duration::from_millis(700)).await
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::try_from(id.0).expect("small") - 1]
    }

    /// Where the copies of a shard of `x` are that take writes.
    pub fn copies(&self, shard: ShardId) -> Vec<NodeId> {
        self.coordinator.state(|state| {
            let index = &state.indexes[&IndexUid::parse("x").expect("a uid")];
            index
                .shard(shard)
                .expect("a shard")
                .writable()
                .map(|r| r.node)
                .collect()
        })
    }

    pub fn task(&self, uid: TaskUid) -> Task {
        self.coordinator
            .state(|state| state.tasks.get(uid).cloned())
            .expect("registered")
    }

    /// Plans to move a shard of `x` to a node, and grants the slot.
    pub fn begin_move(&self, shard: ShardId, target: NodeId) -> MigrationId {
        let uid = IndexUid::parse("x").expect("a uid");
        let source = self.copies(shard)[0];
        let incarnation = self
            .coordinator
            .state(|state| state.indexes[&uid].incarnation);
        let group = GroupId(1);
        let one = PlannedMove {
            uid,
            incarnation,
            shard,
            group,
            kind: Kind::Move,
            source,
            target,
            replaces: Some(source),
        };
        let Outcome::Planned { migrations, .. } = self.coordinator.apply(&Command::Plan {
            operation: None,
            moves: vec![one],
        }) else {
            panic!("not planned");
        };
        self.coordinator.advance(migrations[0], Event::SlotGranted);
        migrations[0]
    }
}

/// Ids of documents of one shard.
pub fn ids_of(shard: ShardId) -> impl Iterator<Item = String> {
    (0..)
        .map(|n: u32| n.to_string())
        .filter(move |id| ShardId(shard_of(id, SHARDS)) == shard)
}

/// An id of that shard.
pub fn id_of(shard: u16) -> String {
    ids_of(ShardId(shard)).next().expect("endless")
}

pub fn document(id: &str, version: u32) -> Value {
    json!({ "id": id, "v": version })
}
