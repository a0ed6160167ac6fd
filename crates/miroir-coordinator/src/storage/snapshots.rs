//! Snapshots of the state machine, in chunks.
//!
//! A snapshot is written under a generation of its own and synced; only then the one row
//! that names the current snapshot is switched, and synced; only then the older one is
//! deleted. A crash at any point leaves the old snapshot or the new one, never half of one.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use miroir_proto::v1 as pb;
use openraft::{ErrorSubject, ErrorVerb};
use tokio::sync::Mutex;

use super::StoreError;
use super::kv::{Batch, Kv};
use super::layout::{self, Meta, ROW_BYTES_MAX};
use super::log_store::storage_error;
use super::open::{put_meta, read_meta};
use super::writer::Writer;
use crate::raft::encoding::{snapshot_meta_from_pb, snapshot_meta_to_pb};
use crate::raft::types::{LogId, RaftStorageError, Snapshot, SnapshotMeta};

/// Bytes written before the writer may serve others; an append waits for at most this much.
const WRITE_BYTES: usize = 256 * 1024;

/// A snapshot that is complete on disk.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    meta: SnapshotMeta,
    generation: u64,
    length: u64,
    crc32: u32,
}

impl Stored {
    pub fn last_log_id(&self) -> Option<LogId> {
        self.meta.last_log_id
    }
}

/// Where snapshots are kept. Clones share it.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    writer: Writer,
    current: Arc<RwLock<Option<Stored>>>,
    /// Held while a snapshot is written; the next generation to use.
    next_generation: Arc<Mutex<u64>>,
}

impl SnapshotStore {
    pub(super) fn new(writer: Writer, current: Option<Stored>) -> Self {
        let next = current.as_ref().map_or(1, |s| s.generation + 1);
        Self {
            writer,
            current: Arc::new(RwLock::new(current)),
            next_generation: Arc::new(Mutex::new(next)),
        }
    }

    /// Writes a snapshot and makes it the current one, durably. If a newer one became
    /// current meanwhile, that one stays.
    pub async fn save(&self, meta: &SnapshotMeta, data: &Bytes) -> Result<(), RaftStorageError> {
        let failed = |verb, error: StoreError| {
            storage_error(ErrorSubject::Snapshot(Some(meta.signature())), verb, &error)
        };
        let mut next_generation = self.next_generation.lock().await;
        let generation = *next_generation;
        *next_generation += 1;
        let older = self.current();
        if older.as_ref().map(Stored::last_log_id) > Some(meta.last_log_id) {
            return Ok(());
        }
        let stored = Stored {
            meta: meta.clone(),
            generation,
            length: data.len() as u64,
            crc32: crc32fast::hash(data),
        };
        self.write_chunks(generation, data)
            .await
            .map_err(|e| failed(ErrorVerb::Write, e))?;
        self.switch(stored)
            .await
            .map_err(|e| failed(ErrorVerb::Write, e))?;
        if let Some(older) = older {
            self.delete(&older)
                .await
                .map_err(|e| failed(ErrorVerb::Delete, e))?;
        }
        Ok(())
    }

    /// The current snapshot with its data, checked.
    pub async fn load(&self) -> Result<Option<Snapshot>, RaftStorageError> {
        let Some(stored) = self.current() else {
            return Ok(None);
        };
        let meta = stored.meta.clone();
        let data = self
            .writer
            .read(move |kv| read_chunks(kv, &stored))
            .await
            .map_err(|e| {
                let subject = ErrorSubject::Snapshot(Some(meta.signature()));
                storage_error(subject, ErrorVerb::Read, &e)
            })?;
        Ok(Some(Snapshot {
            meta,
            snapshot: Box::new(data),
        }))
    }

    fn current(&self) -> Option<Stored> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn write_chunks(&self, generation: u64, data: &Bytes) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (chunk, bytes) in (0_u32..).zip(data.chunks(ROW_BYTES_MAX)) {
            batch.put(layout::chunk_key(generation, chunk), bytes.to_vec());
            if batch.bytes() >= WRITE_BYTES {
                self.writer.write(std::mem::take(&mut batch), false).await?;
            }
        }
        self.writer.write(batch, true).await
    }

    async fn switch(&self, stored: Stored) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        put_meta(&mut batch, Meta::Snapshot, &stored_to_pb(&stored));
        self.writer.write(batch, true).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(stored);
        Ok(())
    }

    async fn delete(&self, stored: &Stored) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for chunk in 0..chunks(stored.length) {
            batch.delete(layout::chunk_key(stored.generation, chunk));
        }
        self.writer.write(batch, false).await
    }
}

/// Reads which snapshot is current, and checks that its data is complete.
pub(super) fn read_current(kv: &dyn Kv) -> Result<Option<Stored>, StoreError> {
    let Some(row) = read_meta::<pb::StorageSnapshot>(kv, Meta::Snapshot)? else {
        return Ok(None);
    };
    let meta = row
        .meta
        .ok_or_else(|| StoreError::corrupt(Meta::Snapshot.name(), "it has no metadata"))?;
    let stored = Stored {
        meta: snapshot_meta_from_pb(meta)
            .map_err(|e| StoreError::corrupt(Meta::Snapshot.name(), e))?,
        generation: row.generation,
        length: row.length,
        crc32: row.crc32,
    };
    read_chunks(kv, &stored)?;
    Ok(Some(stored))
}

/// Deletes what interrupted writes left behind.
pub(super) fn drop_leftovers(kv: &dyn Kv, current: Option<&Stored>) -> Result<(), StoreError> {
    let keep = current.map(|s| s.generation);
    let mut batch = Batch::new();
    kv.scan(layout::snapshot_range(), &mut |key, _| {
        if Some(layout::parse_chunk_key(key)?) != keep {
            batch.delete(key.to_vec());
        }
        Ok(())
    })?;
    if batch.is_empty() {
        return Ok(());
    }
    tracing::info!(
        chunks = batch.changes().len(),
        "deleting an unfinished snapshot"
    );
    kv.apply(&batch)
}

fn read_chunks(kv: &dyn Kv, stored: &Stored) -> Result<Bytes, StoreError> {
    let mut data = Vec::with_capacity(stored.length as usize);
    kv.scan(layout::chunk_range(stored.generation), &mut |_, chunk| {
        data.extend_from_slice(chunk);
        Ok(())
    })?;
    let row = || format!("snapshot {}", stored.meta.snapshot_id);
    if data.len() as u64 != stored.length {
        let detail = format!("{} bytes, not {}", data.len(), stored.length);
        return Err(StoreError::corrupt(row(), detail));
    }
    if crc32fast::hash(&data) != stored.crc32 {
        return Err(StoreError::corrupt(row(), "checksum does not match"));
    }
    Ok(data.into())
}

fn stored_to_pb(stored: &Stored) -> pb::StorageSnapshot {
    pb::StorageSnapshot {
        meta: Some(snapshot_meta_to_pb(&stored.meta)),
        generation: stored.generation,
        length: stored.length,
        crc32: stored.crc32,
    }
}

fn chunks(length: u64) -> u32 {
    length.div_ceil(ROW_BYTES_MAX as u64) as u32
}
