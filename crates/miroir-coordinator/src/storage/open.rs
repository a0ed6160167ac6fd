//! Start-up: check whose storage this is, read everything, hand the engine to the writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use miroir_proto::v1 as pb;
use prost::Message;
use tokio::sync::watch;

use super::StoreError;
use super::kv::{Batch, Kv};
use super::layout::{self, FORMAT, Meta};
use super::log_store::{LogStore, LogView, read_entries};
use super::sled::SledKv;
use super::snapshots::{self, SnapshotStore};
use super::writer::Writer;
use crate::raft::CoordinatorId;
use crate::raft::encoding::{log_id_from_pb, vote_from_pb};
use crate::raft::types::LogId;

/// Who this process says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the cluster; the same on all coordinators.
    pub cluster_id: String,
    /// Number of this coordinator.
    pub coordinator_id: CoordinatorId,
}

/// Whose storage a directory is. Written when it is created, checked at every start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Cluster and coordinator.
    pub identity: Identity,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Random; a wiped directory gets a new one, which is how others notice.
    pub storage_id: String,
}

/// The opened storage of one coordinator.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Raft log, vote and committed position.
    pub log: LogStore,
    /// Snapshots of the state machine.
    pub snapshots: SnapshotStore,
    /// Whose storage it is.
    pub marker: Marker,
    /// Whether this start created it.
    pub created: bool,
    writer: Writer,
}

impl Storage {
    /// Opens the storage in `dir` on disk, creating it if absent. Blocks.
    pub fn open_dir(dir: &Path, identity: &Identity) -> Result<Self, StoreError> {
        Self::open(Box::new(SledKv::open(dir)?), identity)
    }

    /// Opens the storage on any engine. Blocks.
    pub fn open(kv: Box<dyn Kv>, identity: &Identity) -> Result<Self, StoreError> {
        let (marker, created) = check_marker(kv.as_ref(), identity)?;
        let view = read_log(kv.as_ref())?;
        let current = snapshots::read_current(kv.as_ref())?;
        check_continuity(&view, current.as_ref().and_then(|s| s.last_log_id()))?;
        snapshots::drop_leftovers(kv.as_ref(), current.as_ref())?;
        let writer = Writer::start(kv)?;
        Ok(Self {
            log: LogStore::new(writer.clone(), view),
            snapshots: SnapshotStore::new(writer.clone(), current),
            marker,
            created,
            writer,
        })
    }

    /// Announces the first storage failure. After it nothing is written any more, and the
    /// process has to be restarted.
    pub fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.writer.failure()
    }

    /// Bytes the engine occupies.
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.writer.read(|kv| kv.size_bytes()).await
    }

    /// Finishes queued writes, then closes the engine and releases its lock.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

/// Reads one checked row and decodes it.
pub(super) fn read_meta<M: Message + Default>(
    kv: &dyn Kv,
    row: Meta,
) -> Result<Option<M>, StoreError> {
    let Some(sealed) = kv.get(&row.key())? else {
        return Ok(None);
    };
    let body = layout::unseal(row.name(), &sealed)?;
    M::decode(body)
        .map(Some)
        .map_err(|e| StoreError::corrupt(row.name(), e))
}

/// Adds one checked row to `batch`.
pub(super) fn put_meta(batch: &mut Batch, row: Meta, message: &impl Message) {
    batch.put(row.key(), layout::seal(&message.encode_to_vec()));
}

fn check_marker(kv: &dyn Kv, identity: &Identity) -> Result<(Marker, bool), StoreError> {
    if let Some(sealed) = kv.get(&Meta::Format.key())? {
        let body = layout::unseal(Meta::Format.name(), &sealed)?;
        let found = <[u8; 4]>::try_from(body)
            .map(u32::from_be_bytes)
            .map_err(|_| StoreError::corrupt(Meta::Format.name(), "not a number"))?;
        if found != FORMAT {
            return Err(StoreError::Format {
                found,
                supported: FORMAT,
            });
        }
    }
    match read_meta::<pb::StorageMarker>(kv, Meta::Marker)? {
        Some(found) => {
            let marker = marker_from_pb(found);
            if marker.identity != *identity {
                return Err(StoreError::WrongOwner {
                    expected: describe(identity),
                    found: describe(&marker.identity),
                });
            }
            Ok((marker, false))
        }
        None => Ok((create_marker(kv, identity)?, true)),
    }
}

fn create_marker(kv: &dyn Kv, identity: &Identity) -> Result<Marker, StoreError> {
    // The marker is the first thing ever written. Rows without one are the remains of a
    // damaged storage, and to start over on them would forget votes and entries.
    let mut strays = 0_u64;
    kv.scan(Vec::new()..vec![u8::MAX], &mut |_, _| {
        strays += 1;
        Ok(())
    })?;
    if strays > 0 {
        let detail = format!("it is missing, but there are {strays} other rows");
        return Err(StoreError::corrupt(Meta::Marker.name(), detail));
    }
    let created_at_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64);
    let marker = Marker {
        identity: identity.clone(),
        created_at_ms,
        storage_id: uuid::Uuid::new_v4().to_string(),
    };
    let mut batch = Batch::new();
    batch.put(Meta::Format.key(), layout::seal(&FORMAT.to_be_bytes()));
    put_meta(&mut batch, Meta::Marker, &marker_to_pb(&marker));
    kv.apply(&batch)?;
    kv.sync()?;
    Ok(marker)
}

fn marker_to_pb(marker: &Marker) -> pb::StorageMarker {
    pb::StorageMarker {
        cluster_id: marker.identity.cluster_id.clone(),
        coordinator_id: marker.identity.coordinator_id,
        created_at_ms: marker.created_at_ms,
        storage_id: marker.storage_id.clone(),
    }
}

fn marker_from_pb(marker: pb::StorageMarker) -> Marker {
    Marker {
        identity: Identity {
            cluster_id: marker.cluster_id,
            coordinator_id: marker.coordinator_id,
        },
        created_at_ms: marker.created_at_ms,
        storage_id: marker.storage_id,
    }
}

fn describe(identity: &Identity) -> String {
    format!(
        "coordinator {} of cluster {:?}",
        identity.coordinator_id, identity.cluster_id
    )
}

fn read_log(kv: &dyn Kv) -> Result<LogView, StoreError> {
    let log_id = |row| read_meta::<pb::RaftLogId>(kv, row).map(|id| id.map(log_id_from_pb));
    let mut view = LogView::with_entries(read_entries(kv)?);
    view.vote = read_meta::<pb::RaftVote>(kv, Meta::Vote)?.map(vote_from_pb);
    view.purged = log_id(Meta::Purged)?;
    view.committed = log_id(Meta::Committed)?;
    Ok(view)
}

/// Refuses a log with a hole, or one that lost what it says was committed.
fn check_continuity(view: &LogView, snapshot: Option<LogId>) -> Result<(), StoreError> {
    let start = view.purged.map_or(0, |id| id.index + 1);
    for (expected, found) in (start..).zip(indexes(&view.entries)) {
        if expected != found {
            let detail = format!("it is missing, the next entry present is {found}");
            return Err(StoreError::corrupt(format!("log entry {expected}"), detail));
        }
    }
    let last_log = view.last_index();
    if let Some(committed) = view.committed {
        let known = last_log.max(snapshot.map(|id| id.index));
        if known < Some(committed.index) {
            let detail = format!(
                "entries up to {} were committed, but log and snapshot end at {known:?}",
                committed.index
            );
            return Err(StoreError::corrupt("log", detail));
        }
    }
    // Purging follows a durable snapshot, so a purged log needs one that covers it.
    if let Some(purged) = view.purged
        && snapshot.is_none_or(|id| id.index < purged.index)
    {
        let detail = format!(
            "the log is purged up to {}, no snapshot covers that",
            purged.index
        );
        return Err(StoreError::corrupt(Meta::Snapshot.name(), detail));
    }
    Ok(())
}

fn indexes<T>(entries: &BTreeMap<u64, T>) -> impl Iterator<Item = u64> + '_ {
    entries.keys().copied()
}
