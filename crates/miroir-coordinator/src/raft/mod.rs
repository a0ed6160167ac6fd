//! Consensus: one replicated state machine on all coordinators.
//!
//! The rest of the coordinator sees [`Consensus`] and nothing of openraft: propose a command,
//! read the state, watch who leads. The state machine itself is any [`Machine`].

pub mod dedup;
pub mod encoding;
pub mod state_machine;
pub mod types;

pub use types::{CoordinatorId, Machine, Member, RequestId};
