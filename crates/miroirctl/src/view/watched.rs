//! Reports while migrations are watched.

use std::collections::BTreeMap;

use miroir_proto::v1;
use serde::Serialize;

use super::migration::Migration;
use crate::format;
use crate::output::View;
use crate::progress::Progress;

/// One report while migrations are watched.
#[derive(Debug, Serialize)]
pub struct Watched {
    at_ms: u64,
    shards_total: u32,
    shards_done: u32,
    documents_total: u64,
    documents_done: u64,
    documents_per_s: Option<u64>,
    eta_ms: Option<u64>,
    /// How many of the unfinished are in each phase.
    phases: BTreeMap<String, u32>,
    migrations: Vec<Migration>,
}

impl Watched {
    /// What a report says, and what follows from those before it.
    #[must_use]
    pub fn new(progress: &Progress, report: &v1::ListMigrationsReply) -> Self {
        let migrations: Vec<Migration> = report.migrations.iter().map(Migration::from).collect();
        let mut phases = BTreeMap::new();
        for migration in &migrations {
            *phases.entry(migration.phase.clone()).or_default() += 1;
        }
        Self {
            at_ms: progress.at_ms,
            shards_total: progress.shards_total,
            shards_done: progress.shards_done,
            documents_total: progress.documents_total,
            documents_done: progress.documents_done,
            documents_per_s: progress.documents_per_s.map(|speed| speed.round() as u64),
            eta_ms: progress.eta_ms,
            phases,
            migrations,
        }
    }

    /// Shards to move and shards that arrived.
    #[must_use]
    pub fn shards(&self) -> (u32, u32) {
        (self.shards_total, self.shards_done)
    }

    /// What stands beside the bar.
    #[must_use]
    pub fn summary(&self) -> String {
        let speed = match self.documents_per_s {
            None | Some(0) => String::new(),
            Some(speed) => format!(", {} documents/s", format::count(speed)),
        };
        let eta = match self.eta_ms {
            None | Some(0) => String::new(),
            Some(ms) => format!(", {} left", format::duration(ms)),
        };
        format!(
            "{} documents{speed}{eta}",
            format::count(self.documents_done)
        )
    }

    /// The shards that are under way, a few of them.
    #[must_use]
    pub fn under_way(&self) -> String {
        const SHOWN: usize = 4;
        let moving: Vec<_> = self
            .migrations
            .iter()
            .filter(|m| m.phase != "Planned")
            .collect();
        let mut text: Vec<String> = moving.iter().take(SHOWN).map(|m| m.short()).collect();
        if moving.len() > SHOWN {
            text.push(format!("and {} more", moving.len() - SHOWN));
        }
        text.join(", ")
    }
}

impl View for Watched {
    fn table(&self) -> String {
        if self.shards_total == 0 {
            return "no shards to move".to_owned();
        }
        let under_way = self.under_way();
        let gap = if under_way.is_empty() { "" } else { "; " };
        format!(
            "{}/{} shards, {}{gap}{under_way}",
            self.shards_done,
            self.shards_total,
            self.summary()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::migration::tests::migration;
    use super::*;
    use crate::progress::Tracker;

    #[test]
    fn a_report_is_one_line() {
        let mut tracker = Tracker::new(0);
        let first = v1::ListMigrationsReply {
            total: 16,
            done: 3,
            at_ms: 0,
            migrations: vec![migration()],
        };
        let first = Watched::new(&tracker.update(&first), &first);
        assert_eq!(
            first.table(),
            "3/16 shards, 500 documents; movies/7 1->4 Copying 40%"
        );
        let rest = v1::ListMigrationsReply {
            total: 16,
            done: 16,
            at_ms: 2_000,
            migrations: Vec::new(),
        };
        let rest = Watched::new(&tracker.update(&rest), &rest);
        assert_eq!(
            rest.table(),
            "16/16 shards, 1,000 documents, 250 documents/s"
        );
    }
}
