//! The manifest of a cluster's dump.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, IndexUid, NodeId, ShardId, TaskUid};

/// What the dumps that the nodes of a cluster wrote for one task hold of it.
///
/// Its JSON is an interface: it is kept in files next to the dumps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The cluster.
    pub cluster_id: String,
    /// The task that asked for the dumps.
    pub task_uid: TaskUid,
    /// The routing epoch of the cut.
    pub epoch: Epoch,
    /// The nodes whose dumps it is about.
    pub nodes: BTreeMap<NodeId, ManifestNode>,
    /// Every index of the cluster.
    pub indexes: Vec<ManifestIndex>,
}

/// A node's own dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestNode {
    /// Where the node listens.
    pub url: String,
    /// The node's own task that wrote its dump.
    pub node_task: u32,
    /// The name of its dump in its dump directory, without `.dump`; unknown until the node has written it.
    pub dump_uid: Option<String>,
}

/// An index in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestIndex {
    /// Its uid, as clients know it.
    pub uid: IndexUid,
    /// Its name on the nodes, and so in their dumps.
    pub name: IndexUid,
    /// The documents' id field, once known.
    pub primary_key: Option<String>,
    /// The client's `faceting.maxValuesPerFacet`, which nodes have another value of; absent when it was not set.
    #[serde(default)]
    pub max_values_per_facet: Option<u64>,
    /// Whether nodes have it. One that was never written to is on none, and empty.
    #[serde(default = "yes")]
    pub on_nodes: bool,
    /// For each shard, in order, the nodes whose dumps hold a copy of it that was in sync.
    pub shards: Vec<BTreeSet<NodeId>>,
}

fn yes() -> bool {
    true
}

/// From which node's dump each shard of each index is taken: one only, so that nothing is taken twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice(BTreeMap<IndexUid, Vec<NodeId>>);

/// Shards that none of the dumps at hand holds in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered(pub Vec<(IndexUid, ShardId, BTreeSet<NodeId>)>);

/// How many uncovered shards a message names.
const NAMED: usize = 8;

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (uid, shard, nodes)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}shard {shard} of `{uid}`")?;
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            if nodes.is_empty() {
                write!(f, " (no node)")?;
            } else {
                write!(f, " (node {})", nodes.join(" or "))?;
            }
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Manifest {
    /// For every shard of an index that nodes have, one of the dumps `given`. They get about as many each.
    ///
    /// # Errors
    /// [`Uncovered`], when some shard is in sync in none of them.
    pub fn choose(&self, given: &BTreeSet<NodeId>) -> Result<Choice, Uncovered> {
        let mut taken: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut chosen = BTreeMap::new();
        let mut uncovered = Vec::new();
        for index in self.indexes.iter().filter(|index| index.on_nodes) {
            let mut nodes = Vec::with_capacity(index.shards.len());
            for (shard, holders) in (0..).map(ShardId).zip(&index.shards) {
                let busy = |node: &&NodeId| taken.get(node).copied().unwrap_or(0);
                match holders.intersection(given).min_by_key(busy).copied() {
                    Some(node) => {
                        *taken.entry(node).or_default() += 1;
                        nodes.push(node);
                    }
                    None => uncovered.push((index.uid.clone(), shard, holders.clone())),
                }
            }
            chosen.insert(index.uid.clone(), nodes);
        }
        if uncovered.is_empty() {
            Ok(Choice(chosen))
        } else {
            Err(Uncovered(uncovered))
        }
    }
}

impl Choice {
    /// Whether this shard of an index is taken from that node's dump.
    #[must_use]
    pub fn takes(&self, uid: &IndexUid, shard: ShardId, node: NodeId) -> bool {
        let nodes = self.0.get(uid);
        nodes.and_then(|nodes| nodes.get(usize::from(shard.0))) == Some(&node)
    }

    /// The nodes from whose dumps something of an index is taken.
    #[must_use]
    pub fn nodes(&self, uid: &IndexUid) -> BTreeSet<NodeId> {
        self.0.get(uid).into_iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(shards: Vec<BTreeSet<NodeId>>) -> Manifest {
        let uid = |uid: &str| IndexUid::parse(uid).expect("valid");
        let index = |name: &str, on_nodes, shards| ManifestIndex {
            uid: uid(name),
            name: uid(name),
            primary_key: None,
            max_values_per_facet: None,
            on_nodes,
            shards,
        };
        Manifest {
            cluster_id: "c".to_owned(),
            task_uid: TaskUid(3),
            epoch: Epoch(9),
            nodes: BTreeMap::new(),
            indexes: vec![
                index("a", true, shards),
                index("b", false, vec![BTreeSet::new()]),
            ],
        }
    }

    fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn what_no_dump_holds_is_named_with_who_would() {
        let manifest = manifest(vec![nodes([1, 2]), nodes([2, 3]), nodes([])]);
        let refused = manifest.choose(&nodes([1])).expect_err("two are missing");
        assert_eq!(
            refused.to_string(),
            "shard 1 of `a` (node 2 or 3), shard 2 of `a` (no node)"
        );
    }

    #[test]
    fn the_json_stays_readable() {
        let mut manifest = manifest(vec![nodes([1])]);
        let node = ManifestNode {
            url: "http://a:1".to_owned(),
            node_task: 7,
            dump_uid: None,
        };
        manifest.nodes.insert(NodeId(1), node);
        let json = serde_json::to_value(&manifest).expect("JSON");
        assert_eq!(json["nodes"]["1"]["nodeTask"], 7);
        assert_eq!(json["indexes"][0]["shards"], serde_json::json!([[1]]));
        let read: Manifest = serde_json::from_value(json).expect("the same");
        assert_eq!(read, manifest);
    }

    proptest! {
        #[test]
        fn every_shard_comes_from_exactly_one_dump_that_holds_it(
            shards in proptest::collection::vec(proptest::collection::btree_set(0_u64..6, 0..4), 1..20),
            given in proptest::collection::btree_set(0_u64..6, 0..6),
        ) {
            let shards: Vec<BTreeSet<NodeId>> = shards.into_iter().map(nodes).collect();
            let given = nodes(given);
            let manifest = manifest(shards.clone());
            let coverable = shards.iter().all(|holders| !holders.is_disjoint(&given));
            let chosen = manifest.choose(&given);
            prop_assert_eq!(chosen.is_ok(), coverable);
            let Ok(chosen) = chosen else { return Ok(()) };
            let uid = IndexUid::parse("a").expect("valid");
            for (shard, holders) in (0..).map(ShardId).zip(&shards) {
                let takers: Vec<NodeId> = (0..6).map(NodeId).filter(|n| chosen.takes(&uid, shard, *n)).collect();
                prop_assert_eq!(takers.len(), 1);
                prop_assert!(holders.contains(&takers[0]) && given.contains(&takers[0]));
                prop_assert!(chosen.nodes(&uid).contains(&takers[0]));
            }
        }
    }
}
