//! Operations, and how far they are.

use miroir_proto::v1;
use serde::Serialize;

use super::some_text;
use crate::format;
use crate::output::View;
use crate::table;

/// Every operation.
#[derive(Debug, Serialize)]
pub struct Operations {
    operations: Vec<OperationShown>,
}

/// One operation.
#[derive(Debug, Serialize)]
pub struct OperationShown {
    id: u64,
    kind: String,
    state: String,
    paused: bool,
    node: Option<u64>,
    group: Option<u32>,
    index: Option<String>,
    migrations: Vec<u64>,
    migrations_done: u32,
    /// Shards whose migration an operator gave up.
    excused: u32,
    documents_done: u64,
    documents_total: u64,
    bytes_done: u64,
    documents_per_s: Option<u64>,
    eta_ms: Option<u64>,
    created_at_ms: u64,
    finished_at_ms: Option<u64>,
    last_error: Option<String>,
}

impl From<v1::Operation> for OperationShown {
    fn from(operation: v1::Operation) -> Self {
        Self {
            id: operation.id,
            kind: operation.kind,
            state: operation.state,
            paused: operation.paused,
            node: operation.node,
            group: operation.group,
            index: operation.index,
            migrations: operation.migrations,
            migrations_done: operation.migrations_done,
            excused: operation.excused,
            documents_done: operation.documents_done,
            documents_total: operation.documents_total,
            bytes_done: operation.bytes_done,
            documents_per_s: operation.documents_per_s,
            eta_ms: operation.eta_ms,
            created_at_ms: operation.created_at_ms,
            finished_at_ms: operation.finished_at_ms,
            last_error: some_text(operation.last_error),
        }
    }
}

impl From<v1::ListOperationsReply> for Operations {
    fn from(reply: v1::ListOperationsReply) -> Self {
        Self {
            operations: reply.operations.into_iter().map(Into::into).collect(),
        }
    }
}

impl OperationShown {
    /// What it is about, as far as one thing can be named.
    fn about(&self) -> Option<String> {
        let node = self.node.map(|node| format!("node {node}"));
        let group = self.group.map(|group| format!("group {group}"));
        node.or(group).or_else(|| self.index.clone())
    }

    fn state(&self) -> String {
        if self.paused {
            format!("{}, paused", self.state)
        } else {
            self.state.clone()
        }
    }

    fn finished(&self) -> String {
        format!("{}/{}", self.migrations_done, self.migrations.len())
    }

    fn took(&self) -> Option<String> {
        let end = self.finished_at_ms?;
        Some(format::duration(end.saturating_sub(self.created_at_ms)))
    }
}

impl View for Operations {
    fn table(&self) -> String {
        let row = |o: &OperationShown| {
            vec![
                o.id.to_string(),
                o.kind.clone(),
                table::opt(o.about()),
                o.state(),
                o.finished(),
                format::time(o.created_at_ms),
                table::opt(o.took()),
            ]
        };
        let header = [
            "ID", "KIND", "ABOUT", "STATE", "FINISHED", "CREATED", "TOOK",
        ];
        table::list(
            &header,
            self.operations.iter().map(row).collect(),
            "no operations",
        )
    }
}

impl View for OperationShown {
    fn table(&self) -> String {
        let documents = format!(
            "{} of {}, {}",
            format::count(self.documents_done),
            format::count(self.documents_total),
            format::bytes(self.bytes_done)
        );
        let speed = self
            .documents_per_s
            .map(|speed| format!("{} documents/s", format::count(speed)));
        table::pairs([
            ("operation", format!("{} ({})", self.id, self.kind)),
            ("about", table::opt(self.about())),
            ("state", self.state()),
            ("moves finished", self.finished()),
            ("given up", self.excused.to_string()),
            ("documents", documents),
            ("speed", table::opt(speed)),
            ("left", table::opt(self.eta_ms.map(format::duration))),
            ("created", format::time(self.created_at_ms)),
            ("took", table::opt(self.took())),
            (
                "last error",
                table::opt(self.last_error.as_deref().map(table::text)),
            ),
        ])
    }
}
