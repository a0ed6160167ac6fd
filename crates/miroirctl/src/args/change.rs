//! The changes that operators ask for.

use clap::{ArgGroup, Args, Subcommand};
use uuid::Uuid;

/// How a change is sent.
#[derive(Debug, Clone, Default, Args)]
pub struct Sending {
    /// Change nothing; print what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Id of the request; give that of an earlier try whose outcome is unknown to repeat it safely
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<Uuid>,
}

/// How a change is sent that takes its time.
#[derive(Debug, Clone, Default, Args)]
pub struct Waiting {
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
    /// Wait until it is done
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

/// A node, by id.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Its id
    pub id: u64,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A node to be removed.
#[derive(Debug, Clone, Args)]
pub struct RemoveNodeArgs {
    /// Its id
    pub id: u64,
    /// It is dead: do not drain it, build what it held from other copies
    #[arg(long)]
    pub force: bool,
    /// Confirm --force
    #[arg(long)]
    pub yes: bool,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A group to be added.
#[derive(Debug, Clone, Args)]
pub struct AddGroupArgs {
    /// A node of it, as URL[,zone=ZONE][,weight=N]; given once for each
    #[arg(long = "node", value_name = "URL", required = true)]
    pub nodes: Vec<String>,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A group to be removed.
#[derive(Debug, Clone, Args)]
pub struct RemoveGroupArgs {
    /// Its id
    pub id: u32,
    /// Confirm that its copies are given up
    #[arg(long)]
    pub yes: bool,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// A new replication factor.
#[derive(Debug, Clone, Args)]
pub struct FactorArgs {
    /// The index
    pub uid: String,
    /// Copies of each shard in each group
    pub replication_factor: u32,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What is rebalanced.
#[derive(Debug, Clone, Args)]
pub struct RebalanceArgs {
    /// One index; all by default
    #[arg(long, value_name = "UID")]
    pub index: Option<String>,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Commands on shards.
#[derive(Debug, Clone, Subcommand)]
pub enum ShardCommand {
    /// Every copy of every shard
    List {
        /// Of one index
        #[arg(long, value_name = "UID")]
        index: Option<String>,
    },
    /// Tell why a shard is where it is, and why it is not moving
    Explain {
        /// The index
        index: String,
        /// The shard's number
        shard: u32,
    },
    /// Move one copy to another node of its group
    Move(MoveArgs),
    /// Keep copies where they are
    Pin(PinArgs),
    /// Let pinned copies go again
    Unpin(PinArgs),
}

/// A copy to be moved.
#[derive(Debug, Clone, Args)]
pub struct MoveArgs {
    /// The index
    pub index: String,
    /// The shard's number
    pub shard: u32,
    /// The node it leaves
    #[arg(long, value_name = "NODE")]
    pub from: u64,
    /// The node it goes to
    #[arg(long, value_name = "NODE")]
    pub to: u64,
    /// How it is sent.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Copies to be pinned or let go.
#[derive(Debug, Clone, Args)]
pub struct PinArgs {
    /// The index
    pub index: String,
    /// The shard's number
    pub shard: u32,
    /// The copy on one node; every copy by default
    #[arg(long, value_name = "NODE")]
    pub node: Option<u64>,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// Why automatic moves are held.
#[derive(Debug, Clone, Args)]
pub struct HoldArgs {
    /// Why, for whoever finds it later
    pub reason: String,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// Commands on the policy.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// The policy
    Show,
    /// Change what is given; the rest stays
    Set(Box<PolicyArgs>),
}

/// What of the policy is changed.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("fields").multiple(true).required(true).args([
    "shards", "rf", "min_in_sync", "reverse_window_ms", "max_concurrent_migrations", "max_migrations_per_target",
    "max_migrations_per_source", "throttle_docs_per_s", "throttle_bytes_per_s", "finished_tasks_max",
    "finished_migrations_max", "idempotency_keys_max", "idempotency_ttl_ms",
])))]
pub struct PolicyArgs {
    /// Shards of an index created without a number
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Copies of each shard in each group, of an index created without a number
    #[arg(long, value_name = "N")]
    pub rf: Option<u32>,
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
    /// Documents a second that the move of one shard may copy, or `none`
    #[arg(long, value_name = "N|none")]
    pub throttle_docs_per_s: Option<Limit>,
    /// Bytes a second that the move of one shard may copy, or `none`
    #[arg(long, value_name = "N|none")]
    pub throttle_bytes_per_s: Option<Limit>,
    /// Finished tasks that are kept
    #[arg(long, value_name = "N")]
    pub finished_tasks_max: Option<u32>,
    /// Finished migrations that are kept
    #[arg(long, value_name = "N")]
    pub finished_migrations_max: Option<u32>,
    /// Writes that are known again by their `Idempotency-Key`
    #[arg(long, value_name = "N")]
    pub idempotency_keys_max: Option<u32>,
    /// For how long they are, in milliseconds
    #[arg(long, value_name = "MS")]
    pub idempotency_ttl_ms: Option<u64>,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// A limit a second, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let number = text.parse();
        number
            .map(|number| Self(Some(number)))
            .map_err(|_| "must be a number of at least 1, or `none`".to_owned())
    }
}

/// Something under way, by id.
#[derive(Debug, Clone, Args)]
pub struct ControlArgs {
    /// Its id
    pub id: u64,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// New limits of something under way.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("limits").multiple(true).required(true).args(["docs_per_s", "bytes_per_s", "no_limit"])))]
pub struct ThrottleArgs {
    /// Its id
    pub id: u64,
    /// Documents a second that each migration may copy; no limit when not given
    #[arg(long, value_name = "N")]
    pub docs_per_s: Option<u32>,
    /// Bytes a second that each migration may copy; no limit when not given
    #[arg(long, value_name = "N")]
    pub bytes_per_s: Option<u64>,
    /// Lift all limits
    #[arg(long, conflicts_with_all = ["docs_per_s", "bytes_per_s"])]
    pub no_limit: bool,
    /// How it is sent.
    #[command(flatten)]
    pub sending: Sending,
}

/// What can be done to something under way.
#[derive(Debug, Clone, Subcommand)]
pub enum ControlCommand {
    /// Have it wait where it is
    Pause(ControlArgs),
    /// Let it go on
    Resume(ControlArgs),
    /// Give it up before reads have moved
    Cancel(ControlArgs),
    /// Give it up after reads have moved: they go back first
    Reverse(ControlArgs),
    /// Change how fast it copies from now on
    Throttle(ThrottleArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("none".parse(), Ok(Limit(None)));
        assert_eq!("7".parse(), Ok(Limit(Some(7))));
        for bad in ["-1", "", "no", "1.5"] {
            bad.parse::<Limit>().expect_err(bad);
        }
    }
}
