//! A client that changes the settings of the index that all others write to.

use miroir_dev::demo::Client;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::INDEX;
use super::ledger::{Outcome, send};
use super::workload::{Acknowledged, Worker};

/// The client.
#[derive(Debug)]
pub struct Tuner {
    client: Client,
    rng: StdRng,
    /// What was last set for certain.
    known: Value,
    /// What may have been set since, or may be yet.
    maybe: Vec<Value>,
    /// What it was promised.
    pub acknowledged: Vec<Acknowledged>,
}

impl Tuner {
    /// A client of an index without synonyms.
    pub fn new(client: &Client, seed: u64) -> Self {
        Self {
            client: client.clone(),
            rng: StdRng::seed_from_u64(seed),
            known: json!({}),
            maybe: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    /// What the index's synonyms may be.
    pub fn possible(&self) -> Vec<&Value> {
        self.maybe.iter().chain([&self.known]).collect()
    }
}

impl Worker for Tuner {
    async fn work(&mut self) -> Outcome {
        let synonyms = json!({"drill": [format!("v{}", self.rng.random::<u16>())]});
        let path = format!("/indexes/{INDEX}/settings");
        let body = json!({"synonyms": synonyms});
        let (client, rng) = (&self.client, &mut self.rng);
        let outcome = send(client, rng, Method::PATCH, &path, Some(&body)).await;
        Acknowledged::note(&mut self.acknowledged, &outcome, &path, true);
        match outcome {
            Outcome::Done(_) => self.known = synonyms,
            Outcome::Unknown(_) => self.maybe.push(synonyms),
            Outcome::Refused(_) => {}
        }
        outcome
    }

    fn pause_ms(&mut self) -> u64 {
        self.rng.random_range(200..900)
    }
}
