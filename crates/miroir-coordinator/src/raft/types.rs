//! The vocabulary shared by storage, network and state machine.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Number of a coordinator. It is never given to another disk: a coordinator that lost its
/// storage comes back under a new number.
pub type CoordinatorId = u64;

/// The application's state machine. Everything in it must follow from the log alone: the
/// same commands give the same state and outcomes on every coordinator.
pub trait Machine: Default + Clone + Send + Sync + 'static {
    /// What can be proposed.
    type Command: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What a proposer is told.
    type Outcome: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Executes `command`. Total: a command that makes no sense changes nothing and says so
    /// in its outcome. `index` is its place in the log (several commands may share one),
    /// `at_ms` the cluster's clock in milliseconds since the Unix epoch, which never goes
    /// back.
    fn apply(&mut self, index: u64, at_ms: u64, command: &Self::Command) -> Self::Outcome;

    /// The whole state as bytes, in a versioned encoding.
    fn snapshot(&self) -> Vec<u8>;

    /// Reads what [`Machine::snapshot`] wrote, also by older versions. The error says what
    /// could not be read.
    fn restore(bytes: &[u8]) -> Result<Self, String>;
}

/// One coordinator as the membership knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where consensus RPCs go, as a URL (`http://10.0.0.1:7710`).
    pub raft_url: String,
    /// Where admin, session and catalog RPCs go, as a URL.
    pub api_url: String,
    /// Identity of the coordinator's disk. Filled in when it becomes a member; a caller that
    /// adds a member leaves it empty.
    pub storage_id: String,
}

impl Member {
    /// A member that has not joined yet.
    pub fn new(raft_url: impl Into<String>, api_url: impl Into<String>) -> Self {
        Self {
            raft_url: raft_url.into(),
            api_url: api_url.into(),
            storage_id: String::new(),
        }
    }
}

/// Names one request for good, so that sending it again cannot execute it twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId(pub u128);

impl RequestId {
    /// A fresh id that nobody else has.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().as_u128())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One command on its way through the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Makes a retry harmless.
    pub request_id: RequestId,
    /// Versioned encoding of the command, see [`super::encoding::encode_command`].
    pub command: Bytes,
}

/// What one log entry carries: commands that were proposed at about the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCommand {
    /// The leader's wall clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The commands, in the order they take effect.
    pub proposals: Vec<Proposal>,
}

/// Outcomes of a [`LogCommand`], one per proposal, encoded. Empty for other entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// JSON of the machine's outcome, in the order of the proposals.
    pub outcomes: Vec<Bytes>,
}

/// How openraft is instantiated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = LogCommand;
    type R = Applied;
    type NodeId = CoordinatorId;
    type Node = Member;
    type Entry = openraft::Entry<TypeConfig>;
    type SnapshotData = Bytes;
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder = openraft::impls::OneshotResponder<TypeConfig>;
}

/// A log entry.
pub type Entry = openraft::Entry<TypeConfig>;
/// A position in the log with the leadership that wrote it.
pub type LogId = openraft::LogId<CoordinatorId>;
/// A vote.
pub type Vote = openraft::Vote<CoordinatorId>;
/// Voters and learners.
pub type Membership = openraft::Membership<CoordinatorId, Member>;
/// A membership and where the log has it.
pub type StoredMembership = openraft::StoredMembership<CoordinatorId, Member>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<CoordinatorId, Member>;
/// A snapshot and what it covers.
pub type Snapshot = openraft::Snapshot<TypeConfig>;
/// openraft's own storage error.
pub type RaftStorageError = openraft::StorageError<CoordinatorId>;
