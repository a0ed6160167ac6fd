//! Consensus: one replicated state machine on all coordinators.
//!
//! The rest of the coordinator sees [`Consensus`] and nothing of openraft: propose a command,
//! read the state, watch who leads. The state machine itself is any [`Machine`].

pub mod channels;
pub mod dedup;
pub mod encoding;
pub mod error;
pub mod handle;
pub mod leadership;
pub mod members;
pub mod network;
pub mod propose;
pub mod reads;
pub mod service;
pub mod state_machine;
pub mod step_down;
pub mod timings;
pub mod types;
pub mod watchdog;

pub use error::{LeaderHint, MembershipError, ProposeError, ReadError, StartError, StepDownError};
pub use handle::{Consensus, ConsensusMetrics};
pub use leadership::{Leadership, Role};
pub use members::MemberStatus;
pub use service::RaftServer;
pub use state_machine::StateReader;
pub use timings::{ConsensusConfig, RaftLimits, RaftTimings};
pub use types::{CoordinatorId, Machine, Member, RequestId};
pub use watchdog::{EXIT_FATAL, FatalHandler, exit_on_fatal};
