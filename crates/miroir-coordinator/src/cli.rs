//! The command line, for the binary of this crate and for programs that embed it.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::app;
use crate::config::Config;
use crate::error::AppError;
use crate::raft::EXIT_FATAL;

/// Runs one coordinator of a Miroir cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration, a TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs a coordinator until SIGTERM or SIGINT; answers the status to exit with. What went wrong
/// is on standard error.
pub fn main(args: &Args) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("miroir-coordinator: {error}");
            match error {
                AppError::ConsensusStopped(_) => {
                    ExitCode::from(u8::try_from(EXIT_FATAL).unwrap_or(1))
                }
                AppError::Config(_)
                | AppError::LogFilter(_)
                | AppError::Store(_)
                | AppError::Start(_)
                | AppError::Bind { .. }
                | AppError::Serve { .. }
                | AppError::Runtime(_)
                | AppError::Nodes(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn start(args: &Args) -> Result<(), AppError> {
    let config = Config::load(&args.config)?;
    log_to_stderr(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| AppError::Runtime(error.to_string()))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            stop_signal().await;
            stop.cancel();
        });
        Box::pin(app::run(config, shutdown)).await
    })
}

/// Logs to standard error, filtered as `log` or `RUST_LOG` says.
fn log_to_stderr(config: &Config) -> Result<(), AppError> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.clone());
    let filter =
        EnvFilter::try_new(directives).map_err(|error| AppError::LogFilter(error.to_string()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A program that embeds several parts has set its own subscriber; that one stays.
    let _set = subscriber.try_init();
    Ok(())
}

async fn stop_signal() {
    let listen = |kind| {
        signal(kind).map_err(
            |error| tracing::error!(%error, "cannot listen for a signal; use SIGKILL to stop"),
        )
    };
    let (terminate, interrupt) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
