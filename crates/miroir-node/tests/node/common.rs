//! A node to test against, over real HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use miroir_node::NodeConfig;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a task may take before a test gives up.
const TASK_DEADLINE: Duration = Duration::from_secs(60);

/// A client of one node.
#[derive(Clone)]
pub struct Api {
    pub base: String,
    pub key: Option<String>,
    client: Client,
}

/// An answer: status and JSON body (null if there is none).
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is as expected.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self.body
    }

    /// Checks the status and the code of an error, and answers its message.
    pub fn error(self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body:#}");
        assert_eq!(
            body["link"],
            format!("https://docs.meilisearch.com/errors#{code}")
        );
        assert!(body["type"].is_string());
        body["message"]
            .as_str()
            .expect("errors have messages")
            .to_owned()
    }
}

impl Api {
    pub fn new(base: String, key: Option<&str>) -> Self {
        Self {
            base,
            key: key.map(str::to_owned),
            client: Client::new(),
        }
    }

    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .body(body.into());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.expect("the node answers");
        let status = response.status();
        let text = response.text().await.expect("the answer arrives");
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        Answer { status, body }
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.raw(method, path, Some("application/json"), body.to_string())
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.raw(Method::GET, path, None, "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.raw(Method::DELETE, path, None, "").await
    }

    /// Waits until the task of an accepted write is finished and answers the task.
    pub async fn finished(&self, accepted: Answer) -> Value {
        let summary = accepted.expect(202);
        let uid = summary["taskUid"].as_u64().expect("a task uid");
        self.wait(uid).await
    }

    pub async fn wait(&self, uid: u64) -> Value {
        let deadline = Instant::now() + TASK_DEADLINE;
        loop {
            let task = self.get(&format!("/tasks/{uid}")).await.expect(200);
            let status = task["status"].as_str().expect("a status");
            if status != "enqueued" && status != "processing" {
                return task;
            }
            assert!(Instant::now() < deadline, "task {uid} is still {status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As [`Api::finished`], for writes that must succeed.
    pub async fn succeeded(&self, accepted: Answer) -> Value {
        let task = self.finished(accepted).await;
        assert_eq!(task["status"], "succeeded", "{task:#}");
        task
    }

    /// As [`Api::finished`], for writes that must fail with this code; answers the message.
    pub async fn failed(&self, accepted: Answer, code: &str) -> String {
        let task = self.finished(accepted).await;
        assert_eq!(task["status"], "failed", "{task:#}");
        assert_eq!(task["error"]["code"], code, "{task:#}");
        task["error"]["message"]
            .as_str()
            .expect("errors have messages")
            .to_owned()
    }

    /// Searches and answers the ids of the hits.
    pub async fn ids(&self, index: &str, query: Value) -> Vec<Value> {
        let body = self
            .post(&format!("/indexes/{index}/search"), query)
            .await
            .expect(200);
        body["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["id"].clone())
            .collect()
    }
}

/// A node running inside the test, stopped when dropped.
pub struct TestNode {
    pub api: Api,
    directory: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<anyhow::Result<()>>>,
}

impl TestNode {
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(configure: impl FnOnce(&mut NodeConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Self::at(directory.path(), configure).await;
        node.directory = Some(directory);
        node
    }

    pub async fn at(path: &Path, configure: impl FnOnce(&mut NodeConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = NodeConfig::new(address, path.to_owned());
        configure(&mut config);
        let api = Api::new(format!("http://{address}"), config.master_key.as_deref());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(miroir_node::serve(config, listener, async {
            let _ = stopped.await;
        }));
        Self {
            api,
            directory: None,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// Stops the node gracefully and waits for it.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(served) = self.served.take() {
            served.await.unwrap().unwrap();
        }
    }
}

/// A few documents with something to filter, sort, facet and search.
pub fn movies() -> Value {
    json!([
        { "id": 1, "title": "The quick brown fox", "genre": "action", "year": 1999, "tags": ["a", "b"] },
        { "id": 2, "title": "A slow brown bear", "genre": "drama", "year": 2005, "tags": ["b"] },
        { "id": 3, "title": "Foxes in the snow", "genre": "Action", "year": 2010, "tags": [] },
        { "id": 4, "title": "Twelve monkeys", "genre": "drama", "year": 1995 },
        { "id": 5, "title": "Bear and fox", "genre": null, "year": 2020, "tags": ["c"] },
    ])
}
