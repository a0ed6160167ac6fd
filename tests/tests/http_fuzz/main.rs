//! Requests of every kind, mutated, to a running cluster: none makes a process panic or hang, none is answered 500, and
//! what is refused has changed nothing.
//!
//! `MIROIR_FUZZ_INPUTS` requests are sent (2,000 by default); `MIROIR_SEED` repeats a run.

#[path = "../../../crates/miroir-core/tests/fuzz/mutate.rs"]
mod mutate;
mod requests;
mod wire;

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_tests::{Trial, seed};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use requests::Recipe;
use wire::{Answer, Wire};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const INPUTS: u64 = 2_000;
/// Much longer than any answer takes; a request that is held for a lease is answered well before.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn http_fuzz() -> anyhow::Result<()> {
    let seed = seed("http_fuzz")?;
    let inputs = match std::env::var("MIROIR_FUZZ_INPUTS") {
        Ok(text) => text.parse().context("MIROIR_FUZZ_INPUTS")?,
        Err(_) => INPUTS,
    };
    let trial = Trial::start(Trial::options(PROGRAM)).await?;
    let outcome = play(&trial, seed, inputs).await;
    trial.end(outcome).await
}

async fn play(trial: &Trial, seed: u64, inputs: u64) -> anyhow::Result<()> {
    let key = trial.cluster.layout.master_key()?;
    let wire = Wire::to(&trial.cluster.layout.proxy_url(1))?;
    let before = marker(&wire, &key).await?;
    let mut tally = Tally::default();
    for at in 0..inputs {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(at));
        let recipe = Recipe::draw(&key, &mut rng);
        let sent = tokio::time::timeout(ANSWER_WITHIN, wire.send(recipe.bytes())).await;
        let answer = sent
            .with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))
            .and_then(|answer| answer)
            .with_context(|| recipe.shown())?;
        judge(&answer).with_context(|| recipe.shown())?;
        tally.count(&answer);
    }
    let after = marker(&wire, &key).await?;
    println!("  {tally:?}");
    ensure!(
        tally.refused > 0 && tally.tasks > 0 && tally.answered > 0,
        "the requests are all of a kind: {tally:?}"
    );
    let made = u64::from(after - before - 1);
    ensure!(
        made == tally.tasks,
        "{made} tasks were made, and {} requests were told so",
        tally.tasks
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    tasks: u64,
    refused: u64,
    /// Refused before it was understood as HTTP.
    malformed: u64,
}

impl Tally {
    fn count(&mut self, answer: &Answer) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            200..300 if body["taskUid"].is_u64() => self.tasks += 1,
            200..300 => self.answered += 1,
            _ if answer.body.is_empty() => self.malformed += 1,
            _ => self.refused += 1,
        }
    }
}

/// A write of its own: its task's uid counts those before it.
async fn marker(wire: &Wire, key: &str) -> anyhow::Result<u32> {
    let recipe = Recipe::marker(key);
    let answer = wire.send(recipe.bytes()).await?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    let uid = body["taskUid"].as_u64().with_context(|| body.to_string())?;
    Ok(u32::try_from(uid)?)
}

fn judge(answer: &Answer) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status < 500, "answered {}: {text}", answer.status);
    if answer.status >= 400 && !answer.body.is_empty() {
        let error: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("answered {}, not an error object: {text}", answer.status))?;
        for member in ["message", "code", "type", "link"] {
            ensure!(error[member].is_string(), "no `{member}`: {text}");
        }
    }
    Ok(())
}
