//! Copies that did not take a write which others took. Pure.

use std::collections::BTreeSet;

use miroir_core::cluster::Index;
use miroir_core::id::{NodeId, ShardId};

/// What a disagreement between nodes means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Odd {
    /// Copies that differ from one that took the write: they must leave the set in sync.
    pub copies: Vec<(ShardId, NodeId)>,
    /// Whether every copy on a failed node is among them: then the write is on a good copy of every shard.
    pub covers_all: bool,
}

/// Which copies on the nodes that `failed` a write are odd, because a readable copy of the same shard is on a
/// node where the write went `well`.
///
/// A task does not remember which shards it touched. A copy of a shard that it did not touch may be called odd
/// and is rebuilt for nothing; the other mistake, to go on reading a copy that lacks a write, is never made.
#[must_use]
pub fn odd(index: &Index, failed: &BTreeSet<NodeId>, well: &BTreeSet<NodeId>) -> Odd {
    let mut found = Odd {
        copies: Vec::new(),
        covers_all: true,
    };
    for (shard, placement) in index.shards() {
        let better = placement
            .readable()
            .any(|replica| well.contains(&replica.node));
        for replica in placement
            .writable()
            .filter(|replica| failed.contains(&replica.node))
        {
            if better {
                found.copies.push((shard, replica.node));
            } else {
                found.covers_all = false;
            }
        }
    }
    found.covers_all &= !found.copies.is_empty();
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use miroir_core::cluster::{Replica, ReplicaState, Settings, ShardPlacement};
    use miroir_core::id::{GroupId, Incarnation, IndexUid};
    use serde_json::json;

    use super::*;

    /// An index whose shards have these copies.
    fn index(shards: &[&[(u64, ReplicaState)]]) -> Index {
        let placement = shards.iter().map(|copies| ShardPlacement {
            replicas: copies
                .iter()
                .map(|(node, state)| Replica {
                    node: NodeId(*node),
                    group: GroupId(1),
                    state: *state,
                })
                .collect(),
            moving: None,
        });
        Index {
            uid: IndexUid::parse("books").expect("a uid"),
            other_name: None,
            incarnation: Incarnation(1),
            primary_key: None,
            replication_factor: 2,
            settings: Settings {
                version: 1,
                desired: json!({}),
                unproven: Vec::new(),
            },
            writer: None,
            placement: placement.collect(),
            nodes: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            pins: BTreeSet::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_copy_is_odd_only_beside_a_readable_one_that_took_the_write() {
        use ReplicaState::{Building, InSync, Mirror, Stale};
        type Row<'a> = (
            &'a [&'a [(u64, ReplicaState)]],
            &'a [u64],
            &'a [u64],
            &'a [(u16, u64)],
            bool,
        );
        // Copies; the nodes that failed, and those that did not; the odd copies, and whether they cover all.
        let table: [Row<'_>; 8] = [
            (&[&[(1, InSync), (2, InSync)]], &[2], &[1], &[(0, 2)], true),
            (&[&[(1, InSync), (2, Mirror)]], &[2], &[1], &[(0, 2)], true),
            // A mirror alone is not read, so nothing good is left beside the failed copy.
            (&[&[(1, InSync), (2, Mirror)]], &[1], &[2], &[], false),
            // Out of use already.
            (&[&[(1, InSync), (2, Stale)]], &[2], &[1], &[], false),
            (&[&[(1, InSync), (2, Building)]], &[2], &[1], &[], false),
            // No second copy.
            (&[&[(1, InSync)], &[(2, InSync)]], &[2], &[1], &[], false),
            // One bad document failed both copies of shard 0; shards 1 and 2 have a good copy on node 2.
            (
                &[
                    &[(1, InSync), (3, InSync)],
                    &[(1, InSync), (2, InSync)],
                    &[(2, InSync), (3, InSync)],
                ],
                &[1, 3],
                &[2],
                &[(1, 1), (2, 3)],
                false,
            ),
            (
                &[&[(1, InSync), (2, InSync)], &[(3, InSync), (2, InSync)]],
                &[2],
                &[1, 3],
                &[(0, 2), (1, 2)],
                true,
            ),
        ];
        for (at, (shards, failed, well, copies, covers_all)) in table.into_iter().enumerate() {
            let copies = copies
                .iter()
                .map(|(shard, node)| (ShardId(*shard), NodeId(*node)))
                .collect();
            let found = odd(&index(shards), &nodes(failed), &nodes(well));
            assert_eq!(found, Odd { copies, covers_all }, "row {at}");
        }
    }
}
