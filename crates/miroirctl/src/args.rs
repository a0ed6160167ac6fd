//! The command line.

mod change;
mod drill;
mod dump;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

pub use change::{
    AddGroupArgs, ControlArgs, ControlCommand, FactorArgs, HoldArgs, Limit, MoveArgs, NodeArgs,
    PinArgs, PolicyArgs, PolicyCommand, RebalanceArgs, RemoveGroupArgs, RemoveNodeArgs, Sending,
    ShardCommand, ThrottleArgs, Waiting,
};

pub use drill::{
    CoordinatorDrillArgs, DrillCommand, LeaderDrillArgs, LoadArgs, MoveDrillArgs, NodeDrillArgs,
    Within,
};

pub use dump::{CreateDumpArgs, DumpCommand, ImportArgs, ManifestArgs};

use crate::exit;

/// Administers a Miroir cluster.
#[derive(Debug, Clone, Parser)]
#[command(name = "miroirctl", version, after_help = exit::HELP, after_long_help = exit::HELP)]
pub struct Args {
    /// Whom to ask, and how long.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print the answer
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        env = "MIROIR_OUTPUT",
        help_heading = "Global options"
    )]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the coordinators are reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Connection {
    /// Coordinators to ask, separated by commas or given repeatedly; any of them finds the leader
    #[arg(
        long = "endpoint",
        value_name = "URL",
        global = true,
        env = "MIROIR_ENDPOINTS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7710"
    )]
    pub endpoints: Vec<String>,
    /// File that holds the cluster token; without it, MIROIR_CLUSTER_TOKEN, or the file that
    /// MIROIR_CLUSTER_TOKEN_FILE names
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// How long to try, in milliseconds; `migration watch` counts from when it lost contact
    #[arg(
        long,
        value_name = "MS",
        global = true,
        default_value_t = 15_000,
        value_parser = clap::value_parser!(u64).range(100..=86_400_000)
    )]
    pub timeout_ms: u64,
}

impl Connection {
    /// How long to try.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: one JSON document on one line; one line for every change while watching
    Json,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Tell whether the cluster works: exits 0 when it is initialised and has a leader, else 3
    Status,
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Meilisearch nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Replica groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Indexes and where their shards are
    #[command(subcommand)]
    Index(IndexCommand),
    /// Shards and their copies
    #[command(subcommand)]
    Shard(ShardCommand),
    /// Make the placement the best there is, by the fewest moves
    Rebalance(RebalanceArgs),
    /// Freeze automatic moves: repairs, and copies of lost nodes
    Hold(HoldArgs),
    /// Let automatic moves go on
    Release(Sending),
    /// Defaults and bounds of the whole cluster
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Shards on the move
    #[command(subcommand)]
    Migration(MigrationCommand),
    /// Compare all copies in sync of every shard of an index: exits 1 when some differ
    Verify {
        /// Its uid
        uid: String,
        /// Take copies out of use that differ from the others; they are rebuilt
        #[arg(long)]
        repair: bool,
    },
    /// Try a failure or a move on the running cluster: exits 1 when clients saw more than they may
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Dumps, of a Meilisearch by itself or of a whole cluster
    #[command(subcommand)]
    Dump(DumpCommand),
    /// What operators asked for
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Coordinators
    #[command(subcommand)]
    Coordinator(ListCommand),
    /// Proxies and their leases
    #[command(subcommand)]
    Proxy(ListCommand),
}

/// Commands on the cluster as a whole.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterCommand {
    /// Make the coordinators one cluster, once; waits for them as long as --timeout-ms says
    Init(InitArgs),
}

/// What a new cluster is like. What is not given is the coordinators' default.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InitArgs {
    /// Succeed, and change nothing, when the cluster is already initialised
    #[arg(long)]
    pub if_needed: bool,
    /// Name of the cluster; random by default
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// Shards of an index created without a number
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Copies of each shard in each group, of an index created without a number
    #[arg(long, value_name = "N")]
    pub rf: Option<u32>,
    /// Replica groups
    #[arg(long, value_name = "N")]
    pub groups: Option<u32>,
    /// Copies that must take a write, or it is refused
    #[arg(long, value_name = "N")]
    pub min_in_sync: Option<u32>,
    /// How long the old copy of a moved shard is kept up to date after reads have left it, in milliseconds
    #[arg(long, value_name = "MS")]
    pub reverse_window_ms: Option<u64>,
    /// Shards that may move at the same time
    #[arg(long, value_name = "N")]
    pub max_concurrent_migrations: Option<u32>,
    /// Shards that may move to one node at the same time
    #[arg(long, value_name = "N")]
    pub max_migrations_per_target: Option<u32>,
    /// Shards that may move off one node at the same time
    #[arg(long, value_name = "N")]
    pub max_migrations_per_source: Option<u32>,
    /// Documents a second that the move of one shard may copy; no limit by default
    #[arg(long, value_name = "N")]
    pub throttle_docs_per_s: Option<u32>,
}

/// Commands on nodes.
#[derive(Debug, Clone, Subcommand)]
pub enum NodeCommand {
    /// Give a node its share of every index
    Add(AddArgs),
    /// Move every copy off a node and give it none
    Drain(NodeArgs),
    /// Let a draining node have copies again
    Undrain(NodeArgs),
    /// Drain a node and remove it
    Remove(RemoveNodeArgs),
    /// Every node, with what the leader last saw of it
    List,
    /// One node with the copies it holds
    Show {
        /// Its id
        id: u64,
    },
}

/// A node to add.
#[derive(Debug, Clone, clap::Args)]
pub struct AddArgs {
    /// Where coordinators and proxies reach it: http://host:port
    pub url: String,
    /// Replica group it joins; 1 by default
    #[arg(long, value_name = "ID")]
    pub group: Option<u32>,
    /// Failure zone it is in
    #[arg(long)]
    pub zone: Option<String>,
    /// Its share relative to other nodes of the group; 1 by default
    #[arg(long)]
    pub weight: Option<u32>,
    /// Succeed, and change nothing, when it is already in the cluster in the same way
    #[arg(long)]
    pub if_needed: bool,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Commands on replica groups.
#[derive(Debug, Clone, Subcommand)]
pub enum GroupCommand {
    /// Build every shard on new nodes, then search them too
    Add(AddGroupArgs),
    /// Take a group out of searches at once, then remove it with its nodes
    Remove(RemoveGroupArgs),
    /// Every group with its nodes
    List,
}

/// Commands on indexes.
#[derive(Debug, Clone, Subcommand)]
pub enum IndexCommand {
    /// Every index
    List,
    /// One index with the map of its shards
    Show {
        /// Its uid
        uid: String,
    },
    /// Change how many copies each shard has in each group
    SetReplicationFactor(FactorArgs),
}

/// Commands on operations.
#[derive(Debug, Clone, Subcommand)]
pub enum OperationCommand {
    /// Every operation
    List,
    /// One operation
    Show {
        /// Its id
        id: u64,
    },
    /// Act on one that is under way.
    #[command(flatten)]
    Control(ControlCommand),
}

/// Commands on migrations.
#[derive(Debug, Clone, Subcommand)]
pub enum MigrationCommand {
    /// The unfinished migrations
    List {
        /// Of one operation
        #[arg(long, value_name = "ID")]
        operation: Option<u64>,
        /// Finished ones too
        #[arg(long)]
        all: bool,
    },
    /// One migration with the history of its phases
    Show {
        /// Its id
        id: u64,
    },
    /// Follow the unfinished migrations until none is left
    Watch {
        /// Of one operation
        #[arg(long, value_name = "ID")]
        operation: Option<u64>,
    },
    /// Act on one that is under way.
    #[command(flatten)]
    Control(ControlCommand),
}

/// Commands on what can only be listed.
#[derive(Debug, Clone, Subcommand)]
pub enum ListCommand {
    /// All of them
    List,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn endpoints_are_repeated_or_separated_by_commas() {
        let parsed =
            |line: &str| Args::try_parse_from(line.split(' ')).map(|a| a.connection.endpoints);
        assert_eq!(
            parsed("miroirctl status").expect("valid"),
            ["http://127.0.0.1:7710"]
        );
        let line = "miroirctl status --endpoint http://a:1,http://b:2 --endpoint http://c:3";
        assert_eq!(
            parsed(line).expect("valid"),
            ["http://a:1", "http://b:2", "http://c:3"]
        );
    }
}
