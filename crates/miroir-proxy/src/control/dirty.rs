//! Ids of documents written to shards that are being copied, on their way to the leader.
//!
//! A report is kept until a renewal sent after it is answered on the same stream: the stream keeps its order, so
//! the leader has the report by then. If the session breaks before, the next session sends it again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use miroir_core::id::MigrationId;
use miroir_proto::v1;
use tokio::sync::Notify;

/// Ids in one message: it stays far below any limit on a message.
const IDS_PER_MESSAGE: usize = 1000;

/// Reports that wait to be sent or confirmed.
#[derive(Debug, Default)]
pub(super) struct DirtyReports {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeMap<MigrationId, Dirty>,
    /// With the number of the renewal whose answer confirms it.
    unconfirmed: VecDeque<(u64, v1::Dirty)>,
}

/// What was written to the shard of one migration.
#[derive(Debug, Default)]
struct Dirty {
    ids: BTreeSet<String>,
    whole_shard: bool,
}

impl DirtyReports {
    /// Adds ids.
    pub(super) fn add(&self, migration: MigrationId, ids: impl IntoIterator<Item = String>) {
        self.state()
            .pending
            .entry(migration)
            .or_default()
            .ids
            .extend(ids);
        self.added.notify_one();
    }

    /// Marks everything in the migration's shard.
    pub(super) fn add_whole_shard(&self, migration: MigrationId) {
        self.state()
            .pending
            .entry(migration)
            .or_default()
            .whole_shard = true;
        self.added.notify_one();
    }

    /// Completes when something was added since the last call. For one waiter.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes everything that waits, to be sent now on a session whose next renewal has the number `renewal`.
    pub(super) fn take(&self, renewal: u64) -> Vec<v1::Dirty> {
        let mut state = self.state();
        let messages: Vec<v1::Dirty> = std::mem::take(&mut state.pending)
            .into_iter()
            .flat_map(messages)
            .collect();
        state
            .unconfirmed
            .extend(messages.iter().map(|message| (renewal, message.clone())));
        messages
    }

    /// The renewal of that number was answered.
    pub(super) fn confirm(&self, renewal: u64) {
        self.state()
            .unconfirmed
            .retain(|(number, _)| *number > renewal);
    }

    /// The session is over: what was not confirmed is to be sent again.
    pub(super) fn lost(&self) {
        let mut state = self.state();
        for (_, message) in std::mem::take(&mut state.unconfirmed) {
            let dirty = state
                .pending
                .entry(MigrationId(message.migration))
                .or_default();
            dirty.ids.extend(message.ids);
            dirty.whole_shard |= message.whole_shard;
        }
        if !state.pending.is_empty() {
            self.added.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn messages((migration, dirty): (MigrationId, Dirty)) -> Vec<v1::Dirty> {
    let message = |ids: Vec<String>| v1::Dirty {
        migration: migration.0,
        ids,
        whole_shard: dirty.whole_shard,
    };
    if dirty.ids.is_empty() {
        return vec![message(Vec::new())];
    }
    let ids: Vec<String> = dirty.ids.into_iter().collect();
    ids.chunks(IDS_PER_MESSAGE)
        .map(|chunk| message(chunk.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("{n:05}")).collect()
    }

    #[test]
    fn reports_are_merged_and_cut_into_messages() {
        let reports = DirtyReports::default();
        reports.add(MigrationId(2), ids(0..1500));
        reports.add(MigrationId(2), ids(1400..1600));
        reports.add_whole_shard(MigrationId(1));
        let sent = reports.take(1);
        let shape: Vec<_> = sent
            .iter()
            .map(|m| (m.migration, m.ids.len(), m.whole_shard))
            .collect();
        assert_eq!(shape, [(1, 0, true), (2, 1000, false), (2, 600, false)]);
        assert!(reports.take(1).is_empty());
    }

    #[test]
    fn what_was_not_confirmed_is_sent_again() {
        let reports = DirtyReports::default();
        reports.add(MigrationId(1), ids(0..1));
        assert_eq!(reports.take(7).len(), 1);
        reports.add(MigrationId(1), ids(1..2));
        assert_eq!(reports.take(8).len(), 1);
        reports.confirm(7);
        reports.add(MigrationId(1), ids(2..3));
        reports.lost();
        let again: Vec<String> = reports.take(1).into_iter().flat_map(|m| m.ids).collect();
        assert_eq!(again, ids(1..3));
        reports.confirm(1);
        reports.lost();
        assert!(reports.take(2).is_empty());
    }
}
