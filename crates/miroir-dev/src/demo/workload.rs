//! Clients that write: new documents, replacements, partial updates, deletes.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::oracle::Fields;
use super::{Client, Corpus, INDEX, Oracle, Refusal};

/// Clients that write at the same time.
const WRITERS: usize = 2;

/// A client's pause between two writes: the demo shows a busy cluster, not an overloaded one.
const PAUSE: Duration = Duration::from_millis(100);

/// What the writing clients saw.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Acknowledged requests.
    pub acknowledged: u64,
    /// Requests that got an error or no answer, in words.
    pub failures: Vec<String>,
    /// How many of them got the answer that something is out of reach for now, as it should be.
    pub refused: u64,
    /// Those of them that were answered in any other way, in words.
    pub wrong: Vec<String>,
    /// How long each acknowledged request took.
    pub latencies: Vec<Duration>,
}

impl Written {
    fn failed(&mut self, error: &anyhow::Error) {
        let words = format!("{error:#}");
        match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.is_unavailable() => self.refused += 1,
            Some(_) => self.wrong.push(words.clone()),
            // No answer: the connection was refused or broke, or it took too long.
            None => {}
        }
        self.failures.push(words);
    }
}

/// Writing clients.
#[derive(Debug)]
pub struct Workload {
    writers: JoinSet<Written>,
    stop: CancellationToken,
}

impl Workload {
    /// Starts them. Each has ids of its own, so that the order of writes of an id is its own order.
    #[must_use]
    pub fn start(client: &Client, oracle: Arc<Oracle>, corpus: &Corpus, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let own = corpus.changeable().skip(number).step_by(WRITERS);
            let writer = Writer {
                client: client.clone(),
                oracle: Arc::clone(&oracle),
                rng: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
                ids: own.map(|document| document.id.clone()).collect(),
                models: own_models(corpus, number),
                number,
                made: 0,
                seen: Written::default(),
            };
            writers.spawn(writer.run(stop.clone()));
        }
        Self { writers, stop }
    }

    /// Stops them, each after the request it waits for.
    pub async fn stop(mut self) -> Written {
        self.stop.cancel();
        let mut all = Written::default();
        while let Some(ended) = self.writers.join_next().await {
            match ended {
                Ok(one) => {
                    all.acknowledged += one.acknowledged;
                    all.failures.extend(one.failures);
                    all.refused += one.refused;
                    all.wrong.extend(one.wrong);
                    all.latencies.extend(one.latencies);
                }
                Err(panic) => all
                    .failures
                    .push(format!("a writing client broke: {panic}")),
            }
        }
        all
    }
}

/// Real documents from which a writer makes new ones.
fn own_models(corpus: &Corpus, number: usize) -> Vec<Fields> {
    corpus
        .changeable()
        .skip(number)
        .step_by(WRITERS * 7)
        .map(|document| Arc::clone(&document.fields))
        .collect()
}

struct Writer {
    client: Client,
    oracle: Arc<Oracle>,
    rng: StdRng,
    /// Ids that only this writer writes.
    ids: Vec<String>,
    models: Vec<Fields>,
    number: usize,
    made: u64,
    seen: Written,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) -> Written {
        while !stop.is_cancelled() {
            let began = Instant::now();
            let outcome = match self.rng.random_range(0..10) {
                0..=3 => self.add_new().await,
                4..=5 => self.replace().await,
                6..=7 => self.update().await,
                8 => self.delete_one().await,
                _ => self.delete_batch().await,
            };
            match outcome {
                Ok(()) => {
                    self.seen.acknowledged += 1;
                    self.seen.latencies.push(began.elapsed());
                }
                Err(error) => self.seen.failed(&error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.seen
    }

    fn some_ids(&mut self, at_most: usize) -> Vec<String> {
        let count = self.rng.random_range(1..=at_most);
        let mut ids: Vec<String> = self
            .ids
            .choose_multiple(&mut self.rng, count)
            .cloned()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// A document made of a real one, under another id.
    fn document(&mut self, id: &str) -> Fields {
        let mut fields = self
            .models
            .choose(&mut self.rng)
            .map(|model| model.as_ref().clone())
            .unwrap_or_default();
        fields.insert("id".to_owned(), json!(id));
        fields.insert(
            "installed_size".to_owned(),
            json!(self.rng.random_range(0..1_000_000_u32)),
        );
        fields.insert("demo_written".to_owned(), json!(self.rng.random::<u32>()));
        Arc::new(fields)
    }

    async fn put(&mut self, documents: Vec<(String, Fields)>) -> anyhow::Result<()> {
        let lines: Vec<String> = documents
            .iter()
            .map(|(_, fields)| Value::Object(fields.as_ref().clone()).to_string())
            .collect();
        let sent = self.client.add_ndjson(INDEX, lines.join("\n")).await;
        for (id, fields) in &documents {
            match &sent {
                Ok(_) => self.oracle.put(id, Arc::clone(fields)),
                Err(_) => self.oracle.maybe_put(id, Arc::clone(fields)),
            }
        }
        sent.map(|_| ())
    }

    async fn add_new(&mut self) -> anyhow::Result<()> {
        let count = self.rng.random_range(1..=10);
        let mut documents = Vec::new();
        for _ in 0..count {
            self.made += 1;
            let id = format!("demo-{}-{}", self.number, self.made);
            let fields = self.document(&id);
            documents.push((id, fields));
        }
        self.ids.extend(documents.iter().map(|(id, _)| id.clone()));
        self.put(documents).await
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        let ids = self.some_ids(5);
        let documents = ids.into_iter().map(|id| {
            let fields = self.document(&id);
            (id, fields)
        });
        let documents = documents.collect();
        self.put(documents).await
    }

    async fn update(&mut self) -> anyhow::Result<()> {
        let mark = json!(self.rng.random::<u32>());
        let ids = self.some_ids(5);
        let body: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "demo_updated": mark}))
            .collect();
        let path = format!("/indexes/{INDEX}/documents");
        let sent = self
            .client
            .send_json(Method::PUT, &path, &Value::Array(body))
            .await;
        for id in &ids {
            let mut changed = Map::new();
            changed.insert("id".to_owned(), json!(id));
            changed.insert("demo_updated".to_owned(), mark.clone());
            match &sent {
                Ok(_) => self.oracle.update(id, &changed),
                Err(_) => self.oracle.maybe_update(id, &changed),
            }
        }
        sent.map(|_| ())
    }

    async fn delete_one(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.some_ids(1).pop() else {
            return Ok(());
        };
        let sent = self
            .client
            .send(
                Method::DELETE,
                &format!("/indexes/{INDEX}/documents/{id}"),
                None,
            )
            .await;
        self.deleted(&[id], sent)
    }

    async fn delete_batch(&mut self) -> anyhow::Result<()> {
        let ids = self.some_ids(4);
        let path = format!("/indexes/{INDEX}/documents/delete-batch");
        let sent = self
            .client
            .send_json(Method::POST, &path, &json!(ids))
            .await;
        self.deleted(&ids, sent)
    }

    fn deleted(&self, ids: &[String], sent: anyhow::Result<Value>) -> anyhow::Result<()> {
        for id in ids {
            match &sent {
                Ok(_) => self.oracle.delete(id),
                Err(_) => self.oracle.maybe_delete(id),
            }
        }
        sent.map(|_| ())
    }
}
