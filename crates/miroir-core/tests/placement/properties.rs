//! Random fleets and random changes to them.

use std::collections::BTreeSet;

use miroir_core::id::NodeId;
use miroir_core::placement::{Candidate, Move, propose, rebalance};
use proptest::prelude::*;

use crate::support::{Placement, SCOPE, apply, assert_sound, copies_per_node, ideals};

/// What happens to a fleet between two placements.
#[derive(Clone, Debug)]
enum Change {
    Add {
        weight: u32,
        zone: Option<u8>,
    },
    /// Removes the candidate at this position, counted around.
    Remove(usize),
    Reweigh {
        position: usize,
        weight: u32,
    },
}

fn change(weight_max: u32) -> impl Strategy<Value = Change> {
    let weight = 1..=weight_max;
    prop_oneof![
        3 => (weight.clone(), proptest::option::of(0..3_u8))
            .prop_map(|(weight, zone)| Change::Add { weight, zone }),
        2 => any::<usize>().prop_map(Change::Remove),
        1 => (any::<usize>(), weight).prop_map(|(position, weight)| Change::Reweigh { position, weight }),
    ]
}

fn candidate(id: u64, weight: u32, zone: Option<u8>) -> Candidate {
    Candidate {
        node: NodeId(id),
        weight,
        zone: zone.map(|zone| format!("zone-{zone}")),
    }
}

/// Applies a change unless it would leave fewer than `rf` nodes or more than twelve.
fn changed(mut fleet: Vec<Candidate>, change: &Change, rf: u8, next_id: u64) -> Vec<Candidate> {
    let count = fleet.len();
    match *change {
        Change::Add { weight, zone } if count < 12 => fleet.push(candidate(next_id, weight, zone)),
        Change::Remove(position) if count > usize::from(rf) => {
            fleet.remove(position % count);
        }
        Change::Reweigh { position, weight } => fleet[position % count].weight = weight,
        Change::Add { .. } | Change::Remove(_) => {}
    }
    fleet
}

/// Moves that no plan can do without: copies that must leave, or copies that must arrive.
fn moves_at_least(current: &[Vec<NodeId>], rf: u8, fleet: &[Candidate]) -> usize {
    let copies = copies_per_node(current);
    let mut staying = 0;
    let mut arriving = 0;
    for (candidate, ideal) in fleet.iter().zip(ideals(current.len(), rf, fleet)) {
        let held = copies.get(&candidate.node).copied().unwrap_or_default();
        let (floor, ceil) = (
            (ideal + 1e-6).floor() as usize,
            (ideal - 1e-6).ceil() as usize,
        );
        staying += held.min(ceil);
        arriving += floor.saturating_sub(held);
    }
    let total = current.len() * usize::from(rf);
    (total - staying).max(arriving)
}

/// The same request written down in another order.
fn reversed(current: &[Vec<NodeId>], fleet: &[Candidate]) -> (Placement, Vec<Candidate>) {
    let backwards = |nodes: &Vec<NodeId>| nodes.iter().rev().copied().collect();
    (
        current.iter().map(backwards).collect(),
        fleet.iter().rev().cloned().collect(),
    )
}

/// Every way to choose `rf` of the nodes.
fn choices(nodes: &[NodeId], rf: usize) -> Vec<Vec<NodeId>> {
    let subsets = 0..1_u32 << nodes.len();
    let chosen = |bits: u32| {
        (0..nodes.len())
            .filter(move |n| bits >> n & 1 == 1)
            .map(|n| nodes[n])
    };
    subsets
        .filter(|bits| bits.count_ones() as usize == rf)
        .map(|bits| chosen(bits).collect())
        .collect()
}

/// The fewest moves to any balanced placement, by trying every placement there is.
fn fewest_moves(current: &[Vec<NodeId>], rf: u8, fleet: &[Candidate]) -> usize {
    let nodes: Vec<NodeId> = fleet.iter().map(|c| c.node).collect();
    let choices = choices(&nodes, usize::from(rf));
    let ideals = ideals(current.len(), rf, fleet);
    let mut fewest = usize::MAX;
    for number in 0..choices
        .len()
        .pow(u32::try_from(current.len()).expect("few shards"))
    {
        let mut rest = number;
        let mut copies = vec![0_i32; nodes.len()];
        let mut moves = 0;
        for held in current {
            let chosen = &choices[rest % choices.len()];
            rest /= choices.len();
            moves += chosen.iter().filter(|node| !held.contains(node)).count();
            for node in chosen {
                copies[nodes
                    .iter()
                    .position(|n| n == node)
                    .expect("chosen from nodes")] += 1;
            }
        }
        let balanced = copies
            .iter()
            .zip(&ideals)
            .all(|(c, i)| (f64::from(*c) - i).abs() < 1.0 - 1e-6);
        if balanced {
            fewest = fewest.min(moves);
        }
    }
    fewest
}

fn rebalanced(current: &[Vec<NodeId>], rf: u8, fleet: &[Candidate]) -> (Vec<Move>, Placement) {
    let moves = rebalance(&SCOPE, rf, current, fleet).expect("the input is sound");
    let next = apply(current, &moves);
    assert_sound(&next, rf, fleet);
    assert_eq!(
        rebalance(&SCOPE, rf, &next, fleet),
        Ok(Vec::new()),
        "a second run moves nothing"
    );
    (moves, next)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_stays_balanced_minimal_and_settled(
        shards in 1..80_u16,
        rf in 1..=3_u8,
        extra in 0..4_u64,
        changes in proptest::collection::vec(change(4), 1..6),
    ) {
        let first = u64::from(rf) + extra;
        let mut fleet: Vec<Candidate> =
            (1..=first).map(|id| candidate(id, 1, u8::try_from(id % 3).ok())).collect();
        let mut current = propose(&SCOPE, shards, rf, &fleet).expect("the input is sound");
        assert_sound(&current, rf, &fleet);
        for (step, change) in changes.iter().enumerate() {
            fleet = changed(fleet, change, rf, first + 1 + step as u64);
            let (moves, next) = rebalanced(&current, rf, &fleet);
            let least = moves_at_least(&current, rf, &fleet);
            prop_assert!(moves.len() >= least);
            // One copy a shard: a copy can go anywhere, so the bound is also reached.
            prop_assert!(rf > 1 || moves.len() == least, "{} moves, {least} do", moves.len());
            let (same, backwards) = reversed(&current, &fleet);
            prop_assert_eq!(rebalance(&SCOPE, rf, &same, &backwards), Ok(moves));
            current = next;
        }
    }

    #[test]
    fn no_plan_has_fewer_moves(
        rf in 1..=2_u8,
        held in proptest::collection::vec(proptest::sample::subsequence(vec![1, 2, 3, 4, 5_u64], 2), 1..=4),
        present in proptest::sample::subsequence(vec![1, 2, 3, 4, 5_u64], 2..=4),
        weights in proptest::collection::vec(1..4_u32, 5),
    ) {
        let current: Placement =
            held.iter().map(|ids| ids.iter().take(usize::from(rf)).copied().map(NodeId).collect()).collect();
        let fleet: Vec<Candidate> =
            present.iter().map(|id| candidate(*id, weights[*id as usize - 1], None)).collect();
        let (moves, _) = rebalanced(&current, rf, &fleet);
        prop_assert_eq!(moves.len(), fewest_moves(&current, rf, &fleet));
    }

    #[test]
    fn a_proposal_is_balanced_and_does_not_depend_on_the_order_of_candidates(
        shards in 0..100_u16,
        rf in 1..=3_u8,
        members in proptest::collection::vec((1..6_u32, proptest::option::of(0..3_u8)), 3..10),
    ) {
        let fleet: Vec<Candidate> =
            members.iter().zip(1..).map(|(&(weight, zone), id)| candidate(id, weight, zone)).collect();
        let placement = propose(&SCOPE, shards, rf, &fleet).expect("the input is sound");
        prop_assert_eq!(placement.len(), usize::from(shards));
        assert_sound(&placement, rf, &fleet);
        let (_, backwards) = reversed(&placement, &fleet);
        prop_assert_eq!(propose(&SCOPE, shards, rf, &backwards), Ok(placement.clone()));
        prop_assert_eq!(rebalance(&SCOPE, rf, &placement, &fleet), Ok(Vec::new()));
        let used: BTreeSet<_> = placement.iter().flatten().collect();
        prop_assert!(used.iter().all(|node| fleet.iter().any(|c| c.node == **node)));
    }
}
