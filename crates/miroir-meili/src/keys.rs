//! API keys and experimental features of a node.

use crate::client::NodeClient;
use crate::error::MeiliError;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A key as the node knows it. Its value is not read: it follows from the uid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeKey {
    /// What identifies it, in lowercase with hyphens.
    pub uid: String,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it may do.
    pub actions: Vec<String>,
    /// With which indexes.
    pub indexes: Vec<String>,
    /// Until when, RFC 3339.
    pub expires_at: Option<String>,
}

#[derive(Deserialize)]
struct KeyPage {
    results: Vec<NodeKey>,
    total: usize,
}

/// Keys that one request asks for.
const KEYS_PER_REQUEST: usize = 1000;

impl NodeClient {
    /// Every key of the node. One that is made or deleted meanwhile may be missing.
    pub async fn keys(&self) -> Result<Vec<NodeKey>, MeiliError> {
        let mut all = Vec::new();
        loop {
            let query = [
                ("offset", all.len().to_string()),
                ("limit", KEYS_PER_REQUEST.to_string()),
            ];
            let page: KeyPage = self.get(&["keys"], &query).await?.parse()?;
            let is_last = page.results.is_empty();
            all.extend(page.results);
            if is_last || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// Makes a key. `key` is the body of `POST /keys`.
    pub async fn create_key(&self, key: &Value) -> Result<(), MeiliError> {
        let url = self.url(&["keys"])?;
        let answer = self.send_json(Method::POST, url, key).await?;
        answer.into_success().map(drop)
    }

    /// Changes a key's name and description. `patch` is the body of `PATCH /keys/{uid}`.
    pub async fn patch_key(&self, uid: &str, patch: &Value) -> Result<(), MeiliError> {
        let url = self.url(&["keys", uid])?;
        let answer = self.send_json(Method::PATCH, url, patch).await?;
        answer.into_success().map(drop)
    }

    /// Deletes a key.
    pub async fn delete_key(&self, uid: &str) -> Result<(), MeiliError> {
        let answer = self.delete(&["keys", uid], &[]).await?;
        answer.into_success().map(drop)
    }

    /// The experimental features that the node has, and which are on.
    pub async fn features(&self) -> Result<Map<String, Value>, MeiliError> {
        self.get(&["experimental-features"], &[]).await?.parse()
    }

    /// Switches experimental features. A feature that the node does not have refuses them all.
    pub async fn patch_features(&self, patch: &Map<String, Value>) -> Result<(), MeiliError> {
        let url = self.url(&["experimental-features"])?;
        let patch = Value::Object(patch.clone());
        let answer = self.send_json(Method::PATCH, url, &patch).await?;
        answer.into_success().map(drop)
    }
}
