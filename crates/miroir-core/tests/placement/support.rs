//! What every placement test needs: candidates, applying moves, and an independent idea of balance.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::id::{GroupId, NodeId};
use miroir_core::placement::{Candidate, Move, Scope};

pub type Placement = Vec<Vec<NodeId>>;

pub const SCOPE: Scope<'static> = Scope {
    index: "movies",
    group: GroupId(1),
};

pub fn node(id: u64) -> Candidate {
    Candidate {
        node: NodeId(id),
        weight: 1,
        zone: None,
    }
}

pub fn zoned(id: u64, zone: &str) -> Candidate {
    Candidate {
        zone: Some(zone.to_owned()),
        ..node(id)
    }
}

pub fn weighted(id: u64, weight: u32) -> Candidate {
    Candidate { weight, ..node(id) }
}

/// Nodes 1 to `count`, all alike.
pub fn alike(count: u64) -> Vec<Candidate> {
    (1..=count).map(node).collect()
}

/// Carries moves out as a fleet would, refusing any that a fleet could not.
pub fn apply(current: &[Vec<NodeId>], moves: &[Move]) -> Placement {
    let mut placement = current.to_vec();
    for step in moves {
        let nodes = &mut placement[usize::from(step.shard.0)];
        assert!(
            !nodes.contains(&step.to),
            "{step:?} goes where a copy is: {nodes:?}"
        );
        let copy = nodes.iter_mut().find(|node| **node == step.from);
        *copy.unwrap_or_else(|| panic!("{step:?} moves a copy that is not there")) = step.to;
    }
    placement
}

pub fn copies_per_node(placement: &[Vec<NodeId>]) -> BTreeMap<NodeId, usize> {
    let mut copies = BTreeMap::new();
    for node in placement.iter().flatten() {
        *copies.entry(*node).or_default() += 1;
    }
    copies
}

/// Every shard has `rf` distinct candidates and every candidate is within one copy of its ideal.
pub fn assert_sound(placement: &[Vec<NodeId>], rf: u8, candidates: &[Candidate]) {
    for (shard, nodes) in placement.iter().enumerate() {
        let distinct: BTreeSet<_> = nodes.iter().collect();
        assert_eq!(
            distinct.len(),
            usize::from(rf),
            "shard {shard} is on {nodes:?}"
        );
        for node in nodes {
            assert!(
                candidates.iter().any(|c| c.node == *node),
                "shard {shard} is on {nodes:?}"
            );
        }
    }
    let copies = copies_per_node(placement);
    for (candidate, ideal) in candidates
        .iter()
        .zip(ideals(placement.len(), rf, candidates))
    {
        let held = copies.get(&candidate.node).copied().unwrap_or_default();
        let off = (held as f64 - ideal).abs();
        assert!(
            off < 1.0 - 1e-6,
            "{candidate:?} holds {held}, ideal {ideal}: {copies:?}"
        );
    }
}

/// Each candidate's ideal copies: `min(shards, level * weight)`, with the level found by
/// bisection so that they add up. Another method than the code's, on purpose.
pub fn ideals(shards: usize, rf: u8, candidates: &[Candidate]) -> Vec<f64> {
    let shards = shards as f64;
    let at = |level: f64| {
        candidates
            .iter()
            .map(move |c| shards.min(level * f64::from(c.weight)))
    };
    let wanted = shards * f64::from(rf);
    let (mut low, mut high) = (0.0, shards * f64::from(rf) + 1.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if at(middle).sum::<f64>() < wanted {
            low = middle
        } else {
            high = middle
        }
    }
    at(high).collect()
}
