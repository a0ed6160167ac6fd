//! The placement rules as a flow network.
//!
//! ```text
//!  shard --(crowded 0, 1, 2..)--> (shard, zone) --(moved, regret)--> node --(base)--------> sink
//!        \------------(moved, regret)-------------------------------> node --(above_base)-/
//! ```
//!
//! Each shard sends `rf` units. A shard reaches a node by one edge of capacity one, so copies are
//! distinct; nodes let through what their quota allows, so the load is bounded; the rest is cost.

use std::collections::BTreeMap;

use super::flow::{Cost, EdgeId, Network, Vertex};
use super::quota::quotas;
use super::{Candidate, Holder, Scope, Score, shard_id};
use crate::id::NodeId;

/// Low bits of a hash that do not count towards the regret. The 40 that remain can be added up
/// along any path (two edges for each of 65,536 shards at the very most) without overflow.
const HASH_BITS_DROPPED: u32 = 24;

/// What a shard with pinned copies pays for any other copy: more than every shard moving as often as it can.
const PINNED: i64 = 1 << 32;

/// The best placement of as many shards as `held` has entries, given who holds them now.
///
/// Candidates are in id order, distinct, with positive weights, and at least `rf` of them; nodes
/// that hold a shard and are no candidates lose it.
pub(super) fn best_placement(
    scope: &Scope<'_>,
    rf: u8,
    held: &[Vec<Holder>],
    candidates: &[&Candidate],
) -> Vec<Vec<NodeId>> {
    let mut network = Network::default();
    let sink = network.add_vertex();
    let nodes = add_nodes(&mut network, sink, held.len(), rf, candidates);
    let zones = shared_zones(rf, candidates);
    let mut shards = Vec::with_capacity(held.len());
    for (shard, holders) in held.iter().enumerate() {
        let prices = prices(scope, shard, holders, candidates);
        shards.push(add_shard(&mut network, rf, &zones, &nodes, &prices));
    }
    for shard in &shards {
        for _ in 0..rf {
            // Quotas add up to at least every copy and none exceeds the number of shards, so
            // a placement exists (Gale-Ryser) and a way to it from any part of it.
            assert!(
                network.send_unit(shard.vertex, sink),
                "quotas leave room for every copy"
            );
        }
    }
    let placed = shards.iter().enumerate();
    placed
        .map(|(shard, edges)| chosen_nodes(scope, shard, edges, &network, candidates))
        .collect()
}

/// A shard's vertex and its edge to each candidate, in candidate order.
struct ShardEdges {
    vertex: Vertex,
    to_node: Vec<EdgeId>,
}

fn add_nodes(
    network: &mut Network,
    sink: Vertex,
    shards: usize,
    rf: u8,
    candidates: &[&Candidate],
) -> Vec<Vertex> {
    let shards = u32::try_from(shards).expect("shard ids are 16 bits");
    let weights: Vec<u32> = candidates
        .iter()
        .map(|candidate| candidate.weight)
        .collect();
    let mut vertices = Vec::with_capacity(candidates.len());
    for quota in quotas(shards, rf, &weights) {
        let vertex = network.add_vertex();
        network.add_edge(vertex, sink, quota.base, Cost::default());
        if quota.rounds_up {
            network.add_edge(
                vertex,
                sink,
                1,
                Cost {
                    above_base: 1,
                    ..Cost::default()
                },
            );
        }
        vertices.push(vertex);
    }
    vertices
}

/// The zones in which two copies of a shard could meet, each as positions of candidates. Other
/// zones cannot be crowded and need no vertex: without zones, or with one copy, there are none.
fn shared_zones(rf: u8, candidates: &[&Candidate]) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, candidate) in candidates.iter().enumerate() {
        if let Some(zone) = &candidate.zone {
            members.entry(zone).or_default().push(position);
        }
    }
    members
        .into_values()
        .filter(|nodes| rf > 1 && nodes.len() > 1)
        .collect()
}

/// What a copy of the shard costs on each candidate.
fn prices(
    scope: &Scope<'_>,
    shard: usize,
    holders: &[Holder],
    candidates: &[&Candidate],
) -> Vec<Cost> {
    // Giving up a pinned copy costs more than all moves there can be.
    let pinned_surcharge = if holders.iter().any(|h| h.pinned) {
        PINNED
    } else {
        0
    };
    let price = |candidate: &&Candidate| {
        let score = Score::new(scope, shard_id(shard), candidate.node);
        let regret = (u64::MAX - score.hash) >> HASH_BITS_DROPPED;
        let held = holders.iter().find(|h| h.node == candidate.node);
        Cost {
            moved: match held {
                Some(holder) if holder.pinned => 0,
                Some(_) => pinned_surcharge,
                None => pinned_surcharge + 1,
            },
            regret: i64::try_from(regret).expect("40 bits fit"),
            ..Cost::default()
        }
    };
    candidates.iter().map(price).collect()
}

fn add_shard(
    network: &mut Network,
    rf: u8,
    zones: &[Vec<usize>],
    nodes: &[Vertex],
    prices: &[Cost],
) -> ShardEdges {
    let vertex = network.add_vertex();
    let mut entry = vec![vertex; nodes.len()];
    for members in zones {
        let zone = network.add_vertex();
        // The n-th copy in a zone meets n - 1 others; rising costs make even spread the cheapest.
        for others in 0..members.len().min(usize::from(rf)) {
            let crowded = i64::try_from(others).expect("at most the replication factor");
            network.add_edge(
                vertex,
                zone,
                1,
                Cost {
                    crowded,
                    ..Cost::default()
                },
            );
        }
        members.iter().for_each(|member| entry[*member] = zone);
    }
    let per_node = entry.into_iter().zip(nodes).zip(prices);
    let to_node = per_node.map(|((from, node), price)| network.add_edge(from, *node, 1, *price));
    ShardEdges {
        vertex,
        to_node: to_node.collect(),
    }
}

fn chosen_nodes(
    scope: &Scope<'_>,
    shard: usize,
    edges: &ShardEdges,
    network: &Network,
    candidates: &[&Candidate],
) -> Vec<NodeId> {
    let pairs = edges.to_node.iter().zip(candidates);
    let used = pairs.filter(|(edge, _)| network.is_used(**edge));
    let mut nodes: Vec<NodeId> = used.map(|(_, candidate)| candidate.node).collect();
    Score::sort_best_first(scope, shard_id(shard), &mut nodes);
    nodes
}
