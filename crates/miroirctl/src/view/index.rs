//! Indexes, and the map of one's shards.

use std::collections::{BTreeMap, BTreeSet};

use miroir_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::migration::{phase, replica_state};
use crate::format;
use crate::output::View;
use crate::table;

/// Shards on one line of the map.
const LINE: usize = 64;
/// Shards between two gaps of a line: people count tens.
const GAP: usize = 8;

/// Every index.
#[derive(Debug, Serialize)]
pub struct Indexes {
    indexes: Vec<Summary>,
}

#[derive(Debug, Clone, Serialize)]
struct Summary {
    uid: String,
    /// What nodes call it.
    name: String,
    primary_key: Option<String>,
    shards: u32,
    replication_factor: u32,
    writer: Option<u64>,
    settings_version: u64,
    shards_moving: u32,
    replicas_stale: u32,
    created_at_ms: u64,
    updated_at_ms: u64,
}

impl Summary {
    /// What nodes call it, where that is not its uid. A coordinator that tells none knows of no other names.
    fn other_name(&self) -> Option<&str> {
        (self.name != self.uid).then_some(self.name.as_str())
    }
}

impl From<v1::IndexSummary> for Summary {
    fn from(summary: v1::IndexSummary) -> Self {
        Self {
            name: match summary.name.is_empty() {
                true => summary.uid.clone(),
                false => summary.name,
            },
            uid: summary.uid,
            primary_key: summary.primary_key,
            shards: summary.shards,
            replication_factor: summary.replication_factor,
            writer: summary.writer,
            settings_version: summary.settings_version,
            shards_moving: summary.shards_moving,
            replicas_stale: summary.replicas_stale,
            created_at_ms: summary.created_at_ms,
            updated_at_ms: summary.updated_at_ms,
        }
    }
}

impl From<v1::ListIndexesReply> for Indexes {
    fn from(reply: v1::ListIndexesReply) -> Self {
        Self {
            indexes: reply.indexes.into_iter().map(Summary::from).collect(),
        }
    }
}

impl View for Indexes {
    fn table(&self) -> String {
        let row = |index: &Summary| {
            vec![
                index.uid.clone(),
                table::opt(index.primary_key.as_deref().map(table::text)),
                index.shards.to_string(),
                index.replication_factor.to_string(),
                index.shards_moving.to_string(),
                index.replicas_stale.to_string(),
                table::opt(index.writer),
                format::time(index.updated_at_ms),
                table::opt(index.other_name()),
            ]
        };
        let header = [
            "UID",
            "PRIMARY KEY",
            "SHARDS",
            "RF",
            "MOVING",
            "STALE",
            "WRITER",
            "UPDATED",
            "ON NODES",
        ];
        table::list(
            &header,
            self.indexes.iter().map(row).collect(),
            "no indexes",
        )
    }
}

/// One index with the map of its shards.
#[derive(Debug, Serialize)]
pub struct IndexShown {
    #[serde(flatten)]
    summary: Summary,
    settings: Value,
    shard_map: Vec<Shard>,
    /// The nodes of the cluster, for those that hold nothing of this index.
    #[serde(skip)]
    nodes: BTreeMap<u64, u32>,
}

#[derive(Debug, Clone, Serialize)]
struct Shard {
    shard: usize,
    replicas: Vec<Replica>,
    moving: Option<Move>,
}

#[derive(Debug, Clone, Serialize)]
struct Replica {
    node: u64,
    group: u32,
    state: String,
}

#[derive(Debug, Clone, Serialize)]
struct Move {
    migration: u64,
    phase: String,
    source: u64,
    target: u64,
}

impl IndexShown {
    /// What the coordinator knows of an index, with the nodes of the cluster.
    #[must_use]
    pub fn new(detail: v1::IndexDetail, nodes: &v1::ListNodesReply) -> Self {
        let replica = |replica: &v1::ReplicaRoute| Replica {
            node: replica.node,
            group: replica.group,
            state: replica_state(replica.state()),
        };
        let moving = |moving: &v1::MoveRoute| Move {
            migration: moving.migration,
            phase: phase(moving.phase()),
            source: moving.source,
            target: moving.target,
        };
        let shard = |(shard, route): (usize, &v1::ShardRoute)| Shard {
            shard,
            replicas: route.replicas.iter().map(replica).collect(),
            moving: route.moving.as_ref().map(moving),
        };
        let settings = serde_json::from_str(&detail.settings);
        Self {
            summary: detail.summary.unwrap_or_default().into(),
            settings: settings.unwrap_or(Value::String(detail.settings)),
            shard_map: detail.shards.iter().enumerate().map(shard).collect(),
            nodes: nodes
                .nodes
                .iter()
                .map(|node| (node.id, node.group))
                .collect(),
        }
    }

    /// One letter for what a node has of a shard.
    fn cell(shard: &Shard, node: u64) -> char {
        let held = shard.replicas.iter().find(|replica| replica.node == node);
        match held.map(|replica| replica.state.as_str()) {
            Some("InSync")
                if shard
                    .moving
                    .as_ref()
                    .is_some_and(|moving| moving.source == node) =>
            {
                'S'
            }
            Some("InSync") => 's',
            Some("Mirror") => 'm',
            Some("Building") => 'b',
            Some("Stale") => '!',
            Some(_) => '?',
            None => '.',
        }
    }

    /// A line for every node, a letter for every shard.
    fn map(&self) -> String {
        let held = self.shard_map.iter().flat_map(|shard| &shard.replicas);
        let mut nodes = self.nodes.clone();
        nodes.extend(held.map(|replica| (replica.node, replica.group)));
        let order: BTreeSet<(u32, u64)> = nodes
            .into_iter()
            .map(|(node, group)| (group, node))
            .collect();
        let mut blocks = Vec::new();
        for shards in self.shard_map.chunks(LINE) {
            let first = shards.first().map_or(0, |shard| shard.shard);
            let mut rows = vec![vec![
                "shard".to_owned(),
                String::new(),
                ruler(first, shards.len()),
                String::new(),
            ]];
            for (group, node) in &order {
                let line: String = shards
                    .iter()
                    .map(|shard| Self::cell(shard, *node))
                    .collect();
                let copies = line.chars().filter(|c| *c != '.').count();
                rows.push(vec![
                    format!("node {node}"),
                    format!("group {group}"),
                    gapped(&line),
                    copies.to_string(),
                ]);
            }
            blocks.push(table::list(
                &["NODE", "GROUP", "SHARDS", "COPIES"],
                rows,
                "",
            ));
        }
        blocks.join("\n\n")
    }
}

/// The number of the first shard of every gap, over the letters that follow.
fn ruler(first: usize, shards: usize) -> String {
    let marks = (0..shards)
        .step_by(GAP)
        .map(|at| format!("{:<GAP$}", first + at));
    marks.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn gapped(line: &str) -> String {
    let letters: Vec<char> = line.chars().collect();
    let parts: Vec<String> = letters
        .chunks(GAP)
        .map(|part| part.iter().collect())
        .collect();
    parts.join(" ")
}

impl View for IndexShown {
    fn table(&self) -> String {
        let summary = &self.summary;
        let pairs = table::pairs([
            ("index", summary.uid.clone()),
            (
                "primary key",
                table::opt(summary.primary_key.as_deref().map(table::text)),
            ),
            (
                "shards",
                format!("{}, {} moving", summary.shards, summary.shards_moving),
            ),
            ("copies per group", summary.replication_factor.to_string()),
            ("stale copies", summary.replicas_stale.to_string()),
            (
                "writer",
                summary
                    .writer
                    .map_or_else(|| "none".to_owned(), |id| format!("proxy {id}")),
            ),
            ("settings version", summary.settings_version.to_string()),
            ("created", format::time(summary.created_at_ms)),
            ("updated", format::time(summary.updated_at_ms)),
            ("name on nodes", summary.name.clone()),
        ]);
        let legend =
            "s in sync   S in sync, being moved   m mirror   b building   ! stale   . none";
        let moves = self
            .shard_map
            .iter()
            .filter_map(|shard| Some((shard.shard, shard.moving.as_ref()?)));
        let rows: Vec<_> = moves
            .map(|(shard, moving)| {
                vec![
                    shard.to_string(),
                    format!("node {} -> node {}", moving.source, moving.target),
                    moving.phase.clone(),
                    moving.migration.to_string(),
                ]
            })
            .collect();
        let mut out = format!("{pairs}\n\n{}\n\n{legend}", self.map());
        if !rows.is_empty() {
            out.push_str("\n\n");
            out.push_str(&table::list(
                &["SHARD", "MOVES", "PHASE", "MIGRATION"],
                rows,
                "",
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> IndexShown {
        let replica = |node, group, state: v1::ReplicaState| v1::ReplicaRoute {
            node,
            group,
            state: state.into(),
        };
        let mut shards: Vec<v1::ShardRoute> = (0..10)
            .map(|shard| v1::ShardRoute {
                replicas: vec![replica(1 + shard % 2, 1, v1::ReplicaState::InSync)],
                moving: None,
            })
            .collect();
        shards[2]
            .replicas
            .push(replica(3, 1, v1::ReplicaState::Building));
        shards[2].moving = Some(v1::MoveRoute {
            migration: 9,
            phase: v1::Phase::CatchingUp.into(),
            source: 1,
            target: 3,
        });
        shards[3]
            .replicas
            .push(replica(4, 2, v1::ReplicaState::Stale));
        let summary = v1::IndexSummary {
            uid: "movies".to_owned(),
            shards: 10,
            ..Default::default()
        };
        let detail = v1::IndexDetail {
            summary: Some(summary),
            shards,
            settings: r#"{"a":1}"#.to_owned(),
        };
        let node = |id, group| v1::Node {
            id,
            group,
            ..Default::default()
        };
        let nodes = v1::ListNodesReply {
            nodes: vec![node(1, 1), node(2, 1), node(3, 1), node(4, 2), node(5, 2)],
        };
        IndexShown::new(detail, &nodes)
    }

    #[test]
    fn the_map_has_a_line_for_every_node_and_a_letter_for_every_shard() {
        let expected = "\
NODE    GROUP    SHARDS       COPIES
shard            0        8
node 1  group 1  s.S.s.s. s.  5
node 2  group 1  .s.s.s.s .s  5
node 3  group 1  ..b..... ..  1
node 4  group 2  ...!.... ..  1
node 5  group 2  ........ ..  0";
        assert_eq!(shown().map(), expected);
        assert!(shown().table().ends_with(
            "SHARD  MOVES             PHASE       MIGRATION\n2      node 1 -> node 3  CatchingUp  9"
        ));
    }

    #[test]
    fn the_json_has_every_copy_and_move() {
        let json = serde_json::to_value(shown()).expect("plain data");
        assert_eq!(
            (&json["uid"], &json["settings"]["a"]),
            (&Value::from("movies"), &Value::from(1))
        );
        let shard = &json["shard_map"][2];
        assert_eq!(shard["shard"], 2);
        assert_eq!(
            shard["replicas"][1],
            serde_json::json!({"node": 3, "group": 1, "state": "Building"})
        );
        assert_eq!(shard["moving"]["phase"], "CatchingUp");
        assert_eq!(json["shard_map"][0]["moving"], Value::Null);
    }

    #[test]
    fn the_ruler_stands_over_the_letters() {
        assert_eq!(ruler(64, 20), "64       72       80");
        assert_eq!(gapped("abcdefghijk"), "abcdefgh ijk");
    }
}
