//! What the coordinators agree on, and the only function that changes it.
//!
//! [`ClusterState`] is rebuilt on every replica by applying the same [`Command`]s in the same order.
//! [`ClusterState::apply`] is total, deterministic and pure: a command that cannot be carried out answers
//! a [`Rejection`] and changes nothing.

mod apply;
mod command;
mod cut;
mod idempotency;
mod index;
mod moves;
mod outcome;
mod policy;
mod swap;
mod task;
mod task_query;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use command::{Command, Control, NewIndex, NewTask, NodeSpec, TaskUpdate, Write};
pub use cut::{Cut, CutIndex, CutStage, CutStep, KeptDump};
pub use idempotency::{Digest, Idempotency, Keeping, KnownWrite, KnownWrites};
pub use index::{
    AppliedSettings, DepartedIndex, Index, NodeIndex, Replica, ReplicaState, Settings,
    ShardPlacement, UnprovenSettings,
};
pub use moves::{MigrationReport, PlannedMove};
pub use outcome::{Outcome, Rejection};
pub use policy::{Policy, PolicyError};
pub use swap::{IndexRename, IndexSwap, named_twice};
pub use task::{Broadcast, Task, TaskDeletion, TaskKind, TaskPart, TaskRegistry, TaskStatus};
pub use task_query::TaskQuery;
pub use topology::{
    Admission, Group, GroupState, Hold, Node, Operation, OperationKind, OperationState, Proxy,
};

use crate::id::{Epoch, GroupId, IndexUid, MigrationId, NodeId, OperationId, ProxyId, ShardId};
use crate::migration;
use crate::registry::Registry;

/// The replicated state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// Set once, when the cluster is initialised.
    pub cluster_id: Option<String>,
    /// Defaults and bounds, set with it.
    pub policy: Policy,
    /// The Raft index of the last command that changed routing.
    pub epoch: Epoch,
    /// Nodes by id.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Replica groups by id.
    pub groups: BTreeMap<GroupId, Group>,
    /// Proxies that may still read or write by some table.
    pub proxies: BTreeMap<ProxyId, Proxy>,
    /// Indexes by their name on nodes. [`index_called`](Self::index_called) finds them by uid.
    pub indexes: BTreeMap<IndexUid, Index>,
    /// Deleted indexes that some node still holds.
    pub departed: Vec<DepartedIndex>,
    /// Set while automatic moves are frozen.
    pub hold: Option<Hold>,
    /// What operators asked for.
    pub operations: BTreeMap<OperationId, Operation>,
    /// The migration log.
    pub migrations: BTreeMap<MigrationId, migration::Record>,
    /// Client-visible tasks.
    pub tasks: TaskRegistry,
    /// Tasks that some nodes have still to be asked for.
    #[serde(default)]
    pub broadcasts: Vec<Broadcast>,
    /// Whether writers hold what they have not sent yet, for a dump of the whole cluster.
    #[serde(default)]
    pub writes_held: bool,
    /// What the newest dumps of the whole cluster hold, oldest first.
    #[serde(default)]
    pub dumps: Vec<KeptDump>,
    /// Deletions of tasks that wait for some of them to end.
    #[serde(default)]
    pub deletions: Vec<TaskDeletion>,
    /// Writes that clients may repeat, by their keys.
    #[serde(default)]
    pub known_writes: KnownWrites,
    /// API keys and other small things. Shared with the tables that are made of it.
    #[serde(default)]
    pub registry: Arc<Registry>,
    /// The next id of each kind that counts up.
    next: NextIds,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct NextIds {
    node: u64,
    group: u32,
    proxy: u64,
    operation: u64,
    migration: u64,
}

impl ClusterState {
    /// The index that clients know by that uid. No two have the same.
    #[must_use]
    pub fn index_called(&self, uid: &IndexUid) -> Option<&Index> {
        // Most indexes are called what their nodes call them.
        let of_that_name = self.indexes.get(uid).filter(|index| index.uid == *uid);
        of_that_name.or_else(|| self.indexes.values().find(|index| index.uid == *uid))
    }

    /// The uid of the index of that name on nodes; the name itself when there is no such index.
    #[must_use]
    pub fn uid_of<'a>(&'a self, name: &'a IndexUid) -> &'a IndexUid {
        self.indexes.get(name).map_or(name, |index| &index.uid)
    }

    /// The migration under way for a shard, if any. There is never more than one.
    #[must_use]
    pub fn active_migration(&self, index: &IndexUid, shard: ShardId) -> Option<&migration::Record> {
        let id = self.indexes.get(index)?.shard(shard)?.moving?;
        self.migrations.get(&id)
    }

    /// Migrations that are not finished, oldest first.
    pub fn unfinished_migrations(&self) -> impl Iterator<Item = &migration::Record> {
        self.migrations
            .values()
            .filter(|record| !record.phase.is_final())
    }

    /// The nodes of a group that may hold copies, in order of id.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = &Node> {
        self.nodes
            .values()
            .filter(move |node| node.group == group && node.admission == Admission::Active)
    }

    /// The state without its tasks and known writes, which are most of it: for whoever has to think about the rest for long.
    #[must_use]
    pub fn without_tasks(&self) -> Self {
        Self {
            cluster_id: self.cluster_id.clone(),
            policy: self.policy.clone(),
            epoch: self.epoch,
            nodes: self.nodes.clone(),
            groups: self.groups.clone(),
            proxies: self.proxies.clone(),
            indexes: self.indexes.clone(),
            departed: self.departed.clone(),
            hold: self.hold.clone(),
            operations: self.operations.clone(),
            migrations: self.migrations.clone(),
            tasks: TaskRegistry::default(),
            broadcasts: self.broadcasts.clone(),
            writes_held: self.writes_held,
            dumps: Vec::new(),
            deletions: self.deletions.clone(),
            known_writes: KnownWrites::default(),
            registry: Arc::clone(&self.registry),
            next: self.next.clone(),
        }
    }

    /// Whether an operator has a migration wait, by itself or with its whole operation.
    #[must_use]
    pub fn is_paused(&self, record: &migration::Record) -> bool {
        let operation = self.operations.get(&record.operation);
        record.paused || operation.is_some_and(|operation| operation.paused)
    }

    /// Every node that holds, or is to hold, something of an index.
    #[must_use]
    pub fn holders(&self, index: &Index) -> BTreeSet<NodeId> {
        index
            .placement
            .iter()
            .flat_map(|shard| shard.replicas.iter().map(|r| r.node))
            .collect()
    }
}
