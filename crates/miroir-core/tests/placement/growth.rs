//! Growing and shrinking by one node: exactly the shards that must move, move.

use std::collections::BTreeSet;

use miroir_core::id::{NodeId, ShardId};
use miroir_core::placement::{Candidate, Score, propose, rebalance};

use crate::support::{SCOPE, alike, apply, assert_sound, copies_per_node, node, weighted};

const SHARDS: [u16; 3] = [16, 64, 256];

/// Adds node `before + 1`, checks the design's bound, and returns the new placement.
fn grow_by_one(rf: u8, before: u64, current: &[Vec<NodeId>]) -> Vec<Vec<NodeId>> {
    let candidates = alike(before + 1);
    let moves = rebalance(&SCOPE, rf, current, &candidates).expect("the input is sound");
    let case = format!(
        "{} shards x {rf}, {before} nodes and one more",
        current.len()
    );
    let copies = current.len() as u64 * u64::from(rf);
    let (least, most) = (copies / (before + 1), copies.div_ceil(before + 1));
    let moved = moves.len() as u64;
    assert!(
        (least..=most).contains(&moved),
        "{case}: {moved} moved, not {least} or {most}"
    );
    assert!(
        moves.iter().all(|step| step.to == NodeId(before + 1)),
        "{case}: {moves:?}"
    );

    let grown = apply(current, &moves);
    assert_sound(&grown, rf, &candidates);
    let held: Vec<usize> = (1..=before + 1)
        .map(|id| {
            copies_per_node(&grown)
                .get(&NodeId(id))
                .copied()
                .unwrap_or_default()
        })
        .collect();
    let spread = held
        .iter()
        .max()
        .zip(held.iter().min())
        .map(|(most, least)| most - least);
    assert!(spread <= Some(1), "{case}: {held:?}");
    assert_eq!(
        rebalance(&SCOPE, rf, &grown, &candidates),
        Ok(Vec::new()),
        "{case}: not settled"
    );
    grown
}

#[test]
fn adding_to_a_fresh_placement_moves_floor_or_ceil() {
    for shards in SHARDS {
        for before in 1..=16 {
            let fresh = propose(&SCOPE, shards, 1, &alike(before)).expect("the input is sound");
            assert_sound(&fresh, 1, &alike(before));
            grow_by_one(1, before, &fresh);
        }
    }
}

#[test]
fn growing_step_by_step_moves_floor_or_ceil_each_time() {
    for shards in SHARDS {
        for rf in 1..=3 {
            let first = u64::from(rf);
            let mut current = propose(&SCOPE, shards, rf, &alike(first)).expect("sound input");
            for before in first..=16 {
                current = grow_by_one(rf, before, &current);
            }
        }
    }
}

#[test]
fn draining_moves_the_leavers_copies_and_no_others() {
    for shards in SHARDS {
        for rf in 1..=3 {
            for nodes in u64::from(rf) + 1..=9 {
                let current = propose(&SCOPE, shards, rf, &alike(nodes)).expect("sound input");
                let leaver = NodeId(nodes / 2 + 1);
                let rest: Vec<Candidate> = alike(nodes)
                    .into_iter()
                    .filter(|c| c.node != leaver)
                    .collect();
                let moves = rebalance(&SCOPE, rf, &current, &rest).expect("sound input");
                assert!(
                    moves.iter().all(|step| step.from == leaver),
                    "{nodes} nodes: {moves:?}"
                );
                assert_eq!(moves.len(), copies_per_node(&current)[&leaver]);
                assert_sound(&apply(&current, &moves), rf, &rest);
            }
        }
    }
}

#[test]
fn replacing_a_node_moves_its_copies_to_the_new_one() {
    let current = propose(&SCOPE, 64, 2, &alike(4)).expect("sound input");
    let replaced = [node(1), node(2), node(4), node(9)];
    let moves = rebalance(&SCOPE, 2, &current, &replaced).expect("sound input");
    assert_eq!(moves.len(), 32);
    assert!(
        moves
            .iter()
            .all(|step| (step.from, step.to) == (NodeId(3), NodeId(9)))
    );
}

#[test]
fn a_heavier_node_takes_and_holds_its_weight() {
    let current = propose(&SCOPE, 60, 1, &alike(3)).expect("sound input");
    let grown = [node(1), node(2), node(3), weighted(4, 3)];
    let moves = rebalance(&SCOPE, 1, &current, &grown).expect("sound input");
    assert_eq!(moves.len(), 30, "half of the weight is half of the shards");
    let after = copies_per_node(&apply(&current, &moves));
    let held: Vec<usize> = after.into_values().collect();
    assert_eq!(held, [10, 10, 10, 30]);
}

/// Whichever shard a node gives up prefers the new node at least as much as any shard it keeps.
#[test]
fn the_shards_that_prefer_the_new_node_most_are_the_ones_that_move() {
    let current = propose(&SCOPE, 256, 1, &alike(4)).expect("sound input");
    let moves = rebalance(&SCOPE, 1, &current, &alike(5)).expect("sound input");
    let moved: BTreeSet<ShardId> = moves.iter().map(|step| step.shard).collect();
    let gain = |shard: ShardId| {
        let rank = |node| i128::from(Score::new(&SCOPE, shard, node).hash >> 24);
        rank(NodeId(5)) - rank(current[usize::from(shard.0)][0])
    };
    for giver in (1..=4).map(NodeId) {
        let held = (0..256)
            .map(ShardId)
            .filter(|s| current[usize::from(s.0)][0] == giver);
        let (gone, kept): (Vec<_>, Vec<_>) = held.partition(|shard| moved.contains(shard));
        let least_gone = gone.iter().map(|shard| gain(*shard)).min();
        let most_kept = kept.iter().map(|shard| gain(*shard)).max();
        assert!(least_gone >= most_kept, "node {giver} gave {gone:?}");
        assert!(!gone.is_empty() && !kept.is_empty());
    }
}
