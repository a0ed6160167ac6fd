//! `miroir-proxy`: serves Meilisearch's API for a Miroir cluster.

use std::process::ExitCode;

use clap::Parser;
use miroir_proxy::config::{Args, Config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(
    name = "miroir-proxy",
    version,
    about = "Serves Meilisearch's API for a Miroir cluster"
)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    match start(&Command::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("miroir-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    let config = Config::from_args(args)?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&config.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        miroir_proxy::app::run(config, shutdown).await?;
        Ok(())
    })
}
