//! What applying a command answers.

use serde::{Deserialize, Serialize};

use crate::id::{
    GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId, TaskUid,
};
use crate::migration::{IllegalEvent, Phase};

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Done, with nothing to tell.
    Done,
    /// A node was admitted.
    NodeAdded {
        /// Its id.
        node: NodeId,
        /// The operation that gives it its share.
        operation: OperationId,
    },
    /// A proxy is known.
    ProxyRegistered(ProxyId),
    /// An index exists now.
    IndexCreated {
        /// Which life of its uid.
        incarnation: Incarnation,
        /// The client's task, if it asked by name.
        task: Option<TaskUid>,
    },
    /// Settings were accepted.
    SettingsChanged {
        /// Their version.
        version: u64,
        /// The client's task.
        task: TaskUid,
    },
    /// A task was registered.
    TaskRegistered(TaskUid),
    /// Writes were looked at one by one; a rejected one changed nothing.
    WritesRegistered(Vec<Result<TaskUid, Rejection>>),
    /// An operation's moves are in the log.
    Planned {
        /// The operation.
        operation: OperationId,
        /// Its migrations.
        migrations: Vec<MigrationId>,
    },
    /// A migration moved on.
    Advanced(Phase),
    /// The command was refused and changed nothing.
    Rejected(Rejection),
}

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Rejection {
    /// Initialised twice.
    #[error("the cluster is already initialised as `{cluster_id}`")]
    AlreadyInitialised {
        /// Its id.
        cluster_id: String,
    },
    /// Used before it was initialised.
    #[error("the cluster is not initialised; run `miroirctl cluster init` once")]
    NotInitialised,
    /// A value out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// A node added twice.
    #[error("a node at {url} is already in the cluster as node {node}")]
    NodeExists {
        /// The URL both share.
        url: String,
        /// The node that has it.
        node: NodeId,
    },
    /// No such group.
    #[error("there is no replica group {group}; the cluster has groups {known}")]
    UnknownGroup {
        /// The group named.
        group: GroupId,
        /// Those there are.
        known: String,
    },
    /// No such node.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// No such proxy, or one whose lease ran out.
    #[error("proxy {0} is not registered, or its lease has run out; it must register again")]
    UnknownProxy(ProxyId),
    /// No such index.
    #[error("Index `{0}` not found.")]
    UnknownIndex(IndexUid),
    /// The index was deleted, and perhaps created again, since.
    #[error("index `{0}` was deleted since")]
    OtherIncarnation(IndexUid),
    /// An index created twice.
    #[error("Index `{0}` already exists.")]
    IndexExists(IndexUid),
    /// The index was deleted, and some node still has it.
    #[error("index `{0}` is still being deleted on some node")]
    IndexDeparting(IndexUid),
    /// Too few nodes for the copies asked for.
    #[error(
        "replica group {group} has {nodes} nodes and cannot hold {replication_factor} copies of a shard; add nodes or lower the replication factor"
    )]
    TooFewNodes {
        /// The group.
        group: GroupId,
        /// Its nodes.
        nodes: u32,
        /// The copies asked for.
        replication_factor: u8,
    },
    /// The primary key is known and another.
    #[error("index `{uid}` already has the primary key `{primary_key}`")]
    PrimaryKeyExists {
        /// The index.
        uid: IndexUid,
        /// Its primary key.
        primary_key: String,
    },
    /// The proxy does not order this index's writes any more.
    #[error("proxy {proxy} is not the writer of index `{uid}`")]
    NotWriter {
        /// The proxy.
        proxy: ProxyId,
        /// The index.
        uid: IndexUid,
    },
    /// Too few copies took a write.
    #[error(
        "shard {shard} of index `{uid}` would be left with {in_sync} copies in sync, fewer than {min_in_sync}"
    )]
    TooFewInSync {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
        /// Copies that would be left.
        in_sync: u32,
        /// Copies that must be.
        min_in_sync: u8,
    },
    /// No such operation.
    #[error("there is no operation {0}")]
    UnknownOperation(OperationId),
    /// A plan that the placement has outrun.
    #[error("the plan is out of date: {0}")]
    StalePlan(String),
    /// No such migration.
    #[error("there is no migration {0}")]
    UnknownMigration(MigrationId),
    /// The migration has moved on since the proposer looked.
    #[error("migration {id} is at step {step} by now")]
    StaleStep {
        /// The migration.
        id: MigrationId,
        /// Its step.
        step: u32,
    },
    /// The event is not part of the protocol in that phase.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
}

impl Rejection {
    /// Whether the same wish may succeed when it is formed anew on newer state.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotWriter { .. }
            | Self::UnknownProxy(_)
            | Self::OtherIncarnation(_)
            | Self::IndexDeparting(_)
            | Self::TooFewInSync { .. }
            | Self::StalePlan(_)
            | Self::StaleStep { .. } => true,
            Self::AlreadyInitialised { .. }
            | Self::NotInitialised
            | Self::Invalid(_)
            | Self::NodeExists { .. }
            | Self::UnknownGroup { .. }
            | Self::UnknownNode(_)
            | Self::UnknownIndex(_)
            | Self::IndexExists(_)
            | Self::TooFewNodes { .. }
            | Self::PrimaryKeyExists { .. }
            | Self::UnknownOperation(_)
            | Self::UnknownMigration(_)
            | Self::Illegal(_) => false,
        }
    }
}
