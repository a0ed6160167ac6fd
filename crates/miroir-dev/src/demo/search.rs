//! Clients that search all the time, and know what the answer must be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Client, Corpus, INDEX, Refusal};

/// A client's pause between two searches.
const PAUSE: Duration = Duration::from_millis(50);

/// Periods of the demo: before, during and after the move.
pub const PERIODS: usize = 3;

/// What the searching clients saw.
#[derive(Debug, Clone, Default)]
pub struct Searched {
    /// How long searches took, by period.
    pub latencies: [Vec<Duration>; PERIODS],
    /// Searches that got an error or no answer, in words.
    pub failures: Vec<String>,
    /// Documents that answers lacked, summed over all answers.
    pub missing: u64,
    /// Documents that answers held more than once, summed over all answers.
    pub repeated: u64,
    /// What was wrong with the first such answers, and refusals other than that something is out of reach.
    pub wrong: Vec<String>,
}

/// Searching clients, one for each proxy.
#[derive(Debug)]
pub struct Watch {
    searchers: JoinSet<Searched>,
    period: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Watch {
    /// Starts them.
    #[must_use]
    pub fn start(client: &Client, corpus: &Corpus) -> Self {
        let (stop, period) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let (section, count) = corpus.quiet_section();
        let quiet = corpus
            .documents()
            .iter()
            .filter(|d| d.fields.get("section").is_some_and(|s| s == section));
        let ids: Arc<BTreeSet<String>> =
            Arc::new(quiet.map(|document| document.id.clone()).collect());
        let mut searchers = JoinSet::new();
        for proxy in client.proxies() {
            let searcher = Searcher {
                client: client.clone(),
                proxy: proxy.clone(),
                section: section.to_owned(),
                count,
                ids: Arc::clone(&ids),
                seen: Searched::default(),
            };
            searchers.spawn(searcher.run(Arc::clone(&period), stop.clone()));
        }
        Self {
            searchers,
            period,
            stop,
        }
    }

    /// Counts what follows to the next period.
    pub fn next_period(&self) {
        self.period.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops them.
    pub async fn stop(mut self) -> Searched {
        self.stop.cancel();
        let mut all = Searched::default();
        while let Some(ended) = self.searchers.join_next().await {
            match ended {
                Ok(one) => {
                    for (all, one) in all.latencies.iter_mut().zip(one.latencies) {
                        all.extend(one);
                    }
                    all.failures.extend(one.failures);
                    all.missing += one.missing;
                    all.repeated += one.repeated;
                    all.wrong.extend(one.wrong);
                }
                Err(panic) => all
                    .failures
                    .push(format!("a searching client broke: {panic}")),
            }
        }
        all
    }
}

struct Searcher {
    client: Client,
    proxy: String,
    /// A section that no write touches.
    section: String,
    /// How many documents it has.
    count: u64,
    /// Their ids.
    ids: Arc<BTreeSet<String>>,
    seen: Searched,
}

impl Searcher {
    async fn run(mut self, period: Arc<AtomicUsize>, stop: CancellationToken) -> Searched {
        let mut turn = 0_u64;
        while !stop.is_cancelled() {
            turn += 1;
            let now = period.load(Ordering::Relaxed).min(PERIODS - 1);
            let query = self.query(turn);
            let began = Instant::now();
            match self.search(&query).await {
                Ok(answer) => {
                    if let Some(latencies) = self.seen.latencies.get_mut(now) {
                        latencies.push(began.elapsed());
                    }
                    self.judge(&query, &answer);
                }
                Err(error) => self.failed(&error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.seen
    }

    /// A search may be refused while a shard is out of reach, and in one way only.
    fn failed(&mut self, error: &anyhow::Error) {
        let words = format!("{error:#}");
        let refusal = error.downcast_ref::<Refusal>();
        if refusal.is_some_and(|refusal| !refusal.is_unavailable()) {
            self.note(words.clone());
        }
        self.seen.failures.push(words);
    }

    /// Mostly what a user would ask; now and then everything of the quiet section.
    fn query(&self, turn: u64) -> Value {
        let filter = format!("section = \"{}\"", self.section);
        match turn % 16 {
            0 => {
                json!({"q": "", "filter": filter, "facets": ["section"], "page": 1, "hitsPerPage": 1_000})
            }
            1 | 4 | 7 | 10 | 13 => json!({"q": "library", "limit": 20}),
            2 | 5 | 8 | 11 | 14 => {
                json!({"q": "tool for images", "limit": 20, "sort": ["installed_size:desc"], "facets": ["priority"]})
            }
            _ => {
                json!({"q": "", "filter": filter, "facets": ["section"], "page": 1, "hitsPerPage": 20})
            }
        }
    }

    async fn search(&self, query: &Value) -> anyhow::Result<Value> {
        let path = format!("/indexes/{INDEX}/search");
        self.client
            .send_to(
                &self.proxy,
                Method::POST,
                &path,
                Some(("application/json", query.to_string())),
            )
            .await
    }

    fn judge(&mut self, query: &Value, answer: &Value) {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        let hits = answer["hits"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for hit in hits {
            *times
                .entry(hit["id"].as_str().unwrap_or_default())
                .or_default() += 1;
        }
        let repeated: u64 = times.values().map(|times| times - 1).sum();
        self.seen.repeated += repeated;
        if repeated > 0 {
            self.note(format!("{repeated} documents came twice for {query}"));
        }
        if query.get("filter").is_some() {
            self.judge_quiet(query, answer, &times);
        }
    }

    /// Nobody writes to this section, so its totals and facets are known exactly at every moment.
    fn judge_quiet(&mut self, query: &Value, answer: &Value, times: &BTreeMap<&str, u64>) {
        let total = answer["totalHits"].as_u64().unwrap_or_default();
        let facet = answer["facetDistribution"]["section"][&self.section]
            .as_u64()
            .unwrap_or_default();
        for counted in [total, facet] {
            self.seen.missing += self.count.saturating_sub(counted);
            self.seen.repeated += counted.saturating_sub(self.count);
        }
        let per_page = query["hitsPerPage"].as_u64().unwrap_or_default();
        let mut absent = 0;
        if per_page >= self.count {
            absent = self
                .ids
                .iter()
                .filter(|id| !times.contains_key(id.as_str()))
                .count() as u64;
            self.seen.missing += absent;
        }
        if total != self.count || facet != self.count || absent > 0 {
            self.note(format!(
                "of {} documents: {total} in total, {facet} by facet, {absent} absent",
                self.count
            ));
        }
    }

    fn note(&mut self, wrong: String) {
        if self.seen.wrong.len() < 5 {
            self.seen.wrong.push(wrong);
        }
    }
}
