//! One client per node, all on one HTTP client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use miroir_core::cluster::Node;
use miroir_core::id::NodeId;
use miroir_meili::{MeiliError, NodeClient, Secret, http_client};

use crate::config::Config;

/// Clients of the fleet's nodes. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct NodePool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    key: Option<Secret>,
    request_timeout: Duration,
    /// With the URL each was made for: a node under another URL gets another client.
    clients: Mutex<HashMap<NodeId, (String, NodeClient)>>,
}

impl NodePool {
    /// A pool that calls nodes with the configured master key and time-outs.
    ///
    /// # Errors
    /// [`MeiliError::Invalid`] when the HTTP client cannot be set up.
    pub fn new(config: &Config) -> Result<Self, MeiliError> {
        let connect_timeout = Duration::from_millis(config.nodes.connect_timeout_ms);
        Ok(Self {
            shared: Arc::new(Shared {
                http: http_client(connect_timeout)?,
                key: config.node_master_key.clone(),
                request_timeout: Duration::from_millis(config.nodes.request_timeout_ms),
                clients: Mutex::default(),
            }),
        })
    }

    /// The client of a node of the cluster.
    ///
    /// # Errors
    /// [`MeiliError::Invalid`] when the node's URL is not one that can be called.
    pub fn client(&self, node: &Node) -> Result<NodeClient, MeiliError> {
        let mut clients = self
            .shared
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((url, client)) = clients.get(&node.id)
            && *url == node.url
        {
            return Ok(client.clone());
        }
        let client = self.stranger(&node.url)?;
        clients.insert(node.id, (node.url.clone(), client.clone()));
        Ok(client)
    }

    /// A client of a node that does not belong to the cluster yet.
    ///
    /// # Errors
    /// [`MeiliError::Invalid`] when `url` is not one that can be called.
    pub fn stranger(&self, url: &str) -> Result<NodeClient, MeiliError> {
        let shared = &self.shared;
        let client = NodeClient::new(shared.http.clone(), url, shared.key.clone())?;
        Ok(client.with_timeout(shared.request_timeout))
    }
}
