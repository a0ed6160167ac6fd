//! The Raft log, the vote and the committed position, as openraft asks for them.
//!
//! Reads are served from [`LogView`] in memory, which always is what the disk will be once
//! the writer's queue is empty. Memory therefore holds the whole unpurged log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use miroir_proto::v1 as pb;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, OptionalSend, RaftLogId, RaftLogReader, StorageIOError};
use prost::Message;

use super::StoreError;
use super::kv::{BATCH_BYTES_MAX, Batch, Kv};
use super::layout::{self, Meta, ROW_BYTES_MAX};
use super::open::put_meta;
use super::writer::{Done, Writer};
use crate::raft::encoding::{entry_from_pb, entry_to_pb, log_id_to_pb, vote_to_pb};
use crate::raft::types::{Entry, LogId, RaftStorageError, TypeConfig, Vote};

/// Bytes of entries that one replication message carries at most (one entry always fits).
const READ_BYTES_MAX: usize = 2 << 20;

/// One entry in memory.
#[derive(Debug, Clone)]
pub(super) struct Held {
    entry: Arc<Entry>,
    bytes: usize,
}

/// What the log is, as far as anybody may know.
#[derive(Debug, Default)]
pub(super) struct LogView {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub entries: BTreeMap<u64, Held>,
    bytes: usize,
}

impl LogView {
    pub fn with_entries(entries: BTreeMap<u64, Held>) -> Self {
        let bytes = entries.values().map(|held| held.bytes).sum();
        Self {
            entries,
            bytes,
            ..Self::default()
        }
    }

    /// Index of the last entry, or of the last purged one if there is none.
    pub fn last_index(&self) -> Option<u64> {
        let last = self.entries.keys().next_back().copied();
        last.or(self.purged.map(|id| id.index))
    }

    fn last_log_id(&self) -> Option<LogId> {
        let last = self.entries.values().next_back();
        last.map(|held| *held.entry.get_log_id()).or(self.purged)
    }

    fn insert(&mut self, held: Held) {
        self.bytes += held.bytes;
        let replaced = self.entries.insert(held.entry.log_id.index, held);
        self.bytes -= replaced.map_or(0, |old| old.bytes);
    }

    fn remove(&mut self, removed: BTreeMap<u64, Held>) -> Batch {
        let mut batch = Batch::new();
        // Backwards, so that even a torn batch would not leave a hole.
        for (index, held) in removed.iter().rev() {
            self.bytes -= held.bytes;
            for part in 0..parts(held.bytes) {
                batch.delete(layout::log_key(*index, part));
            }
        }
        batch
    }
}

/// The log store. Clones share it; openraft uses them as readers.
#[derive(Debug, Clone)]
pub struct LogStore {
    writer: Writer,
    view: Arc<RwLock<LogView>>,
}

impl LogStore {
    pub(super) fn new(writer: Writer, view: LogView) -> Self {
        Self {
            writer,
            view: Arc::new(RwLock::new(view)),
        }
    }

    /// Bytes of all entries that are not purged; they are held in memory.
    pub fn tail_bytes(&self) -> usize {
        self.view().bytes
    }

    fn view(&self) -> RwLockReadGuard<'_, LogView> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, LogView> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry> {
        if is_empty(&range) {
            return Vec::new();
        }
        let view = self.view();
        let mut bytes = 0;
        view.entries
            .range(range)
            .take_while(|(_, held)| {
                let first = bytes == 0;
                bytes += held.bytes;
                first || bytes <= bytes_max
            })
            .map(|(_, held)| held.entry.as_ref().clone())
            .collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        Ok(self.read(range, usize::MAX))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        Ok(self.read(start..end, READ_BYTES_MAX))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftStorageError> {
        let view = self.view();
        Ok(LogState {
            last_purged_log_id: view.purged,
            last_log_id: view.last_log_id(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        let mut batch = Batch::new();
        put_meta(&mut batch, Meta::Vote, &vote_to_pb(vote));
        self.writer
            .write(batch, true)
            .await
            .map_err(|e| storage_error(ErrorSubject::Vote, ErrorVerb::Write, &e))?;
        self.view_mut().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        Ok(self.view().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        let Some(committed) = committed else {
            return Ok(());
        };
        self.view_mut().committed = Some(committed);
        let mut batch = Batch::new();
        put_meta(&mut batch, Meta::Committed, &log_id_to_pb(&committed));
        // Rides on the next sync: losing it only means to learn it from the leader again.
        self.writer
            .enqueue(batch, false, None)
            .await
            .map_err(|e| storage_error(ErrorSubject::Store, ErrorVerb::Write, &e))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        Ok(self.view().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (held, batches) = encode_all(entries);
        {
            let mut view = self.view_mut();
            held.into_iter().for_each(|one| view.insert(one));
        }
        let mut done: Option<Done> = Some(Box::new(move |result| {
            callback.log_io_completed(result.map_err(io::Error::from));
        }));
        let last = batches.len().saturating_sub(1);
        for (at, batch) in batches.into_iter().enumerate() {
            // Only the last batch reports: the queue is in order and fails as a whole.
            let done = if at == last { done.take() } else { None };
            self.writer
                .enqueue(batch, true, done)
                .await
                .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Write, &e))?;
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let batch = {
            let mut view = self.view_mut();
            let removed = view.entries.split_off(&log_id.index);
            view.remove(removed)
        };
        self.writer
            .enqueue(batch, true, None)
            .await
            .map_err(|e| storage_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, &e))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        let batch = {
            let mut view = self.view_mut();
            let kept = view.entries.split_off(&(log_id.index + 1));
            let removed = std::mem::replace(&mut view.entries, kept);
            let mut batch = view.remove(removed);
            view.purged = view.purged.max(Some(log_id));
            // In the same batch as the deletions: the marker may never be behind them.
            if let Some(purged) = &view.purged {
                put_meta(&mut batch, Meta::Purged, &log_id_to_pb(purged));
            }
            batch
        };
        self.writer
            .enqueue(batch, false, None)
            .await
            .map_err(|e| storage_error(ErrorSubject::Log(log_id), ErrorVerb::Delete, &e))
    }
}

/// Encodes entries into batches of bounded size; at least one batch, so that there is one to
/// carry the callback.
fn encode_all(entries: impl IntoIterator<Item = Entry>) -> (Vec<Held>, Vec<Batch>) {
    let mut held = Vec::new();
    let mut batches = Vec::new();
    let mut batch = Batch::new();
    for entry in entries {
        let sealed = layout::seal(&entry_to_pb(&entry).encode_to_vec());
        if !batch.is_empty() && batch.bytes() + sealed.len() > BATCH_BYTES_MAX {
            batches.push(std::mem::take(&mut batch));
        }
        put_parts(&mut batch, entry.log_id.index, &sealed);
        held.push(Held {
            entry: Arc::new(entry),
            bytes: sealed.len(),
        });
    }
    batches.push(batch);
    (held, batches)
}

fn put_parts(batch: &mut Batch, index: u64, sealed: &[u8]) {
    for (part, chunk) in (0_u16..).zip(sealed.chunks(ROW_BYTES_MAX)) {
        batch.put(layout::log_key(index, part), chunk.to_vec());
    }
}

fn parts(bytes: usize) -> u16 {
    bytes.div_ceil(ROW_BYTES_MAX) as u16
}

/// Reads and checks all entries of the log.
pub(super) fn read_entries(kv: &dyn Kv) -> Result<BTreeMap<u64, Held>, StoreError> {
    let mut sealed: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut next = None;
    kv.scan(layout::log_range(), &mut |key, chunk| {
        let (index, part) = layout::parse_log_key(key)?;
        let expected = next.filter(|(i, _)| *i == index).map_or(0, |(_, p)| p);
        if part != expected {
            let detail = format!("part {expected} is missing");
            return Err(StoreError::corrupt(format!("log entry {index}"), detail));
        }
        sealed.entry(index).or_default().extend_from_slice(chunk);
        next = Some((index, part + 1));
        Ok(())
    })?;
    sealed
        .into_iter()
        .map(|(index, bytes)| Ok((index, decode_entry(index, &bytes)?)))
        .collect()
}

fn decode_entry(index: u64, sealed: &[u8]) -> Result<Held, StoreError> {
    let row = format!("log entry {index}");
    let message = pb::RaftEntry::decode(layout::unseal(&row, sealed)?)
        .map_err(|e| StoreError::corrupt(&row, e))?;
    let entry = entry_from_pb(message).map_err(|e| StoreError::corrupt(&row, e))?;
    if entry.log_id.index != index {
        let detail = format!("it says it is entry {}", entry.log_id.index);
        return Err(StoreError::corrupt(row, detail));
    }
    Ok(Held {
        entry: Arc::new(entry),
        bytes: sealed.len(),
    })
}

fn is_empty(range: &impl RangeBounds<u64>) -> bool {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match range.end_bound() {
        Bound::Included(end) => start > *end,
        Bound::Excluded(end) => start >= *end,
        Bound::Unbounded => false,
    }
}

/// Wraps our error for openraft, which stops on it.
pub(crate) fn storage_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &StoreError,
) -> RaftStorageError {
    StorageIOError::new(subject, verb, openraft::AnyError::new(error)).into()
}
