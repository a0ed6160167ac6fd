//! Changes to placements of any kind: copies missing, too many, where no candidate is, or pinned.

use std::collections::BTreeSet;

use miroir_core::id::NodeId;
use miroir_core::placement::{Candidate, Change, Holder, changes, propose};
use proptest::prelude::*;

use crate::support::{Placement, SCOPE, alike, assert_sound, copies_per_node, weighted};

fn holders(current: &[Vec<NodeId>], pins: &BTreeSet<(usize, NodeId)>) -> Vec<Vec<Holder>> {
    let shards = current.iter().enumerate();
    shards
        .map(|(shard, nodes)| {
            let holder = |node: &NodeId| Holder {
                node: *node,
                pinned: pins.contains(&(shard, *node)),
            };
            nodes.iter().map(holder).collect()
        })
        .collect()
}

/// Carries changes out, refusing any that a fleet could not.
fn carried_out(current: &[Vec<NodeId>], planned: &[Change]) -> Placement {
    let mut placement = current.to_vec();
    for change in planned {
        let nodes = &mut placement[usize::from(change.shard.0)];
        if let Some(from) = change.from {
            let held = nodes.iter().position(|node| *node == from);
            nodes.remove(held.expect("only a copy that is there goes"));
        }
        if let Some(to) = change.to {
            assert!(!nodes.contains(&to), "{change:?} goes where a copy is");
            nodes.push(to);
        }
    }
    placement
}

/// The changes that bring a placement to `rf` copies, checked: balanced, and none is left to make.
fn changed(
    current: &[Vec<NodeId>],
    pins: &BTreeSet<(usize, NodeId)>,
    rf: u8,
    fleet: &[Candidate],
) -> (Vec<Change>, Placement) {
    let planned = changes(&SCOPE, rf, &holders(current, pins), fleet).expect("sound input");
    let next = carried_out(current, &planned);
    assert_sound(&next, rf, fleet);
    let again = changes(&SCOPE, rf, &holders(&next, pins), fleet);
    assert_eq!(again, Ok(Vec::new()), "a second run changes nothing");
    (planned, next)
}

fn none() -> BTreeSet<(usize, NodeId)> {
    BTreeSet::new()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_placement_becomes_balanced_and_settles(
        rf in 1..=3_u8,
        held in proptest::collection::vec(
            proptest::sample::subsequence(vec![1, 2, 3, 4, 5, 6_u64], 0..=5), 0..24),
        present in proptest::sample::subsequence(vec![1, 2, 3, 4, 5, 6_u64], 3..=6),
        weights in proptest::collection::vec(1..4_u32, 6),
        pins in proptest::collection::vec((0..24_usize, 1..=6_u64), 0..6),
    ) {
        let current: Placement =
            held.iter().map(|ids| ids.iter().copied().map(NodeId).collect()).collect();
        let fleet: Vec<Candidate> =
            present.iter().map(|id| weighted(*id, weights[*id as usize - 1])).collect();
        let pins = pins.into_iter().map(|(shard, node)| (shard, NodeId(node))).collect();
        let (planned, _) = changed(&current, &pins, rf, &fleet);
        let wanted = usize::from(rf);
        for (shard, nodes) in current.iter().enumerate() {
            let of: Vec<_> = planned.iter().filter(|c| usize::from(c.shard.0) == shard).collect();
            let added = of.iter().filter(|c| c.from.is_none()).count();
            let gone = of.iter().filter(|c| c.to.is_none()).count();
            prop_assert_eq!(added, wanted.saturating_sub(nodes.len()), "shard {}", shard);
            prop_assert_eq!(gone, nodes.len().saturating_sub(wanted), "shard {}", shard);
        }
    }

    #[test]
    fn one_copy_more_is_only_added_and_one_copy_less_only_dropped(
        shards in 1..64_u16,
        nodes in 2..8_u64,
    ) {
        let fleet = alike(nodes);
        let one = propose(&SCOPE, shards, 1, &fleet).expect("sound input");
        let (added, two) = changed(&one, &none(), 2, &fleet);
        prop_assert!(added.iter().all(|c| c.from.is_none()), "{:?}", added);
        prop_assert_eq!(added.len(), usize::from(shards));
        let (dropped, _) = changed(&two, &none(), 1, &fleet);
        prop_assert!(dropped.iter().all(|c| c.to.is_none()), "{:?}", dropped);
        prop_assert_eq!(dropped.len(), usize::from(shards));
    }

    #[test]
    fn a_fleet_that_grows_by_one_gives_it_its_share_and_moves_nothing_else(
        shards in 1..96_u16,
        rf in 1..=3_u8,
        before in 3..9_u64,
    ) {
        let current = propose(&SCOPE, shards, rf, &alike(before)).expect("sound input");
        let (planned, _) = changed(&current, &none(), rf, &alike(before + 1));
        let copies = usize::from(shards) * usize::from(rf);
        let all = before as usize + 1;
        prop_assert!((copies / all..=copies.div_ceil(all)).contains(&planned.len()));
        prop_assert!(planned.iter().all(|c| c.from.is_some() && c.to == Some(NodeId(before + 1))));
    }

    #[test]
    fn pinned_copies_stay_whenever_balance_allows(
        shards in 1..64_u16,
        before in 1..7_u64,
        rank in proptest::collection::vec(any::<u16>(), 64),
    ) {
        let current = propose(&SCOPE, shards, 1, &alike(before)).expect("sound input");
        // As many pins a node as it may keep in the worst case.
        let kept = usize::from(shards) / (before as usize + 1);
        let mut pins = none();
        for node in (1..=before).map(NodeId) {
            let mut held: Vec<usize> =
                (0..current.len()).filter(|shard| current[*shard].contains(&node)).collect();
            held.sort_by_key(|shard| rank[*shard]);
            pins.extend(held.into_iter().take(kept).map(|shard| (shard, node)));
        }
        let (planned, next) = changed(&current, &pins, 1, &alike(before + 1));
        for change in &planned {
            let from = change.from.expect("nothing is added");
            prop_assert!(!pins.contains(&(usize::from(change.shard.0), from)), "{:?}", change);
        }
        let share = copies_per_node(&next).get(&NodeId(before + 1)).copied().unwrap_or_default();
        prop_assert!(share >= kept);
    }
}
