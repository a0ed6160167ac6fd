//! All clients that write, for the length of a round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use miroir_dev::demo::Client;
use tokio::task::JoinHandle;

use super::ledger::Outcome;
use super::scratch::Scratch;
use super::tuner::Tuner;
use super::writer::Writer;

/// Clients that write documents to the same index.
const WRITERS: u32 = 4;

/// Failed writes that are told of.
const TOLD: usize = 5;

/// A task that a client was promised.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// Its number.
    pub task: u64,
    /// The path of its request.
    pub path: String,
    /// Whether it must succeed; else it must fail.
    pub succeeds: bool,
}

impl Acknowledged {
    /// Adds what a write was promised, if anything.
    pub fn note(all: &mut Vec<Self>, outcome: &Outcome, path: &str, succeeds: bool) {
        if let Outcome::Done(task) = outcome {
            all.push(Self {
                task: *task,
                path: path.to_owned(),
                succeeds,
            });
        }
    }
}

/// A client that writes one request after the other.
pub trait Worker: Send + Sized + 'static {
    /// Sends one request and takes note of what came of it.
    fn work(&mut self) -> impl Future<Output = Outcome> + Send;

    /// How long it waits before the next, in milliseconds.
    fn pause_ms(&mut self) -> u64;
}

/// The clients, between rounds.
#[derive(Debug)]
pub struct Crew {
    /// Those that write documents to one index.
    pub writers: Vec<Writer>,
    /// The one that empties its index.
    pub scratch: Scratch,
    /// The one that changes settings.
    pub tuner: Tuner,
}

/// How the writes of a round went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Refused ones, of which nothing happened.
    pub refused: u64,
    /// Those whose fate is unknown.
    pub unknown: u64,
    /// The first that were not acknowledged, in words.
    pub failures: Vec<String>,
}

impl Tally {
    fn note(&mut self, outcome: &Outcome) {
        let (count, text) = match outcome {
            Outcome::Done(_) => {
                self.acknowledged += 1;
                return;
            }
            Outcome::Unknown(text) => (&mut self.unknown, text),
            Outcome::Refused(text) => (&mut self.refused, text),
        };
        *count += 1;
        if self.failures.len() < TOLD {
            self.failures.push(text.clone());
        }
    }

    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.failures.extend(other.failures);
    }
}

type Running<W> = JoinHandle<(W, Tally)>;

/// The clients at work.
#[derive(Debug)]
pub struct AtWork {
    stop: Arc<AtomicBool>,
    writers: Vec<Running<Writer>>,
    scratch: Running<Scratch>,
    tuner: Running<Tuner>,
}

impl Crew {
    /// Clients that have not written yet.
    pub fn new(client: &Client, seed: u64) -> Self {
        let of = |number: u32| seed.wrapping_add(u64::from(number));
        Self {
            writers: (0..WRITERS)
                .map(|number| Writer::new(client, number, of(number)))
                .collect(),
            scratch: Scratch::new(client, of(WRITERS)),
            tuner: Tuner::new(client, of(WRITERS + 1)),
        }
    }

    /// Has them begin.
    pub fn start(self) -> AtWork {
        let stop = Arc::<AtomicBool>::default();
        let writers = self.writers.into_iter();
        AtWork {
            writers: writers
                .map(|writer| tokio::spawn(run(writer, Arc::clone(&stop))))
                .collect(),
            scratch: tokio::spawn(run(self.scratch, Arc::clone(&stop))),
            tuner: tokio::spawn(run(self.tuner, Arc::clone(&stop))),
            stop,
        }
    }

    /// Takes all that was promised since it was last asked.
    pub fn take_acknowledged(&mut self) -> Vec<Acknowledged> {
        let mut all = std::mem::take(&mut self.scratch.acknowledged);
        all.append(&mut self.tuner.acknowledged);
        for writer in &mut self.writers {
            all.append(&mut writer.acknowledged);
        }
        all
    }
}

impl AtWork {
    /// Has them end, each after the request it waits for.
    pub async fn stop(self) -> anyhow::Result<(Crew, Tally)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        let broke = "a writing client broke";
        let mut writers = Vec::new();
        for running in self.writers {
            let (writer, tally) = running.await.context(broke)?;
            writers.push(writer);
            all.add(tally);
        }
        let (scratch, tally) = self.scratch.await.context(broke)?;
        all.add(tally);
        let (tuner, tally) = self.tuner.await.context(broke)?;
        all.add(tally);
        let crew = Crew {
            writers,
            scratch,
            tuner,
        };
        Ok((crew, all))
    }
}

async fn run<W: Worker>(mut worker: W, stop: Arc<AtomicBool>) -> (W, Tally) {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        tally.note(&worker.work().await);
        let pause = worker.pause_ms();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    (worker, tally)
}
