//! A node that keeps its queue in a list, and fails as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What happens to the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is enqueued, and the answer never comes.
    LoseAnswer,
    /// It is not enqueued, and no answer comes.
    LoseRequest,
    /// 503.
    Busy,
    /// 400, as for a filter that cannot be parsed.
    BadFilter,
    /// 400 to the next settings.
    BadSettings,
}

/// A write that the node has enqueued; its task is its place in the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueued {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub body: String,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Enqueued>,
    faults: Vec<Fault>,
    /// Refuses `customMetadata`, as before 1.26.
    old: bool,
}

/// A running node. Stopping it breaks its connections; its queue stays.
pub struct Node {
    pub url: String,
    addr: SocketAddr,
    queue: Arc<Mutex<Queue>>,
    runtime: Option<Runtime>,
}

impl Node {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let mut node = Self {
            url: format!("http://{addr}"),
            addr,
            queue: Arc::default(),
            runtime: None,
        };
        node.serve(listener);
        node
    }

    /// Refuses connections from now on.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime ends its tasks, and with them the connections, only where waiting is allowed.
            let ending =
                std::thread::spawn(|| runtime.shutdown_timeout(std::time::Duration::from_secs(5)));
            ending.join().expect("no panic");
        }
    }

    pub fn restart(&mut self) {
        // The old listener goes with its runtime, a moment later.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let listener = loop {
            match std::net::TcpListener::bind(self.addr) {
                Ok(listener) => break listener,
                Err(error) if std::time::Instant::now() > until => panic!("{error}"),
                Err(_) => std::thread::yield_now(),
            }
        };
        self.serve(listener);
    }

    fn serve(&mut self, listener: std::net::TcpListener) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        listener.set_nonblocking(true).expect("an option");
        let app = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&self.queue));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("serving");
        });
        self.runtime = Some(runtime);
    }

    /// What happens to the next writes, in turn.
    pub fn fail(&self, faults: &[Fault]) {
        self.queue
            .lock()
            .expect("no panic while locked")
            .faults
            .extend(faults);
    }

    pub fn be_old(&self) {
        self.queue.lock().expect("no panic while locked").old = true;
    }

    pub fn tasks(&self) -> Vec<Enqueued> {
        self.queue
            .lock()
            .expect("no panic while locked")
            .tasks
            .clone()
    }

    /// The document bodies it has enqueued, each as its `v` members, in order.
    pub fn documents(&self) -> Vec<Vec<Value>> {
        let is_documents = |task: &&Enqueued| task.path.ends_with("/documents");
        let lines = |task: &Enqueued| {
            task.body
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect()
        };
        self.tasks()
            .iter()
            .filter(is_documents)
            .map(lines)
            .collect()
    }

    /// The ids written, in order.
    pub fn ids(&self) -> Vec<String> {
        let id = |document: Value| {
            document["id"]
                .as_str()
                .map_or_else(|| document["id"].to_string(), str::to_owned)
        };
        self.documents().into_iter().flatten().map(id).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "message": message, "code": code, "type": "invalid_request", "link": "" });
    (status, axum::Json(body)).into_response()
}

async fn handle(
    State(queue): State<Arc<Mutex<Queue>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let url = reqwest::Url::parse(&format!("http://x{uri}")).expect("a URL");
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    if method == Method::GET {
        return list(&queue.lock().expect("no panic while locked"));
    }
    let (fault, old) = {
        let mut queue = queue.lock().expect("no panic while locked");
        let settings = method == Method::PATCH;
        let own = |fault: &Fault| (*fault == Fault::BadSettings) == settings;
        let next = queue.faults.iter().position(own);
        let fault = next.map(|at| queue.faults.remove(at));
        (fault, queue.old)
    };
    if old && query.contains_key("customMetadata") {
        return error(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "Unknown parameter `customMetadata`",
        );
    }
    match fault {
        None | Some(Fault::LoseAnswer | Fault::BadSettings) => {}
        Some(Fault::LoseRequest) => std::future::pending().await,
        Some(Fault::Busy) => {
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_search_requests",
                "busy",
            );
        }
        Some(Fault::BadFilter) => {
            let message = "Was expecting an operation. Available: `_miroir_shard`, `a`.";
            return error(StatusCode::BAD_REQUEST, "invalid_document_filter", message);
        }
    }
    if fault == Some(Fault::BadSettings) {
        let message = "`.embedders.e`: Missing field `dimensions`";
        return error(
            StatusCode::BAD_REQUEST,
            "invalid_settings_embedders",
            message,
        );
    }
    let task = {
        let mut queue = queue.lock().expect("no panic while locked");
        let body = String::from_utf8(body.to_vec()).expect("text");
        queue.tasks.push(Enqueued {
            method: method.to_string(),
            path,
            query,
            body,
        });
        queue.tasks.len() - 1
    };
    if fault == Some(Fault::LoseAnswer) {
        std::future::pending().await
    }
    let body = json!({
        "taskUid": task, "indexUid": "x", "status": "enqueued",
        "type": "documentAdditionOrUpdate", "enqueuedAt": "2026-01-01T00:00:00.0Z",
    });
    (StatusCode::ACCEPTED, axum::Json(body)).into_response()
}

fn list(queue: &Queue) -> Response {
    let task = |(uid, task): (usize, &Enqueued)| {
        json!({
            "uid": uid, "indexUid": "x", "status": "enqueued", "type": "documentAdditionOrUpdate",
            "enqueuedAt": "2026-01-01T00:00:00.0Z", "customMetadata": task.query.get("customMetadata"),
        })
    };
    let results: Vec<Value> = queue.tasks.iter().enumerate().rev().map(task).collect();
    let body = json!({ "total": results.len(), "limit": 1000, "from": null, "next": null, "results": results });
    axum::Json(body).into_response()
}
