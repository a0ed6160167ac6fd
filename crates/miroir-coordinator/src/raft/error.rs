//! What a caller of consensus can be told.

use thiserror::Error;

use super::types::{CoordinatorId, RequestId};

/// Where the leader is, as far as this coordinator knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader.
    pub id: CoordinatorId,
    /// Where its admin, session and catalog RPCs go.
    pub api_url: String,
}

/// Why a proposal has no outcome to report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// This coordinator does not lead. The command was not proposed.
    #[error("this coordinator is not the leader; {}", hint(.leader))]
    NotLeader {
        /// Where to go instead, if known.
        leader: Option<LeaderHint>,
    },
    /// The command may have been executed, may still be, or may never be. Propose it again
    /// under the same request id: it is then executed at most once.
    #[error("the outcome of request {request_id} is unknown: {reason}")]
    UnknownOutcome {
        /// The id to use again.
        request_id: RequestId,
        /// Why nobody knows.
        reason: String,
    },
    /// The command is larger than an entry may be. It was not proposed.
    #[error("the command has {bytes} bytes, at most {bytes_max} are allowed; split it")]
    TooLarge {
        /// Size of the encoded command.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More is proposed than can be replicated. The command was not proposed.
    #[error("too many proposals are waiting; try again later")]
    Overloaded,
    /// The command or its outcome cannot be encoded. A programming error.
    #[error("{0}")]
    Encoding(String),
    /// Consensus has stopped on this coordinator. The command was not proposed.
    #[error("consensus has stopped on this coordinator: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: String,
    },
}

impl ProposeError {
    /// Whether to propose the command again: here, or at the leader if there is a hint, and
    /// under the same request id.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::UnknownOutcome { .. } | Self::Overloaded => true,
            Self::TooLarge { .. } | Self::Encoding(_) | Self::Stopped { .. } => false,
        }
    }
}

/// Why leadership was not given up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StepDownError {
    /// This coordinator does not lead.
    #[error("this coordinator is not the leader; {}", hint(.leader))]
    NotLeader {
        /// Where to go instead, if known.
        leader: Option<LeaderHint>,
    },
    /// It leads, but in another term than whoever asked saw: it was elected meanwhile.
    #[error("term {asked} is over: this coordinator leads in term {now}")]
    OtherTerm {
        /// The term that leadership was to be given up in.
        asked: u64,
        /// The term it leads in.
        now: u64,
    },
    /// It was asked before, and no other leads yet.
    #[error("this coordinator is giving leadership up already")]
    AlreadySilent,
    /// Nobody else could be elected.
    #[error("there is no other coordinator that could lead")]
    Alone,
}

/// Why a read could not be shown to be up to date.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// This coordinator does not lead.
    #[error("this coordinator is not the leader; {}", hint(.leader))]
    NotLeader {
        /// Where to go instead, if known.
        leader: Option<LeaderHint>,
    },
    /// A majority of coordinators did not confirm in time that this one still leads.
    #[error("no majority of coordinators confirmed the leader: {reason}")]
    NoQuorum {
        /// What is known about it.
        reason: String,
    },
    /// Consensus has stopped on this coordinator.
    #[error("consensus has stopped on this coordinator: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: String,
    },
}

impl ReadError {
    /// Whether to try again, here or at the leader.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. } | Self::NoQuorum { .. } => true,
            Self::Stopped { .. } => false,
        }
    }
}

/// Why the members could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// The cluster has been formed already; nothing was changed.
    #[error("this coordinator already belongs to a formed cluster; nothing was changed")]
    AlreadyInitialized,
    /// The request makes no sense; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// A coordinator that should become a member did not answer as it should; nothing was
    /// changed.
    #[error("coordinator {id} at {raft_url} cannot become a member: {reason}")]
    Unsuitable {
        /// The number it was announced with.
        id: CoordinatorId,
        /// Where it was asked.
        raft_url: String,
        /// What it answered, or why it did not.
        reason: String,
    },
    /// This coordinator does not lead; nothing was changed.
    #[error("this coordinator is not the leader; {}", hint(.leader))]
    NotLeader {
        /// Where to go instead, if known.
        leader: Option<LeaderHint>,
    },
    /// Another change of members is in progress.
    #[error("another change of members is in progress; wait until it is done: {0}")]
    InProgress(String),
    /// The change may or may not have happened; look at the members.
    #[error("it is unknown whether the members changed: {0}")]
    UnknownOutcome(String),
    /// Consensus has stopped on this coordinator.
    #[error("consensus has stopped on this coordinator: {reason}")]
    Stopped {
        /// Why it stopped.
        reason: String,
    },
}

impl MembershipError {
    /// Whether the same request may succeed later or at the leader.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unsuitable { .. }
            | Self::NotLeader { .. }
            | Self::InProgress(_)
            | Self::UnknownOutcome(_) => true,
            Self::AlreadyInitialized | Self::Invalid(_) | Self::Stopped { .. } => false,
        }
    }
}

/// Why consensus did not start.
#[derive(Debug, Clone, Error)]
pub enum StartError {
    /// A timing or limit does not fit the others.
    #[error("the consensus configuration is invalid: {0}")]
    Config(String),
    /// The storage belongs to somebody else than the configuration says.
    #[error("the storage was opened for another coordinator than the configuration names")]
    WrongStorage,
    /// The state could not be read from the storage.
    #[error("cannot start from the stored state: {0}")]
    State(String),
}

impl StartError {
    /// Whether starting again may help. It does not: configuration or disk must change.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Config(_) | Self::WrongStorage | Self::State(_) => false,
        }
    }
}

fn hint(leader: &Option<LeaderHint>) -> String {
    match leader {
        Some(leader) => format!("coordinator {} at {} is", leader.id, leader.api_url),
        None => "no leader is known at the moment".into(),
    }
}
