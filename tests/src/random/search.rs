//! Clients that search. Some documents are never written to, so what a search must find of them is known at every
//! moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::demo::Client;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{INDEX, STABLE, documents_of, stable_id};

/// Wrong answers that are told of.
const TOLD: usize = 5;

/// Between two searches of a client.
const PAUSE: Duration = Duration::from_millis(30);

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Searches that were answered.
    pub answered: u64,
    /// Searches that were refused or not answered, in words.
    pub failed: Vec<String>,
    /// Answers that were wrong without saying so.
    pub wrong: Vec<String>,
}

/// The clients at work.
#[derive(Debug)]
pub struct Searchers {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Seen>,
}

impl Searchers {
    /// Starts `each` clients for each proxy.
    pub fn start(client: &Client, each: u32) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut clients = JoinSet::new();
        for proxy in client.proxies() {
            for turn in 0..each {
                let searcher = Searcher {
                    client: client.clone(),
                    proxy: proxy.clone(),
                    turn,
                };
                clients.spawn(searcher.run(Arc::clone(&stop)));
            }
        }
        Self { stop, clients }
    }

    /// Stops them, each after the search it waits for.
    pub async fn stop(mut self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(ended) = self.clients.join_next().await {
            let one = ended.context("a searching client broke")?;
            all.answered += one.answered;
            all.failed.extend(one.failed);
            all.wrong.extend(one.wrong);
        }
        Ok(all)
    }
}

struct Searcher {
    client: Client,
    proxy: String,
    turn: u32,
}

impl Searcher {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Seen {
        let mut seen = Seen::default();
        while !stop.load(Ordering::Relaxed) {
            self.turn += 1;
            let (path, query) = query(self.turn);
            let body = Some(("application/json", query.to_string()));
            let sent = self.client.send_to(&self.proxy, Method::POST, &path, body);
            match sent.await {
                Ok(answer) => {
                    seen.answered += 1;
                    if let Err(error) = judge(&query, &answer)
                        && seen.wrong.len() < TOLD
                    {
                        seen.wrong
                            .push(format!("{} {query}: {error:#}", self.proxy));
                    }
                }
                Err(error) => seen.failed.push(format!("{error:#}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
        seen
    }
}

/// A search, or a fetch, of the documents that never change; or a search of everything.
fn query(turn: u32) -> (String, Value) {
    let stable = "stable = true";
    match turn % 4 {
        0 => (
            format!("{}/fetch", documents_of(INDEX)),
            json!({"filter": stable, "limit": 1_000}),
        ),
        1 => (
            format!("/indexes/{INDEX}/search"),
            json!({"q": "", "limit": 1_000}),
        ),
        _ => (
            format!("/indexes/{INDEX}/search"),
            json!({"q": "", "filter": stable, "facets": ["stable"], "page": 1, "hitsPerPage": 1_000}),
        ),
    }
}

/// Checks that nothing comes twice, and that exactly the documents come that never change, where those were asked for.
fn judge(query: &Value, answer: &Value) -> anyhow::Result<()> {
    let hits = answer["hits"].as_array().or(answer["results"].as_array());
    let mut ids = BTreeSet::new();
    for hit in hits.context("no hits")? {
        let id = hit["id"].as_str().context("a hit has no id")?;
        ensure!(ids.insert(id), "`{id}` came twice");
        let shown = hit.to_string();
        ensure!(
            !shown.contains("_miroir"),
            "the hidden field shows in {hit}"
        );
    }
    if query.get("filter").is_none() {
        return Ok(());
    }
    let expected: BTreeSet<String> = (0..STABLE).map(stable_id).collect();
    let missing: Vec<&String> = expected
        .iter()
        .filter(|id| !ids.contains(id.as_str()))
        .collect();
    ensure!(
        missing.is_empty(),
        "{} are missing: {missing:?}",
        missing.len()
    );
    ensure!(
        ids.len() == expected.len(),
        "{} came, not {STABLE}",
        ids.len()
    );
    for (name, total) in [
        ("totalHits", &answer["totalHits"]),
        ("total", &answer["total"]),
        ("a facet", &answer["facetDistribution"]["stable"]["true"]),
    ] {
        let right = total.is_null() || total.as_u64() == Some(u64::from(STABLE));
        ensure!(right, "{name} is {total}, not {STABLE}");
    }
    Ok(())
}
