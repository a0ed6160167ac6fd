//! Which node gets which shards of an operation. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use miroir_core::hidden_field;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::routing::IndexRoute;
use serde_json::json;

use super::group::Body;
use super::prepare::Work;

/// One request to one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// The node.
    pub(super) node: NodeId,
    /// The shards it is to apply the operation to.
    pub(super) shards: BTreeSet<ShardId>,
    /// Whether what it counts is counted: every shard has one copy that is.
    pub(super) counts: bool,
}

/// Whether a shard takes writes now: it is not fenced, and enough copies are in sync that a write to them may
/// be acknowledged. With none at all a write would be acknowledged without being anywhere.
pub(super) fn is_open(route: &IndexRoute, shard: ShardId, min_in_sync: u8) -> bool {
    route.shard(shard).is_some_and(|shard| {
        let in_sync = shard
            .replicas
            .iter()
            .filter(|replica| replica.state.is_readable())
            .count();
        !shard.is_fenced() && in_sync >= usize::from(min_in_sync.max(1))
    })
}

/// The requests that carry an operation to every copy of `shards`, by node. With `by_count` a node that holds
/// both counted and uncounted copies gets two, so that what it reports can be added up.
pub(super) fn shares(route: &IndexRoute, shards: &[ShardId], by_count: bool) -> Vec<Share> {
    let mut by_node: BTreeMap<(NodeId, bool), BTreeSet<ShardId>> = BTreeMap::new();
    for id in shards {
        let Some(shard) = route.shard(*id) else {
            continue;
        };
        let counted = shard.counted_on();
        for node in shard.write_targets() {
            let counts = by_count && counted == Some(node);
            by_node.entry((node, counts)).or_default().insert(*id);
        }
    }
    by_node
        .into_iter()
        .map(|((node, counts), shards)| Share {
            node,
            shards,
            counts,
        })
        .collect()
}

/// What a node is asked to do for its share of an operation, and the size of that in bytes.
pub(super) fn body(work: &Work, share: &Share) -> (Body, usize) {
    match work {
        Work::Documents(documents) => (
            Body::Documents(Arc::clone(documents)),
            documents.bytes(&share.shards),
        ),
        Work::Ids(ids) => {
            let of_share = ids.iter().filter(|(shard, _)| share.shards.contains(shard));
            let ids: Vec<&String> = of_share.flat_map(|(_, ids)| ids).collect();
            let json = Bytes::from(json!(ids).to_string());
            (Body::Ids(json.clone()), json.len())
        }
        Work::Filter(filter) => {
            let shards: BTreeSet<u16> = share.shards.iter().map(|shard| shard.0).collect();
            let of_shards = hidden_field::filter_for(&shards);
            // The client's filter was checked when it was read; alone, the other one deletes too much.
            let filter = hidden_field::and_filter(filter.as_ref(), &of_shards)
                .expect("a filter of the right type, as prepare() made sure");
            let bytes = filter.to_string().len();
            (Body::Filter(filter), bytes)
        }
        Work::Nothing | Work::Settings(_) | Work::DeleteIndex => (Body::Settings, 0),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use miroir_core::cluster::ReplicaState;
    use miroir_core::id::{GroupId, MigrationId};
    use miroir_core::migration::Phase;
    use miroir_core::routing::{MoveRoute, ReplicaRoute, RoutingTable, ShardRoute};

    /// A route whose shards have copies on the nodes given, in states I, M, B or S.
    pub(in crate::write) fn route(shards: &[&str]) -> IndexRoute {
        let state = |letter: &str| match letter {
            "I" => ReplicaState::InSync,
            "M" => ReplicaState::Mirror,
            "B" => ReplicaState::Building,
            _ => ReplicaState::Stale,
        };
        let replica = |text: &str| {
            let (letter, node) = text.split_at(1);
            ReplicaRoute {
                node: NodeId(node.parse().expect("a node")),
                group: GroupId(1),
                state: state(letter),
            }
        };
        let shard = |text: &&str| ShardRoute {
            replicas: text.split(' ').map(replica).collect(),
            moving: None,
        };
        let json = serde_json::json!({
            "uid": "x", "name": "x", "incarnation": 1, "primary_key": null, "writer": 1, "settings_version": 1,
            "settings": {}, "node_settings": {}, "leftovers": [], "shards": [],
            "created_at_ms": 0, "updated_at_ms": 0,
        });
        let mut route: IndexRoute = serde_json::from_value(json).expect("a route");
        route.shards = shards.iter().map(shard).collect();
        route
    }

    fn shown(shares: &[Share]) -> Vec<(u64, Vec<u16>, bool)> {
        shares
            .iter()
            .map(|s| (s.node.0, s.shards.iter().map(|s| s.0).collect(), s.counts))
            .collect()
    }

    #[test]
    fn every_copy_that_takes_writes_gets_its_shards() {
        let route = route(&["I1 I2", "I2 M3", "I1 B2 S3"]);
        let all = [0, 1, 2].map(ShardId);
        assert_eq!(
            shown(&shares(&route, &all, false)),
            [
                (1, vec![0, 2], false),
                (2, vec![0, 1], false),
                (3, vec![1], false)
            ]
        );
        assert_eq!(
            shown(&shares(&route, &all, true)),
            [
                (1, vec![0, 2], true),
                (2, vec![0], false),
                (2, vec![1], true),
                (3, vec![1], false)
            ]
        );
        assert_eq!(
            shown(&shares(&route, &[ShardId(2), ShardId(9)], true)),
            [(1, vec![2], true)]
        );
    }

    #[test]
    fn a_shard_is_closed_by_a_fence_and_by_a_lack_of_copies() {
        let mut route = route(&["I1", "I1 I2", "M1 B2", "I1 M2"]);
        let open = |route: &IndexRoute, min| {
            (0..5)
                .map(|s| is_open(route, ShardId(s), min))
                .collect::<Vec<_>>()
        };
        assert_eq!(open(&route, 1), [true, true, false, true, false]);
        assert_eq!(open(&route, 2), [false, true, false, false, false]);
        assert_eq!(open(&route, 0), [true, true, false, true, false]);
        for (phase, expected) in [
            (Phase::CatchingUp, true),
            (Phase::Fenced, false),
            (Phase::Mirroring, true),
        ] {
            let moving = MoveRoute {
                migration: MigrationId(1),
                phase,
                source: NodeId(1),
                target: NodeId(2),
            };
            route.shards[0].moving = Some(moving);
            assert_eq!(is_open(&route, ShardId(0), 1), expected, "{phase}");
        }
        assert_eq!(RoutingTable::default().min_in_sync, 0);
    }
}
