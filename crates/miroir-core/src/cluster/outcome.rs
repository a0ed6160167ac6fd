//! What applying a command answers.

use serde::{Deserialize, Serialize};

use crate::id::{
    GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId, TaskUid,
};
use crate::migration::{IllegalEvent, Phase};
use crate::registry::RegistryError;

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
    /// A group was added.
    GroupAdded {
        /// Its id.
        group: GroupId,
        /// Its nodes, in the order they were named.
        nodes: Vec<NodeId>,
        /// The operation that builds its copies.
        operation: OperationId,
    },
    /// An operation was accepted.
    Accepted(OperationId),
    /// An operation and its migrations were told what to do.
    Controlled {
        /// Migrations that will do it.
        migrations: Vec<MigrationId>,
        /// Migrations that cannot, and go on.
        left: Vec<MigrationId>,
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
    /// The node is being drained or removed already.
    #[error("node {node} is draining already, by operation {operation}")]
    Draining {
        /// The node.
        node: NodeId,
        /// The operation.
        operation: OperationId,
    },
    /// The node is not being drained.
    #[error("node {0} is not draining")]
    NotDraining(NodeId),
    /// A group cannot do without its last node.
    #[error(
        "node {node} is the last active node of replica group {group}; add a node to the group first, or remove the group"
    )]
    LastNode {
        /// The node.
        node: NodeId,
        /// Its group.
        group: GroupId,
    },
    /// Searches need a group.
    #[error("replica group {0} is the last that can be searched; add another first")]
    LastGroup(GroupId),
    /// Copies that have nowhere to go, or may not go.
    #[error("node {node} cannot be given up: {}{}", blocking.join("; "), and_more(*more))]
    Blocked {
        /// The node.
        node: NodeId,
        /// What stands in the way, shard by shard; the first of them.
        blocking: Vec<String>,
        /// How many more there are.
        more: u32,
    },
    /// Another operation is about the same thing.
    #[error("operation {operation} ({what}) is not finished; wait for it, or cancel it")]
    Conflict {
        /// The operation.
        operation: OperationId,
        /// What it does.
        what: String,
    },
    /// An index has no such shard.
    #[error("index `{uid}` has no shard {shard}; its shards are 0 to {last}")]
    UnknownShard {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
        /// Its last shard.
        last: u16,
    },
    /// The shard is being moved.
    #[error("shard {shard} of index `{uid}` is moving already, by migration {migration}")]
    Moving {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
        /// The migration.
        migration: MigrationId,
    },
    /// It is finished; nothing can be done to it.
    #[error("{0} is finished")]
    Finished(String),
    /// Paused twice.
    #[error("{0} is paused already")]
    AlreadyPaused(String),
    /// Resumed without a pause.
    #[error("{0} is not paused")]
    NotPaused(String),
    /// Cancelled after reads have moved.
    #[error("migration {id} is in {phase}: {hint}")]
    TooLate {
        /// The migration.
        id: MigrationId,
        /// Its phase.
        phase: Phase,
        /// What can still be done.
        hint: String,
    },
    /// No such proxy, or one whose lease ran out.
    #[error("proxy {0} is not registered, or its lease has run out; it must register again")]
    UnknownProxy(ProxyId),
    /// No such index.
    #[error("Index `{0}` not found.")]
    UnknownIndex(IndexUid),
    /// The index was deleted, and perhaps created again, since; or another one has its uid.
    #[error("index `{0}` is another by now, or gone")]
    OtherIncarnation(IndexUid),
    /// An index created twice.
    #[error("Index `{0}` already exists.")]
    IndexExists(IndexUid),
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
    /// The client's request was registered before, under the same key.
    #[error("the request was registered before, as task {task}")]
    Repeated {
        /// Its task.
        task: TaskUid,
        /// When it was registered, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Another request was registered under the client's key.
    #[error("another request was registered under the same key")]
    KeyReused,
    /// An object of the registry is not as the change expects it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Rejection {
    /// Whether the same wish may succeed when it is formed anew on newer state.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotWriter { .. }
            | Self::UnknownProxy(_)
            | Self::OtherIncarnation(_)
            | Self::TooFewInSync { .. }
            | Self::StalePlan(_)
            | Self::StaleStep { .. } => true,
            Self::Registry(error) => error.retryable(),
            Self::AlreadyInitialised { .. }
            | Self::NotInitialised
            | Self::Invalid(_)
            | Self::NodeExists { .. }
            | Self::UnknownGroup { .. }
            | Self::UnknownNode(_)
            | Self::Draining { .. }
            | Self::NotDraining(_)
            | Self::LastNode { .. }
            | Self::LastGroup(_)
            | Self::Blocked { .. }
            | Self::Conflict { .. }
            | Self::UnknownShard { .. }
            | Self::Moving { .. }
            | Self::Finished(_)
            | Self::AlreadyPaused(_)
            | Self::NotPaused(_)
            | Self::TooLate { .. }
            | Self::UnknownIndex(_)
            | Self::IndexExists(_)
            | Self::TooFewNodes { .. }
            | Self::PrimaryKeyExists { .. }
            | Self::UnknownOperation(_)
            | Self::UnknownMigration(_)
            | Self::Repeated { .. }
            | Self::KeyReused
            | Self::Illegal(_) => false,
        }
    }
}

fn and_more(count: u32) -> String {
    match count {
        0 => String::new(),
        more => format!("; and {more} more"),
    }
}
