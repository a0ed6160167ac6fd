//! What was seen, and whether it is what must be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::check::Findings;
use super::client::Holds;
use super::memory::Memory;
use super::search::{PERIODS, Searched};
use super::workload::Written;
use super::{Corpus, INDEX};
use crate::admin::Admin;

/// Percentiles of how long something took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// How many there were.
    pub count: usize,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let ms = |rank: usize| {
            all.get(rank)
                .map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
        };
        let last = all.len().saturating_sub(1);
        Self {
            count: all.len(),
            p50_ms: ms(last / 2),
            p99_ms: ms(last * 99 / 100),
            max_ms: ms(last),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({})",
            self.p50_ms, self.p99_ms, self.max_ms, self.count
        )
    }
}

/// The report of a demo.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Seed of the workload.
    pub seed: u64,
    /// Documents of the corpus, and how long loading them took.
    pub loaded_documents: usize,
    /// How long loading took, in milliseconds.
    pub load_ms: u64,
    /// Copies of shards in the group that the node was added to.
    pub copies: usize,
    /// Copies that moved.
    pub copies_moved: usize,
    /// The most that may move: what the new node's even share of its group is, rounded up.
    pub copies_moved_max: usize,
    /// Copies on each node of that group, afterwards.
    pub copies_by_node: BTreeMap<u64, usize>,
    /// Documents there were before the node was added.
    pub documents_before: usize,
    /// Documents there are in the end.
    pub documents_after: usize,
    /// Documents compared in the end, over all places.
    pub compared: u64,
    /// Documents lost, in the end or in any answer.
    pub lost: u64,
    /// Documents duplicated, in the end or in any answer.
    pub duplicated: u64,
    /// Requests of clients that failed.
    pub failed: usize,
    /// Acknowledged writes.
    pub writes: u64,
    /// How long acknowledged writes took.
    pub write_latency: Latency,
    /// The longest that a proxy held a write, in milliseconds.
    pub write_hold_max_ms: f64,
    /// 99 of 100 held writes were held shorter, in milliseconds; of the slower proxy.
    pub write_hold_p99_ms: f64,
    /// Writes that were held.
    pub writes_held: u64,
    /// From the leader's death to a new leader, in milliseconds.
    pub new_leader_ms: u64,
    /// How long searches took before, during and after the move.
    pub search_latency: [Latency; PERIODS],
    /// The most memory seen.
    pub memory: Memory,
    /// How long all of it took, in milliseconds.
    pub took_ms: u64,
    /// What was wrong, in words.
    pub examples: Vec<String>,
}

impl Report {
    pub(super) fn loaded(&mut self, corpus: &Corpus, took: Duration) {
        self.loaded_documents = corpus.documents().len();
        self.load_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }

    pub(super) fn worked(&mut self, written: Written) {
        self.writes = written.acknowledged;
        self.failed += written.failures.len();
        self.examples.extend(written.failures.into_iter().take(5));
        self.write_latency = Latency::of(written.latencies);
    }

    pub(super) fn searched(&mut self, searched: Searched) {
        self.failed += searched.failures.len();
        self.lost += searched.missing;
        self.duplicated += searched.repeated;
        self.examples
            .extend(searched.failures.into_iter().chain(searched.wrong).take(10));
        self.search_latency = searched.latencies.map(Latency::of);
    }

    pub(super) fn held(&mut self, holds: &[Holds]) {
        self.writes_held = holds.iter().map(|hold| hold.count).sum();
        self.write_hold_p99_ms = holds.iter().map(|hold| hold.p99_ms).fold(0.0, f64::max);
        self.write_hold_max_ms = holds.iter().map(|hold| hold.max_ms).fold(0.0, f64::max);
    }

    pub(super) async fn moved(&mut self, admin: &Admin, operation: u64) -> anyhow::Result<()> {
        let migrations = admin.migrations(operation).await?.migrations;
        let map = admin.index(INDEX).await?.shards;
        let moved: Vec<_> = migrations.iter().filter(|m| m.index == INDEX).collect();
        self.copies_moved = moved.len();
        // Groups have their own copies: the new node takes from its neighbours only.
        let grown = moved.first().map(|migration| migration.group);
        let nodes = admin.nodes().await?;
        for node in nodes
            .iter()
            .filter(|node| grown.is_none_or(|group| node.group == group))
        {
            let copies = map
                .iter()
                .filter(|shard| shard.replicas.iter().any(|r| r.node == node.id))
                .count();
            self.copies_by_node.insert(node.id, copies);
        }
        self.copies = self.copies_by_node.values().sum();
        self.copies_moved_max = self.copies.div_ceil(self.copies_by_node.len().max(1));
        Ok(())
    }

    pub(super) fn found(&mut self, findings: Findings) {
        self.compared = findings.compared;
        self.lost += findings.lost;
        self.duplicated += findings.duplicated;
        self.examples.extend(findings.examples);
    }

    pub(super) fn memory(&mut self, memory: Memory) {
        self.memory = memory;
    }

    fn imbalance(&self) -> usize {
        let most = self
            .copies_by_node
            .values()
            .max()
            .copied()
            .unwrap_or_default();
        most - self
            .copies_by_node
            .values()
            .min()
            .copied()
            .unwrap_or_default()
    }

    /// Whether everything is as it must be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.failed == 0
            && self.compared > 0
            && self.writes > 0
            && self.copies_moved > 0
            && self.copies_moved <= self.copies_moved_max
            && self.imbalance() <= 1
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let copies: Vec<String> = self
            .copies_by_node
            .values()
            .map(ToString::to_string)
            .collect();
        let percent = 100.0 * self.copies_moved as f64 / self.copies.max(1) as f64;
        writeln!(
            f,
            "loaded            {} documents in {:.1} s",
            self.loaded_documents,
            self.load_ms as f64 / 1e3
        )?;
        writeln!(
            f,
            "moved             {} of {} copies ({percent:.1} %), at most {} allowed; copies by node {}",
            self.copies_moved,
            self.copies,
            self.copies_moved_max,
            copies.join(" ")
        )?;
        writeln!(
            f,
            "documents         {} before, {} after",
            self.documents_before, self.documents_after
        )?;
        writeln!(
            f,
            "compared          {} through every proxy and on the nodes",
            self.compared
        )?;
        writeln!(f, "lost              {}", self.lost)?;
        writeln!(f, "duplicated        {}", self.duplicated)?;
        writeln!(f, "failed requests   {}", self.failed)?;
        writeln!(f, "writes            {}", self.write_latency)?;
        writeln!(
            f,
            "write hold        p99 {:.1} ms, longest {:.1} ms ({} held)",
            self.write_hold_p99_ms, self.write_hold_max_ms, self.writes_held
        )?;
        writeln!(
            f,
            "new leader        after {:.2} s",
            self.new_leader_ms as f64 / 1e3
        )?;
        for (period, latency) in ["before", "during", "after"]
            .iter()
            .zip(&self.search_latency)
        {
            writeln!(f, "search {period:<10} {latency}")?;
        }
        writeln!(
            f,
            "memory            {} MiB own, {} MiB with mapped files; a coordinator {} MiB, a proxy {} MiB",
            mib(self.memory.own_bytes),
            mib(self.memory.resident_bytes),
            mib(self.memory.coordinator_bytes),
            mib(self.memory.proxy_bytes)
        )?;
        writeln!(
            f,
            "took              {:.1} s, seed {}",
            self.took_ms as f64 / 1e3,
            self.seed
        )?;
        for example in &self.examples {
            writeln!(f, "  wrong: {example}")?;
        }
        write!(f, "{}", if self.passed() { "PASSED" } else { "FAILED" })
    }
}
