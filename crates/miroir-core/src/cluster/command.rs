//! The commands that the log carries.
//!
//! Proxies and actors name an index by its [name on nodes](super::Index::name) and its incarnation, which no swap changes.
//! Operators and clients name it by the uid they know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AppliedSettings, CutStep, Idempotency, IndexRename, IndexSwap, MigrationReport, PlannedMove,
    Policy, TaskKind, TaskPart, TaskQuery, TaskStatus,
};
use crate::id::{
    GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId, TaskUid,
};
use crate::migration::Event;
use crate::registry::{self, ApiKey};

/// A node as an operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Where it listens, without a trailing slash.
    pub url: String,
    /// The group it is to serve in.
    pub group: GroupId,
    /// Where it stands.
    pub zone: Option<String>,
    /// Its share of the copies; at least 1.
    pub weight: u32,
    /// The Meilisearch version it reported.
    pub version: String,
}

/// A task to be registered, before it has a uid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// What it does.
    pub kind: TaskKind,
    /// Meilisearch's `details` object.
    pub details: Value,
    /// The client's own `customMetadata`.
    pub custom_metadata: Option<String>,
    /// Set when the task is known to fail before any node sees it: Meilisearch's error object.
    pub failure: Option<Value>,
    /// The client's key, by which it may repeat the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
}

/// An index to be created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewIndex {
    /// Its uid.
    pub uid: IndexUid,
    /// The documents' id field, if named.
    pub primary_key: Option<String>,
    /// Shards; the policy's default when absent.
    pub shards: Option<u16>,
    /// Copies of a shard in a group; the policy's default when absent.
    pub replication_factor: Option<u8>,
    /// The proxy that will order its writes.
    pub writer: Option<ProxyId>,
    /// The client's task, when it asked for the index by name.
    pub task: Option<NewTask>,
}

/// A write that every copy has enqueued, or was made stale for missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// The index written to.
    pub uid: IndexUid,
    /// Which life of that uid.
    pub incarnation: Incarnation,
    /// What the client is told of it.
    pub task: NewTask,
    /// The nodes' shares.
    pub parts: Vec<TaskPart>,
    /// Copies that did not take it: they become stale before the write is acknowledged.
    pub missed: Vec<(ShardId, NodeId)>,
}

/// What an operator does to a migration or an operation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Have it wait where it is.
    Pause,
    /// Let it go on.
    Resume,
    /// Give it up before reads have moved; what was built is deleted.
    Cancel,
    /// Give it up after reads have moved: they go back first.
    Reverse,
    /// Limit how fast it copies from now on; `None` is no limit.
    Throttle {
        /// Documents a second.
        docs_per_s: Option<u32>,
        /// Bytes of JSON a second.
        bytes_per_s: Option<u64>,
    },
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskUpdate {
    /// The task.
    pub uid: TaskUid,
    /// How far it has got.
    pub status: TaskStatus,
    /// New `details`, when they changed.
    pub details: Option<Value>,
    /// Meilisearch's error object.
    pub error: Option<Value>,
    /// When the first node began it.
    pub started_at_ms: Option<u64>,
    /// When the last node finished it.
    pub finished_at_ms: Option<u64>,
}

/// A change of the replicated state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Command {
    /// Sets the cluster's id and policy. Once.
    Bootstrap {
        /// The cluster's id.
        cluster_id: String,
        /// Its policy.
        policy: Policy,
    },
    /// Admits a node, and asks for it to get its share.
    AddNode {
        /// The node.
        node: NodeSpec,
    },
    /// Moves every copy off a node and gives it none.
    DrainNode {
        /// The node.
        node: NodeId,
    },
    /// Lets a draining node have copies again.
    UndrainNode {
        /// The node.
        node: NodeId,
    },
    /// Removes a node, when everything is off it; by force at once, from copies elsewhere.
    RemoveNode {
        /// The node.
        node: NodeId,
        /// Whether it is dead.
        force: bool,
    },
    /// Asks for what a node holds, which has been lost for long, to be built elsewhere.
    ReplaceLost {
        /// The node.
        node: NodeId,
    },
    /// Adds a group with its first nodes.
    AddGroup {
        /// The nodes; their own `group` does not count.
        nodes: Vec<NodeSpec>,
    },
    /// Takes a group out of searches and then out of the cluster, with its nodes.
    RemoveGroup {
        /// The group.
        group: GroupId,
    },
    /// Changes how many copies each shard of an index has in each group.
    ChangeReplicationFactor {
        /// The index.
        uid: IndexUid,
        /// Copies of a shard in a group.
        replication_factor: u8,
    },
    /// Asks for the best placement there is, by the fewest moves.
    Rebalance {
        /// One index; `None` is all.
        uid: Option<IndexUid>,
    },
    /// Moves one copy of one shard.
    MoveShard {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
        /// The copy that goes.
        from: NodeId,
        /// Where it goes.
        to: NodeId,
    },
    /// Keeps copies where they are, or lets them go again.
    Pin {
        /// The index.
        uid: IndexUid,
        /// The shard.
        shard: ShardId,
        /// The copy; `None` is every copy.
        node: Option<NodeId>,
        /// Whether they are to stay.
        pinned: bool,
    },
    /// Freezes automatic moves, or lets them go on.
    SetHold {
        /// Why; `None` ends the hold.
        reason: Option<String>,
    },
    /// Replaces the policy, but for what only counts at initialisation.
    ChangePolicy {
        /// The policy.
        policy: Policy,
    },
    /// Acts on a migration under way.
    ControlMigration {
        /// The migration.
        id: MigrationId,
        /// What to do.
        control: Control,
    },
    /// Acts on an operation under way, and on all of its migrations.
    ControlOperation {
        /// The operation.
        id: OperationId,
        /// What to do.
        control: Control,
    },
    /// Reports when a node says that it created an index.
    IndexSeen {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The node.
        node: NodeId,
        /// The node's `createdAt`.
        created_at: String,
    },
    /// Reports that a node has lost an index that it held: it is gone, or was created anew. Once to put its copies out
    /// of use, and once more when every proxy has moved on, to have them made anew.
    IndexLost {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The node.
        node: NodeId,
        /// What was known of its creation when the loss was seen; a report on anything else is dropped.
        created_at: String,
    },
    /// Makes a proxy known. Before this commits, it reads and writes nothing.
    RegisterProxy {
        /// A random token of this run.
        instance: String,
        /// Its configured name.
        name: String,
        /// Where other proxies reach it.
        url: String,
    },
    /// Declares that a proxy's lease has certainly run out.
    LoseProxy {
        /// The proxy.
        proxy: ProxyId,
    },
    /// Declares that a proxy neither reads nor writes any more.
    ForgetProxy {
        /// The proxy.
        proxy: ProxyId,
    },
    /// Creates an index.
    CreateIndex(NewIndex),
    /// Fixes an index's primary key, if it has none.
    SetPrimaryKey {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The field.
        primary_key: String,
        /// The client's task, when it asked for this by name.
        task: Option<NewTask>,
    },
    /// Gives an index new settings; its writer carries them to the nodes.
    ChangeSettings {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The proxy that orders the index's writes.
        proxy: ProxyId,
        /// All of the settings, in Meilisearch's shape.
        desired: Value,
        /// The client's task.
        task: NewTask,
    },
    /// Reports settings that nodes have enqueued.
    SettingsEnqueued {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The proxy that sent them.
        proxy: ProxyId,
        /// What was enqueued where.
        applied: Vec<AppliedSettings>,
        /// The client's task that is about this version, if any.
        task: Option<TaskUid>,
    },
    /// Reports that a node refuses an index's newest settings: they are gone back on.
    RefuseSettings {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The proxy that sent them.
        proxy: ProxyId,
        /// The version that was refused.
        version: u64,
        /// Meilisearch's error object.
        error: Value,
    },
    /// Makes the settings that an index has a new version, which is sent to every node again: some node has others.
    RestateSettings {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The version that was compared; a newer one is on its way already.
        version: u64,
    },
    /// Deletes an index.
    DeleteIndex {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The proxy that orders the index's writes; its lanes are drained.
        proxy: ProxyId,
        /// The uid that the client named: nothing is deleted when another index has it by now. Older proxies do not say.
        #[serde(default)]
        called: Option<IndexUid>,
        /// The client's task.
        task: NewTask,
    },
    /// Exchanges the uids of indexes, all or none; no document moves.
    SwapIndexes {
        /// The swaps. No uid is in two of them.
        swaps: Vec<IndexSwap>,
        /// What tells a repeated request from a new one: carried out twice, a swap is undone.
        #[serde(default)]
        idempotency: Option<Idempotency>,
    },
    /// Gives an index another uid, and a primary key if it has none.
    RenameIndex(IndexRename),
    /// Reports that a node has enqueued an index's deletion.
    IndexPurged {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The node.
        node: NodeId,
        /// The node's task; `None` when it held no such index.
        node_task: Option<u32>,
    },
    /// Gives an index that has no writer to a proxy.
    AssignWriter {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The new writer.
        proxy: ProxyId,
    },
    /// Registers writes. Only once this commits are they acknowledged.
    RegisterWrites {
        /// The proxy that ordered them.
        proxy: ProxyId,
        /// The writes, in their order.
        writes: Vec<Write>,
    },
    /// Registers a task that needs no node, such as one that fails on an index that does not exist.
    RegisterTask {
        /// The index it names.
        uid: Option<IndexUid>,
        /// The task.
        task: NewTask,
    },
    /// Calls off the tasks that match and that are certainly nowhere yet. What nodes have been given is carried out
    /// (docs/adr/0011).
    CancelTasks {
        /// Which tasks.
        query: TaskQuery,
        /// The client's own words for them.
        original_filter: String,
    },
    /// Forgets the finished tasks that match.
    DeleteTasks {
        /// Which tasks.
        query: TaskQuery,
        /// The client's own words for them.
        original_filter: String,
    },
    /// Registers a task that every node, or every node of an index, carries out by itself.
    Broadcast {
        /// The index; `None` asks every node.
        uid: Option<IndexUid>,
        /// The task.
        task: NewTask,
    },
    /// Reports that a node was asked for its share of such a task.
    BroadcastSent {
        /// The task.
        task: TaskUid,
        /// The node.
        node: NodeId,
        /// The node's task, or the error object that it refused with.
        answer: Result<u32, Value>,
    },
    /// Takes a dump of the whole cluster further.
    Cut {
        /// The dump's task.
        task: TaskUid,
        /// The attempt that the proposer saw; what is about another is dropped.
        attempt: u32,
        /// What to do, or what happened.
        step: CutStep,
    },
    /// Reports what became of tasks.
    UpdateTasks {
        /// The reports.
        updates: Vec<TaskUpdate>,
    },
    /// Takes a copy out of use that differs from the others.
    EjectReplica {
        /// The index.
        uid: IndexUid,
        /// Which life of that uid.
        incarnation: Incarnation,
        /// The shard.
        shard: ShardId,
        /// The node whose copy it is.
        node: NodeId,
    },
    /// Puts an operation's moves into the migration log.
    Plan {
        /// The operation; `None` begins a repair.
        operation: Option<OperationId>,
        /// The moves; none when nothing is left to do, which ends the operation.
        moves: Vec<PlannedMove>,
    },
    /// Moves a migration on.
    Advance {
        /// The migration.
        id: MigrationId,
        /// The step the proposer saw.
        step: u32,
        /// What happened.
        event: Event,
    },
    /// Makes another copy the source of a migration.
    ChangeSource {
        /// The migration.
        id: MigrationId,
        /// The step the proposer saw.
        step: u32,
        /// The copy to read from now.
        source: NodeId,
    },
    /// Reports how far migrations have got.
    ReportMigrations {
        /// The reports.
        reports: Vec<MigrationReport>,
    },
    /// Changes an object of the registry.
    ChangeRegistry {
        /// The change.
        change: registry::Change,
    },
    /// Changes dynamic search rules. The task ends when nodes have them.
    ChangeRules {
        /// The change.
        change: registry::RulesChange,
        /// The client's task.
        task: NewTask,
    },
    /// Makes the default keys, once in the life of the cluster.
    SeedKeys {
        /// Their uids and what they are.
        keys: Vec<(String, ApiKey)>,
    },
}
