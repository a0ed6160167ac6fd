//! The index that a drill makes for its load, and deletes.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::tally::document;
use crate::args::LoadArgs;
use crate::exit::Error;
use crate::proxy::{Failure, Proxy};

/// Documents of one request that fills the index, or reads it.
const PAGE: u64 = 1_000;

/// Pause before a look that failed is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// An index of the drill's own.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Where it is reached.
    pub proxy: Proxy,
    /// Its uid.
    pub uid: String,
}

impl Scratch {
    /// Makes the index. One that is there already is somebody's: it is left alone.
    ///
    /// # Errors
    /// When the proxy does not answer or refuses the key or the name, when there is such an index,
    /// or when it is not made by `deadline`.
    pub async fn create(args: &LoadArgs, proxy: Proxy, deadline: Instant) -> Result<Self, Error> {
        let uid = args.index.clone().unwrap_or_else(|| {
            let id = Uuid::new_v4().simple().to_string();
            format!("miroir-drill-{}", &id[..8])
        });
        let known = proxy.call(Method::GET, &path(&uid, ""), None).await;
        match known {
            Ok(_) => {
                return Err(Error::Usage(format!(
                    "index `{uid}` exists; a drill makes an index of its own, and deletes it"
                )));
            }
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => {
                return Err(proxy.unusable(&format!("look for index `{uid}`"), &failure));
            }
        }
        let body = json!({"uid": uid, "primaryKey": "id"});
        let made = proxy.done((Method::POST, "/indexes"), Some(&body), deadline);
        match made.await {
            Ok(()) => Ok(Self { proxy, uid }),
            Err(failure) => {
                let error = proxy.unusable(&format!("make index `{uid}`"), &failure);
                // It may be made yet, unless somebody else just made one of that name.
                if failure.code != "index_already_exists" {
                    let _ = proxy.call(Method::DELETE, &path(&uid, ""), None).await;
                }
                Err(error)
            }
        }
    }

    /// Adds documents with these ids, and waits until they are indexed.
    ///
    /// # Errors
    /// When they are refused, or not indexed by `deadline`.
    pub async fn fill(&self, ids: &BTreeSet<String>, deadline: Instant) -> Result<(), Error> {
        let ids: Vec<&String> = ids.iter().collect();
        let place = path(&self.uid, "/documents");
        for page in ids.chunks(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
            let body = Value::Array(page.iter().map(|id| document(id)).collect());
            let filled = self
                .proxy
                .done((Method::POST, &place), Some(&body), deadline);
            filled.await.map_err(|failure| {
                let what = format!("fill index `{}`", self.uid);
                self.proxy.unusable(&what, &failure)
            })?;
        }
        Ok(())
    }

    /// Adds one document; answers when it is acknowledged.
    pub async fn write(&self, id: &str) -> Result<(), Failure> {
        let body = json!([document(id)]);
        let place = path(&self.uid, "/documents");
        self.proxy
            .call(Method::POST, &place, Some(&body))
            .await
            .map(drop)
    }

    /// Searches the index.
    pub async fn search(&self) -> Result<(), Failure> {
        let body = json!({"q": "drill", "limit": 1});
        let place = path(&self.uid, "/search");
        self.proxy
            .call(Method::POST, &place, Some(&body))
            .await
            .map(drop)
    }

    /// Every document, once nothing that was accepted is left to do.
    ///
    /// # Errors
    /// In words, when it could not be read by `deadline`, or when a task failed.
    pub async fn documents(&self, deadline: Instant) -> Result<Vec<Value>, String> {
        loop {
            let why = match self.settled().await {
                Ok(0) => match self.pages().await {
                    Ok(documents) => return Ok(documents),
                    Err(failure) => failure.message,
                },
                Ok(open) => format!("{open} of its tasks are unfinished"),
                Err(failure) => failure.message,
            };
            if Instant::now() >= deadline {
                return Err(format!("index `{}` could not be read: {why}", self.uid));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// How many of its tasks failed.
    pub async fn failed_tasks(&self) -> Result<u64, Failure> {
        self.tasks("failed").await
    }

    async fn settled(&self) -> Result<u64, Failure> {
        self.tasks("enqueued,processing").await
    }

    async fn tasks(&self, statuses: &str) -> Result<u64, Failure> {
        let place = format!("/tasks?indexUids={}&statuses={statuses}&limit=1", self.uid);
        let answer = self.proxy.call(Method::GET, &place, None).await?;
        Ok(answer["total"].as_u64().unwrap_or(u64::MAX))
    }

    async fn pages(&self) -> Result<Vec<Value>, Failure> {
        let place = path(&self.uid, "/documents/fetch");
        let mut all = Vec::new();
        loop {
            let body = json!({"offset": all.len(), "limit": PAGE});
            let page = self.proxy.call(Method::POST, &place, Some(&body)).await?;
            match page["results"].as_array() {
                Some(results) if !results.is_empty() => all.extend(results.iter().cloned()),
                Some(_) | None => return Ok(all),
            }
        }
    }

    /// Deletes the index. What of it is in the way may pass: it is tried again until `deadline`.
    ///
    /// # Errors
    /// In words, with what is left to do by hand.
    pub async fn delete(&self, deadline: Instant) -> Result<(), String> {
        loop {
            let place = path(&self.uid, "");
            let deleted = self.proxy.done((Method::DELETE, &place), None, deadline);
            match deleted.await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_not_found() => return Ok(()),
                Err(failure) if Instant::now() >= deadline => {
                    return Err(format!(
                        "index `{}` could not be deleted, do it by hand: {}",
                        self.uid, failure.message
                    ));
                }
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }
}

/// A route of an index. What is no uid is escaped, for the proxy to refuse.
fn path(uid: &str, rest: &str) -> String {
    let mut escaped = String::with_capacity(uid.len());
    for byte in uid.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    format!("/indexes/{escaped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_name_cannot_become_another_route() {
        assert_eq!(path("a-B_1", "/search"), "/indexes/a-B_1/search");
        assert_eq!(path("a/b?é", ""), "/indexes/a%2Fb%3F%C3%A9");
    }
}
