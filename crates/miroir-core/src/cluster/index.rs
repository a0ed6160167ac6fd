//! Indexes and where their copies are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{GroupId, Incarnation, IndexUid, MigrationId, NodeId, ProxyId, ShardId, TaskUid};

/// What a copy of a shard is good for. Every question about a state is answered here, variant by variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplicaState {
    /// Has every acknowledged write; is read.
    InSync,
    /// Has every acknowledged write; is not read.
    Mirror,
    /// Is being copied to; gets no client write and is not read.
    Building,
    /// Missed a write; gets none and is not read until it is rebuilt.
    Stale,
}

impl ReplicaState {
    /// Whether searches may use it.
    #[must_use]
    pub fn is_readable(self) -> bool {
        match self {
            Self::InSync => true,
            Self::Mirror | Self::Building | Self::Stale => false,
        }
    }

    /// Whether a write is acknowledged only once it has this copy's answer.
    #[must_use]
    pub fn takes_writes(self) -> bool {
        match self {
            Self::InSync | Self::Mirror => true,
            Self::Building | Self::Stale => false,
        }
    }
}

/// A copy of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Where it is.
    pub node: NodeId,
    /// The group it serves in.
    pub group: GroupId,
    /// What it is good for.
    pub state: ReplicaState,
}

/// The copies of one shard, in all groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlacement {
    /// The copies, in order of group; the first of a group is its first choice.
    pub replicas: Vec<Replica>,
    /// The migration under way.
    pub moving: Option<MigrationId>,
}

impl ShardPlacement {
    /// The copy on `node`.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|r| r.node == node)
    }

    /// Copies that searches may use.
    pub fn readable(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.state.is_readable())
    }

    /// Copies whose answer a write waits for.
    pub fn writable(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|r| r.state.takes_writes())
    }

    /// Puts a copy into `state`; a copy not there yet is added.
    pub(crate) fn set(&mut self, node: NodeId, group: GroupId, state: ReplicaState) {
        match self.replicas.iter_mut().find(|r| r.node == node) {
            Some(replica) => replica.state = state,
            None => {
                self.replicas.push(Replica { node, group, state });
                self.replicas.sort_by_key(|r| r.group);
            }
        }
    }

    pub(crate) fn remove(&mut self, node: NodeId) {
        self.replicas.retain(|r| r.node != node);
    }
}

/// The settings a client asked for, in Meilisearch's shape, without anything of Miroir's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Counts changes; 1 at creation, so that 0 means "a node that has none yet".
    pub version: u64,
    /// What was ever set, and not reset since.
    pub desired: Value,
    /// Changes that no node's success has proven yet, oldest first: what to go back to when nodes refuse them.
    #[serde(default)]
    pub unproven: Vec<UnprovenSettings>,
}

/// A change of settings that may still turn out to be one that nodes do not take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnprovenSettings {
    /// The client's task.
    pub task: TaskUid,
    /// What was desired before it.
    pub before: Value,
    /// Whether its task has failed. It is gone back on when every later one has failed, too: these contain it.
    pub failed: bool,
}

/// What is known of the index on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIndex {
    /// The newest settings version that the node has enqueued; 0 before the first.
    pub settings_version: u64,
    /// The node's task that applies it.
    pub settings_task: Option<u32>,
    /// When the node says that it created the index, as it was first seen: another answer means that the node has
    /// lost what it held.
    pub created_at: Option<String>,
}

/// A settings version that a node has enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedSettings {
    /// The node.
    pub node: NodeId,
    /// The version.
    pub version: u64,
    /// The node's task.
    pub node_task: u32,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The uid that clients know it by. It changes by swaps and renames.
    pub uid: IndexUid,
    /// What nodes call it, where that is not its uid; [`name`](Self::name) answers in either case.
    #[serde(default)]
    pub other_name: Option<IndexUid>,
    /// Which life of that uid.
    pub incarnation: Incarnation,
    /// The documents' id field, once known.
    pub primary_key: Option<String>,
    /// Copies of each shard in each group.
    pub replication_factor: u8,
    /// Its settings.
    pub settings: Settings,
    /// The one proxy that orders its writes.
    pub writer: Option<ProxyId>,
    /// Copies by shard.
    pub placement: Vec<ShardPlacement>,
    /// What its nodes have enqueued.
    pub nodes: BTreeMap<NodeId, NodeIndex>,
    /// Documents of a shard that a node holds without having a copy: it must be filtered when searched.
    pub leftovers: BTreeSet<(NodeId, ShardId)>,
    /// Copies that only an operator moves.
    pub pins: BTreeSet<(NodeId, ShardId)>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When a write or a setting last changed it.
    pub updated_at_ms: u64,
}

impl Index {
    /// Its name on every node, and its identity in commands and records: the same for its whole life.
    #[must_use]
    pub fn name(&self) -> &IndexUid {
        self.other_name.as_ref().unwrap_or(&self.uid)
    }

    /// Has clients know it by another uid; its name on nodes stays.
    pub(crate) fn call(&mut self, uid: IndexUid) {
        let name = self.name().clone();
        self.other_name = (name != uid).then_some(name);
        self.uid = uid;
    }

    /// The copies of one shard.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardPlacement> {
        self.placement.get(usize::from(shard.0))
    }

    pub(crate) fn shard_mut(&mut self, shard: ShardId) -> Option<&mut ShardPlacement> {
        self.placement.get_mut(usize::from(shard.0))
    }

    /// How many shards it has.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.placement.len()).unwrap_or(u16::MAX)
    }

    /// Its shards with their ids.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &ShardPlacement)> {
        (0..self.shard_count()).map(ShardId).zip(&self.placement)
    }
}

/// An index that was deleted, for as long as some node holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartedIndex {
    /// Its name on nodes. No new index is given it before they have all deleted this one.
    pub uid: IndexUid,
    /// Which life of that name.
    pub incarnation: Incarnation,
    /// The task that waits for it.
    pub task: TaskUid,
    /// Nodes that have not enqueued the deletion yet.
    pub waiting: BTreeSet<NodeId>,
}
