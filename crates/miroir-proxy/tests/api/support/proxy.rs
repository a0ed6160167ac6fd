//! A real proxy, and a client of it.

use std::time::{Duration, Instant};

use miroir_core::cluster::Task;
use miroir_core::routing::RoutingTable;
use miroir_meili::Secret;
use miroir_proxy::app::{App, AppError};
use miroir_proxy::config::Config;
use miroir_proxy::control::Control;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Coordinator;

/// The master key of nodes and proxy.
pub const KEY: &str = "a-master-key";
/// The cluster token.
pub const TOKEN: &str = "a-cluster-token";
/// How long a proxy may take to get its table.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// A running proxy with its coordinator. Both end with the value.
pub struct Proxy {
    pub url: String,
    pub coordinator: Coordinator,
    pub control: Control,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), AppError>>,
}

impl Proxy {
    /// Starts one that routes by `table`.
    pub async fn start(table: RoutingTable) -> Self {
        Self::with(table, Vec::new(), |_| {}).await
    }

    /// Starts one with tasks in the catalog and another configuration.
    pub async fn with(
        table: RoutingTable,
        tasks: Vec<Task>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let epoch = table.epoch;
        let coordinator = Coordinator::start(table, tasks).await;
        let mut config = Config {
            http_addr: ([127, 0, 0, 1], 0).into(),
            coordinators: vec![format!("http://{}", coordinator.address)],
            cluster_token: Some(Secret::new(TOKEN)),
            master_key: Some(Secret::new(KEY)),
            search_timeout_ms: 4000,
            drain_ms: 5000,
            ..Config::default()
        };
        change(&mut config);
        config.validate().expect("a valid configuration");
        let app = App::start(config).await.expect("the proxy starts");
        let url = format!("http://{}", app.address());
        let control = app.control().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.serve(async move {
            // Dropping the sender stops it too.
            let _ = stopped.await;
        }));
        let ready = control
            .wait_epoch(epoch, Instant::now() + READY_DEADLINE)
            .await;
        assert!(ready, "the table does not arrive: {:?}", control.status());
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            url,
            coordinator,
            control,
            http,
            stop: Some(stop),
            serving,
        }
    }

    /// A request with the master key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(KEY)
    }

    /// A request without a key.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Status and JSON of a GET.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// Status and JSON of a POST.
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> Coordinator {
        drop(self.stop.take());
        let served = tokio::time::timeout(Duration::from_secs(20), &mut self.serving).await;
        served
            .expect("the proxy stops")
            .expect("no panic")
            .expect("it ends well");
        self.coordinator
    }
}

/// Status and JSON of an answer; `Null` for an empty body.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
