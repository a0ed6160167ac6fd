//! Copying documents from A to C: all of them, or those that changed.

use std::time::Duration;

use miroir_core::migration::Record;
use tokio::time::Instant;

use super::digest::Difference;
use super::node::Copy;
use super::throttle::Sent;
use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// How often progress is committed.
const REPORT_EVERY: Duration = Duration::from_millis(500);

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
        let mut rest = ids.get(done..).unwrap_or_default();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(self.chunk_docs().min(rest.len()));
            rest = others;
            let sent = self.send_chunk(record, (a, c), chunk).await?;
            self.progress.documents_done += sent.documents;
            self.progress.checkpoint = chunk.last().cloned();
            if reported.elapsed() >= REPORT_EVERY {
                self.report(record).await;
                reported = Instant::now();
            }
            self.throttle(record, sent).await?;
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
            if !record.phase.holds_writes() {
                self.unless_paused(record).await?;
            }
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

    /// Does to C what a comparison found, no faster than a copy.
    pub(super) async fn repair(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
        found: &Difference,
    ) -> Result<(), MoveError> {
        let ids: Vec<String> = found.copy.iter().chain(&found.delete).cloned().collect();
        let mut rest = ids.as_slice();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(self.chunk_docs().min(rest.len()));
            rest = others;
            let sent = self.send_chunk(record, (a, c), chunk).await?;
            self.throttle(record, sent).await?;
        }
        Ok(())
    }

    /// Copies one chunk that the throttle has measured out.
    async fn send_chunk(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
        chunk: &[String],
    ) -> Result<Sent, MoveError> {
        self.unless_paused(record).await?;
        let began = Instant::now();
        let bytes_before = self.progress.bytes_done;
        self.copy_present(record, (a, c), chunk).await?;
        Ok(Sent {
            documents: u64::try_from(chunk.len()).unwrap_or(u64::MAX),
            bytes: self.progress.bytes_done.saturating_sub(bytes_before),
            began,
        })
    }
}
