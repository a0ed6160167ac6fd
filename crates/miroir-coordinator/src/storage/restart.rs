//! A restarted leader comes back as a follower.
//!
//! openraft 0.9 resumes leadership from a stored committed vote, without asking anybody. In
//! the meantime a successor may have been elected, and a read answered by the resumed leader
//! would be stale. Taking back the "committed" of its own vote makes it campaign again; that
//! is safe, since a vote only says whom this coordinator may still support.

use std::fmt::Debug;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::LogStore;
use crate::raft::CoordinatorId;
use crate::raft::types::{Entry, LogId, RaftStorageError, TypeConfig, Vote};

/// The log store of coordinator `me`, with its own leadership forgotten at start.
#[derive(Debug, Clone)]
pub struct FollowerAtStart {
    store: LogStore,
    me: CoordinatorId,
}

impl FollowerAtStart {
    /// Wraps `store`, which belongs to coordinator `me`.
    pub fn new(store: LogStore, me: CoordinatorId) -> Self {
        Self { store, me }
    }
}

impl RaftLogReader<TypeConfig> for FollowerAtStart {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        self.store.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, RaftStorageError> {
        self.store.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<TypeConfig> for FollowerAtStart {
    type LogReader = LogStore;

    /// openraft calls this once, when it starts.
    async fn read_vote(&mut self) -> Result<Option<Vote>, RaftStorageError> {
        let vote = self.store.read_vote().await?;
        Ok(vote.map(|vote| {
            if vote.leader_id.node_id == self.me {
                Vote::new(vote.leader_id.term, self.me)
            } else {
                vote
            }
        }))
    }

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, RaftStorageError> {
        self.store.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.store.get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), RaftStorageError> {
        self.store.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), RaftStorageError> {
        self.store.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, RaftStorageError> {
        self.store.read_committed().await
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
        self.store.append(entries, callback).await
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        self.store.truncate(log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), RaftStorageError> {
        self.store.purge(log_id).await
    }
}
