//! What changed from one table to a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{IndexRoute, NodeRoute, ProxyRoute, RoutingTable};
use crate::id::{Epoch, GroupId, IndexUid, NodeId, ProxyId};
use crate::registry::Registry;

/// The difference of two tables of one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableDelta {
    /// The epoch of the table it applies to; to no other.
    pub from: Epoch,
    /// The epoch of the table it makes.
    pub to: Epoch,
    /// All nodes, when any changed.
    pub nodes: Option<BTreeMap<NodeId, NodeRoute>>,
    /// All searchable groups, when any changed.
    pub groups: Option<BTreeSet<GroupId>>,
    /// All proxies, when any changed.
    pub proxies: Option<BTreeMap<ProxyId, ProxyRoute>>,
    /// Indexes that are new or changed.
    pub indexes: Vec<Arc<IndexRoute>>,
    /// Indexes that are gone.
    pub removed: Vec<IndexUid>,
    /// Whether writers are to hold what they have not sent yet.
    #[serde(default)]
    pub writes_held: bool,
    /// All of the registry, when it changed.
    pub registry: Option<Arc<Registry>>,
}

/// A delta that does not fit; the whole table must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change from epoch {from} does not apply to the table of epoch {have}")]
pub struct DeltaError {
    /// The epoch it applies to.
    pub from: Epoch,
    /// The epoch of the table at hand.
    pub have: Epoch,
}

impl RoutingTable {
    /// What changed since `older`.
    #[must_use]
    pub fn delta_from(&self, older: &Self) -> TableDelta {
        let changed =
            |uid: &IndexUid, route: &Arc<IndexRoute>| older.indexes.get(uid) != Some(route);
        TableDelta {
            from: older.epoch,
            to: self.epoch,
            nodes: (self.nodes != older.nodes).then(|| self.nodes.clone()),
            groups: (self.groups != older.groups).then(|| self.groups.clone()),
            proxies: (self.proxies != older.proxies).then(|| self.proxies.clone()),
            indexes: self
                .indexes
                .iter()
                .filter(|(uid, r)| changed(uid, r))
                .map(|(_, r)| Arc::clone(r))
                .collect(),
            removed: older
                .indexes
                .keys()
                .filter(|uid| !self.indexes.contains_key(*uid))
                .cloned()
                .collect(),
            writes_held: self.writes_held,
            registry: (self.registry.version != older.registry.version)
                .then(|| Arc::clone(&self.registry)),
        }
    }

    /// The table after `delta`.
    ///
    /// # Errors
    /// [`DeltaError`] when the delta was made from another table than this: a gap, or an old message.
    pub fn with(&self, delta: &TableDelta) -> Result<Self, DeltaError> {
        if delta.from != self.epoch || delta.to < self.epoch {
            return Err(DeltaError {
                from: delta.from,
                have: self.epoch,
            });
        }
        let mut next = self.clone();
        next.epoch = delta.to;
        next.writes_held = delta.writes_held;
        if let Some(nodes) = &delta.nodes {
            next.nodes.clone_from(nodes);
        }
        if let Some(groups) = &delta.groups {
            next.groups.clone_from(groups);
        }
        if let Some(proxies) = &delta.proxies {
            next.proxies.clone_from(proxies);
        }
        if let Some(registry) = &delta.registry {
            next.registry = Arc::clone(registry);
        }
        for uid in &delta.removed {
            next.indexes.remove(uid);
        }
        for route in &delta.indexes {
            next.indexes.insert(route.uid.clone(), Arc::clone(route));
        }
        Ok(next)
    }
}
