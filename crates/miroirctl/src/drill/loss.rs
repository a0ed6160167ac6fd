//! What the loss of a node would mean, from what the coordinators tell. No clock, no network.

use std::collections::{BTreeMap, BTreeSet};

use miroir_proto::v1;
use serde::Serialize;

use crate::format;
use crate::table;

/// Shards that a table names at most of each kind; JSON has all.
const ROWS: usize = 20;

/// What the loss of a node would mean now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeLoss {
    node: u64,
    url: String,
    group: u32,
    health: String,
    /// Copies on the node.
    copies: usize,
    /// Shards that would have no copy in sync.
    without_copy: usize,
    /// Copies that would be built again on other nodes of the group.
    rebuilt: usize,
    /// Copies that no other node of the group could take.
    without_room: usize,
    shards: Vec<Fate>,
    /// What a drain of the node would move, as far as it is planned now: what is to be built has
    /// the same size.
    estimate: Option<Estimate>,
    /// Why there is no estimate.
    no_estimate: Option<String>,
}

/// What would become of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Fate {
    index: String,
    shard: u32,
    /// Of the copy on the node.
    state: String,
    /// Nodes that have another copy in sync, in any group.
    survivors: Vec<u64>,
    /// Nodes of the group that could take a new copy.
    candidates: Vec<u64>,
    /// The node that would take it as things are now.
    rebuilt_on: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Estimate {
    moves: usize,
    more: bool,
    documents: Option<u64>,
    bytes: Option<u64>,
    expected_ms: Option<u64>,
    expected_from: String,
}

/// What the coordinators tell.
pub struct Known<'a> {
    /// Every node.
    pub nodes: &'a [v1::Node],
    /// Every copy of every shard.
    pub copies: &'a [v1::ShardCopy],
    /// What a drain of the node would do, or why it is refused.
    pub drain: Result<v1::Plan, String>,
}

impl NodeLoss {
    /// Foresees the loss of `node`; `None` when there is no such node.
    #[must_use]
    pub fn of(node: u64, known: &Known<'_>) -> Option<Self> {
        let lost = known.nodes.iter().find(|other| other.id == node)?;
        let mine = known.copies.iter().filter(|copy| copy.node == node);
        let shards: Vec<Fate> = mine.map(|copy| fate(copy, lost, known)).collect();
        let count = |is: fn(&Fate) -> bool| shards.iter().filter(|fate| is(fate)).count();
        let (estimate, no_estimate) = match &known.drain {
            Ok(plan) => (Some(estimate(plan)), None),
            Err(why) => (None, Some(why.clone())),
        };
        Some(Self {
            node,
            url: lost.url.clone(),
            group: lost.group,
            health: lost.health.clone(),
            copies: shards.len(),
            without_copy: count(|fate| fate.survivors.is_empty()),
            rebuilt: count(|fate| !fate.survivors.is_empty() && !fate.candidates.is_empty()),
            without_room: count(|fate| !fate.survivors.is_empty() && fate.candidates.is_empty()),
            shards,
            estimate,
            no_estimate,
        })
    }

    /// Where the node is reached.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What would be out of reach, if anything.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let Self {
            node,
            copies,
            without_copy,
            ..
        } = self;
        (*without_copy > 0).then(|| {
            format!(
                "without node {node}, {without_copy} of the {copies} shards on it have no copy in sync"
            )
        })
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut pairs = vec![
            (
                "if it is lost",
                format!("node {} at {}", self.node, self.url),
            ),
            ("health", self.health.clone()),
            ("copies on it", self.copies.to_string()),
            (
                "shards without a copy in sync",
                self.without_copy.to_string(),
            ),
            ("copies to be built again", self.rebuilt.to_string()),
            (
                "copies without room in the group",
                self.without_room.to_string(),
            ),
        ];
        match (&self.estimate, &self.no_estimate) {
            (Some(estimate), _) => pairs.push(("to be copied", estimate.line())),
            (None, why) => pairs.push((
                "to be copied",
                format!("not known: {}", table::opt(why.as_ref())),
            )),
        }
        let summary = table::pairs(pairs);
        // What is worst comes first.
        let mut worst: Vec<&Fate> = self.shards.iter().collect();
        worst.sort_by_key(|fate| (fate.survivors.len(), fate.candidates.len()));
        let rows: Vec<Vec<String>> = worst.iter().take(ROWS).map(|fate| fate.row()).collect();
        if rows.is_empty() {
            return summary;
        }
        let header = ["INDEX", "SHARD", "STATE", "SURVIVES ON", "BUILT ON"];
        let list = table::list(&header, rows, "");
        let more = match self.shards.len().saturating_sub(ROWS) {
            0 => String::new(),
            more => format!("\nand {more} more"),
        };
        format!("{summary}\n\n{list}{more}")
    }
}

impl Fate {
    fn row(&self) -> Vec<String> {
        let survivors: Vec<String> = self.survivors.iter().map(ToString::to_string).collect();
        let built = match (self.rebuilt_on, self.candidates.as_slice()) {
            _ if self.survivors.is_empty() => "nothing to build it from".to_owned(),
            (Some(node), _) => node.to_string(),
            (None, []) => "no room".to_owned(),
            (None, some) => format!("one of {}", some.len()),
        };
        vec![
            self.index.clone(),
            self.shard.to_string(),
            self.state.clone(),
            table::text(&survivors.join(",")),
            built,
        ]
    }
}

impl Estimate {
    fn line(&self) -> String {
        let more = if self.more { " at first" } else { "" };
        let known =
            |n: Option<u64>, shown: fn(u64) -> String| n.map_or_else(|| "?".to_owned(), shown);
        format!(
            "{} copies{more}, {} documents, {}, {} ({})",
            self.moves,
            known(self.documents, format::count),
            known(self.bytes, format::bytes),
            known(self.expected_ms, format::duration),
            self.expected_from
        )
    }
}

fn fate(copy: &v1::ShardCopy, lost: &v1::Node, known: &Known<'_>) -> Fate {
    let same = |other: &&v1::ShardCopy| other.index == copy.index && other.shard == copy.shard;
    let others = || {
        known
            .copies
            .iter()
            .filter(same)
            .filter(|c| c.node != lost.id)
    };
    let down: BTreeSet<u64> = ids(known.nodes, |node| node.health == "down");
    let holders: BTreeSet<u64> = others().map(|other| other.node).collect();
    let in_sync = others().filter(|other| other.state == "InSync" && !down.contains(&other.node));
    let takes = |node: &v1::Node| {
        node.id != lost.id
            && node.group == lost.group
            && node.admission == "active"
            && node.health != "down"
    };
    let candidates: Vec<u64> = ids(known.nodes, takes)
        .difference(&holders)
        .copied()
        .collect();
    Fate {
        index: copy.index.clone(),
        shard: copy.shard,
        state: copy.state.clone(),
        survivors: in_sync.map(|other| other.node).collect(),
        rebuilt_on: target(copy, known).filter(|node| candidates.contains(node)),
        candidates,
    }
}

fn ids(nodes: &[v1::Node], is: impl Fn(&v1::Node) -> bool) -> BTreeSet<u64> {
    let found = nodes.iter().filter(|node| is(node));
    found.map(|node| node.id).collect()
}

/// Where a drain would move the copy: a lost one is placed by the same rule.
fn target(copy: &v1::ShardCopy, known: &Known<'_>) -> Option<u64> {
    let moves = known.drain.as_ref().ok()?.moves.iter();
    let targets: BTreeMap<(&str, u32), u64> = moves
        .filter(|planned| planned.from == Some(copy.node))
        .filter_map(|planned| Some(((planned.index.as_str(), planned.shard), planned.to?)))
        .collect();
    targets.get(&(copy.index.as_str(), copy.shard)).copied()
}

fn estimate(plan: &v1::Plan) -> Estimate {
    Estimate {
        moves: plan.moves.len(),
        more: plan.more,
        documents: plan.documents,
        bytes: plan.bytes,
        expected_ms: plan.expected_ms,
        expected_from: plan.expected_from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, group: u32, health: &str) -> v1::Node {
        v1::Node {
            id,
            url: format!("http://n{id}"),
            group,
            admission: "active".to_owned(),
            health: health.to_owned(),
            ..v1::Node::default()
        }
    }

    fn copy(shard: u32, node: u64, state: &str) -> v1::ShardCopy {
        v1::ShardCopy {
            index: "books".to_owned(),
            shard,
            group: 1,
            node,
            state: state.to_owned(),
            ..v1::ShardCopy::default()
        }
    }

    fn loss(nodes: &[v1::Node], copies: &[v1::ShardCopy]) -> NodeLoss {
        let drain = Err("not asked".to_owned());
        let known = Known {
            nodes,
            copies,
            drain,
        };
        NodeLoss::of(1, &known).expect("node 1 is there")
    }

    #[test]
    fn what_survives_is_in_sync_on_a_node_that_answers() {
        let nodes = [
            node(1, 1, "up"),
            node(2, 1, "up"),
            node(3, 1, "down"),
            node(4, 2, "up"),
        ];
        // Copies elsewhere than on node 1; without a copy, built again, without room.
        type Case<'a> = (&'a [(u64, &'a str)], [usize; 3]);
        let table: [Case<'_>; 6] = [
            (&[], [1, 0, 0]),
            (&[(2, "InSync")], [0, 0, 1]),
            (&[(2, "Stale")], [1, 0, 0]),
            (&[(2, "Mirror")], [1, 0, 0]),
            (&[(3, "InSync")], [1, 0, 0]),
            (&[(4, "InSync")], [0, 1, 0]),
        ];
        for (others, [without_copy, rebuilt, without_room]) in table {
            let mut copies = vec![copy(0, 1, "InSync")];
            copies.extend(others.iter().map(|(node, state)| copy(0, *node, state)));
            let loss = loss(&nodes, &copies);
            let found = [loss.without_copy, loss.rebuilt, loss.without_room];
            assert_eq!(found, [without_copy, rebuilt, without_room], "{others:?}");
            assert_eq!(loss.complaint().is_some(), without_copy > 0);
        }
    }

    #[test]
    fn a_drain_tells_where_copies_would_go() {
        let nodes = [node(1, 1, "up"), node(2, 1, "up"), node(3, 1, "up")];
        let copies = [copy(7, 1, "InSync"), copy(7, 2, "InSync")];
        let moved = v1::PlannedMove {
            index: "books".to_owned(),
            shard: 7,
            from: Some(1),
            to: Some(3),
            ..v1::PlannedMove::default()
        };
        let plan = v1::Plan {
            moves: vec![moved],
            documents: Some(1_200),
            expected_from: "unknown".to_owned(),
            ..v1::Plan::default()
        };
        let known = Known {
            nodes: &nodes,
            copies: &copies,
            drain: Ok(plan),
        };
        let loss = NodeLoss::of(1, &known).expect("it is there");
        let expected = "\
if it is lost                     node 1 at http://n1
health                            up
copies on it                      1
shards without a copy in sync     0
copies to be built again          1
copies without room in the group  0
to be copied                      1 copies, 1,200 documents, ?, ? (unknown)

INDEX  SHARD  STATE   SURVIVES ON  BUILT ON
books  7      InSync  2            3";
        assert_eq!(loss.table(), expected);
        assert_eq!(NodeLoss::of(9, &known), None);
    }

    #[test]
    fn a_node_without_copies_is_missed_by_nobody() {
        let loss = loss(
            &[node(1, 1, "up"), node(2, 1, "up")],
            &[copy(0, 2, "InSync")],
        );
        assert_eq!((loss.copies, loss.complaint()), (0, None));
    }
}
