//! What clients do: plain Meilisearch requests, to one proxy after the other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

/// Longer than a proxy holds a write: a client that gives up earlier learns nothing.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// A client of the proxies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    proxies: Arc<[String]>,
    next: Arc<AtomicUsize>,
    key: Arc<str>,
    /// Tasks that are meant to fail.
    failures_expected: Arc<AtomicU64>,
}

/// An answer that is no success.
#[derive(Debug)]
pub struct Refusal {
    /// The request.
    pub what: String,
    /// The HTTP status.
    pub status: u16,
    /// The answer's `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The answer's body.
    pub body: String,
}

impl Refusal {
    /// Whether it says, as Meilisearch would, that something is out of reach now and may be tried again.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let shaped = ["message", "code", "type", "link"]
            .iter()
            .all(|member| body[member].is_string());
        self.status == 503 && self.retry_after_s.is_some() && shaped
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.status, self.body)
    }
}

impl std::error::Error for Refusal {}

/// How long writes were held by one proxy.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Holds {
    /// Writes that were held.
    pub count: u64,
    /// 99 of 100 were held shorter, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

impl Client {
    /// A client that shows `key`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(proxies: Vec<String>, key: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_WITHIN)
            .build()?;
        Ok(Self {
            http,
            proxies: proxies.into(),
            next: Arc::default(),
            key: key.into(),
            failures_expected: Arc::default(),
        })
    }

    /// Addresses of the proxies.
    #[must_use]
    pub fn proxies(&self) -> &[String] {
        &self.proxies
    }

    /// Sends a request to the next proxy; a body is sent as `content_type`.
    ///
    /// # Errors
    /// When there is no answer, or one that is no success.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> anyhow::Result<Value> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.proxies.len().max(1);
        let proxy = self.proxies.get(turn).context("there is no proxy")?.clone();
        self.send_to(&proxy, method, path, body).await
    }

    /// Sends a request to one server.
    ///
    /// # Errors
    /// When there is no answer, or one that is no success.
    pub async fn send_to(
        &self,
        server: &str,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {server}{path}");
        let mut request = self
            .http
            .request(method, format!("{server}{path}"))
            .bearer_auth(&self.key);
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body);
        }
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status();
        let retry_after_s = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await.with_context(|| what.clone())?;
        if !status.is_success() {
            return Err(anyhow::Error::new(Refusal {
                what,
                status: status.as_u16(),
                retry_after_s,
                body: text,
            }));
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: not JSON: {text}"))
    }

    /// Sends JSON to the next proxy.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        self.send(method, path, Some(("application/json", body.to_string())))
            .await
    }

    /// Changes an index's settings.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn settings(&self, index: &str, settings: &Value) -> anyhow::Result<Value> {
        self.send_json(
            Method::PATCH,
            &format!("/indexes/{index}/settings"),
            settings,
        )
        .await
    }

    /// Adds or replaces documents.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn add_ndjson(&self, index: &str, lines: String) -> anyhow::Result<Value> {
        self.send(
            Method::POST,
            &format!("/indexes/{index}/documents"),
            Some(("application/x-ndjson", lines)),
        )
        .await
    }

    /// Says that `more` tasks fail on purpose.
    pub fn expect_failures(&self, more: u64) {
        self.failures_expected.fetch_add(more, Ordering::Relaxed);
    }

    /// Waits until no task is left unfinished.
    ///
    /// # Errors
    /// When some are after `within`, or when others failed than were to fail.
    pub async fn wait_for_tasks(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let total = |answer: &Value| answer["total"].as_u64().context("a task list has no total");
        loop {
            let open = self
                .send(
                    Method::GET,
                    "/tasks?statuses=enqueued,processing&limit=1",
                    None,
                )
                .await?;
            if total(&open)? == 0 {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "{} tasks are unfinished after {within:?}, such as {}",
                    total(&open)?,
                    open["results"][0]
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let failed = self
            .send(Method::GET, "/tasks?statuses=failed&limit=1", None)
            .await?;
        let expected = self.failures_expected.load(Ordering::Relaxed);
        match total(&failed)? {
            n if n == expected => Ok(()),
            n => bail!("{n} tasks failed, such as {}", failed["results"][0]),
        }
    }

    /// How long each proxy held writes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn write_holds(&self) -> anyhow::Result<Vec<Holds>> {
        let mut all = Vec::new();
        for proxy in self.proxies.iter() {
            let stats = self
                .send_to(proxy, Method::GET, "/_miroir/proxy/stats", None)
                .await?;
            all.push(
                serde_json::from_value(stats["writes"]["held"].clone())
                    .context("a proxy's stats have no `writes.held`")?,
            );
        }
        Ok(all)
    }
}
