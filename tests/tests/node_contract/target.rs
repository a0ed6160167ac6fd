//! The nodes under test: the embedded one, and a real Meilisearch if one is named.

use super::script::Step;
use miroir_meili::{HeaderMap, HeaderValue, Method, NodeClient, NodeVersion, Secret, http_client};
use miroir_node::NodeConfig;
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The key every node under test is started with.
const MASTER_KEY: &str = "a-key-for-contract-tests";
/// Names the real Meilisearch to run the same contract against.
const MEILISEARCH_BIN: &str = "MEILISEARCH_BIN";
/// How long a node may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A running node. It ends with the value.
pub struct Target {
    /// `embedded` or `real`.
    pub name: &'static str,
    /// What it calls itself.
    pub version: NodeVersion,
    with_key: NodeClient,
    without_key: NodeClient,
    _running: Running,
    _data: TempDir,
}

/// What keeps a node alive.
enum Running {
    /// The node stops when this is dropped.
    InProcess {
        _stop: oneshot::Sender<()>,
    },
    Process(Child),
}

impl Target {
    /// The embedded node, in this process.
    pub async fn embedded() -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a bound address");
        let mut config = NodeConfig::new(address, data.path().join("db"));
        config.master_key = Some(MASTER_KEY.into());
        let (stop, stopped) = oneshot::channel::<()>();
        let node = miroir_node::serve(config, listener, async {
            // The sender never sends; it is dropped.
            let _ = stopped.await;
        });
        tokio::spawn(async { node.await.expect("the embedded node runs") });
        let running = Running::InProcess { _stop: stop };
        Self::reached("embedded", &format!("http://{address}"), running, data).await
    }

    /// The real node, if the environment names one.
    pub async fn real() -> Option<Self> {
        let Some(binary) = std::env::var_os(MEILISEARCH_BIN) else {
            say_that_none_is_named();
            return None;
        };
        let data = TempDir::new().expect("a temporary directory");
        // The port is free when it is chosen and may be taken when it is used; a node
        // that lost it exits, which `reached` reports.
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("a bound address").to_string();
        drop(free);
        let child = Command::new(&binary)
            .args(["--http-addr", &address, "--master-key", MASTER_KEY])
            .args(["--no-analytics", "--log-level", "WARN", "--db-path"])
            .arg(data.path().join("db"))
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{MEILISEARCH_BIN}={binary:?} does not start: {error}"));
        let url = format!("http://{address}");
        Some(Self::reached("real", &url, Running::Process(child), data).await)
    }

    async fn reached(name: &'static str, url: &str, mut running: Running, data: TempDir) -> Self {
        let http = http_client(Duration::from_secs(2)).expect("an HTTP client");
        let client = |key| NodeClient::new(http.clone(), url, key).expect("a node client");
        let with_key = client(Some(Secret::new(MASTER_KEY)));
        let deadline = Instant::now() + START_DEADLINE;
        while let Err(error) = with_key.health().await {
            if let Running::Process(child) = &mut running {
                let ended = child.try_wait().expect("the state of a child");
                assert!(ended.is_none(), "{name} node ended at once: {ended:?}");
            }
            assert!(
                Instant::now() < deadline,
                "{name} node does not come up: {error}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            name,
            version: with_key.version().await.expect("a version"),
            with_key,
            without_key: client(None),
            _running: running,
            _data: data,
        }
    }

    /// Runs steps whose answers only have to be right, for tests that go on by hand.
    pub async fn apply(&self, steps: Vec<Step>) {
        for step in steps {
            let wrong = step.run(self).await.wrong;
            assert!(wrong.is_empty(), "{}: {wrong:?}", self.name);
        }
    }

    /// An answer to a JSON body, as JSON.
    pub async fn post_json(&self, path: &str, body: &Value) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let body = body.to_string().into();
        let sent = self.with_key.raw(Method::POST, path, headers, body);
        let answer = sent.await.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A client with the master key, or without any if the request brings its own.
    pub fn client(&self, own_key: bool) -> &NodeClient {
        if own_key {
            &self.without_key
        } else {
            &self.with_key
        }
    }

    /// An answer as JSON.
    pub async fn get_json(&self, path: &str) -> Value {
        let sent = self
            .with_key
            .raw(Method::GET, path, HeaderMap::new(), Vec::new().into());
        let answer = sent.await.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Every node there is to test.
pub async fn each_target() -> Vec<Target> {
    let mut targets = vec![Target::embedded().await];
    targets.extend(Target::real().await);
    targets
}

/// Says once, past the test harness, which keeps what a passing test prints.
fn say_that_none_is_named() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let line = format!("{MEILISEARCH_BIN} is not set: only the embedded node is tested\n");
        std::io::stderr()
            .write_all(line.as_bytes())
            .expect("stderr");
    });
}
