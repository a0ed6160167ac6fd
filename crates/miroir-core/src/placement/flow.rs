//! Minimum-cost flow, one unit at a time.
//!
//! Successive shortest paths with potentials: each unit takes the cheapest path that is left,
//! which may reroute units sent before, and the total stays the minimum for what has been sent.
//! Everything is ordered by vertex number, so equal inputs give equal flows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::{Add, AddAssign, Neg, Sub};

/// What an edge costs. The fields are in order of precedence: no amount of a later one makes up
/// for one unit of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Copies above a node's rounded-down ideal; paid so that every node reaches that first.
    pub(super) above_base: i64,
    /// Copies that go to a node that does not hold the shard.
    pub(super) moved: i64,
    /// Pairs of copies of one shard that share a zone.
    pub(super) crowded: i64,
    /// Score given up, see `solve`.
    pub(super) regret: i64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            above_base: self.above_base + other.above_base,
            moved: self.moved + other.moved,
            crowded: self.crowded + other.crowded,
            regret: self.regret + other.regret,
        }
    }
}

impl Neg for Cost {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            above_base: -self.above_base,
            moved: -self.moved,
            crowded: -self.crowded,
            regret: -self.regret,
        }
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// A vertex of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Vertex(usize);

/// An edge of a [`Network`]; its reverse, which takes units back, is the number with the last
/// bit flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EdgeId(usize);

struct Edge {
    to: Vertex,
    spare: u32,
    cost: Cost,
}

/// The best path found so far to a vertex, valid in one search only.
#[derive(Clone, Copy, Default)]
struct Label {
    search: u64,
    distance: Cost,
    via: Option<EdgeId>,
}

/// A directed graph with capacities, non-negative costs, and the flow sent through it so far.
#[derive(Default)]
pub(super) struct Network {
    edges: Vec<Edge>,
    outgoing: Vec<Vec<EdgeId>>,
    /// Keeps `cost + potential[from] - potential[to]` non-negative on every edge with room, also
    /// on reverse edges, whose own cost is negative: without it the search below would be wrong.
    potential: Vec<Cost>,
    labels: Vec<Label>,
    search: u64,
}

impl Network {
    pub(super) fn add_vertex(&mut self) -> Vertex {
        self.outgoing.push(Vec::new());
        self.potential.push(Cost::default());
        self.labels.push(Label::default());
        Vertex(self.outgoing.len() - 1)
    }

    /// Adds an edge. All edges are added before the first unit is sent.
    pub(super) fn add_edge(
        &mut self,
        from: Vertex,
        to: Vertex,
        capacity: u32,
        cost: Cost,
    ) -> EdgeId {
        let id = EdgeId(self.edges.len());
        self.edges.push(Edge {
            to,
            spare: capacity,
            cost,
        });
        self.edges.push(Edge {
            to: from,
            spare: 0,
            cost: -cost,
        });
        self.outgoing[from.0].push(id);
        self.outgoing[to.0].push(EdgeId(id.0 ^ 1));
        id
    }

    /// Whether an edge carries any flow.
    pub(super) fn is_used(&self, edge: EdgeId) -> bool {
        self.edges[edge.0 ^ 1].spare > 0
    }

    /// Sends one unit the cheapest way; `false`, with nothing changed, if there is no way.
    pub(super) fn send_unit(&mut self, from: Vertex, to: Vertex) -> bool {
        let Some(settled) = self.shortest_path(from, to) else {
            return false;
        };
        // Only what is nearer than the goal changes: shifting all potentials by the same amount
        // makes no difference, and this way a short search stays cheap in a large network.
        let goal = self.labels[to.0].distance;
        for vertex in settled {
            let nearer = self.labels[vertex.0].distance - goal;
            self.potential[vertex.0] += nearer;
        }
        let mut at = to;
        while let Some(EdgeId(edge)) = self.labels[at.0].via {
            self.edges[edge].spare -= 1;
            self.edges[edge ^ 1].spare += 1;
            at = self.edges[edge ^ 1].to;
        }
        true
    }

    /// Dijkstra's search, up to `goal`: labels the way there and returns the vertices settled.
    fn shortest_path(&mut self, start: Vertex, goal: Vertex) -> Option<Vec<Vertex>> {
        self.search += 1;
        let mut settled = Vec::new();
        let mut queue = BinaryHeap::new();
        self.improve(start, Cost::default(), None);
        queue.push(Reverse((Cost::default(), start)));
        while let Some(Reverse((distance, at))) = queue.pop() {
            if distance > self.labels[at.0].distance {
                continue;
            }
            if at == goal {
                return Some(settled);
            }
            settled.push(at);
            for position in 0..self.outgoing[at.0].len() {
                let id = self.outgoing[at.0][position];
                let edge = &self.edges[id.0];
                let to = edge.to;
                let reduced = edge.cost + self.potential[at.0] - self.potential[to.0];
                if edge.spare > 0 && self.improve(to, distance + reduced, Some(id)) {
                    queue.push(Reverse((distance + reduced, to)));
                }
            }
        }
        None
    }

    /// Labels a vertex if this is the first or a strictly shorter way to it in this search.
    fn improve(&mut self, vertex: Vertex, distance: Cost, via: Option<EdgeId>) -> bool {
        let label = &mut self.labels[vertex.0];
        let better = label.search != self.search || distance < label.distance;
        if better {
            *label = Label {
                search: self.search,
                distance,
                via,
            };
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::{Cost, Network};

    fn moved(moved: i64) -> Cost {
        Cost {
            moved,
            ..Cost::default()
        }
    }

    #[test]
    fn a_later_unit_reroutes_an_earlier_one() {
        let mut network = Network::default();
        let [left, right, one, two, sink] = [(); 5].map(|()| network.add_vertex());
        let left_one = network.add_edge(left, one, 1, moved(0));
        let left_two = network.add_edge(left, two, 1, moved(5));
        let right_one = network.add_edge(right, one, 1, moved(1));
        network.add_edge(one, sink, 1, moved(0));
        network.add_edge(two, sink, 1, moved(0));

        assert!(network.send_unit(left, sink));
        assert!(network.is_used(left_one) && !network.is_used(left_two));
        assert!(network.send_unit(right, sink));
        assert!(network.is_used(right_one) && network.is_used(left_two));
        assert!(!network.is_used(left_one));
        assert!(
            !network.send_unit(right, sink),
            "both ways into the sink are full"
        );
    }

    #[test]
    fn an_earlier_field_outweighs_any_amount_of_a_later_one() {
        let mut network = Network::default();
        let [start, sink] = [(); 2].map(|()| network.add_vertex());
        let crowded = Cost {
            crowded: 1,
            ..Cost::default()
        };
        let regretted = Cost {
            regret: i64::from(u32::MAX),
            ..Cost::default()
        };
        let avoided = network.add_edge(start, sink, 1, crowded);
        let taken = network.add_edge(start, sink, 1, regretted);
        assert!(network.send_unit(start, sink));
        assert!(network.is_used(taken) && !network.is_used(avoided));
    }
}
