//! What placement refuses, and that the refusal names what is wrong.

use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::placement::{Candidate, PlacementError, propose, rebalance};

use crate::support::{SCOPE, alike, node, weighted};

#[test]
fn both_entry_points_refuse_candidates_that_cannot_take_the_copies() {
    let cases: [(u8, Vec<Candidate>, PlacementError); 6] = [
        (
            1,
            Vec::new(),
            PlacementError::NoCandidates {
                index: "movies".to_owned(),
                group: GroupId(1),
            },
        ),
        (0, alike(2), PlacementError::NoCopies),
        (0, Vec::new(), PlacementError::NoCopies),
        (3, alike(2), PlacementError::TooFewNodes { rf: 3, nodes: 2 }),
        (
            1,
            vec![node(1), node(2), node(1)],
            PlacementError::DuplicateCandidate { node: NodeId(1) },
        ),
        (
            1,
            vec![node(1), weighted(2, 0)],
            PlacementError::ZeroWeight { node: NodeId(2) },
        ),
    ];
    for (rf, candidates, expected) in cases {
        let current = vec![vec![NodeId(1)]; 4];
        assert_eq!(propose(&SCOPE, 4, rf, &candidates), Err(expected.clone()));
        assert_eq!(rebalance(&SCOPE, rf, &current, &candidates), Err(expected));
    }
}

#[test]
fn rebalance_refuses_a_placement_that_is_not_one() {
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let cases = [
        (
            vec![ids(&[1, 2]), ids(&[2])],
            PlacementError::WrongCopies {
                shard: ShardId(1),
                copies: 1,
                rf: 2,
            },
        ),
        (
            vec![ids(&[1, 2, 3])],
            PlacementError::WrongCopies {
                shard: ShardId(0),
                copies: 3,
                rf: 2,
            },
        ),
        (
            vec![ids(&[1, 2]), ids(&[3, 3])],
            PlacementError::DuplicateCopy {
                shard: ShardId(1),
                node: NodeId(3),
            },
        ),
        (
            vec![ids(&[1, 2]); 65_537],
            PlacementError::TooManyShards { shards: 65_537 },
        ),
    ];
    for (current, expected) in cases {
        assert_eq!(rebalance(&SCOPE, 2, &current, &alike(3)), Err(expected));
    }
}

#[test]
fn messages_name_what_is_wrong() {
    let few = propose(&SCOPE, 4, 3, &alike(2)).map_err(|error| error.to_string());
    let expected = "replication factor 3 needs 3 nodes in the group, which has 2; \
                    add nodes or lower the replication factor";
    assert_eq!(few, Err(expected.to_owned()));
    let none = propose(&SCOPE, 4, 1, &[]).map_err(|error| error.to_string());
    assert!(none.is_err_and(|text| text.contains("`movies`") && text.contains("group 1")));
}

#[test]
fn an_index_without_shards_has_an_empty_placement() {
    assert_eq!(propose(&SCOPE, 0, 1, &alike(2)), Ok(Vec::new()));
    assert_eq!(rebalance(&SCOPE, 1, &[], &alike(2)), Ok(Vec::new()));
}
