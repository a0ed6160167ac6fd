//! What one coordinator is told at its start: one TOML file, overridden by the environment.
//!
//! Everything is read and checked before a port is bound. A key that does not exist is refused
//! by name, so a spelling mistake cannot silently leave a default in force.
//!
//! A field `a` of a section `b` is overridden by `MIROIR_COORDINATOR__B__A`, a field of no
//! section by `MIROIR_COORDINATOR__A`; the value is TOML, or a plain string where TOML would
//! want quotes. The two secrets have their own variables, `MIROIR_CLUSTER_TOKEN` and
//! `MIROIR_NODE_MASTER_KEY`.

mod check;
mod load;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use miroir_meili::Secret;
use serde::{Deserialize, Deserializer};

pub use load::ConfigError;

/// The configuration of one coordinator.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Number of this coordinator, from 1. Never reuse the number of one whose disk was lost.
    pub id: u64,
    /// Name of the cluster, the same on all coordinators. It keeps those of different clusters
    /// apart, on disk and on the network.
    pub cluster: String,
    /// Directory of the Raft log and snapshots. Created when absent.
    pub data_dir: PathBuf,
    /// Where administration, catalog and routing are served.
    pub api_addr: SocketAddr,
    /// Where consensus is served to the other coordinators.
    pub raft_addr: SocketAddr,
    /// Where administration is served over plain HTTP, under `/_miroir/`.
    pub http_addr: SocketAddr,
    /// All coordinators of the cluster, this one included, and how each is reached from the
    /// others and from proxies. Used once, when the cluster is initialised, and to check what
    /// this one is.
    pub peers: Vec<Peer>,
    /// Token that proxies, coordinators and operators show each other.
    /// `MIROIR_CLUSTER_TOKEN` overrides it.
    #[serde(deserialize_with = "secret")]
    pub cluster_token: Option<Secret>,
    /// File whose content is the cluster token; give either this or the token.
    pub cluster_token_file: Option<PathBuf>,
    /// Master key of the Meilisearch nodes, one for the fleet. `MIROIR_NODE_MASTER_KEY`
    /// overrides it.
    #[serde(deserialize_with = "secret")]
    pub node_master_key: Option<Secret>,
    /// File whose content is the master key; give either this or the key.
    pub node_master_key_file: Option<PathBuf>,
    /// How long a proxy may write after its last answered renewal, in milliseconds.
    pub lease_ms: u32,
    /// How long a proxy may read without contact to a coordinator, in milliseconds.
    pub static_reads_ms: u64,
    /// How long a request that was sent to a node may still arrive there after its connection
    /// was given up, in milliseconds.
    pub late_request_ms: u64,
    /// How long a shutdown waits for open calls, in milliseconds.
    pub drain_ms: u64,
    /// What is logged, as `tracing` filter directives. `RUST_LOG` overrides it.
    pub log: String,
    /// Consensus timings.
    pub raft: RaftConfig,
    /// How nodes are watched and called.
    pub nodes: NodesConfig,
    /// How shards are moved.
    pub migration: MigrationConfig,
    /// How tasks are followed on the nodes.
    pub tasks: TasksConfig,
    /// How copies are compared in the background.
    pub scrub: ScrubConfig,
    /// How nodes' settings are compared with the desired ones.
    pub settings: SettingsConfig,
    /// Where finished tasks may be sent.
    pub webhooks: WebhooksConfig,
}

/// A coordinator as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its number.
    pub id: u64,
    /// URL of its API (`http://10.0.0.1:7710`).
    pub api_url: String,
    /// URL of its consensus service.
    pub raft_url: String,
    /// URL of its administration over plain HTTP, to which the others send those who ask them; without it they
    /// can only say that they do not lead.
    #[serde(default)]
    pub http_url: Option<String>,
}

/// Consensus timings. They must be the same on all coordinators.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftConfig {
    /// Time between heartbeats, in milliseconds. One replication call, with the disk of the
    /// follower, has to fit into it.
    pub heartbeat_ms: u64,
    /// Time without a leader after which the first coordinator campaigns, in milliseconds.
    pub election_min_ms: u64,
    /// Time after that within which all others do, in milliseconds; less than `election_min_ms`.
    pub election_span_ms: u64,
    /// Log entries after which a snapshot is taken.
    pub snapshot_every_entries: u64,
    /// How long a proposal waits to be committed before its fate is called unknown, in
    /// milliseconds.
    pub propose_timeout_ms: u64,
}

/// How nodes are watched and called.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodesConfig {
    /// Time between two looks at a node, in milliseconds.
    pub health_interval_ms: u64,
    /// How long such a look may take, in milliseconds.
    pub health_timeout_ms: u64,
    /// Failed looks in a row after which a node counts as down.
    pub down_after: u32,
    /// How long a connection to a node may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long any other call to a node may take, in milliseconds.
    pub request_timeout_ms: u64,
}

/// How shards are moved.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MigrationConfig {
    /// Documents copied with one request.
    pub copy_chunk_docs: u32,
    /// How long client writes to a shard may be held behind its fence before the migration goes
    /// back to catching up, in milliseconds.
    pub fence_budget_ms: u64,
    /// Time between two plans of repair, in milliseconds.
    pub repair_interval_ms: u64,
    /// How long a node may be down before what it holds is built elsewhere, in milliseconds.
    pub lost_after_ms: u64,
    /// Whether copying slows down while its nodes are busy.
    pub adaptive: bool,
    /// The slowest it then copies, in documents a second.
    pub adaptive_docs_per_s_min: u32,
    /// Unfinished tasks above which a node counts as busy.
    pub adaptive_queue_max: u64,
    /// Time to answer above which a node counts as busy, in milliseconds.
    pub adaptive_latency_max_ms: u64,
    /// Time that proxies' reads take on a node above which it counts as busy, in milliseconds.
    pub adaptive_reads_max_ms: u64,
}

/// How tasks are followed on the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TasksConfig {
    /// Time between two looks while tasks are fresh, in milliseconds.
    pub poll_min_ms: u64,
    /// Time between two looks when nothing happens, in milliseconds.
    pub poll_max_ms: u64,
    /// How long a node may not know one of its tasks before the task counts as lost, in
    /// milliseconds.
    pub lost_after_ms: u64,
}

/// How copies are compared in the background.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrubConfig {
    /// Time between the comparisons of two shards, in milliseconds; 0 compares nothing.
    pub interval_ms: u64,
    /// Documents read with one request.
    pub chunk_docs: u32,
    /// Pause after each such request, in milliseconds.
    pub pause_ms: u64,
}

/// Where finished tasks may be sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Private networks that webhooks may be in (`10.1.0.0/16`). Public addresses need not be named.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of certificates that are trusted beside those of the machine.
    pub ca_file: Option<PathBuf>,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self {
            interval_ms: 60_000,
            chunk_docs: 500,
            pause_ms: 50,
        }
    }
}

/// How nodes' settings are compared with the desired ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsConfig {
    /// Time after which a node's settings are compared again, in milliseconds; 0 compares nothing.
    pub check_interval_ms: u64,
}

impl Default for SettingsConfig {
    fn default() -> Self {
        Self {
            check_interval_ms: 600_000,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            id: 0,
            cluster: "miroir".to_owned(),
            data_dir: PathBuf::from("coordinator-data"),
            api_addr: loopback(7710),
            raft_addr: loopback(7720),
            http_addr: loopback(7730),
            peers: Vec::new(),
            cluster_token: None,
            cluster_token_file: None,
            node_master_key: None,
            node_master_key_file: None,
            lease_ms: 3_000,
            static_reads_ms: 600_000,
            late_request_ms: 500,
            drain_ms: 5_000,
            log: "info,openraft=warn".to_owned(),
            raft: RaftConfig::default(),
            nodes: NodesConfig::default(),
            migration: MigrationConfig::default(),
            tasks: TasksConfig::default(),
            scrub: ScrubConfig::default(),
            settings: SettingsConfig::default(),
            webhooks: WebhooksConfig::default(),
        }
    }
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            election_min_ms: 1_000,
            election_span_ms: 900,
            snapshot_every_entries: 5_000,
            propose_timeout_ms: 8_000,
        }
    }
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            health_interval_ms: 1_000,
            health_timeout_ms: 2_000,
            down_after: 3,
            connect_timeout_ms: 1_000,
            request_timeout_ms: 30_000,
        }
    }
}

impl Default for MigrationConfig {
    fn default() -> Self {
        Self {
            copy_chunk_docs: 1_000,
            fence_budget_ms: 2_000,
            repair_interval_ms: 5_000,
            lost_after_ms: 600_000,
            adaptive: true,
            adaptive_docs_per_s_min: 100,
            adaptive_queue_max: 1_000,
            adaptive_latency_max_ms: 1_500,
            adaptive_reads_max_ms: 500,
        }
    }
}

impl Default for TasksConfig {
    fn default() -> Self {
        Self {
            poll_min_ms: 20,
            poll_max_ms: 500,
            lost_after_ms: 10_000,
        }
    }
}

impl Config {
    /// This coordinator as others reach it.
    #[must_use]
    pub fn me(&self) -> Peer {
        self.peers
            .iter()
            .find(|peer| peer.id == self.id)
            .cloned()
            .unwrap_or_else(|| Peer {
                id: self.id,
                api_url: format!("http://{}", self.api_addr),
                raft_url: format!("http://{}", self.raft_addr),
                http_url: None,
            })
    }

    /// How long a proxy may write after its last answered renewal.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }

    /// After this long without an answer to a proxy, its lease has certainly run out: the lease,
    /// a margin for clocks that run at different speeds, and the time a late request may take.
    #[must_use]
    pub fn lease_certainly_over(&self) -> Duration {
        self.lease() + self.lease() / 4 + Duration::from_millis(self.late_request_ms)
    }

    /// How long a shutdown waits for open calls.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// The cluster token. [`Config::load`] lets no configuration without one pass.
    #[must_use]
    pub fn token(&self) -> Secret {
        self.cluster_token
            .clone()
            .unwrap_or_else(|| Secret::new(""))
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}
