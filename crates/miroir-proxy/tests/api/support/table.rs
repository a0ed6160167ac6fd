//! Routing tables: which nodes hold which shards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use miroir_core::cluster::ReplicaState;
use miroir_core::id::{Epoch, GroupId, Incarnation, IndexUid, NodeId, ShardId};
use miroir_core::registry::Registry;
use miroir_core::routing::{IndexRoute, NodeRoute, ReplicaRoute, RoutingTable, ShardRoute};
use serde_json::{Value, json};

/// The index that every table here has.
pub const INDEX: &str = "movies";

/// A table of one index in the making.
#[derive(Debug, Clone)]
pub struct Layout {
    nodes: Vec<SocketAddr>,
    shards: Vec<Vec<(u64, ReplicaState)>>,
    leftovers: Vec<(u64, u16)>,
    settings: Value,
    settings_before: Option<Value>,
    registry: Arc<Registry>,
    epoch: u64,
}

impl Layout {
    /// Nodes 1, 2, … at these addresses, and no shard yet.
    pub fn new(nodes: &[SocketAddr]) -> Self {
        let nodes = nodes.to_vec();
        Self {
            nodes,
            shards: Vec::new(),
            leftovers: Vec::new(),
            settings: json!({}),
            settings_before: None,
            registry: Arc::default(),
            epoch: 5,
        }
    }

    /// One more shard, in sync on these nodes.
    pub fn shard(self, nodes: &[u64]) -> Self {
        let replicas = nodes
            .iter()
            .map(|node| (*node, ReplicaState::InSync))
            .collect();
        self.shard_in(replicas)
    }

    /// One more shard with copies in these states.
    pub fn shard_in(mut self, replicas: Vec<(u64, ReplicaState)>) -> Self {
        self.shards.push(replicas);
        self
    }

    /// A node still holds documents of a shard that it has no copy of.
    pub fn leftover(mut self, node: u64, shard: u16) -> Self {
        self.leftovers.push((node, shard));
        self
    }

    /// The index's settings as its clients see them.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// A change of the settings is under way: these were there before.
    pub fn settings_before(mut self, settings: Value) -> Self {
        self.settings_before = Some(settings);
        self
    }

    /// Keys and the like.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Arc::new(registry);
        self
    }

    /// The table's epoch.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// The table.
    pub fn build(&self) -> RoutingTable {
        let group = GroupId(0);
        let ids = (1..).map(NodeId);
        let route = |(id, address): (NodeId, &SocketAddr)| {
            (
                id,
                NodeRoute {
                    url: format!("http://{address}"),
                    group,
                    zone: None,
                },
            )
        };
        let nodes: BTreeMap<NodeId, NodeRoute> = ids.zip(&self.nodes).map(route).collect();
        let shard = |replicas: &Vec<(u64, ReplicaState)>| ShardRoute {
            replicas: replicas
                .iter()
                .map(|(node, state)| ReplicaRoute {
                    node: NodeId(*node),
                    group,
                    state: *state,
                })
                .collect(),
            moving: None,
        };
        let uid = IndexUid::parse(INDEX).expect("valid");
        let index = IndexRoute {
            uid: uid.clone(),
            name: uid.clone(),
            incarnation: Incarnation(3),
            primary_key: Some("id".to_owned()),
            writer: None,
            settings_version: 1,
            settings: self.settings.clone(),
            settings_before: self.settings_before.clone(),
            node_settings: nodes.keys().map(|node| (*node, 1)).collect(),
            leftovers: self
                .leftovers
                .iter()
                .map(|(n, s)| (NodeId(*n), ShardId(*s)))
                .collect(),
            shards: self.shards.iter().map(shard).collect(),
            created_at_ms: 1_700_000_000_000,
            updated_at_ms: 1_700_000_000_123,
        };
        RoutingTable {
            cluster_id: "a-cluster".to_owned(),
            epoch: Epoch(self.epoch),
            min_in_sync: 1,
            nodes,
            groups: [group].into(),
            proxies: BTreeMap::new(),
            indexes: [(uid, Arc::new(index))].into(),
            writes_held: false,
            registry: Arc::clone(&self.registry),
        }
    }
}
