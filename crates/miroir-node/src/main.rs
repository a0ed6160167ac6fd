//! The embedded node as a program of its own.

use anyhow::Context;
use clap::Parser;
use miroir_node::{NodeArgs, NodeConfig};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// An embedded Meilisearch-compatible node.
#[derive(Parser)]
#[command(name = "miroir-node", version = miroir_node::VERSION)]
struct Cli {
    #[command(flatten)]
    node: NodeArgs,
}

fn main() -> anyhow::Result<()> {
    let Cli { node } = Cli::parse();
    let filter = EnvFilter::try_new(node.log_level.to_ascii_lowercase())
        .with_context(|| format!("invalid --log-level `{}`", node.log_level))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let config = NodeConfig::try_from(node)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async { miroir_node::run(config, stop_signal()?).await })
}

/// Resolves on SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}
