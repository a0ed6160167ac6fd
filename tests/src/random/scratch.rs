//! A client with an index of its own, which it empties and deletes.

use std::sync::Arc;

use miroir_dev::demo::{Client, Fields};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::documents_of;
use super::ledger::{Ledger, Outcome, send};
use super::workload::{Acknowledged, Worker};

/// Whether an index is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It was created for certain.
    There,
    /// It was never created, or deleted, for certain.
    Gone,
    /// Nobody knows.
    Either,
}

/// One index.
#[derive(Debug)]
pub struct ScratchIndex {
    /// Its uid.
    pub uid: String,
    /// What its documents may be.
    pub ledger: Ledger,
    /// Whether it is there.
    pub existence: Existence,
}

/// The client.
#[derive(Debug)]
pub struct Scratch {
    client: Client,
    rng: StdRng,
    made: u32,
    /// Its indexes; it writes to the last one.
    pub indexes: Vec<ScratchIndex>,
    /// What it was promised.
    pub acknowledged: Vec<Acknowledged>,
}

impl Scratch {
    /// A client with one index that is not there yet.
    pub fn new(client: &Client, seed: u64) -> Self {
        let mut scratch = Self {
            client: client.clone(),
            rng: StdRng::seed_from_u64(seed),
            made: 0,
            indexes: Vec::new(),
            acknowledged: Vec::new(),
        };
        scratch.begin_index();
        scratch
    }

    fn begin_index(&mut self) {
        self.indexes.push(ScratchIndex {
            uid: format!("scratch-{}", self.indexes.len() + 1),
            ledger: Ledger::default(),
            existence: Existence::Gone,
        });
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Outcome {
        let outcome = send(&self.client, &mut self.rng, method, path, body).await;
        Acknowledged::note(&mut self.acknowledged, &outcome, path, true);
        outcome
    }

    fn present(&mut self) -> Option<&mut ScratchIndex> {
        self.indexes.last_mut()
    }

    fn uid(&self) -> String {
        let present = self.indexes.last();
        present.map(|index| index.uid.clone()).unwrap_or_default()
    }

    async fn insert(&mut self) -> Outcome {
        let mut documents: Vec<(String, Fields)> = Vec::new();
        for _ in 0..self.rng.random_range(1..=5) {
            self.made += 1;
            let id = format!("s-{}", self.made);
            let fields = json!({"id": id, "version": self.rng.random::<u32>()});
            documents.extend(fields.as_object().cloned().map(|f| (id, Arc::new(f))));
        }
        let body = documents
            .iter()
            .map(|(_, fields)| json!(**fields))
            .collect();
        let path = format!("{}?primaryKey=id", documents_of(&self.uid()));
        let outcome = self
            .send(Method::POST, &path, Some(&Value::Array(body)))
            .await;
        if let Some(index) = self.present() {
            for (id, fields) in documents {
                index
                    .ledger
                    .note(&outcome, &id, |_| Some(Arc::clone(&fields)));
            }
            match outcome {
                Outcome::Done(_) => index.existence = Existence::There,
                Outcome::Unknown(_) if index.existence == Existence::Gone => {
                    index.existence = Existence::Either;
                }
                Outcome::Unknown(_) | Outcome::Refused(_) => {}
            }
        }
        outcome
    }

    async fn delete_all(&mut self) -> Outcome {
        let path = documents_of(&self.uid());
        let outcome = self.send(Method::DELETE, &path, None).await;
        if let Some(index) = self.present() {
            index.ledger.note_all(&outcome, |_| None);
        }
        if matches!(outcome, Outcome::Unknown(_)) {
            // It may still come, and would delete what is written after it.
            self.begin_index();
        }
        outcome
    }

    async fn delete_index(&mut self) -> Outcome {
        let path = format!("/indexes/{}", self.uid());
        let outcome = self.send(Method::DELETE, &path, None).await;
        let Some(index) = self.present() else {
            return outcome;
        };
        match outcome {
            // An insertion that comes late creates it again.
            Outcome::Done(_) if !index.ledger.is_unsettled() => index.existence = Existence::Gone,
            Outcome::Done(_) | Outcome::Unknown(_) => index.existence = Existence::Either,
            Outcome::Refused(_) => return outcome,
        }
        index.ledger.note_all(&outcome, |_| None);
        self.begin_index();
        outcome
    }

    fn is_there(&self) -> bool {
        let present = self.indexes.last();
        present.is_some_and(|index| index.existence == Existence::There)
    }
}

impl Worker for Scratch {
    async fn work(&mut self) -> Outcome {
        let choice = self.rng.random_range(0..100);
        match choice {
            0..=24 if self.is_there() => self.delete_all().await,
            25..=27 if self.is_there() => self.delete_index().await,
            _ => self.insert().await,
        }
    }

    fn pause_ms(&mut self) -> u64 {
        self.rng.random_range(20..120)
    }
}
