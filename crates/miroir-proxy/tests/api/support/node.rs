//! A node that answers what the test says and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a node does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status and body.
    Json(u16, Value),
    /// Nothing, ever.
    Hang,
    /// Another answer, after this time.
    Late(Duration, Box<Answer>),
    /// Another answer, once the flag is true.
    Once(watch::Receiver<bool>, Box<Answer>),
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

type Behaviour = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

#[derive(Clone)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A running node. It ends with the value.
pub struct FakeNode {
    pub address: SocketAddr,
    shared: Shared,
    server: JoinHandle<()>,
}

/// A node's error answer.
pub fn error(status: u16, code: &str, message: &str) -> Answer {
    let link = format!("https://docs.meilisearch.com/errors#{code}");
    let body = json!({"message": message, "code": code, "type": "invalid_request", "link": link});
    Answer::Json(status, body)
}

impl FakeNode {
    /// Starts one.
    pub async fn start(behaviour: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let behaviour: Behaviour = Arc::new(behaviour);
        let shared = Shared {
            behaviour: Arc::new(Mutex::new(behaviour)),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the node serves");
        });
        Self {
            address,
            shared,
            server,
        }
    }

    /// Behaves otherwise from now on.
    pub fn set(&self, behaviour: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.shared.behaviour.lock().expect("no panic while locked") = Arc::new(behaviour);
    }

    /// What it was asked on paths that contain `part`, in order.
    pub fn seen(&self, part: &str) -> Vec<Seen> {
        let seen = self.shared.seen.lock().expect("no panic while locked");
        seen.iter()
            .filter(|seen| seen.path.contains(part))
            .cloned()
            .collect()
    }

    /// Stops listening; connections break.
    pub fn kill(&self) {
        self.server.abort();
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20)
        .await
        .expect("a small body");
    let seen = Seen {
        path: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let behaviour = shared
        .behaviour
        .lock()
        .expect("no panic while locked")
        .clone();
    let answer = behaviour(&seen);
    shared
        .seen
        .lock()
        .expect("no panic while locked")
        .push(seen);
    perform(answer).await
}

async fn perform(mut answer: Answer) -> Response {
    loop {
        match answer {
            Answer::Json(status, body) => {
                let status = StatusCode::from_u16(status).expect("a status");
                return (status, Body::from(body.to_string())).into_response();
            }
            Answer::Hang => std::future::pending().await,
            Answer::Late(pause, then) => {
                tokio::time::sleep(pause).await;
                answer = *then;
            }
            Answer::Once(mut flag, then) => {
                flag.wait_for(|set| *set)
                    .await
                    .expect("the test holds the flag");
                answer = *then;
            }
        }
    }
}
