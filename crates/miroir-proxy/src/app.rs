//! One proxy, from its configuration to its last answer.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use miroir_meili::{MeiliError, Secret};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::control::{self, Control, ControlConfig, ControlError};
use crate::http::{Keys, Parts, Server};
use crate::read::{Reads, Sessions};
use crate::write::{Writes, WritesConfig};

/// How long a connection to a node may take: the fleet is near.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a proxy did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration cannot work.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No client of other proxies can be set up.
    #[error(transparent)]
    Writes(#[from] MeiliError),
    /// The HTTP server broke.
    #[error("the HTTP server ended: {0}")]
    Serve(std::io::Error),
}

impl AppError {
    /// Whether starting again, unchanged, may help: a port may become free.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::Serve(_) => true,
            Self::Control(error) => error.retryable(),
            Self::Writes(error) => error.retryable(),
        }
    }
}

/// A proxy that listens.
pub struct App {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    control: Control,
    writes: Writes,
    server: Server,
    session: CancellationToken,
}

impl App {
    /// Binds the address and begins the session with the coordinators, which need not be there yet.
    ///
    /// # Errors
    /// [`AppError`]. Nothing runs then.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        let address = config.http_addr;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| AppError::Listen { address, error })?;
        let address = listener
            .local_addr()
            .map_err(|error| AppError::Listen { address, error })?;
        let cluster_token = config
            .cluster_token
            .clone()
            .unwrap_or_else(|| Secret::new(""));
        let session = CancellationToken::new();
        let control = control::spawn(
            ControlConfig {
                endpoints: config.coordinators.clone(),
                cluster_token: cluster_token.clone(),
                name: config.name.clone(),
                url: config
                    .advertise_url
                    .clone()
                    .unwrap_or_else(|| format!("http://{address}")),
                instance: Uuid::new_v4().to_string(),
                node_master_key: config.master_key.clone(),
                node_connect_timeout: NODE_CONNECT_TIMEOUT,
                node_timeout: config.node_request_timeout(),
            },
            session.clone(),
        )?;
        let catalog = Catalog::new(control.coordinators());
        let mut bounds = WritesConfig::new(cluster_token.clone());
        bounds.hold = config.hold();
        bounds.hold_bytes = config.hold_bytes;
        let writes = Writes::new(control.clone(), catalog.clone(), bounds)?;
        let server = Server::new(Parts {
            control: control.clone(),
            reads: Reads::new(
                control.clone(),
                Sessions::new(catalog.clone(), config.session_wait()),
                config.reads(),
            ),
            catalog,
            writes: writes.clone(),
            keys: Keys::new(config.master_key.clone(), Some(cluster_token)),
            payload_limit: config.payload_limit_bytes,
        });
        Ok(Self {
            config,
            listener,
            address,
            control,
            writes,
            server,
            session,
        })
    }

    /// The address that it listens on, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The session with the coordinators.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Serves until `shutdown` completes; then takes no new connection, finishes what is under way
    /// within `drain_ms`, and says goodbye to the coordinators.
    ///
    /// # Errors
    /// [`AppError::Serve`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        let Self {
            config,
            listener,
            address,
            control,
            writes,
            server,
            session,
        } = self;
        tracing::info!(name = config.name, %address, "proxy serves");
        let stop = CancellationToken::new();
        let service = server
            .router()
            .into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let mut serving = tokio::spawn(serving);
        tokio::select! {
            ended = &mut serving => {
                session.cancel();
                return finish(ended);
            }
            () = shutdown => {}
        }
        tracing::info!(
            in_flight = server.in_flight(),
            "proxy stops: finishing requests under way"
        );
        stop.cancel();
        let drain = Duration::from_millis(config.drain_ms);
        let drained = async {
            let ended = (&mut serving).await;
            if !writes.drain(drain).await {
                tracing::warn!(
                    "writes were still under way: their outcome is looked up by the next writer"
                );
            }
            ended
        };
        let ended = tokio::time::timeout(drain, drained).await;
        session.cancel();
        if tokio::time::timeout(drain, control.ended()).await.is_err() {
            tracing::warn!("no coordinator took the goodbye: the lease runs out by itself");
        }
        match ended {
            Ok(ended) => finish(ended),
            Err(_) => {
                serving.abort();
                tracing::warn!(
                    in_flight = server.in_flight(),
                    "requests were cut off: they took too long"
                );
                Ok(())
            }
        }
    }
}

fn finish(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), AppError> {
    match ended {
        Ok(served) => served.map_err(AppError::Serve),
        Err(error) => Err(AppError::Serve(std::io::Error::other(error))),
    }
}

/// Runs a proxy until `shutdown` completes.
///
/// # Errors
/// [`AppError`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
    App::start(config).await?.serve(shutdown).await
}
