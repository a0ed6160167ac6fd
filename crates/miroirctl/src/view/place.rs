//! The policy, and where copies are.

use miroir_proto::v1;
use serde::Serialize;

use crate::format;
use crate::output::View;
use crate::table;

/// The policy, and whether automatic moves are held.
#[derive(Debug, Serialize)]
pub struct PolicyShown {
    default_shards: u32,
    default_replication_factor: u32,
    min_in_sync: u32,
    reverse_window_ms: u64,
    max_concurrent_migrations: u32,
    max_migrations_per_target: u32,
    max_migrations_per_source: u32,
    throttle_docs_per_s: Option<u32>,
    throttle_bytes_per_s: Option<u64>,
    finished_tasks_max: u32,
    finished_migrations_max: u32,
    idempotency_keys_max: u32,
    idempotency_ttl_ms: u64,
    hold: Option<Hold>,
}

#[derive(Debug, Serialize)]
struct Hold {
    reason: String,
    since_ms: u64,
}

impl From<v1::Topology> for PolicyShown {
    fn from(topology: v1::Topology) -> Self {
        let policy = topology.policy.unwrap_or_default();
        Self {
            default_shards: policy.default_shards,
            default_replication_factor: policy.default_replication_factor,
            min_in_sync: policy.min_in_sync,
            reverse_window_ms: policy.reverse_window_ms,
            max_concurrent_migrations: policy.max_concurrent_migrations,
            max_migrations_per_target: policy.max_migrations_per_target,
            max_migrations_per_source: policy.max_migrations_per_source,
            throttle_docs_per_s: policy.throttle_docs_per_s,
            throttle_bytes_per_s: policy.throttle_bytes_per_s,
            finished_tasks_max: policy.finished_tasks_max,
            finished_migrations_max: policy.finished_migrations_max,
            idempotency_keys_max: policy.idempotency_keys_max,
            idempotency_ttl_ms: policy.idempotency_ttl_ms,
            hold: topology.hold.map(|hold| Hold {
                reason: hold.reason,
                since_ms: hold.since_ms,
            }),
        }
    }
}

impl View for PolicyShown {
    fn table(&self) -> String {
        let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
        let hold = self.hold.as_ref().map(|hold| {
            format!(
                "{}, since {}",
                format::one_line(&hold.reason),
                format::time(hold.since_ms)
            )
        });
        table::pairs([
            ("shards", self.default_shards.to_string()),
            (
                "replication factor",
                self.default_replication_factor.to_string(),
            ),
            (
                "copies that must take a write",
                self.min_in_sync.to_string(),
            ),
            ("reverse window", format::duration(self.reverse_window_ms)),
            (
                "migrations at a time",
                self.max_concurrent_migrations.to_string(),
            ),
            ("  to one node", self.max_migrations_per_target.to_string()),
            (
                "  from one node",
                self.max_migrations_per_source.to_string(),
            ),
            (
                "throttle, documents/s",
                limit(self.throttle_docs_per_s.map(|n| n.to_string())),
            ),
            (
                "throttle, bytes/s",
                limit(self.throttle_bytes_per_s.map(|n| n.to_string())),
            ),
            ("finished tasks kept", self.finished_tasks_max.to_string()),
            (
                "finished migrations kept",
                self.finished_migrations_max.to_string(),
            ),
            (
                "idempotency keys kept",
                self.idempotency_keys_max.to_string(),
            ),
            ("  for", format::duration(self.idempotency_ttl_ms)),
            ("automatic moves held", table::opt(hold)),
        ])
    }
}

/// Copies of shards.
#[derive(Debug, Serialize)]
pub struct Shards {
    copies: Vec<Copy>,
}

/// One copy of one shard.
#[derive(Debug, Serialize)]
pub(super) struct Copy {
    index: String,
    shard: u32,
    group: u32,
    node: u64,
    state: String,
    pinned: bool,
    moving: Option<u64>,
}

impl From<v1::ShardCopy> for Copy {
    fn from(copy: v1::ShardCopy) -> Self {
        Self {
            index: copy.index,
            shard: copy.shard,
            group: copy.group,
            node: copy.node,
            state: copy.state,
            pinned: copy.pinned,
            moving: copy.moving,
        }
    }
}

impl From<v1::ListShardsReply> for Shards {
    fn from(reply: v1::ListShardsReply) -> Self {
        Self {
            copies: reply.copies.into_iter().map(Into::into).collect(),
        }
    }
}

/// A table of copies.
pub(super) fn copies(copies: &[Copy]) -> String {
    let row = |copy: &Copy| {
        vec![
            copy.index.clone(),
            copy.shard.to_string(),
            copy.group.to_string(),
            copy.node.to_string(),
            copy.state.clone(),
            if copy.pinned { "yes" } else { "no" }.to_owned(),
            table::opt(copy.moving),
        ]
    };
    let header = [
        "INDEX",
        "SHARD",
        "GROUP",
        "NODE",
        "STATE",
        "PINNED",
        "MIGRATION",
    ];
    table::list(&header, copies.iter().map(row).collect(), "no copies")
}

impl View for Shards {
    fn table(&self) -> String {
        copies(&self.copies)
    }
}

/// Why a shard is where it is.
#[derive(Debug, Serialize)]
pub struct Explained {
    lines: Vec<String>,
}

impl From<v1::ExplainShardReply> for Explained {
    fn from(reply: v1::ExplainShardReply) -> Self {
        Self { lines: reply.lines }
    }
}

impl View for Explained {
    fn table(&self) -> String {
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| format::one_line(line))
            .collect();
        lines.join("\n")
    }
}
