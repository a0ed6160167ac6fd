//! The handle through which the rest of the coordinator uses consensus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::{LogIdOptionExt, Raft};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::encoding::encode_command;
use super::error::{ProposeError, ReadError, StartError};
use super::leadership::{self, Leadership, Role};
use super::network::Network;
use super::propose::{self, COMMAND_BYTES_MAX, Submission};
use super::reads;
use super::service::{RaftRpc, RaftServer};
use super::state_machine::{StateMachine, StateReader};
use super::timings::ConsensusConfig;
use super::types::{CoordinatorId, Machine, RequestId, TypeConfig};
use super::watchdog::{self, FatalHandler};
use crate::grpc::auth::AttachToken;
use crate::storage::{FollowerAtStart, Storage};

/// Consensus on one coordinator. Cheap to clone; all clones are the same.
#[derive(Debug)]
pub struct Consensus<M: Machine> {
    pub(super) inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Consensus<M> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

pub(super) struct Inner<M: Machine> {
    pub raft: Raft<TypeConfig>,
    pub config: ConsensusConfig,
    pub storage: Storage,
    pub network: Network,
    state: StateReader<M>,
    proposals: mpsc::Sender<Submission>,
    reads: mpsc::Sender<reads::Reader>,
    leadership: watch::Receiver<Leadership>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl<M: Machine> std::fmt::Debug for Inner<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("identity", &self.config.identity)
            .finish_non_exhaustive()
    }
}

/// How consensus is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsensusMetrics {
    /// This coordinator.
    pub id: CoordinatorId,
    /// Who leads.
    pub leadership: Leadership,
    /// Index of the last entry of the log.
    pub last_log_index: Option<u64>,
    /// Index of the last entry applied to the state.
    pub applied_index: Option<u64>,
    /// Index of the last entry in the newest snapshot.
    pub snapshot_index: Option<u64>,
    /// Index of the last entry removed from the log.
    pub purged_index: Option<u64>,
    /// Bytes of log entries in memory.
    pub log_bytes: u64,
    /// On a leader, how far each coordinator's log is known to agree with its own.
    pub replicated: BTreeMap<CoordinatorId, Option<u64>>,
    /// On a leader, milliseconds since a majority was last heard.
    pub quorum_heard_ms_ago: Option<u64>,
}

impl<M: Machine> Consensus<M> {
    /// Starts consensus on an opened storage. A new coordinator then waits: for
    /// [`Consensus::initialize`], or for a leader that adds it.
    ///
    /// `on_fatal` is called when it cannot go on; [`watchdog::exit_on_fatal`] is for
    /// production.
    pub async fn start(
        config: ConsensusConfig,
        storage: Storage,
        on_fatal: FatalHandler,
    ) -> Result<Self, StartError> {
        if config.identity != storage.marker.identity {
            return Err(StartError::WrongStorage);
        }
        let id = config.identity.coordinator_id;
        let raft_config = config.to_openraft().map_err(StartError::Config)?;
        let lease = Duration::from_millis(raft_config.election_timeout_max);
        let machine = StateMachine::<M>::load(storage.snapshots.clone())
            .await
            .map_err(|e| StartError::State(e.to_string()))?;
        let state = machine.reader();
        let token =
            AttachToken::new(&config.token).map_err(|e| StartError::Config(e.to_string()))?;
        let network = Network::new(storage.marker.clone(), config.timings.clone(), token);
        let log = FollowerAtStart::new(storage.log.clone(), id);
        let raft = Raft::new(id, Arc::new(raft_config), network.clone(), log, machine)
            .await
            .map_err(|e| StartError::State(e.to_string()))?;

        let (proposals, proposed) = mpsc::channel(propose::MAILBOX);
        let (reads, readers) = mpsc::channel(reads::MAILBOX);
        let now = leadership::leadership(&raft.metrics().borrow(), lease);
        let (announce, leadership) = watch::channel(now);
        let inner = Inner {
            raft,
            config,
            storage,
            network,
            state,
            proposals,
            reads,
            leadership,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        inner.spawn_actors(proposed, readers, announce, lease, on_fatal);
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The service for other coordinators' consensus RPCs.
    pub fn service(&self) -> RaftServer {
        let inner = &self.inner;
        RaftRpc::new(
            inner.raft.clone(),
            inner.storage.marker.clone(),
            inner.config.limits.snapshot_bytes_max,
            Duration::from_millis(inner.config.timings.snapshot_stall_ms),
        )
        .into_server()
    }

    /// Proposes a command and waits until it is executed here.
    pub async fn propose(&self, command: &M::Command) -> Result<M::Outcome, ProposeError> {
        self.propose_as(RequestId::random(), command).await
    }

    /// Proposes a command under a request id of the caller's. If a command with this id was
    /// executed before, its first outcome is returned and nothing is executed.
    pub async fn propose_as(
        &self,
        request_id: RequestId,
        command: &M::Command,
    ) -> Result<M::Outcome, ProposeError> {
        let command = encode_command(command).map_err(|e| ProposeError::Encoding(e.to_string()))?;
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge {
                bytes: command.len(),
                bytes_max: COMMAND_BYTES_MAX,
            });
        }
        self.inner.refuse_while_silent()?;
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            request_id,
            command,
            reply,
        };
        let patience = Duration::from_millis(self.inner.config.timings.propose_timeout_ms);
        let deadline = tokio::time::Instant::now() + patience;
        match tokio::time::timeout_at(deadline, self.inner.proposals.send(submission)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.propose_stopped()),
            Err(_) => return Err(ProposeError::Overloaded),
        }
        let outcome = match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome?,
            // The proposer ended with this command still in its mailbox, or on its way.
            Ok(Err(_)) => return Err(unknown(request_id, "this coordinator is stopping")),
            Err(_) => {
                let reason = format!("no outcome within {} ms", patience.as_millis());
                return Err(unknown(request_id, &reason));
            }
        };
        serde_json::from_slice(&outcome).map_err(|e| ProposeError::Encoding(e.to_string()))
    }

    /// Returns once [`Consensus::state`] holds everything that was committed, anywhere, before
    /// this call; with the index up to which that is. Only a leader can tell.
    pub async fn linearizable(&self) -> Result<Option<u64>, ReadError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ReadError::Stopped {
            reason: "shutdown".into(),
        };
        self.inner.reads.send(reply).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The latest applied state. May be behind the leader's.
    pub fn state(&self) -> StateReader<M> {
        self.inner.state.clone()
    }

    /// Who leads. [`Role::Leader`] is announced only when the state holds everything that was
    /// committed under earlier leaders.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Whether this coordinator leads at the moment.
    pub fn is_leader(&self) -> bool {
        self.inner.leadership.borrow().is_leader()
    }

    /// This coordinator's number.
    pub fn id(&self) -> CoordinatorId {
        self.inner.config.identity.coordinator_id
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &ConsensusConfig {
        &self.inner.config
    }

    /// How it is doing.
    pub fn metrics(&self) -> ConsensusMetrics {
        let metrics = self.inner.raft.metrics();
        let m = metrics.borrow();
        let replicated = m.replication.iter().flatten();
        ConsensusMetrics {
            id: m.id,
            leadership: self.inner.leadership.borrow().clone(),
            last_log_index: m.last_log_index,
            applied_index: m.last_applied.index(),
            snapshot_index: m.snapshot.index(),
            purged_index: m.purged.index(),
            log_bytes: self.inner.storage.log.tail_bytes() as u64,
            replicated: replicated.map(|(id, at)| (*id, at.index())).collect(),
            quorum_heard_ms_ago: m.millis_since_quorum_ack,
        }
    }

    /// Bytes that the storage occupies on disk.
    pub async fn disk_bytes(&self) -> Result<u64, crate::storage::StoreError> {
        self.inner.storage.size_bytes().await
    }

    /// Starts building a snapshot of the state, if there is anything new.
    pub async fn trigger_snapshot(&self) {
        if let Err(error) = self.inner.raft.trigger().snapshot().await {
            tracing::debug!(%error, "consensus ended before the snapshot was asked for");
        }
    }

    /// Stops taking part, then closes the storage. Returns when its lock is released. Commands
    /// on their way get [`ProposeError::UnknownOutcome`].
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.stop.cancel();
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "the consensus core did not end cleanly");
        }
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.storage.close().await;
    }

    fn propose_stopped(&self) -> ProposeError {
        ProposeError::Stopped {
            reason: "shutdown".into(),
        }
    }
}

impl<M: Machine> Inner<M> {
    fn spawn_actors(
        &self,
        proposed: mpsc::Receiver<Submission>,
        readers: mpsc::Receiver<reads::Reader>,
        announce: watch::Sender<Leadership>,
        lease: Duration,
        on_fatal: FatalHandler,
    ) {
        let timings = &self.config.timings;
        let stop = || self.stop.child_token();
        self.tasks.spawn(propose::run(
            self.raft.clone(),
            proposed,
            Duration::from_millis(timings.propose_timeout_ms),
            stop(),
        ));
        let raft = self.raft.clone();
        let patience = Duration::from_millis(timings.read_timeout_ms);
        let stopped = stop();
        self.tasks.spawn(async move {
            reads::run(|| reads::confirm(&raft, patience), readers, stopped).await;
        });
        self.tasks.spawn(leadership::publish(
            self.raft.metrics(),
            lease,
            announce,
            stop(),
        ));
        self.tasks.spawn(watchdog::watch_fatal(
            self.raft.clone(),
            self.storage.clone(),
            on_fatal,
            stop(),
        ));
        self.tasks.spawn(watchdog::bound_tail(
            self.raft.clone(),
            self.storage.log.clone(),
            self.config.limits.tail_bytes_max,
            stop(),
        ));
    }
}

fn unknown(request_id: RequestId, reason: &str) -> ProposeError {
    ProposeError::UnknownOutcome {
        request_id,
        reason: reason.into(),
    }
}

/// Waits until `leadership` says that somebody leads and returns it; `None` when consensus
/// has ended.
pub async fn leader_known(leadership: &mut watch::Receiver<Leadership>) -> Option<Leadership> {
    let known = leadership
        .wait_for(|l| l.leader.is_some() || l.role == Role::Stopped)
        .await
        .ok()?;
    Some(known.clone()).filter(|l| l.role != Role::Stopped)
}
