//! The replicated state: the application's machine and what consensus keeps beside it.
//!
//! It lives in memory and is changed in place, so an entry costs what its commands cost,
//! however large the state is. After a restart it is the newest snapshot plus the log
//! (docs/adr/0002-state-machine-in-memory.md).

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use miroir_proto::v1 as pb;
use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, StorageIOError,
};
use prost::Message;
use tokio::sync::watch;

use super::dedup::{Remembered, Window};
use super::encoding::{DecodeError, decode_command, request_id_from_pb, request_id_to_pb};
use super::types::{
    Applied, Entry, LogCommand, LogId, Machine, RaftStorageError, RequestId, Snapshot,
    SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::storage::SnapshotStore;

/// Everything that the log determines.
#[derive(Debug, Clone, Default)]
struct Replicated<M> {
    machine: M,
    applied: Option<LogId>,
    membership: StoredMembership,
    requests: Window,
    last_at_ms: u64,
}

#[derive(Debug)]
struct Shared<M> {
    state: RwLock<Replicated<M>>,
    applied_index: watch::Sender<Option<u64>>,
}

/// Reads the latest applied state. Cheap to clone.
#[derive(Debug)]
pub struct StateReader<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for StateReader<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M: Machine> StateReader<M> {
    /// Runs `read` on the state. Applying waits meanwhile, so `read` must be short: copy out
    /// what is needed.
    pub fn read<T>(&self, read: impl FnOnce(&M) -> T) -> T {
        self.read_at(|machine, _| read(machine))
    }

    /// Like [`StateReader::read`], with the index of the last applied entry, if any.
    pub fn read_at<T>(&self, read: impl FnOnce(&M, Option<u64>) -> T) -> T {
        let state = self
            .shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        read(&state.machine, state.applied.map(|id| id.index))
    }

    /// Changes after every applied batch of entries; its value is the last applied index.
    /// The state may be newer than the value, never older.
    pub fn applied(&self) -> watch::Receiver<Option<u64>> {
        self.shared.applied_index.subscribe()
    }

    /// The cluster's clock: the time of the last applied command, in milliseconds since the
    /// Unix epoch; 0 before the first.
    pub fn clock_ms(&self) -> u64 {
        let state = self
            .shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        state.last_at_ms
    }
}

/// openraft's view of the state. One per coordinator.
#[derive(Debug)]
pub struct StateMachine<M> {
    shared: Arc<Shared<M>>,
    snapshots: SnapshotStore,
}

impl<M: Machine> StateMachine<M> {
    /// The state of the newest snapshot, or an empty one.
    pub async fn load(snapshots: SnapshotStore) -> Result<Self, RaftStorageError> {
        let state = match snapshots.load().await? {
            Some(snapshot) => decode(&snapshot.meta, &snapshot.snapshot)
                .map_err(|e| snapshot_error(&snapshot.meta, ErrorVerb::Read, &e))?,
            None => Replicated::default(),
        };
        let (applied_index, _) = watch::channel(state.applied.map(|id| id.index));
        Ok(Self {
            shared: Arc::new(Shared {
                state: RwLock::new(state),
                applied_index,
            }),
            snapshots,
        })
    }

    /// A reader of this state.
    pub fn reader(&self) -> StateReader<M> {
        StateReader {
            shared: Arc::clone(&self.shared),
        }
    }

    fn copy(&self) -> Replicated<M> {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets `change` work on the state, then tells the readers.
    fn update<T>(&self, change: impl FnOnce(&mut Replicated<M>) -> T) -> T {
        let mut state = self
            .shared
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let index = state.applied.map(|id| id.index);
        drop(state);
        self.shared.applied_index.send_replace(index);
        result
    }
}

impl<M: Machine> Replicated<M> {
    fn apply(&mut self, entry: &Entry) -> Result<Applied, DecodeError> {
        let applied = match &entry.payload {
            EntryPayload::Blank => Applied::default(),
            EntryPayload::Normal(command) => self.execute(entry.log_id.index, command)?,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Applied::default()
            }
        };
        self.applied = Some(entry.log_id);
        Ok(applied)
    }

    fn execute(&mut self, index: u64, batch: &LogCommand) -> Result<Applied, DecodeError> {
        // A new leader's clock may be behind its predecessor's.
        self.last_at_ms = self.last_at_ms.max(batch.at_ms);
        let mut outcomes = Vec::with_capacity(batch.proposals.len());
        for proposal in &batch.proposals {
            outcomes.push(self.execute_once(index, proposal.request_id, &proposal.command)?);
        }
        Ok(Applied { outcomes })
    }

    fn execute_once(
        &mut self,
        index: u64,
        id: RequestId,
        command: &[u8],
    ) -> Result<Bytes, DecodeError> {
        if let Some(first) = self.requests.get(id) {
            return Ok(first.outcome.clone());
        }
        // An unreadable command was written by a newer version. To skip it would make this
        // coordinator differ from the others for good, so it stops instead.
        let command: M::Command = decode_command(command)?;
        let outcome = self.machine.apply(index, self.last_at_ms, &command);
        let outcome: Bytes = serde_json::to_vec(&outcome)
            .map_err(|e| DecodeError::new("outcome", e))?
            .into();
        let remembered = Remembered {
            outcome: outcome.clone(),
            index,
        };
        self.requests.insert(id, remembered);
        Ok(outcome)
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateMachine<M> {
    type SnapshotBuilder = SnapshotBuilder<M>;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembership), RaftStorageError> {
        let state = self
            .shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, RaftStorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let applied = self.update(|state| {
            entries
                .into_iter()
                .map(|entry| state.apply(&entry).map_err(|e| (entry.log_id, e)))
                .collect::<Result<Vec<_>, _>>()
        });
        applied.map_err(|(at, e)| StorageIOError::apply(at, openraft::AnyError::new(&e)).into())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<M> {
        // A copy, so that applying goes on while the snapshot is encoded and written.
        SnapshotBuilder {
            state: Arc::new(self.copy()),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, RaftStorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Bytes>,
    ) -> Result<(), RaftStorageError> {
        let state =
            decode::<M>(meta, &snapshot).map_err(|e| snapshot_error(meta, ErrorVerb::Read, &e))?;
        self.snapshots.save(meta, &snapshot).await?;
        self.update(|current| *current = state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, RaftStorageError> {
        self.snapshots.load().await
    }
}

/// Turns a copy of the state into a durable snapshot.
#[derive(Debug)]
pub struct SnapshotBuilder<M> {
    state: Arc<Replicated<M>>,
    snapshots: SnapshotStore,
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot, RaftStorageError> {
        let state = Arc::clone(&self.state);
        let meta = SnapshotMeta {
            last_log_id: state.applied,
            last_membership: state.membership.clone(),
            snapshot_id: snapshot_id(state.applied),
        };
        let encoded = tokio::task::spawn_blocking(move || Bytes::from(encode(&state))).await;
        let data = encoded.map_err(|e| snapshot_error(&meta, ErrorVerb::Write, &e))?;
        self.snapshots.save(&meta, &data).await?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(data),
        })
    }
}

/// A name that no other snapshot has, also one of the same position from another coordinator.
fn snapshot_id(last: Option<LogId>) -> String {
    let unique = uuid::Uuid::new_v4().simple();
    match last {
        Some(id) => format!("{}-{}-{unique}", id.leader_id, id.index),
        None => format!("empty-{unique}"),
    }
}

fn encode<M: Machine>(state: &Replicated<M>) -> Vec<u8> {
    let remembered = state
        .requests
        .iter()
        .map(|(id, r)| pb::RaftRemembered {
            request_id: request_id_to_pb(id),
            outcome: r.outcome.to_vec(),
            index: r.index,
        })
        .collect();
    pb::RaftSnapshotBody {
        machine: state.machine.snapshot(),
        last_at_ms: state.last_at_ms,
        remembered,
    }
    .encode_to_vec()
}

fn decode<M: Machine>(meta: &SnapshotMeta, data: &[u8]) -> Result<Replicated<M>, DecodeError> {
    let body =
        pb::RaftSnapshotBody::decode(data).map_err(|e| DecodeError::new("snapshot body", e))?;
    let mut requests = Window::default();
    for r in body.remembered {
        let remembered = Remembered {
            outcome: r.outcome.into(),
            index: r.index,
        };
        requests.insert(request_id_from_pb(&r.request_id)?, remembered);
    }
    Ok(Replicated {
        machine: M::restore(&body.machine)
            .map_err(|e| DecodeError::new("state in a snapshot", e))?,
        applied: meta.last_log_id,
        membership: meta.last_membership.clone(),
        requests,
        last_at_ms: body.last_at_ms,
    })
}

fn snapshot_error(
    meta: &SnapshotMeta,
    verb: ErrorVerb,
    error: &(impl std::error::Error + 'static),
) -> RaftStorageError {
    let subject = ErrorSubject::Snapshot(Some(meta.signature()));
    StorageIOError::new(subject, verb, openraft::AnyError::new(error)).into()
}
