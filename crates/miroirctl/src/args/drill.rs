//! The drills: what of a failure, or of a move, clients would see.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// Drills against a running cluster.
#[derive(Debug, Clone, Subcommand)]
pub enum DrillCommand {
    /// Have the leading coordinator give leadership up, and time the next one
    LeaderFailover(LeaderDrillArgs),
    /// Tell what the loss of a node would mean; with --yes, time one that you stop yourself
    NodeLoss(NodeDrillArgs),
    /// Tell whether the coordinators could go on without some of them
    CoordinatorLoss(CoordinatorDrillArgs),
    /// Move a shard of a scratch index to another node and back while it is written and searched
    Move(MoveDrillArgs),
}

/// What the drill's own clients do at a proxy, on an index that the drill makes and deletes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Load of the drill")]
pub struct LoadArgs {
    /// Proxy to write to and search at during the drill: http://host:port; none by default
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// File that holds the key to show the proxy; without it, MIROIR_PROXY_KEY
    #[arg(long, value_name = "FILE", requires = "proxy")]
    pub proxy_key_file: Option<PathBuf>,
    /// Name of the index that the drill makes and deletes; miroir-drill-… by default
    #[arg(long, value_name = "UID", requires = "proxy")]
    pub index: Option<String>,
    /// Requests of the load that may fail before the drill counts as failed
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Load of the drill"
    )]
    pub allow_failed: u64,
}

/// How long a drill may take.
#[derive(Debug, Clone, Copy, Args)]
pub struct Within {
    /// How long the drill may wait for anything, in seconds
    #[arg(
        long,
        value_name = "S",
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub timeout_s: u64,
}

impl Within {
    /// How long the drill may wait for anything.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

/// A change of leader.
#[derive(Debug, Clone, Args)]
pub struct LeaderDrillArgs {
    /// Confirm that clients may notice it
    #[arg(long)]
    pub yes: bool,
    /// Clients of the drill's own.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How long it may take.
    #[command(flatten)]
    pub within: Within,
}

/// The loss of a node.
#[derive(Debug, Clone, Args)]
pub struct NodeDrillArgs {
    /// Its id
    #[arg(long, value_name = "ID")]
    pub node: u64,
    /// Wait for the node to stop and to come back, or to be replaced
    #[arg(long)]
    pub yes: bool,
    /// How long the node may take to stop, in seconds
    #[arg(
        long,
        value_name = "S",
        default_value_t = 60,
        requires = "yes",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub wait_for_loss_s: u64,
    /// Command of a shell on this machine that stops the node; otherwise you do it when told
    #[arg(long, value_name = "COMMAND", requires = "yes")]
    pub stop_command: Option<String>,
    /// Clients of the drill's own.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How long it may take.
    #[command(flatten)]
    pub within: Within,
}

/// The loss of coordinators.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorDrillArgs {
    /// Coordinators that are lost together, by id; each alone by default
    #[arg(long = "coordinator", value_name = "ID", value_delimiter = ',')]
    pub coordinators: Vec<u64>,
}

/// A move and the way back.
#[derive(Debug, Clone, Args)]
pub struct MoveDrillArgs {
    /// Confirm that the nodes get that work
    #[arg(long)]
    pub yes: bool,
    /// Documents in the scratch index before the move
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000)
    )]
    pub documents: u64,
    /// Clients of the drill's own; a move needs them.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How long it may take.
    #[command(flatten)]
    pub within: Within,
}
