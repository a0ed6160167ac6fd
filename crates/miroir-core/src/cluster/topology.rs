//! Nodes, groups, proxies, and what operators asked to be done with them.

use serde::{Deserialize, Serialize};

use crate::id::{GroupId, MigrationId, NodeId, OperationId, ProxyId};

/// Whether a node may hold copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Admission {
    /// It holds copies and may be given more.
    Active,
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
    /// It holds every shard in sync.
    Searchable,
}

/// A replica group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Whether searches may use it.
    pub state: GroupState,
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

/// What an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum OperationKind {
    /// Give a new node its share of every index.
    AddNode {
        /// The node added.
        node: NodeId,
    },
    /// Make stale copies good again.
    Repair,
}

/// How far an operation has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OperationState {
    /// Accepted; its moves are not planned yet.
    Accepted,
    /// Its moves are in the migration log.
    Running,
    /// Every move is done.
    Done,
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
    /// Its migrations.
    pub migrations: Vec<MigrationId>,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was done.
    pub finished_at_ms: Option<u64>,
}
