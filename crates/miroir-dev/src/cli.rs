//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cluster::{Cluster, Options, Ports};
use crate::demo;

/// A whole Miroir cluster on one machine.
#[derive(Debug, Parser)]
#[command(name = "miroir-dev", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster until Ctrl-C; a second run on the same directory continues where the first stopped
    Up(UpArgs),
    /// Add a node to a live cluster under load, kill the leader meanwhile, and check every document
    Demo(DemoArgs),
    /// Be one coordinator
    #[command(hide = true)]
    Coordinator {
        #[command(flatten)]
        args: miroir_coordinator::cli::Args,
    },
    /// Be one proxy
    #[command(hide = true)]
    Proxy {
        #[command(flatten)]
        args: miroir_proxy::config::Args,
    },
    /// Be one embedded node
    #[command(hide = true)]
    Node {
        #[command(flatten)]
        args: miroir_node::NodeArgs,
    },
}

/// How large the cluster is, and where it listens.
#[derive(Debug, Clone, Args)]
pub struct SizeArgs {
    /// Nodes, spread over the groups
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Coordinators
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    coordinators: u16,
    /// Proxies
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    proxies: u16,
    /// Replica groups
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    groups: u32,
    /// Copies of each shard in each group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    rf: u8,
    /// Shards of a new index
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    shards: u16,
    /// Where the first proxy listens; everything else takes the ports after it
    #[arg(long, default_value = "127.0.0.1:7700")]
    proxy_addr: SocketAddr,
    /// Master key of nodes and proxies; without it one is made and kept in the data directory
    #[arg(long, env = "MIROIR_MASTER_KEY", hide_env_values = true)]
    master_key: Option<String>,
    /// A Meilisearch binary to use for the nodes instead of the embedded one
    #[arg(long, value_name = "PATH")]
    node_bin: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Where everything is kept
    #[arg(long, default_value = "miroir-data")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct DemoArgs {
    #[command(flatten)]
    size: SizeArgs,
    /// Documents to load, one JSON object with an `id` a line; a sample is built in
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Where everything is kept; a temporary directory, removed when all went well, by default
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Seed of the workload; printed, so that a run can be repeated
    #[arg(long)]
    seed: Option<u64>,
}

impl SizeArgs {
    fn options(&self, program: PathBuf) -> Options {
        Options {
            nodes: self.nodes,
            coordinators: self.coordinators,
            proxies: self.proxies,
            groups: self.groups,
            replication_factor: self.rf,
            shards: self.shards,
            ports: Ports::From(self.proxy_addr),
            master_key: self.master_key.clone(),
            node_bin: self.node_bin.clone(),
            ..Options::small(program)
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Coordinator { args } => Ok(miroir_coordinator::cli::main(&args)),
        Command::Proxy { args } => {
            let config = miroir_proxy::config::Config::from_args(&args)?;
            log_to_stderr(&config.log)?;
            runtime()?.block_on(miroir_proxy::app::run(config, stop_signal()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Node { args } => {
            log_to_stderr(&args.log_level.to_ascii_lowercase())?;
            runtime()?.block_on(miroir_node::run(args.try_into()?, stop_signal()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Up(args) => runtime()?.block_on(up(args)),
        Command::Demo(args) => runtime()?.block_on(run_demo(args)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Logs what the filter lets through.
fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is no log filter"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}

/// Resolves at SIGINT or SIGTERM.
async fn stop_signal() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(_) => return tokio::signal::ctrl_c().await.unwrap_or_default(),
        };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn up(args: UpArgs) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            stop_signal().await;
            stop.cancel();
        }
    });
    let starting = Cluster::start(args.size.options(program), args.data_dir);
    let mut cluster = tokio::select! {
        started = starting => started?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    for line in cluster.endpoints() {
        println!("{line}");
    }
    println!("ready");
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        died = cluster.first_to_die() => Some(died),
    };
    cluster.stop().await;
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(died) => anyhow::bail!("{died}"),
    }
}

async fn run_demo(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let plan = demo::Plan {
        options: args.size.options(program),
        corpus: args.corpus,
        data_dir: args.data_dir,
        report: args.report,
        seed,
    };
    let passed = tokio::select! {
        report = demo::run(plan) => report?.passed(),
        () = stop_signal() => anyhow::bail!("stopped"),
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
