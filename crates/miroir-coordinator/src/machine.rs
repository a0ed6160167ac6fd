//! The cluster's state as consensus replicates it, and the handle the rest of the coordinator uses.

use std::future::Future;

use miroir_core::cluster::{ClusterState, Command, Outcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::raft::error::{ProposeError, ReadError};
use crate::raft::{Consensus, Machine, RequestId};

/// Version byte in front of a snapshot of the state.
const SNAPSHOT_VERSION: u8 = 1;

impl Machine for ClusterState {
    type Command = Command;
    type Outcome = Outcome;

    fn apply(&mut self, index: u64, at_ms: u64, command: &Command) -> Outcome {
        Self::apply(self, index, at_ms, command)
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![SNAPSHOT_VERSION];
        serde_json::to_writer(&mut bytes, self)
            .expect("the state is plain data, and a vector takes every byte");
        bytes
    }

    fn restore(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [SNAPSHOT_VERSION, json @ ..] => {
                serde_json::from_slice(json).map_err(|error| error.to_string())
            }
            [other, ..] => Err(format!(
                "its version is {other}, this program knows up to {SNAPSHOT_VERSION}"
            )),
            [] => Err("it is empty".to_owned()),
        }
    }
}

/// The replicated state of this coordinator's cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    consensus: Consensus<ClusterState>,
    applied: watch::Receiver<u64>,
}

impl Handle {
    /// A handle on `consensus`, which tells of changes until `stop`.
    #[must_use]
    pub fn new(consensus: Consensus<ClusterState>, stop: CancellationToken) -> Self {
        let mut indexes = consensus.state().applied();
        let (tell, applied) = watch::channel(indexes.borrow_and_update().unwrap_or(0));
        let forward = async move {
            while indexes.changed().await.is_ok() {
                tell.send_replace(indexes.borrow_and_update().unwrap_or(0));
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(forward).await });
        Self { consensus, applied }
    }

    /// Consensus itself: leadership, members, metrics.
    #[must_use]
    pub fn consensus(&self) -> &Consensus<ClusterState> {
        &self.consensus
    }

    /// Commits a command under a request id: sent again, it is carried out at most once.
    ///
    /// # Errors
    /// When it is not, or perhaps not, committed.
    pub async fn propose_as(
        &self,
        id: RequestId,
        command: &Command,
    ) -> Result<Outcome, ProposeError> {
        self.consensus.propose_as(id, command).await
    }
}

impl Cluster for Handle {
    fn read<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R {
        self.consensus.state().read(look)
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, ProposeError>> + Send {
        let consensus = self.consensus.clone();
        async move { consensus.propose(&command).await }
    }

    fn confirm_leadership(&self) -> impl Future<Output = Result<(), ReadError>> + Send {
        let consensus = self.consensus.clone();
        async move { consensus.linearizable().await.map(drop) }
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{NewIndex, NodeSpec, Policy};
    use miroir_core::id::{GroupId, IndexUid};

    use super::*;

    #[test]
    fn a_snapshot_restores_the_same_state() {
        let mut state = ClusterState::default();
        assert_eq!(ClusterState::restore(&state.snapshot()), Ok(state.clone()));
        let policy = Policy {
            default_shards: 4,
            ..Policy::default()
        };
        let node = |n: u16| NodeSpec {
            url: format!("http://127.0.0.1:{n}"),
            group: GroupId(1),
            zone: Some("a".to_owned()),
            weight: 2,
            version: "1.15.0".to_owned(),
        };
        let index = NewIndex {
            uid: IndexUid::parse("books").expect("a uid"),
            primary_key: Some("id".to_owned()),
            shards: None,
            replication_factor: None,
            writer: None,
            task: None,
        };
        let (instance, name, url) = ("i".to_owned(), "n".to_owned(), "http://p".to_owned());
        let commands = [
            Command::Bootstrap {
                cluster_id: "c".to_owned(),
                policy,
            },
            Command::AddNode { node: node(1) },
            Command::AddNode { node: node(2) },
            Command::RegisterProxy {
                instance,
                name,
                url,
            },
            Command::CreateIndex(index),
        ];
        for (at, command) in (1..).zip(&commands) {
            let outcome = Machine::apply(&mut state, at, 10 * at, command);
            assert!(
                !matches!(outcome, Outcome::Rejected(_)),
                "{command:?}: {outcome:?}"
            );
            assert_eq!(ClusterState::restore(&state.snapshot()), Ok(state.clone()));
        }
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_refused() {
        for (bytes, expected) in [
            (&[][..], "empty"),
            (&[9, b'{'], "version is 9"),
            (&[1, b'{'], "EOF"),
        ] {
            let error = ClusterState::restore(bytes).expect_err("no snapshot");
            assert!(error.contains(expected), "{error}");
        }
    }
}
