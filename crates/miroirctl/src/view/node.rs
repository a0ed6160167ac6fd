//! Nodes and replica groups.

use miroir_proto::v1;
use serde::Serialize;

use super::place::{self, Copy};
use super::some_text;
use crate::format;
use crate::output::View;
use crate::table;

/// Every node.
#[derive(Debug, Serialize)]
pub struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: u64,
    url: String,
    group: u32,
    zone: Option<String>,
    weight: u32,
    version: String,
    admission: String,
    health: String,
    replicas: u32,
    documents: Option<u64>,
    queue: Option<u64>,
    last_error: Option<String>,
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Self {
        Self {
            id: node.id,
            url: node.url,
            group: node.group,
            zone: node.zone,
            weight: node.weight,
            version: node.version,
            admission: node.admission,
            health: node.health,
            replicas: node.replicas,
            documents: node.documents,
            queue: node.queue,
            last_error: some_text(node.last_error),
        }
    }
}

impl From<v1::ListNodesReply> for Nodes {
    fn from(reply: v1::ListNodesReply) -> Self {
        Self {
            nodes: reply.nodes.into_iter().map(Into::into).collect(),
        }
    }
}

/// One node with the copies it holds.
#[derive(Debug, Serialize)]
pub struct NodeShown {
    #[serde(flatten)]
    node: Node,
    copies: Vec<Copy>,
    /// Operations about it that are not finished.
    operations: Vec<u64>,
}

impl From<v1::NodeDetail> for NodeShown {
    fn from(detail: v1::NodeDetail) -> Self {
        Self {
            node: detail.node.unwrap_or_default().into(),
            copies: detail.copies.into_iter().map(Into::into).collect(),
            operations: detail.operations,
        }
    }
}

impl View for NodeShown {
    fn table(&self) -> String {
        let node = &self.node;
        let operations: Vec<String> = self.operations.iter().map(ToString::to_string).collect();
        let pairs = table::pairs([
            ("node", format!("{} at {}", node.id, node.url)),
            ("group", node.group.to_string()),
            ("zone", table::opt(node.zone.as_deref())),
            ("weight", node.weight.to_string()),
            ("version", table::text(&node.version)),
            ("admission", node.admission.clone()),
            ("health", node.health.clone()),
            ("documents", table::opt(node.documents.map(format::count))),
            ("queue", table::opt(node.queue)),
            ("operations", table::text(&operations.join(", "))),
            (
                "last error",
                table::opt(node.last_error.as_deref().map(table::text)),
            ),
        ]);
        format!("{pairs}\n\n{}", place::copies(&self.copies))
    }
}

impl View for Nodes {
    fn table(&self) -> String {
        let row = |node: &Node| {
            vec![
                node.id.to_string(),
                table::text(&node.url),
                node.group.to_string(),
                table::opt(node.zone.as_deref()),
                node.weight.to_string(),
                table::text(&node.version),
                node.admission.clone(),
                node.health.clone(),
                node.replicas.to_string(),
                table::opt(node.documents.map(format::count)),
                table::opt(node.queue),
                table::opt(node.last_error.as_deref().map(table::text)),
            ]
        };
        let header = [
            "ID",
            "URL",
            "GROUP",
            "ZONE",
            "WEIGHT",
            "VERSION",
            "ADMISSION",
            "HEALTH",
            "COPIES",
            "DOCUMENTS",
            "QUEUE",
            "ERROR",
        ];
        table::list(
            &header,
            self.nodes.iter().map(row).collect(),
            "no nodes; add one with `miroirctl node add URL`",
        )
    }
}

/// What `node add` did.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The node's id.
    pub node: u64,
    /// The operation that gives it its share; none when it was there before.
    pub operation: Option<u64>,
    /// False when it was there before.
    pub added: bool,
    /// Whether it has its share; `null` when nobody waited for that.
    pub done: Option<bool>,
}

impl View for Added {
    fn table(&self) -> String {
        let node = self.node;
        match (self.operation, self.added) {
            (Some(operation), true) => format!("node {node} is added by operation {operation}"),
            (_, true) => format!("node {node} is added"),
            (_, false) => format!("node {node} is already in the cluster"),
        }
    }
}

/// Every replica group.
#[derive(Debug, Serialize)]
pub struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    id: u32,
    state: String,
    nodes: Vec<u64>,
}

impl From<v1::ListGroupsReply> for Groups {
    fn from(reply: v1::ListGroupsReply) -> Self {
        let view = |v1::Group { id, state, nodes }| Group { id, state, nodes };
        Self {
            groups: reply.groups.into_iter().map(view).collect(),
        }
    }
}

impl View for Groups {
    fn table(&self) -> String {
        let row = |group: &Group| {
            let nodes: Vec<String> = group.nodes.iter().map(ToString::to_string).collect();
            vec![
                group.id.to_string(),
                group.state.clone(),
                table::text(&nodes.join(", ")),
            ]
        };
        table::list(
            &["ID", "STATE", "NODES"],
            self.groups.iter().map(row).collect(),
            "no groups",
        )
    }
}
