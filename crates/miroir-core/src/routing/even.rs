//! Nodes that hold an index evenly, so that what they say of all they hold can be divided.

use std::collections::{BTreeMap, BTreeSet};

use super::{IndexRoute, ShardRoute};
use crate::id::{GroupId, NodeId, ShardId};

impl IndexRoute {
    /// Sets of nodes, one for each group in which nothing is moving or left behind: together they hold every shard the same
    /// number of times, with every acknowledged write, and nothing else.
    #[must_use]
    pub fn even_holders(&self) -> Vec<BTreeSet<NodeId>> {
        even_holders(&self.shards, &self.leftovers)
    }
}

fn even_holders(
    shards: &[ShardRoute],
    leftovers: &BTreeSet<(NodeId, ShardId)>,
) -> Vec<BTreeSet<NodeId>> {
    let mut groups: BTreeMap<GroupId, BTreeSet<NodeId>> = BTreeMap::new();
    for replica in shards.iter().flat_map(|shard| &shard.replicas) {
        let nodes = groups.entry(replica.group).or_default();
        nodes.insert(replica.node);
    }
    let is_even = |(group, nodes): &(GroupId, BTreeSet<NodeId>)| {
        let copies = shards.iter().map(|shard| {
            let copies = shard.replicas.iter().filter(|r| r.group == *group);
            let complete = copies.clone().all(|r| r.state.is_readable());
            complete.then(|| copies.count())
        });
        let copies: BTreeSet<Option<usize>> = copies.collect();
        let left = leftovers.iter().any(|(node, _)| nodes.contains(node));
        !left && copies.len() == 1 && copies.iter().all(|count| count.is_some_and(|n| n > 0))
    };
    let even = groups.into_iter().filter(is_even);
    even.map(|(_, nodes)| nodes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ReplicaState::{self, InSync, Mirror, Stale};
    use crate::routing::ReplicaRoute;

    /// Node, group and state of a copy.
    type Copy = (u64, u32, ReplicaState);

    fn shards(shards: &[&[Copy]]) -> Vec<ShardRoute> {
        let replica = |(node, group, state): &Copy| ReplicaRoute {
            node: NodeId(*node),
            group: GroupId(*group),
            state: *state,
        };
        let shard = |copies: &&[Copy]| ShardRoute {
            replicas: copies.iter().map(replica).collect(),
            moving: None,
        };
        shards.iter().map(shard).collect()
    }

    #[test]
    fn only_groups_at_rest_are_even() {
        let ring: [&[Copy]; 3] = [
            &[(1, 0, InSync), (2, 0, InSync)],
            &[(2, 0, InSync), (3, 0, InSync)],
            &[(3, 0, InSync), (1, 0, InSync)],
        ];
        let even = |copies: &[&[Copy]], left: &[(u64, u16)]| -> Vec<Vec<u64>> {
            let left = left
                .iter()
                .map(|(node, shard)| (NodeId(*node), ShardId(*shard)));
            let sets = even_holders(&shards(copies), &left.collect()).into_iter();
            sets.map(|nodes| nodes.into_iter().map(|node| node.0).collect())
                .collect()
        };
        assert_eq!(even(&ring, &[]), [vec![1, 2, 3]]);
        assert_eq!(even(&ring, &[(7, 0)]), [vec![1, 2, 3]], "not of these");
        assert!(even(&ring, &[(1, 1)]).is_empty(), "left behind");
        assert!(even(&[], &[]).is_empty());
        for third in [
            &[(3, 0, InSync)][..],
            &[(3, 0, InSync), (1, 0, Stale)],
            &[(3, 0, InSync), (1, 0, InSync), (2, 0, Mirror)],
            &[(4, 1, InSync)],
        ] {
            let uneven = [ring[0], ring[1], third];
            assert!(even(&uneven, &[]).is_empty(), "{third:?}");
        }
        let two: [&[Copy]; 2] = [
            &[(1, 0, InSync), (2, 0, Stale), (3, 1, InSync)],
            &[(1, 0, InSync), (2, 0, InSync), (4, 1, InSync)],
        ];
        assert_eq!(even(&two, &[]), [vec![3, 4]], "the other group");
    }
}
