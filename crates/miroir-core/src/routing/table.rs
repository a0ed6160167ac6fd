//! The table's types, and how it is made from the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{ClusterState, Index, ReplicaState};
use crate::id::{Epoch, GroupId, Incarnation, IndexUid, MigrationId, NodeId, ProxyId, ShardId};
use crate::migration::{self, Phase};
use crate::registry::Registry;

/// A node, as far as routing goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoute {
    /// Where it listens, without a trailing slash.
    pub url: String,
    /// The group it serves in.
    pub group: GroupId,
    /// Where it stands.
    pub zone: Option<String>,
}

/// Another proxy, to which writes may have to be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRoute {
    /// Where it listens, without a trailing slash.
    pub url: String,
}

/// A copy of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRoute {
    /// Where it is.
    pub node: NodeId,
    /// The group it serves in.
    pub group: GroupId,
    /// What it is good for.
    pub state: ReplicaState,
}

/// A migration, as far as routing goes: the table itself carries the phase, so no side channel is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRoute {
    /// The migration.
    pub migration: MigrationId,
    /// Where it stands.
    pub phase: Phase,
    /// The copy read from.
    pub source: NodeId,
    /// The copy built.
    pub target: NodeId,
}

/// The copies of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRoute {
    /// The copies, in order of group.
    pub replicas: Vec<ReplicaRoute>,
    /// The migration under way, from Preparing on.
    pub moving: Option<MoveRoute>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexRoute {
    /// The uid that clients know it by.
    pub uid: IndexUid,
    /// Its name on every node, by which the coordinators are told of it. No swap changes it.
    pub name: IndexUid,
    /// Which life of that uid.
    pub incarnation: Incarnation,
    /// The documents' id field, once known.
    pub primary_key: Option<String>,
    /// The proxy that orders its writes.
    pub writer: Option<ProxyId>,
    /// The version of its settings.
    pub settings_version: u64,
    /// The settings clients asked for.
    pub settings: Value,
    /// Those before, as long as some node may have them: a change is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_before: Option<Value>,
    /// The newest settings version that each of its nodes has enqueued.
    pub node_settings: BTreeMap<NodeId, u64>,
    /// Nodes that hold documents of shards they have no copy of.
    pub leftovers: BTreeSet<(NodeId, ShardId)>,
    /// Its shards, in order.
    pub shards: Vec<ShardRoute>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it last changed, as known at this epoch.
    pub updated_at_ms: u64,
}

/// Everything a proxy routes by. Immutable; a newer one replaces it whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutingTable {
    /// The cluster it is of.
    pub cluster_id: String,
    /// The state it was made from.
    pub epoch: Epoch,
    /// Copies that must take a write.
    pub min_in_sync: u8,
    /// Nodes by id.
    pub nodes: BTreeMap<NodeId, NodeRoute>,
    /// Groups that searches may use.
    pub groups: BTreeSet<GroupId>,
    /// Proxies by id, without those that are lost.
    pub proxies: BTreeMap<ProxyId, ProxyRoute>,
    /// Indexes by the uid that clients know. Shared with the table before, where nothing changed.
    pub indexes: BTreeMap<IndexUid, Arc<IndexRoute>>,
    /// Whether writers are to hold what they have not sent yet.
    #[serde(default)]
    pub writes_held: bool,
    /// API keys and other small things, by which requests are judged.
    pub registry: Arc<Registry>,
}

impl RoutingTable {
    /// The table of a state. `None` before the cluster is initialised.
    #[must_use]
    pub fn build(state: &ClusterState) -> Option<Self> {
        let nodes = state.nodes.values().map(|node| {
            (
                node.id,
                NodeRoute {
                    url: node.url.clone(),
                    group: node.group,
                    zone: node.zone.clone(),
                },
            )
        });
        let searchable = state
            .groups
            .values()
            .filter(|group| group.state.is_searched());
        let proxies = state.proxies.values().filter(|proxy| !proxy.lost);
        Some(Self {
            cluster_id: state.cluster_id.clone()?,
            epoch: state.epoch,
            min_in_sync: state.policy.min_in_sync,
            nodes: nodes.collect(),
            groups: searchable.map(|group| group.id).collect(),
            proxies: proxies
                .map(|proxy| {
                    (
                        proxy.id,
                        ProxyRoute {
                            url: proxy.url.clone(),
                        },
                    )
                })
                .collect(),
            indexes: state
                .indexes
                .values()
                .map(|index| (index.uid.clone(), Arc::new(index_route(state, index))))
                .collect(),
            writes_held: state.writes_held,
            registry: Arc::clone(&state.registry),
        })
    }

    /// The index of that name on nodes.
    #[must_use]
    pub fn named(&self, name: &IndexUid) -> Option<&Arc<IndexRoute>> {
        // Most indexes are called what their nodes call them.
        let of_that_uid = self.indexes.get(name).filter(|route| route.name == *name);
        of_that_uid.or_else(|| self.indexes.values().find(|route| route.name == *name))
    }

    /// The index of that uid.
    #[must_use]
    pub fn index(&self, uid: &str) -> Option<&Arc<IndexRoute>> {
        let uid = IndexUid::parse(uid).ok()?;
        self.indexes.get(&uid)
    }
}

fn index_route(state: &ClusterState, index: &Index) -> IndexRoute {
    let shards = index.placement.iter().map(|shard| ShardRoute {
        replicas: shard
            .replicas
            .iter()
            .map(|r| ReplicaRoute {
                node: r.node,
                group: r.group,
                state: r.state,
            })
            .collect(),
        moving: shard
            .moving
            .and_then(|id| state.migrations.get(&id))
            .and_then(move_route),
    });
    IndexRoute {
        uid: index.uid.clone(),
        name: index.name().clone(),
        incarnation: index.incarnation,
        primary_key: index.primary_key.clone(),
        writer: index.writer,
        settings_version: index.settings.version,
        settings: index.settings.desired.clone(),
        settings_before: index.settings.before().cloned(),
        node_settings: index
            .nodes
            .iter()
            .map(|(node, known)| (*node, known.settings_version))
            .collect(),
        leftovers: index.leftovers.clone(),
        shards: shards.collect(),
        created_at_ms: index.created_at_ms,
        updated_at_ms: index.updated_at_ms,
    }
}

/// A planned migration concerns no proxy; leaving it out keeps a plan from changing every table.
fn move_route(record: &migration::Record) -> Option<MoveRoute> {
    (record.phase != Phase::Planned).then_some(MoveRoute {
        migration: record.id,
        phase: record.phase,
        source: record.source,
        target: record.target,
    })
}
