//! Defaults and bounds that every replica must share, because `apply` uses them.

use serde::{Deserialize, Serialize};

/// Cluster-wide policy, set when the cluster is initialised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Shards of an index created without a number.
    pub default_shards: u16,
    /// Copies of each shard in each group, for an index created without a number.
    pub default_replication_factor: u8,
    /// Replica groups.
    pub groups: u32,
    /// Copies that must take a write, or it is refused.
    pub min_in_sync: u8,
    /// How long a source is kept, and written to, after reads have left it.
    pub reverse_window_ms: u64,
    /// Migrations working at the same time in the cluster.
    pub max_concurrent_migrations: u32,
    /// Migrations working at the same time that write to one node.
    pub max_migrations_per_target: u32,
    /// Migrations working at the same time that read from one node.
    pub max_migrations_per_source: u32,
    /// Documents a second that one migration may copy; `None` is no limit.
    pub throttle_docs_per_s: Option<u32>,
    /// Bytes of JSON a second that one migration may copy; `None` is no limit.
    pub throttle_bytes_per_s: Option<u64>,
    /// Finished tasks kept; the oldest go first.
    pub finished_tasks_max: u32,
    /// Finished migrations kept, with their operations; the oldest go first.
    pub finished_migrations_max: u32,
    /// Writes that are known again by a client's key; the oldest go first.
    #[serde(default = "idempotency_keys_max")]
    pub idempotency_keys_max: u32,
    /// For how long, in milliseconds.
    #[serde(default = "idempotency_ttl_ms")]
    pub idempotency_ttl_ms: u64,
}

fn idempotency_keys_max() -> u32 {
    100_000
}

fn idempotency_ttl_ms() -> u64 {
    24 * 60 * 60 * 1000
}

/// A policy that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy `{field}` must be {rule}")]
pub struct PolicyError {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_shards: 64,
            default_replication_factor: 1,
            groups: 1,
            min_in_sync: 1,
            reverse_window_ms: 0,
            max_concurrent_migrations: 8,
            max_migrations_per_target: 4,
            max_migrations_per_source: 4,
            throttle_docs_per_s: None,
            throttle_bytes_per_s: None,
            finished_tasks_max: 20_000,
            finished_migrations_max: 5_000,
            idempotency_keys_max: idempotency_keys_max(),
            idempotency_ttl_ms: idempotency_ttl_ms(),
        }
    }
}

impl Policy {
    /// Most shards an index may have: what three symbols of the hidden field can name.
    pub const SHARDS_MAX: u16 = 4096;
    /// Most copies of a shard in one group.
    pub const REPLICATION_FACTOR_MAX: u8 = 16;
    /// Most replica groups.
    pub const GROUPS_MAX: u32 = 64;
    /// Most writes that are known by a client's key: they are in every snapshot.
    pub const IDEMPOTENCY_KEYS_MAX: u32 = 1_000_000;

    /// Checks every field.
    ///
    /// # Errors
    /// [`PolicyError`] naming the first field that is out of bounds.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let rules = [
            (
                (1..=Self::SHARDS_MAX).contains(&self.default_shards),
                "default_shards",
                "from 1 to 4096",
            ),
            (
                (1..=Self::REPLICATION_FACTOR_MAX).contains(&self.default_replication_factor),
                "default_replication_factor",
                "from 1 to 16",
            ),
            (
                (1..=Self::GROUPS_MAX).contains(&self.groups),
                "groups",
                "from 1 to 64",
            ),
            (self.min_in_sync >= 1, "min_in_sync", "at least 1"),
            (
                self.max_concurrent_migrations >= 1,
                "max_concurrent_migrations",
                "at least 1",
            ),
            (
                self.max_migrations_per_target >= 1,
                "max_migrations_per_target",
                "at least 1",
            ),
            (
                self.max_migrations_per_source >= 1,
                "max_migrations_per_source",
                "at least 1",
            ),
            (
                self.throttle_docs_per_s != Some(0),
                "throttle_docs_per_s",
                "at least 1, or absent",
            ),
            (
                self.throttle_bytes_per_s != Some(0),
                "throttle_bytes_per_s",
                "at least 1, or absent",
            ),
            (
                self.finished_migrations_max >= 100,
                "finished_migrations_max",
                "at least 100",
            ),
            (
                self.finished_tasks_max >= 100,
                "finished_tasks_max",
                "at least 100",
            ),
            (
                (1..=Self::IDEMPOTENCY_KEYS_MAX).contains(&self.idempotency_keys_max),
                "idempotency_keys_max",
                "from 1 to 1000000",
            ),
            (
                self.idempotency_ttl_ms >= 1,
                "idempotency_ttl_ms",
                "at least 1",
            ),
        ];
        match rules.iter().find(|(holds, _, _)| !holds) {
            Some((_, field, rule)) => Err(PolicyError { field, rule }),
            None => Ok(()),
        }
    }
}
