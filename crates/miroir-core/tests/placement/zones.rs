//! Zones are spread when the stronger rules leave a choice, and only then.

use std::collections::BTreeMap;

use miroir_core::id::NodeId;
use miroir_core::placement::{Candidate, propose, rebalance};

use crate::support::{SCOPE, apply, assert_sound, node, zoned};

/// For each shard, how many copies each zone has, greatest first.
fn spreads(placement: &[Vec<NodeId>], candidates: &[Candidate]) -> Vec<Vec<usize>> {
    let zone_of = |node: &NodeId| candidates.iter().find(|c| c.node == *node)?.zone.as_deref();
    let spread = |nodes: &Vec<NodeId>| {
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        for zone in nodes.iter().filter_map(zone_of) {
            *copies.entry(zone).or_default() += 1;
        }
        let mut copies: Vec<usize> = copies.into_values().collect();
        copies.sort_unstable_by(|a, b| b.cmp(a));
        copies
    };
    placement.iter().map(spread).collect()
}

#[test]
fn copies_are_spread_as_evenly_as_zones_allow() {
    let two_by_two = vec![zoned(1, "a"), zoned(2, "a"), zoned(3, "b"), zoned(4, "b")];
    let three = vec![
        zoned(1, "a"),
        zoned(2, "a"),
        zoned(3, "b"),
        zoned(4, "b"),
        zoned(5, "c"),
        zoned(6, "c"),
    ];
    let six_in_two = vec![
        zoned(1, "a"),
        zoned(2, "a"),
        zoned(3, "a"),
        zoned(4, "b"),
        zoned(5, "b"),
        zoned(6, "b"),
    ];
    let cases: [(u8, Vec<Candidate>, &[usize]); 5] = [
        (2, two_by_two.clone(), &[1, 1]),
        (3, two_by_two, &[2, 1]),
        (2, three.clone(), &[1, 1]),
        (3, three, &[1, 1, 1]),
        (4, six_in_two, &[2, 2]),
    ];
    for (rf, candidates, expected) in cases {
        let placement = propose(&SCOPE, 64, rf, &candidates).expect("sound input");
        assert_sound(&placement, rf, &candidates);
        for spread in spreads(&placement, &candidates) {
            assert_eq!(spread, expected, "{rf} copies over {candidates:?}");
        }
    }
}

/// Zone b has a quarter of the nodes, so a quarter of the 128 copies: 32 shards can have one
/// there, and the other 32 are together in zone a. Spreading them would overload node 4.
#[test]
fn balance_is_not_given_up_for_zones() {
    let candidates = [zoned(1, "a"), zoned(2, "a"), zoned(3, "a"), zoned(4, "b")];
    let placement = propose(&SCOPE, 64, 2, &candidates).expect("sound input");
    assert_sound(&placement, 2, &candidates);
    let crowded = spreads(&placement, &candidates)
        .iter()
        .filter(|s| s[..] == [2])
        .count();
    assert_eq!(crowded, 32);
}

#[test]
fn zones_choose_which_copies_move_but_not_how_many() {
    let one_zone = [zoned(1, "a"), zoned(2, "a"), zoned(3, "a")];
    let current = propose(&SCOPE, 60, 2, &one_zone).expect("sound input");
    let grown = [zoned(1, "a"), zoned(2, "a"), zoned(3, "a"), zoned(4, "b")];
    let moves = rebalance(&SCOPE, 2, &current, &grown).expect("sound input");
    assert_eq!(moves.len(), 30);
    let after = apply(&current, &moves);
    let spread = spreads(&after, &grown)
        .iter()
        .filter(|s| s[..] == [1, 1])
        .count();
    assert_eq!(spread, 30, "each move gives one shard a second zone");

    // Half of the shards now lose a zone, and no more than those with a copy in it move.
    let moves = rebalance(&SCOPE, 2, &after, &one_zone).expect("sound input");
    assert_eq!(moves.len(), 30);
}

#[test]
fn a_leavers_copies_go_to_the_zone_that_lacks_one() {
    let before = [
        zoned(1, "a"),
        zoned(2, "a"),
        zoned(3, "b"),
        zoned(4, "b"),
        zoned(5, "b"),
    ];
    let current = propose(&SCOPE, 60, 2, &before[..4]).expect("sound input");
    let after = [zoned(1, "a"), zoned(2, "a"), zoned(4, "b"), zoned(5, "b")];
    let moves = rebalance(&SCOPE, 2, &current, &after).expect("sound input");
    let settled = apply(&current, &moves);
    assert!(
        spreads(&settled, &before)
            .iter()
            .all(|spread| spread[..] == [1, 1])
    );
}

#[test]
fn nodes_without_a_zone_are_zones_of_their_own() {
    let candidates = [zoned(1, "a"), zoned(2, "a"), node(3), node(4), node(5)];
    let placement = propose(&SCOPE, 64, 2, &candidates).expect("sound input");
    assert_sound(&placement, 2, &candidates);
    assert!(
        spreads(&placement, &candidates)
            .iter()
            .all(|spread| spread[..] != [2])
    );
    assert!(
        placement
            .iter()
            .any(|nodes| nodes.contains(&NodeId(3)) && nodes.contains(&NodeId(4)))
    );
}
