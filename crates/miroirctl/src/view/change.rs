//! What came of a change, or would come of it.

use miroir_proto::v1;
use serde::Serialize;

use crate::format;
use crate::output::View;
use crate::table;

/// Moves that the table of a plan names; the JSON has all.
const SHOWN: usize = 20;

/// What came of a change.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// What was asked for.
    change: String,
    /// True when nothing was changed, and the ids are those it would be given now.
    dry_run: bool,
    operation: Option<u64>,
    node: Option<u64>,
    group: Option<u32>,
    nodes: Vec<u64>,
    /// Migrations that do as they were told.
    migrations: Vec<u64>,
    /// Migrations that cannot, and go on.
    left: Vec<u64>,
    /// Whether its operation is done; `null` when nobody waited for that.
    pub done: Option<bool>,
    plan: Option<Plan>,
}

#[derive(Debug, Serialize)]
struct Plan {
    moves: Vec<Move>,
    more: bool,
    documents: Option<u64>,
    bytes: Option<u64>,
    expected_ms: Option<u64>,
    expected_from: String,
    blocked_by: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Move {
    index: String,
    shard: u32,
    group: u32,
    kind: String,
    from: Option<u64>,
    to: Option<u64>,
    source: u64,
    documents: Option<u64>,
    bytes: Option<u64>,
}

impl Changed {
    /// What the cluster answered to `change`.
    #[must_use]
    pub fn new(change: String, reply: v1::ChangeReply) -> Self {
        Self {
            change,
            dry_run: reply.plan.is_some(),
            operation: reply.operation,
            node: reply.node,
            group: reply.group,
            nodes: reply.nodes,
            migrations: reply.migrations,
            left: reply.left,
            done: None,
            plan: reply.plan.map(Into::into),
        }
    }

    fn consequence(&self) -> String {
        let mut parts = Vec::new();
        if let Some(group) = self.group {
            parts.push(format!("group {group} of nodes {}", ids(&self.nodes)));
        }
        if let Some(node) = self.node {
            parts.push(format!("node {node}"));
        }
        if let Some(operation) = self.operation {
            parts.push(format!("operation {operation}"));
        }
        if !self.migrations.is_empty() {
            parts.push(format!("migrations {}", ids(&self.migrations)));
        }
        if !self.left.is_empty() {
            parts.push(format!(
                "too late for migrations {}, which go on",
                ids(&self.left)
            ));
        }
        if parts.is_empty() {
            "done".to_owned()
        } else {
            parts.join("; ")
        }
    }
}

fn ids(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

impl From<v1::Plan> for Plan {
    fn from(plan: v1::Plan) -> Self {
        let view = |one: v1::PlannedMove| Move {
            index: one.index,
            shard: one.shard,
            group: one.group,
            kind: one.kind,
            from: one.from,
            to: one.to,
            source: one.source,
            documents: one.documents,
            bytes: one.bytes,
        };
        Self {
            moves: plan.moves.into_iter().map(view).collect(),
            more: plan.more,
            documents: plan.documents,
            bytes: plan.bytes,
            expected_ms: plan.expected_ms,
            expected_from: plan.expected_from,
            blocked_by: plan.blocked_by,
        }
    }
}

impl View for Changed {
    fn table(&self) -> String {
        match &self.plan {
            None => format!("{}: {}", self.change, self.consequence()),
            Some(plan) => format!(
                "{} would be accepted; nothing was changed\n\n{}",
                self.change,
                plan.table()
            ),
        }
    }
}

impl Plan {
    fn table(&self) -> String {
        let mut text = format!("{}\n\n{}", self.moves(), self.sums());
        for reason in &self.blocked_by {
            text.push_str(&format!("\nwaits: {}", format::one_line(reason)));
        }
        text
    }

    fn moves(&self) -> String {
        let row = |one: &Move| {
            vec![
                one.index.clone(),
                one.shard.to_string(),
                one.group.to_string(),
                one.kind.clone(),
                table::opt(one.from),
                table::opt(one.to),
                one.source.to_string(),
                table::opt(one.documents.map(format::count)),
                table::opt(one.bytes.map(format::bytes)),
            ]
        };
        let header = [
            "INDEX",
            "SHARD",
            "GROUP",
            "KIND",
            "FROM",
            "TO",
            "SOURCE",
            "DOCUMENTS",
            "BYTES",
        ];
        let rows = self.moves.iter().take(SHOWN).map(row).collect();
        let list = table::list(&header, rows, "nothing moves");
        match self.moves.len().saturating_sub(SHOWN) {
            0 => list,
            more => format!("{list}\nand {more} moves like these"),
        }
    }

    fn sums(&self) -> String {
        let expected = match (self.expected_ms, self.expected_from.as_str()) {
            (Some(ms), "throttle") => format!("{}, by the throttle", format::duration(ms)),
            (Some(ms), "history") => format!("{}, as earlier moves took", format::duration(ms)),
            (Some(ms), _) => format::duration(ms),
            (None, _) => "unknown".to_owned(),
        };
        let more = if self.more {
            ", and more after them"
        } else {
            ""
        };
        table::pairs([
            ("moves", format!("{}{more}", self.moves.len())),
            ("documents", table::opt(self.documents.map(format::count))),
            ("bytes", table::opt(self.bytes.map(format::bytes))),
            ("expected time", expected),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_moves_and_what_it_waits_for() {
        let one = v1::PlannedMove {
            index: "books".to_owned(),
            shard: 3,
            group: 1,
            kind: "move".to_owned(),
            from: Some(1),
            to: Some(4),
            source: 1,
            documents: Some(1_000),
            bytes: Some(2_048),
        };
        let plan = v1::Plan {
            moves: vec![one; SHOWN + 2],
            more: true,
            documents: Some(22_000),
            expected_ms: Some(5_000),
            expected_from: "history".to_owned(),
            blocked_by: vec!["node 4 is down".to_owned()],
            ..Default::default()
        };
        let reply = v1::ChangeReply {
            operation: Some(7),
            plan: Some(plan),
            ..Default::default()
        };
        let changed = Changed::new("the drain of node 1".to_owned(), reply);
        let table = changed.table();
        for part in [
            "nothing was changed",
            "and 2 moves like these",
            "22, and more after them",
            "5.0s, as earlier moves took",
            "waits: node 4 is down",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
        let json = serde_json::to_value(&changed).expect("plain data");
        assert_eq!(json["plan"]["moves"][0]["to"], 4);
        assert_eq!(json["dry_run"], true);
    }

    #[test]
    fn what_came_of_it_is_one_line() {
        let reply = v1::ChangeReply {
            migrations: vec![3, 4],
            left: vec![5],
            ..Default::default()
        };
        let changed = Changed::new("the cancellation of operation 2".to_owned(), reply);
        assert_eq!(
            changed.table(),
            "the cancellation of operation 2: migrations 3, 4; too late for migrations 5, which go on"
        );
        let nothing = Changed::new("the release".to_owned(), v1::ChangeReply::default());
        assert_eq!(nothing.table(), "the release: done");
    }
}
