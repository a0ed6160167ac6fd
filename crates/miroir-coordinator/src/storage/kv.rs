//! The boundary to a storage engine: ordered rows, atomic batches, an explicit sync.

use std::ops::Range;

use super::StoreError;

/// Receives the rows of a [`Kv::scan`], in key order.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// An engine. It is owned by one thread at a time, so it needs no locking of its own.
pub trait Kv: Send + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Calls `visit` for every row of `range` in ascending key order; stops at its first
    /// error and returns it.
    fn scan(&self, range: Range<Vec<u8>>, visit: &mut Visitor<'_>) -> Result<(), StoreError>;

    /// Applies all of `batch` or, after a crash, none of it. Later reads see it at once. It
    /// is durable only after the next successful [`Kv::sync`]; batches become durable in the
    /// order they were applied.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Returns once everything applied so far survives a power failure. After an error the
    /// fate of those batches is unknown, and calling again would not tell: the owner stops.
    fn sync(&self) -> Result<(), StoreError>;

    /// Bytes on disk.
    fn size_bytes(&self) -> Result<u64, StoreError>;
}

/// One change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a row, replacing what was there.
    Put {
        /// Full key, prefix byte included.
        key: Vec<u8>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Removes a row; removing an absent row changes nothing.
    Delete {
        /// Full key, prefix byte included.
        key: Vec<u8>,
    },
}

/// Changes that take effect together. A later change of the same key wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.changes.push(Change::Put { key, value });
    }

    /// Adds a removal.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.changes.push(Change::Delete { key });
    }

    /// The changes in the order they were added.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Moves the changes of `other` behind the ones of this batch.
    pub fn append(&mut self, mut other: Batch) {
        self.bytes += other.bytes;
        self.changes.append(&mut other.changes);
    }
}

/// Bytes that one batch should stay below. The engine's batches have to stay well under one
/// of its segments, and short batches let the writer interleave snapshots with appends.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
