//! Connections to other coordinators.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use miroir_proto::v1::raft_service_client::RaftServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::grpc::auth::AttachToken;

/// Largest message in either direction, in bytes. Entries and snapshot parts stay far below.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A client of another coordinator.
pub type Client = RaftServiceClient<InterceptedService<Channel, AttachToken>>;

/// Two connections to one coordinator: a snapshot on its way must not delay heartbeats.
#[derive(Debug, Clone)]
pub struct Channels {
    raft: Channel,
    snapshot: Channel,
    token: AttachToken,
}

impl Channels {
    /// For appends and votes.
    pub fn raft(&self) -> Client {
        client(self.raft.clone(), self.token.clone())
    }

    /// For snapshots.
    pub fn snapshot(&self) -> Client {
        client(self.snapshot.clone(), self.token.clone())
    }
}

/// One pair of connections for each address, shared by everything that talks to it. They are
/// opened when first used and reopened after failures.
#[derive(Debug)]
pub struct Pool {
    token: AttachToken,
    by_url: Mutex<HashMap<String, Channels>>,
}

impl Pool {
    /// No connection yet; `token` will be shown on all.
    pub fn new(token: AttachToken) -> Self {
        Self {
            token,
            by_url: Mutex::default(),
        }
    }

    /// Connections to `url`; returns at once. Must be called within a tokio runtime. The
    /// error says what is wrong with the URL.
    pub fn get(&self, url: &str, connect_timeout: Duration) -> Result<Channels, String> {
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channels) = by_url.get(url) {
            return Ok(channels.clone());
        }
        let channels = Channels {
            raft: connect(url, connect_timeout)?,
            snapshot: connect(url, connect_timeout)?,
            token: self.token.clone(),
        };
        by_url.insert(url.to_owned(), channels.clone());
        Ok(channels)
    }
}

fn connect(url: &str, connect_timeout: Duration) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|e| format!("{url:?} is not a URL: {e}"))?
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}

fn client(channel: Channel, token: AttachToken) -> Client {
    RaftServiceClient::with_interceptor(channel, token)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
