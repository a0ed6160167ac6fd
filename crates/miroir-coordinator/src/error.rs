//! Why a coordinator does not run, or stopped.

use std::net::SocketAddr;

use crate::config::ConfigError;
use crate::raft::error::StartError;
use crate::storage::StoreError;

/// What ended, or prevented, a coordinator's run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter cannot be used.
    #[error("configuration field `log` (or RUST_LOG): {0}")]
    LogFilter(String),
    /// The storage cannot be opened, or failed while running.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Consensus did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {what}: {detail}; is another process using it?")]
    Bind {
        /// What was to be served there.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The system's own words.
        detail: String,
    },
    /// A server ended that should not have.
    #[error("the {what} server failed: {detail}")]
    Serve {
        /// What it served.
        what: &'static str,
        /// Why it ended.
        detail: String,
    },
    /// Consensus died; only a restart of the process helps.
    #[error("consensus has stopped: {0}; restart this coordinator")]
    ConsensusStopped(String),
    /// The threads of the program cannot be started.
    #[error("cannot start the runtime: {0}")]
    Runtime(String),
    /// The HTTP client for the nodes cannot be made.
    #[error(transparent)]
    Nodes(#[from] miroir_meili::MeiliError),
}

impl AppError {
    /// Whether starting the process again, unchanged, may help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Config(_) | Self::LogFilter(_) | Self::Start(_) | Self::Nodes(_) => false,
            Self::Store(error) => error.retryable(),
            Self::Bind { .. }
            | Self::Serve { .. }
            | Self::ConsensusStopped(_)
            | Self::Runtime(_) => true,
        }
    }
}
