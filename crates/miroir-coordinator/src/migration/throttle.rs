//! How fast documents are copied: what operators allow, and what the nodes bear.

use std::time::Duration;

use miroir_core::migration::{Record, Signals};
use tokio::time::Instant;

use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// Documents of the first chunk under a limit of bytes, while it is not known how large they are.
const FIRST_CHUNK: u64 = 16;

/// What one chunk was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) began: Instant,
}

/// Most that may be sent in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Limits {
    documents: Option<u64>,
    bytes: Option<u64>,
}

impl Limits {
    /// How long sending so much takes.
    fn due(self, sent: &Sent) -> Duration {
        let due = |amount: u64, limit: Option<u64>| match limit {
            Some(limit) if limit > 0 => {
                Duration::from_millis(amount.saturating_mul(1_000).div_euclid(limit))
            }
            Some(_) | None => Duration::ZERO,
        };
        due(sent.documents, self.documents).max(due(sent.bytes, self.bytes))
    }

    /// Documents of a chunk that takes about a second, when so many documents of so many bytes were sent so far.
    fn chunk(self, (documents, bytes_sent): (u64, u64)) -> u64 {
        let by_bytes = self.bytes.map(|bytes| {
            let average = bytes_sent.checked_div(documents).unwrap_or(0);
            bytes.checked_div(average).unwrap_or(FIRST_CHUNK)
        });
        let least = [self.documents, by_bytes].into_iter().flatten().min();
        least.unwrap_or(u64::MAX).max(1)
    }
}

impl<C: Cluster, N: Nodes> Actor<C, N> {
    /// Documents of the next chunk: as many as one request takes, fewer where that is more than a second's worth,
    /// so that whoever changes the throttle or pauses the migration does not wait for long.
    pub(super) fn chunk_docs(&self) -> usize {
        let sent = (self.progress.documents_done, self.progress.bytes_done);
        let most = self.mover.options.chunk_docs;
        self.limits().map_or(most, |limits| {
            usize::try_from(limits.chunk(sent)).map_or(most, |chunk| chunk.min(most))
        })
    }

    /// Sleeps off what a chunk was faster than is allowed. A change of the throttle counts at once, and so do a
    /// pause and whatever else moves the record on.
    pub(super) async fn throttle(&mut self, record: &Record, sent: Sent) -> Result<(), MoveError> {
        self.sense(record, &sent);
        let mut applied = self.mover.cluster.applied();
        loop {
            applied.mark_unchanged();
            if !self.is_current(record) {
                return Err(MoveError::MovedOn);
            }
            let due = self.limits().unwrap_or_default().due(&sent);
            // A pause is waited for before the next chunk.
            if sent.began.elapsed() >= due || self.is_paused(record) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(sent.began + due) => {}
                changed = applied.changed() => if changed.is_err() { return Err(MoveError::MovedOn) },
            }
        }
    }

    /// The limits of this moment; `None` when the record is gone.
    fn limits(&self) -> Option<Limits> {
        let limits = self.mover.cluster.read(|state| {
            let record = state.migrations.get(&self.id)?;
            Some(Limits {
                documents: record.throttle_docs_per_s.map(u64::from),
                bytes: record.throttle_bytes_per_s,
            })
        })?;
        let pace = self.pace.limit().map(u64::from);
        Some(Limits {
            documents: limits.documents.into_iter().chain(pace).min(),
            ..limits
        })
    }

    /// Adapts the pace to how the nodes bear it.
    fn sense(&mut self, record: &Record, sent: &Sent) {
        let nodes = &self.mover.nodes;
        let loads = [nodes.load(record.source), nodes.load(record.target)];
        let before = self.pace.limit();
        let took_ms = u64::try_from(sent.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pace.observe(Signals {
            refused: false,
            queue: loads.iter().filter_map(|load| load.queue).max(),
            latency_ms: loads.iter().filter_map(|load| load.latency_ms).max(),
            reads_ms: loads.iter().filter_map(|load| load.reads_ms).max(),
            docs_per_s: sent
                .documents
                .saturating_mul(1_000)
                .checked_div(took_ms)
                .unwrap_or(u64::MAX),
        });
        self.mover.paces.note(self.id, self.pace);
        let now = self.pace.limit();
        if before != now {
            tracing::debug!(migration = %self.id, ?loads, docs_per_s = now, "the pace was adapted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_a_seconds_worth() {
        let limits = |documents, bytes| Limits { documents, bytes };
        let table = [
            (limits(None, None), (0, 0), u64::MAX),
            (limits(Some(7), None), (0, 0), 7),
            (limits(None, Some(1_000)), (0, 0), FIRST_CHUNK),
            (limits(None, Some(1_000)), (10, 1_000), 10),
            (limits(Some(3), Some(1_000)), (10, 1_000), 3),
            // One document is more than a second's worth; fewer cannot be sent.
            (limits(None, Some(10)), (10, 1_000), 1),
        ];
        for (limits, sent, expected) in table {
            assert_eq!(limits.chunk(sent), expected, "{limits:?} {sent:?}");
        }
    }

    #[test]
    fn the_stricter_limit_counts() {
        let limits = Limits {
            documents: Some(10),
            bytes: Some(1_000),
        };
        let sent = |documents, bytes| Sent {
            documents,
            bytes,
            began: Instant::now(),
        };
        let due = |documents, bytes| limits.due(&sent(documents, bytes)).as_millis();
        assert_eq!(due(10, 1), 1_000);
        assert_eq!(due(1, 3_000), 3_000);
        assert_eq!(
            Limits::default().due(&sent(1 << 40, 1 << 40)),
            Duration::ZERO
        );
    }
}
