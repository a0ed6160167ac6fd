//! A client that writes documents of its own in every way there is.

use std::sync::Arc;

use miroir_dev::demo::{Client, Fields};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ledger::{Ledger, Outcome, send};
use super::workload::{Acknowledged, Worker};
use super::{INDEX, documents_of};

/// Documents with the same value of a field, which are deleted together by a filter.
const BUCKETS: u32 = 3;

/// The client.
#[derive(Debug)]
pub struct Writer {
    client: Client,
    rng: StdRng,
    number: u32,
    made: u32,
    /// Names of buckets that are in use. One whose deletion has an unknown fate never is again.
    buckets: Vec<String>,
    made_buckets: u32,
    /// What its documents may be.
    pub ledger: Ledger,
    /// What it was promised.
    pub acknowledged: Vec<Acknowledged>,
}

impl Writer {
    /// A client with ids of its own.
    pub fn new(client: &Client, number: u32, seed: u64) -> Self {
        let mut writer = Self {
            client: client.clone(),
            rng: StdRng::seed_from_u64(seed),
            number,
            made: 0,
            buckets: Vec::new(),
            made_buckets: 0,
            ledger: Ledger::default(),
            acknowledged: Vec::new(),
        };
        for _ in 0..BUCKETS {
            writer.open_bucket();
        }
        writer
    }

    fn open_bucket(&mut self) {
        self.made_buckets += 1;
        let name = format!("w{}-{}", self.number, self.made_buckets);
        self.buckets.push(name);
    }

    fn new_id(&mut self) -> String {
        self.made += 1;
        format!("w{}-{}", self.number, self.made)
    }

    fn some_ids(&mut self, at_most: usize) -> Vec<String> {
        let count = self.rng.random_range(1..=at_most);
        let writable = self.ledger.writable();
        let some = writable.choose_multiple(&mut self.rng, count);
        some.cloned().collect()
    }

    /// A document that is unlike every other.
    fn document(&mut self, id: &str) -> Fields {
        let bucket = self.buckets.choose(&mut self.rng).cloned();
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!(id));
        fields.insert("bucket".to_owned(), json!(bucket));
        fields.insert("text".to_owned(), json!("some words to search"));
        fields.insert("version".to_owned(), json!(self.rng.random::<u32>()));
        Arc::new(fields)
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Outcome {
        let path = format!("{}{path}", documents_of(INDEX));
        let outcome = send(&self.client, &mut self.rng, method, &path, body).await;
        Acknowledged::note(&mut self.acknowledged, &outcome, &path, true);
        outcome
    }

    async fn put(&mut self, mut ids: Vec<String>) -> Outcome {
        if ids.is_empty() {
            ids.push(self.new_id());
        }
        let documents: Vec<(String, Fields)> = ids
            .into_iter()
            .map(|id| {
                let fields = self.document(&id);
                (id, fields)
            })
            .collect();
        let body = documents
            .iter()
            .map(|(_, fields)| json!(**fields))
            .collect();
        let outcome = self.send(Method::POST, "", Some(&Value::Array(body))).await;
        for (id, fields) in documents {
            self.ledger
                .note(&outcome, &id, |_| Some(Arc::clone(&fields)));
        }
        outcome
    }

    async fn insert(&mut self) -> Outcome {
        let count = self.rng.random_range(1..=4);
        let ids = (0..count).map(|_| self.new_id()).collect();
        self.put(ids).await
    }

    /// Of documents that were deleted, too.
    async fn replace(&mut self) -> Outcome {
        let ids = self.some_ids(4);
        self.put(ids).await
    }

    async fn update(&mut self) -> Outcome {
        let ids = self.some_ids(4);
        if ids.is_empty() {
            return self.insert().await;
        }
        let mark = json!(self.rng.random::<u32>());
        let body = ids
            .iter()
            .map(|id| json!({"id": id, "mark": mark}))
            .collect();
        let outcome = self.send(Method::PUT, "", Some(&Value::Array(body))).await;
        for id in ids {
            self.ledger.note(&outcome, &id, |state| {
                let mut fields = state.map(|old| old.as_ref().clone()).unwrap_or_default();
                fields.insert("id".to_owned(), json!(id));
                fields.insert("mark".to_owned(), mark.clone());
                Some(Arc::new(fields))
            });
        }
        outcome
    }

    async fn delete_one(&mut self) -> Outcome {
        let Some(id) = self.some_ids(1).pop() else {
            return self.insert().await;
        };
        let outcome = self.send(Method::DELETE, &format!("/{id}"), None).await;
        self.ledger.note(&outcome, &id, |_| None);
        outcome
    }

    async fn delete_batch(&mut self) -> Outcome {
        let ids = self.some_ids(3);
        let body = json!(ids);
        let outcome = self.send(Method::POST, "/delete-batch", Some(&body)).await;
        for id in ids {
            self.ledger.note(&outcome, &id, |_| None);
        }
        outcome
    }

    async fn delete_by_filter(&mut self) -> Outcome {
        let turn = self.rng.random_range(0..self.buckets.len());
        let bucket = self.buckets[turn].clone();
        let body = json!({"filter": format!("bucket = \"{bucket}\"")});
        let outcome = self.send(Method::POST, "/delete", Some(&body)).await;
        self.ledger.note_all(&outcome, |state| {
            let kept = state.filter(|fields| fields.get("bucket") != Some(&json!(bucket)));
            kept.cloned()
        });
        if matches!(outcome, Outcome::Unknown(_)) {
            self.buckets.swap_remove(turn);
            self.open_bucket();
        }
        outcome
    }

    /// One document without an id fails the whole batch, on all shards.
    async fn mistake(&mut self) -> Outcome {
        let id = self.new_id();
        let good = self.document(&id);
        let body = json!([*good, {"text": "no id"}]);
        let path = documents_of(INDEX);
        let outcome = send(
            &self.client,
            &mut self.rng,
            Method::POST,
            &path,
            Some(&body),
        )
        .await;
        Acknowledged::note(&mut self.acknowledged, &outcome, &path, false);
        // Whatever was answered, the good one must not be there.
        self.ledger.note(&Outcome::Done(0), &id, |_| None);
        outcome
    }
}

impl Worker for Writer {
    async fn work(&mut self) -> Outcome {
        match self.rng.random_range(0..100) {
            0..=29 => self.insert().await,
            30..=49 => self.replace().await,
            50..=69 => self.update().await,
            70..=79 => self.delete_one().await,
            80..=87 => self.delete_batch().await,
            88..=95 => self.delete_by_filter().await,
            _ => self.mistake().await,
        }
    }

    fn pause_ms(&mut self) -> u64 {
        self.rng.random_range(5..60)
    }
}
