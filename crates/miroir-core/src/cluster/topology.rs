//! Nodes, groups, proxies, and what operators asked to be done with them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{
    Epoch, GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId,
};

/// Whether a node may hold copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Admission {
    /// It holds copies and may be given more.
    Active,
    /// It gives its copies away and is given none.
    Draining,
}

/// A Meilisearch node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Where it listens, without a trailing slash. No two nodes share one.
    pub url: String,
    /// The group it serves in.
    pub group: GroupId,
    /// Where it stands, if that matters: copies of a shard are spread over zones.
    pub zone: Option<String>,
    /// Its share of the copies relative to others of its group.
    pub weight: u32,
    /// The Meilisearch version it reported when it was added.
    pub version: String,
    /// Whether it may hold copies.
    pub admission: Admission,
    /// When it was added, in milliseconds since the Unix epoch.
    pub added_at_ms: u64,
}

/// Whether searches may use a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupState {
    /// Its copies are being built: it gets every write and is not searched.
    Initialising,
    /// It holds every shard in sync.
    Searchable,
    /// It is searched no more, and goes when every proxy knows that.
    Retiring,
}

impl GroupState {
    /// Whether the group is to hold every shard.
    #[must_use]
    pub fn stays(self) -> bool {
        match self {
            Self::Initialising | Self::Searchable => true,
            Self::Retiring => false,
        }
    }

    /// Whether searches may use it.
    #[must_use]
    pub fn is_searched(self) -> bool {
        match self {
            Self::Searchable => true,
            Self::Initialising | Self::Retiring => false,
        }
    }
}

/// A replica group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Whether searches may use it.
    pub state: GroupState,
    /// The epoch of the last change of its state: what its removal waits for.
    pub state_epoch: Epoch,
}

/// One run of one proxy, for as long as it may read or write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Its id.
    pub id: ProxyId,
    /// A random token that tells this run from any other; registering it twice is registering it once.
    pub instance: String,
    /// Its configured name.
    pub name: String,
    /// Where other proxies reach it.
    pub url: String,
    /// Set when its lease has certainly run out: it writes no more, but may still read.
    pub lost: bool,
    /// When it registered, in milliseconds since the Unix epoch.
    pub registered_at_ms: u64,
}

/// What was asked for, by an operator or by the planner itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum OperationKind {
    /// Give a new node its share of every index.
    AddNode {
        /// The node added.
        node: NodeId,
    },
    /// Move every copy off a node, which stays in the cluster.
    DrainNode {
        /// The node drained.
        node: NodeId,
    },
    /// Move every copy off a node and remove it; or re-create what a dead node held, which is removed already.
    RemoveNode {
        /// The node removed.
        node: NodeId,
        /// The group it served in.
        group: GroupId,
        /// Whether it was dead, and its copies were given up at once.
        forced: bool,
    },
    /// Build every shard in a new group, then let it be searched.
    AddGroup {
        /// The group added.
        group: GroupId,
    },
    /// Take a group out of searches, then remove it with its nodes.
    RemoveGroup {
        /// The group removed.
        group: GroupId,
    },
    /// Make the copies of an index as many as its replication factor says.
    ChangeReplicationFactor {
        /// The index, by its name on nodes.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// Copies of a shard in a group before.
        from: u8,
        /// Copies of a shard in a group after.
        to: u8,
    },
    /// Make the placement what it would be if it were made anew with the fewest moves.
    Rebalance {
        /// One index, by its name on nodes; `None` is all.
        uid: Option<IndexUid>,
    },
    /// Move one copy of one shard.
    MoveShard,
    /// Make stale copies good again, fill gaps, and sweep leftovers.
    Repair,
    /// Build elsewhere what a node holds that has been lost for long.
    ReplaceLost {
        /// The node lost.
        node: NodeId,
    },
}

impl OperationKind {
    /// Whether its moves are all known when it begins. Any other is planned again when its moves are done, until
    /// nothing is left to do.
    #[must_use]
    pub fn is_planned_once(&self) -> bool {
        match self {
            Self::MoveShard | Self::Repair => true,
            Self::AddNode { .. }
            | Self::DrainNode { .. }
            | Self::RemoveNode { .. }
            | Self::AddGroup { .. }
            | Self::RemoveGroup { .. }
            | Self::ChangeReplicationFactor { .. }
            | Self::Rebalance { .. }
            | Self::ReplaceLost { .. } => false,
        }
    }

    /// Whether it began without an operator, so that a hold keeps it back.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        match self {
            Self::Repair | Self::ReplaceLost { .. } => true,
            Self::AddNode { .. }
            | Self::DrainNode { .. }
            | Self::RemoveNode { .. }
            | Self::AddGroup { .. }
            | Self::RemoveGroup { .. }
            | Self::ChangeReplicationFactor { .. }
            | Self::Rebalance { .. }
            | Self::MoveShard => false,
        }
    }

    /// What operators call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddNode { .. } => "addNode",
            Self::DrainNode { .. } => "drainNode",
            Self::RemoveNode { .. } => "removeNode",
            Self::AddGroup { .. } => "addGroup",
            Self::RemoveGroup { .. } => "removeGroup",
            Self::ChangeReplicationFactor { .. } => "changeReplicationFactor",
            Self::Rebalance { .. } => "rebalance",
            Self::MoveShard => "moveShard",
            Self::Repair => "repair",
            Self::ReplaceLost { .. } => "replaceLost",
        }
    }

    /// The node it is about.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::AddNode { node }
            | Self::DrainNode { node }
            | Self::RemoveNode { node, .. }
            | Self::ReplaceLost { node } => Some(*node),
            Self::AddGroup { .. }
            | Self::RemoveGroup { .. }
            | Self::ChangeReplicationFactor { .. }
            | Self::Rebalance { .. }
            | Self::MoveShard
            | Self::Repair => None,
        }
    }
}

/// How far an operation has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperationState {
    /// Accepted; its moves are not planned yet.
    Accepted,
    /// Its moves, or some of them, are in the migration log.
    Running,
    /// Given up; what could be undone is being undone, what could not goes on to its end.
    Cancelling,
    /// Every move is done.
    Done,
    /// Given up, and nothing of it is under way.
    Cancelled,
}

impl OperationState {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Done | Self::Cancelled => true,
            Self::Accepted | Self::Running | Self::Cancelling => false,
        }
    }
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What was asked for.
    #[serde(flatten)]
    pub kind: OperationKind,
    /// How far it has got.
    pub state: OperationState,
    /// Whether an operator has it wait: nothing of it is planned, begun or carried on.
    pub paused: bool,
    /// Its migrations.
    pub migrations: Vec<MigrationId>,
    /// Shards whose migration an operator gave up; they are not planned again.
    pub excused: BTreeSet<(IndexUid, GroupId, ShardId)>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was done.
    pub finished_at_ms: Option<u64>,
}

/// Automatic moves are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}
