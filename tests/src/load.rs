//! Clients that write and search while a drill does its harm.

use std::sync::Arc;

use anyhow::ensure;
use miroir_dev::demo::{Client, Searched, Watch, Workload, Written};

use crate::Trial;

/// The clients.
#[derive(Debug)]
pub struct Load {
    workload: Workload,
    watch: Watch,
}

/// What they saw.
#[derive(Debug)]
pub struct Seen {
    /// By those that wrote.
    pub written: Written,
    /// By those that searched, one for each proxy.
    pub searched: Searched,
}

impl Load {
    /// Starts them; they use all proxies.
    #[must_use]
    pub fn start(trial: &Trial, seed: u64) -> Self {
        Self::through(&trial.client, trial, seed)
    }

    /// Starts them; they use the proxies that this client knows.
    #[must_use]
    pub fn through(client: &Client, trial: &Trial, seed: u64) -> Self {
        let oracle = Arc::clone(&trial.oracle);
        Self {
            workload: Workload::start(client, oracle, &trial.corpus, seed),
            watch: Watch::start(client, &trial.corpus),
        }
    }

    /// Stops them, each after the request it waits for.
    ///
    /// # Errors
    /// When they saw what they must not see, whatever the harm: a write answered by anything but an
    /// acknowledgement or a clean refusal, or a search that was wrong without saying so.
    pub async fn stop(self) -> anyhow::Result<Seen> {
        let (written, searched) = tokio::join!(self.workload.stop(), self.watch.stop());
        let slowest = searched.latencies.iter().flatten().max();
        println!(
            "    writes: {} acknowledged, {} refused, {} without answer; searches: {} failed, slowest {:?}",
            written.acknowledged,
            written.refused,
            written.failures.len() as u64 - written.refused - written.wrong.len() as u64,
            searched.failures.len(),
            slowest.copied().unwrap_or_default(),
        );
        ensure!(
            written.wrong.is_empty(),
            "writes were answered otherwise than by 503: {:#?}",
            written.wrong
        );
        ensure!(written.acknowledged > 0, "nothing was written");
        ensure!(
            searched.wrong.is_empty(),
            "searches were silently wrong: {:#?}",
            searched.wrong
        );
        Ok(Seen { written, searched })
    }
}

impl Seen {
    /// Checks that no search failed.
    ///
    /// # Errors
    /// With the first that did.
    pub fn every_read_succeeded(&self) -> anyhow::Result<()> {
        let failures = &self.searched.failures;
        ensure!(
            failures.is_empty(),
            "{} searches failed, such as {:#?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        Ok(())
    }

    /// Checks that no write failed.
    ///
    /// # Errors
    /// With the first that did.
    pub fn every_write_succeeded(&self) -> anyhow::Result<()> {
        let failures = &self.written.failures;
        ensure!(
            failures.is_empty(),
            "{} writes failed, such as {:#?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        Ok(())
    }
}
