//! Copying documents from A to C: all of them, or those that changed.

use std::time::Duration;

use miroir_core::migration::Record;
use tokio::time::Instant;

use super::digest::Difference;
use super::node::Copy;
use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// How often progress is committed.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// What one chunk was.
#[derive(Debug, Clone, Copy)]
struct Sent {
    documents: u64,
    bytes: u64,
}

/// How long sending so much takes at a limit a second.
fn due(amount: u64, limit: Option<u64>) -> Duration {
    match limit {
        Some(limit) if limit > 0 => {
            Duration::from_millis(amount.saturating_mul(1_000).div_euclid(limit))
        }
        Some(_) | None => Duration::ZERO,
    }
}

impl<C: Cluster, N: Nodes> Actor<C, N> {
    /// Copies every document that A has, from the checkpoint on, in chunks of sorted ids.
    pub(super) async fn copy_all(
        &mut self,
        record: &Record,
        a: &Copy,
        c: &Copy,
    ) -> Result<(), MoveError> {
        let ids = self.unless_moved_on(record, a.ids()).await?;
        self.progress.documents_total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let done = match &record.progress.checkpoint {
            Some(checkpoint) => ids.partition_point(|id| id <= checkpoint),
            None => 0,
        };
        self.progress.documents_done = u64::try_from(done).unwrap_or(u64::MAX);
        let mut reported = Instant::now();
        for chunk in ids
            .get(done..)
            .unwrap_or_default()
            .chunks(self.mover.options.chunk_docs)
        {
            self.unless_paused(record).await?;
            let began = Instant::now();
            let bytes_before = self.progress.bytes_done;
            self.copy_present(record, (a, c), chunk).await?;
            self.progress.documents_done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            self.progress.checkpoint = chunk.last().cloned();
            if reported.elapsed() >= REPORT_EVERY {
                self.report(record).await;
                reported = Instant::now();
            }
            let sent = Sent {
                documents: u64::try_from(chunk.len()).unwrap_or(u64::MAX),
                bytes: self.progress.bytes_done.saturating_sub(bytes_before),
            };
            self.throttle(record, sent, began).await;
        }
        self.report(record).await;
        Ok(())
    }

    /// Makes C's documents of these ids what A's are now: copied, or deleted where A has none.
    pub(super) async fn copy_present(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
        ids: &[String],
    ) -> Result<(), MoveError> {
        for chunk in ids.chunks(self.mover.options.chunk_docs) {
            let documents = self.unless_moved_on(record, a.documents(chunk)).await?;
            let present: std::collections::BTreeSet<&str> =
                documents.iter().map(|(id, _)| id.as_str()).collect();
            let absent: Vec<String> = chunk
                .iter()
                .filter(|id| !present.contains(id.as_str()))
                .cloned()
                .collect();
            // Never given up half-way: a request that is under way must end before the next one leaves.
            if !documents.is_empty() {
                self.before_effect(record).await?;
                let bytes = c.add(&documents).await?;
                self.progress.bytes_done += u64::try_from(bytes).unwrap_or(u64::MAX);
            }
            if !absent.is_empty() {
                self.before_effect(record).await?;
                c.delete(&absent).await?;
            }
        }
        Ok(())
    }

    /// Does to C what a comparison found.
    pub(super) async fn repair(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
        found: &Difference,
    ) -> Result<(), MoveError> {
        let ids: Vec<String> = found.copy.iter().chain(&found.delete).cloned().collect();
        self.copy_present(record, (a, c), &ids).await
    }

    /// Sleeps off what a chunk was faster than the throttle allows. The throttle is read anew every time, so a
    /// change of it counts from the next chunk on.
    async fn throttle(&self, record: &Record, sent: Sent, began: Instant) {
        let now = self.record().unwrap_or_else(|| record.clone());
        let due = [
            due(sent.documents, now.throttle_docs_per_s.map(u64::from)),
            due(sent.bytes, now.throttle_bytes_per_s),
        ];
        let due = due.into_iter().max().unwrap_or_default();
        tokio::time::sleep_until(began + due).await;
    }
}
