//! The cluster that a dump is written to, through one of its proxies.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::id::IndexUid;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::plan::PlannedIndex;
use crate::proxy::{Failure, Proxy};

/// How long one request with documents may take.
const SEND_WITHIN: Duration = Duration::from_secs(300);

/// Pause before a request is sent again, and between two looks at a task.
const PAUSE: Duration = Duration::from_millis(100);

/// Pieces that may be unfinished at a time: the nodes always have something to do, and queues stay short.
const UNFINISHED_MAX: usize = 4;

/// A cluster, as a client sees it.
pub struct Target {
    proxy: Proxy,
    /// How long nothing may get on.
    patience: Duration,
    unfinished: VecDeque<u64>,
}

impl Target {
    /// Writes through `proxy`, and gives up what does not get on for as long as `patience`.
    pub fn new(proxy: Proxy, patience: Duration) -> Self {
        Self {
            proxy,
            patience,
            unfinished: VecDeque::new(),
        }
    }

    /// The proxy.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The index, if it exists.
    pub async fn index(&self, uid: &IndexUid) -> Result<Option<Value>, Failure> {
        match self
            .call(Method::GET, &format!("/indexes/{uid}"), None)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// How many documents the index has.
    pub async fn count(&self, uid: &IndexUid) -> Result<u64, Failure> {
        let path = format!("/indexes/{uid}/stats");
        let stats = self.call(Method::GET, &path, None).await?;
        stats["numberOfDocuments"]
            .as_u64()
            .ok_or_else(|| Failure::plain("its statistics count no documents"))
    }

    /// Creates the index, unless it is there, and gives it its settings.
    pub async fn prepare(&self, index: &PlannedIndex) -> Result<(), Failure> {
        let uid = &index.uid;
        match (self.index(uid).await?, &index.primary_key) {
            (None, primary_key) => {
                let body = json!({"uid": uid, "primaryKey": primary_key});
                self.done(Method::POST, "/indexes", &body).await?;
            }
            (Some(there), Some(primary_key)) if there["primaryKey"].is_null() => {
                let body = json!({"primaryKey": primary_key});
                let path = format!("/indexes/{uid}");
                self.done(Method::PATCH, &path, &body).await?;
            }
            (Some(_), _) => {}
        }
        if let Some(settings) = &index.settings {
            let path = format!("/indexes/{uid}/settings");
            self.done(Method::PATCH, &path, settings).await?;
        }
        Ok(())
    }

    /// Sends documents, when few enough are unfinished.
    ///
    /// # Errors
    /// Of these, or of any sent before.
    pub async fn documents(&mut self, uid: &IndexUid, lines: Bytes) -> Result<(), Failure> {
        while self.unfinished.len() >= UNFINISHED_MAX {
            self.finish_one().await?;
        }
        let path = format!("/indexes/{uid}/documents");
        let deadline = Instant::now() + self.patience;
        loop {
            let sent = self.proxy.documents(&path, lines.clone(), SEND_WITHIN);
            match sent.await {
                // Sent twice, a document is still there once.
                Err(failure) if failure.may_pass() && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                sent => {
                    self.unfinished.push_back(task_of(&sent?)?);
                    return Ok(());
                }
            }
        }
    }

    /// Waits for everything that was sent.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        while !self.unfinished.is_empty() {
            self.finish_one().await?;
        }
        Ok(())
    }

    async fn finish_one(&mut self) -> Result<(), Failure> {
        match self.unfinished.pop_front() {
            Some(task) => self.wait(task).await,
            None => Ok(()),
        }
    }

    async fn done(&self, method: Method, path: &str, body: &Value) -> Result<(), Failure> {
        let accepted = self.call(method, path, Some(body)).await?;
        match self.wait(task_of(&accepted)?).await {
            // It was asked for before, and that answer was lost.
            Err(failure) if failure.has_code("index_already_exists") => Ok(()),
            ended => ended,
        }
    }

    async fn wait(&self, task: u64) -> Result<(), Failure> {
        let path = format!("/tasks/{task}");
        let deadline = Instant::now() + self.patience;
        loop {
            let seen = self.call(Method::GET, &path, None).await?;
            match seen["status"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("failed" | "canceled") => return Err(Failure::task(&seen["error"])),
                Some(_) | None => {}
            }
            if Instant::now() >= deadline {
                let what = format!("task {task} is unfinished");
                return Err(Failure::plain(&what));
            }
            sleep(PAUSE).await;
        }
    }

    /// Sends a request, again and again while it may pass.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.proxy.call(method.clone(), path, body).await {
                Err(failure) if failure.may_pass() && Instant::now() < deadline => {
                    sleep(PAUSE).await;
                }
                answered => return answered,
            }
        }
    }
}

fn task_of(accepted: &Value) -> Result<u64, Failure> {
    accepted["taskUid"]
        .as_u64()
        .ok_or_else(|| Failure::plain("the proxy answered no task"))
}
