//! The questions a proxy asks of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::{IndexRoute, RoutingTable, ShardRoute};
use crate::called::Alias;
use crate::id::{GroupId, MigrationId, NodeId, ShardId};

/// What one node answers of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeShare {
    /// The shards it answers for.
    pub shards: BTreeSet<ShardId>,
    /// Whether it holds nothing of the index but these, so that no filter is needed.
    pub holds_nothing_else: bool,
}

/// Shards that no copy at hand can answer for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no copy in sync can be reached of shards {shards:?}")]
pub struct Unservable {
    /// The shards.
    pub shards: Vec<ShardId>,
}

impl ShardRoute {
    /// Nodes that every client write to the shard goes to.
    pub fn write_targets(&self) -> impl Iterator<Item = NodeId> {
        self.replicas
            .iter()
            .filter(|r| r.state.takes_writes())
            .map(|r| r.node)
    }

    /// Whether client writes to the shard are held.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.moving.is_some_and(|m| m.phase.holds_writes())
    }

    /// The migration to which the ids of client writes must be reported.
    #[must_use]
    pub fn records_dirty(&self) -> Option<MigrationId> {
        self.moving
            .filter(|m| m.phase.records_dirty())
            .map(|m| m.migration)
    }

    /// The copy whose counts are the shard's, so that a task counts every document once.
    #[must_use]
    pub fn counted_on(&self) -> Option<NodeId> {
        self.replicas
            .iter()
            .find(|r| r.state.is_readable())
            .map(|r| r.node)
    }
}

impl IndexRoute {
    /// What nodes call it and what clients do, where these differ.
    #[must_use]
    pub fn alias(&self) -> Option<Alias> {
        (self.name != self.uid).then(|| Alias {
            name: self.name.clone(),
            uid: self.uid.clone(),
        })
    }

    /// The shard of that id.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardRoute> {
        self.shards.get(usize::from(shard.0))
    }

    /// How many shards it has.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Its shards with their ids.
    pub fn shards_by_id(&self) -> impl Iterator<Item = (ShardId, &ShardRoute)> {
        (0..self.shard_count()).map(ShardId).zip(&self.shards)
    }

    /// Every node that holds a copy, of whatever state.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<NodeId> {
        self.shards
            .iter()
            .flat_map(|shard| shard.replicas.iter().map(|r| r.node))
            .collect()
    }

    /// Nodes that lack the newest settings.
    #[must_use]
    pub fn behind_on_settings(&self) -> BTreeSet<NodeId> {
        let known = |node: &NodeId| self.node_settings.get(node).copied().unwrap_or(0);
        self.holders()
            .into_iter()
            .filter(|node| known(node) < self.settings_version)
            .collect()
    }

    /// Everything of the index that a node may hold.
    fn held_by(&self, node: NodeId) -> BTreeSet<ShardId> {
        let copies = self
            .shards_by_id()
            .filter(|(_, s)| s.replicas.iter().any(|r| r.node == node))
            .map(|(id, _)| id);
        let left = self
            .leftovers
            .iter()
            .filter(|(holder, _)| *holder == node)
            .map(|(_, shard)| *shard);
        copies.chain(left).collect()
    }

    /// For every shard one readable copy in `group`, each shard once: by node, what to ask it for.
    ///
    /// `rank` orders the nodes: of several copies the one on the node of least rank is used; `None` leaves a
    /// node out, such as one that is down.
    ///
    /// # Errors
    /// [`Unservable`] naming every shard without a copy.
    pub fn covering_set(
        &self,
        group: GroupId,
        rank: impl Fn(NodeId) -> Option<u64>,
    ) -> Result<BTreeMap<NodeId, NodeShare>, Unservable> {
        let mut chosen: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        let mut missing = Vec::new();
        for (id, shard) in self.shards_by_id() {
            let copies = shard
                .replicas
                .iter()
                .filter(|r| r.group == group && r.state.is_readable());
            let best = copies.filter_map(|r| Some((rank(r.node)?, r.node))).min();
            match best {
                Some((_, node)) => {
                    chosen.entry(node).or_default().insert(id);
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            return Err(Unservable { shards: missing });
        }
        Ok(self.shares(chosen))
    }

    /// What to ask each of these nodes for its shards.
    #[must_use]
    pub fn shares(
        &self,
        chosen: BTreeMap<NodeId, BTreeSet<ShardId>>,
    ) -> BTreeMap<NodeId, NodeShare> {
        let share = |(node, shards)| {
            let holds_nothing_else = self.held_by(node) == shards;
            let share = NodeShare {
                shards,
                holds_nothing_else,
            };
            (node, share)
        };
        chosen.into_iter().map(share).collect()
    }

    /// Like [`covering_set`](Self::covering_set), but a shard without a copy in `group` takes one of any
    /// other group: every shard is still asked of one copy only.
    ///
    /// # Errors
    /// [`Unservable`] naming every shard without a copy in any group.
    pub fn covering_set_preferring(
        &self,
        group: GroupId,
        table: &RoutingTable,
        rank: impl Fn(NodeId) -> Option<u64>,
    ) -> Result<BTreeMap<NodeId, NodeShare>, Unservable> {
        if let Ok(set) = self.covering_set(group, &rank) {
            return Ok(set);
        }
        for other in table.groups.iter().filter(|other| **other != group) {
            if let Ok(set) = self.covering_set(*other, &rank) {
                return Ok(set);
            }
        }
        let mut chosen: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        let mut missing = Vec::new();
        for (id, shard) in self.shards_by_id() {
            let copies = shard
                .replicas
                .iter()
                .filter(|r| r.state.is_readable() && table.groups.contains(&r.group));
            match copies
                .filter_map(|r| Some((r.group != group, rank(r.node)?, r.node)))
                .min()
            {
                Some((_, _, node)) => {
                    chosen.entry(node).or_default().insert(id);
                }
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            return Err(Unservable { shards: missing });
        }
        Ok(self.shares(chosen))
    }
}
