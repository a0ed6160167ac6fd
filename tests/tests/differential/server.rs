//! Somebody who answers as Meilisearch does: one node, or a proxy.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::corpus::Index;

/// How long indexing may take.
const TASKS_WITHIN: Duration = Duration::from_secs(180);

/// An address with a key.
pub struct Server {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// An answer, of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Server {
    /// The server at `url`.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self {
            http,
            url: url.to_owned(),
            key: key.to_owned(),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: (&str, String),
    ) -> anyhow::Result<Answer> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let answer = request
            .bearer_auth(&self.key)
            .header("content-type", body.0)
            .body(body.1)
            .send()
            .await
            .with_context(|| format!("{}{path}", self.url))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?;
        Ok(Answer { status, body })
    }

    /// Searches an index.
    pub async fn search(&self, uid: &str, query: &Value) -> anyhow::Result<Answer> {
        let body = ("application/json", query.to_string());
        self.send(Method::POST, &format!("/indexes/{uid}/search"), body)
            .await
    }

    /// Creates the index as `uid` with these settings, and waits until its documents are indexed.
    pub async fn load(&self, index: &Index, uid: &str, settings: &Value) -> anyhow::Result<()> {
        let json_body = |value: &Value| ("application/json", value.to_string());
        let created = json!({"uid": uid, "primaryKey": index.id});
        let path = format!("/indexes/{uid}");
        // A node that runs out of time leaves hits in no order, which says nothing of the merge.
        let mut settings = settings.clone();
        settings["searchCutoffMs"] = json!(TASKS_WITHIN.as_millis());
        self.write(Method::POST, "/indexes", json_body(&created))
            .await?;
        self.write(
            Method::PATCH,
            &format!("{path}/settings"),
            json_body(&settings),
        )
        .await?;
        let documents = ("application/x-ndjson", index.documents.join("\n"));
        self.write(Method::POST, &format!("{path}/documents"), documents)
            .await
    }

    async fn write(&self, method: Method, path: &str, body: (&str, String)) -> anyhow::Result<()> {
        let answer = self.send(method, path, body).await?;
        ensure!(answer.status == 202, "{path}: {answer:?}");
        let task = answer.body["taskUid"].as_u64().context("no task")?;
        let deadline = Instant::now() + TASKS_WITHIN;
        loop {
            let task = self
                .send(
                    Method::GET,
                    &format!("/tasks/{task}"),
                    ("application/json", String::new()),
                )
                .await?;
            match task.body["status"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("failed" | "canceled") => anyhow::bail!("{path}: {task:?}"),
                _ => ensure!(Instant::now() < deadline, "{path}: {task:?}"),
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
