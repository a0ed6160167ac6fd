//! Why a placement was refused.

use crate::id::{GroupId, NodeId, ShardId};

/// A request that cannot be placed. Each is a fault of the request: asking again with the same
/// arguments fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There is no node to place on.
    #[error(
        "index `{index}` cannot be placed: group {group} has no node that takes shards; add or admit a node first"
    )]
    NoCandidates {
        /// The index that was to be placed.
        index: String,
        /// The group without nodes.
        group: GroupId,
    },
    /// A replication factor of zero would hold no document at all.
    #[error("the replication factor is 0; it must be at least 1")]
    NoCopies,
    /// Copies of a shard are on distinct nodes, so there cannot be more copies than nodes.
    #[error(
        "replication factor {rf} needs {rf} nodes in the group, which has {nodes}; add nodes or lower the replication factor"
    )]
    TooFewNodes {
        /// Copies wanted of each shard.
        rf: u8,
        /// Candidates given.
        nodes: usize,
    },
    /// A node is listed more than once.
    #[error("node {node} is listed twice among the candidates")]
    DuplicateCandidate {
        /// The node in question.
        node: NodeId,
    },
    /// A node that shall hold nothing is left out of the candidates instead.
    #[error(
        "node {node} has weight 0; a weight is at least 1, and a node that shall hold nothing is drained"
    )]
    ZeroWeight {
        /// The node in question.
        node: NodeId,
    },
    /// The placement to rebalance has more shards than shard ids.
    #[error("the current placement has {shards} shards; an index has at most 65536")]
    TooManyShards {
        /// Shards given.
        shards: usize,
    },
    /// The placement to rebalance names a node twice for a shard.
    #[error("shard {shard} lists node {node} twice in the current placement")]
    DuplicateCopy {
        /// The shard in question.
        shard: ShardId,
        /// The node listed twice.
        node: NodeId,
    },
    /// Rebalancing moves copies; it neither makes nor drops any.
    #[error(
        "shard {shard} has {copies} copies in the current placement, but the replication factor is {rf}"
    )]
    WrongCopies {
        /// The shard in question.
        shard: ShardId,
        /// Copies it has.
        copies: usize,
        /// Copies every shard must have.
        rf: u8,
    },
}
