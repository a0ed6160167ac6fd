//! Carrying out migrations: one actor for each, under one supervisor, on the leader.
//!
//! An actor asks the committed record what comes next, does it, and proposes the event that it observed.
//! Everything it does may be done again by a later leader. It never decides a phase: `apply` does.

mod actor;
mod compare;
mod copy;
mod digest;
pub(crate) mod failpoint;
mod looks;
mod node;
mod paces;
mod phases;
mod retry;
mod source;
mod supervisor;
mod throttle;
mod underway;
mod verify;

pub use actor::MoveError;
pub use paces::Paces;
pub use supervisor::run as supervise;
pub use underway::{AtWork, Underway};
pub use verify::{ShardReport, Verifier, VerifyError, VerifyOptions};

use std::future::Future;
use std::time::Duration;

use miroir_core::id::NodeId;
use miroir_core::migration::PaceBounds;
use miroir_meili::NodeClient;

use crate::session::Sessions;

/// How shards are copied.
#[derive(Debug, Clone, Copy)]
pub struct MoveOptions {
    /// Documents copied with one request.
    pub chunk_docs: usize,
    /// How long client writes may be held behind a fence before the migration goes back.
    pub fence_budget: Duration,
    /// How long a request may still arrive at a node after it was given up.
    pub late_request: Duration,
    /// How long a new leader waits for the work of the last one to end.
    pub takeover: Duration,
    /// Within which bounds copying adapts to what the nodes bear; `None` has it go as fast as it may.
    pub pace: Option<PaceBounds>,
}

/// How busy a node is, as it was last seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Tasks that it has not finished.
    pub queue: Option<u64>,
    /// How long it took to answer, in milliseconds.
    pub latency_ms: Option<u64>,
    /// How long proxies' reads take on it, in milliseconds.
    pub reads_ms: Option<u64>,
}

/// Finds the client of a node. `None` for a node that is not in the cluster.
pub trait Nodes: Clone + Send + Sync + 'static {
    /// The client of `node`.
    fn client(&self, node: NodeId) -> Option<NodeClient>;

    /// Whether `node` counts as down; not while nothing is known of it.
    fn is_down(&self, node: NodeId) -> bool;

    /// How busy `node` is.
    fn load(&self, node: NodeId) -> NodeLoad;

    /// Ends once `node` counts as down; never while it answers.
    fn down(&self, node: NodeId) -> impl Future<Output = ()> + Send;
}

/// What every actor shares.
#[derive(Debug, Clone)]
pub struct Mover<C, N> {
    /// The replicated state.
    pub cluster: C,
    /// The nodes.
    pub nodes: N,
    /// Sessions, for barriers and recorded ids.
    pub sessions: Sessions,
    /// Which indexes are being changed.
    pub underway: Underway,
    /// How fast they copy, for whoever asks.
    pub paces: Paces,
    /// How to copy.
    pub options: MoveOptions,
}
