//! Nodes in this process, which can be stopped, wiped and started again where they were.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::hidden_field;
use miroir_dev::cluster::Port;
use miroir_meili::{
    AddParams, ContentType, FetchRequest, NodeClient, NodeTaskUid, Secret, TaskQuery, WriteMode,
    http_client,
};
use miroir_node::NodeConfig;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::{BOOKS, eventually};

pub const KEY: &str = "test-master-key";

/// A node.
pub struct TestNode {
    pub url: String,
    pub client: NodeClient,
    port: Port,
    dir: TempDir,
    lives: u32,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl TestNode {
    pub async fn start() -> Self {
        let port = Port::take().expect("a free port");
        let url = format!("http://127.0.0.1:{}", port.number());
        let http = http_client(Duration::from_secs(1)).expect("a client");
        let client = NodeClient::new(http, &url, Some(Secret::new(KEY))).expect("a client");
        let mut node = Self {
            url,
            client: client.with_timeout(Duration::from_secs(5)),
            port,
            dir: TempDir::new().expect("a directory"),
            lives: 0,
            running: None,
        };
        node.run().await;
        node
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join(self.lives.to_string())
    }

    /// Starts it with what it holds.
    pub async fn run(&mut self) {
        let stop = CancellationToken::new();
        let address = ([127, 0, 0, 1], self.port.number()).into();
        let mut config = NodeConfig::new(address, self.db());
        config.master_key = Some(KEY.to_owned());
        config.max_indexing_threads = 1;
        let listener = TcpListener::bind(address).await.expect("its own port");
        let stopped = stop.clone().cancelled_owned();
        let running = tokio::spawn(async move {
            miroir_node::serve(config, listener, stopped)
                .await
                .expect("the node runs");
        });
        self.running = Some((stop, running));
        eventually("the node answers", async || {
            self.client
                .health()
                .await
                .map_err(|error| error.to_string())
        })
        .await;
    }

    /// Stops it; it keeps what it holds.
    pub async fn stop(&mut self) {
        if let Some((stop, running)) = self.running.take() {
            stop.cancel();
            running.await.expect("it ends");
        }
    }

    /// Stops it and starts it again without anything.
    pub async fn wipe(&mut self) {
        self.stop().await;
        self.lives += 1;
        self.run().await;
    }

    /// Gives it the index with its settings; answers the task of these.
    pub async fn settings(&self) -> u32 {
        let settings = miroir_core::settings::to_node(&json!({}));
        let task = self.client.patch_settings(BOOKS, &settings).await;
        let task = task.expect("enqueued").task_uid;
        self.processed(task).await;
        task.0
    }

    pub async fn processed(&self, task: NodeTaskUid) {
        eventually("the task has ended", async || {
            match self.client.task(task).await {
                Ok(Some(task)) if task.status.is_final() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Gives it documents of shard 0, and does not wait.
    pub async fn put(&self, documents: &[(String, u64)]) -> NodeTaskUid {
        let line = |(id, n): &(String, u64)| {
            json!({"id": id, "n": n, hidden_field::NAME: hidden_field::encode(0)}).to_string()
        };
        let lines: Vec<String> = documents.iter().map(line).collect();
        let params = AddParams {
            primary_key: Some("id"),
            ..AddParams::default()
        };
        let (mode, form) = (WriteMode::Replace, ContentType::NdJson);
        let body = Bytes::from(lines.join("\n"));
        let added = self.client.add_documents(BOOKS, mode, params, form, body);
        added.await.expect("enqueued").task_uid
    }

    /// Gives it `count` documents of shard 0, and waits.
    pub async fn fill(&self, count: u64) {
        let documents: Vec<_> = (0..count).map(|n| (format!("d{n:05}"), n)).collect();
        let task = self.put(&documents).await;
        self.processed(task).await;
    }

    pub async fn delete(&self, id: &str) {
        let ids = Bytes::from(json!([id]).to_string());
        let task = self.client.delete_batch(BOOKS, ids, None).await;
        self.processed(task.expect("enqueued").task_uid).await;
    }

    /// How many documents it holds; none where it has no such index.
    pub async fn count(&self) -> usize {
        let page = self.client.fetch(BOOKS, &FetchRequest::default()).await;
        page.map_or(0, |page| page.total)
    }

    /// How many documents it was ever sent.
    pub async fn received(&self) -> u64 {
        let query = TaskQuery {
            types: vec!["documentAdditionOrUpdate".to_owned()],
            limit: Some(10_000),
            ..TaskQuery::default()
        };
        let tasks = self.client.tasks(&query).await.expect("listed").results;
        let received = |details: &serde_json::Value| details["receivedDocuments"].as_u64();
        tasks
            .iter()
            .filter_map(|task| task.details.as_ref().and_then(received))
            .sum()
    }
}
