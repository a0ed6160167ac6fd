//! Indexes of a node: their existence, settings and sizes.

use crate::client::NodeClient;
use crate::error::MeiliError;
use crate::tasks::EnqueuedTask;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The error code of a route whose index does not exist.
const INDEX_NOT_FOUND: &str = "index_not_found";

/// An index as the node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeIndex {
    /// Its name.
    pub uid: String,
    /// The field that identifies documents, once it is known.
    pub primary_key: Option<String>,
    /// When it was made, RFC 3339. A copy whose date changed was made anew and is empty
    /// of everything written before.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// The size of one index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexStats {
    /// Documents it holds.
    pub number_of_documents: u64,
    /// Whether a task of this index is being processed.
    pub is_indexing: bool,
    /// Number of documents that have each field.
    #[serde(default)]
    pub field_distribution: BTreeMap<String, u64>,
    /// Bytes of its documents on disk; 0 from a node that does not tell.
    #[serde(default)]
    pub raw_document_db_size: u64,
}

/// The sizes of a whole node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    /// Bytes that its databases take on disk.
    pub database_size: u64,
    /// Bytes of them in use; 0 from a node that does not tell.
    #[serde(default)]
    pub used_database_size: u64,
    /// When anything last changed, RFC 3339; `None` on a new node.
    pub last_update: Option<String>,
    /// Every index by uid.
    pub indexes: BTreeMap<String, IndexStats>,
}

/// One page of the list of indexes.
#[derive(Debug, Deserialize)]
struct IndexPage {
    results: Vec<NodeIndex>,
    total: usize,
}

/// Indexes that one request asks for.
const INDEXES_PER_REQUEST: usize = 1000;

impl NodeClient {
    /// Every index of the node. One that is made or deleted meanwhile may be missing: ask for it by its name.
    pub async fn indexes(&self) -> Result<Vec<NodeIndex>, MeiliError> {
        let mut all = Vec::new();
        loop {
            let query = [
                ("offset", all.len().to_string()),
                ("limit", INDEXES_PER_REQUEST.to_string()),
            ];
            let page: IndexPage = self.get(&["indexes"], &query).await?.parse()?;
            let is_last = page.results.is_empty();
            all.extend(page.results);
            if is_last || all.len() >= page.total {
                return Ok(all);
            }
        }
    }

    /// The index, or `None` if the node has no such index.
    pub async fn index(&self, uid: &str) -> Result<Option<NodeIndex>, MeiliError> {
        self.get(&["indexes", uid], &[])
            .await?
            .parse_unless(&[INDEX_NOT_FOUND])
    }

    /// Enqueues the creation of an index. The task fails if it exists already.
    pub async fn create_index(
        &self,
        uid: &str,
        primary_key: Option<&str>,
    ) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(&["indexes"])?;
        let body = json!({ "uid": uid, "primaryKey": primary_key });
        self.send_json(Method::POST, url, &body).await?.parse()
    }

    /// Enqueues the deletion of an index. The task fails if there is no such index.
    pub async fn delete_index(&self, uid: &str) -> Result<EnqueuedTask, MeiliError> {
        self.delete(&["indexes", uid], &[]).await?.parse()
    }

    /// The size of an index, or `None` if the node has no such index.
    pub async fn index_stats(&self, uid: &str) -> Result<Option<IndexStats>, MeiliError> {
        self.get(&["indexes", uid, "stats"], &[])
            .await?
            .parse_unless(&[INDEX_NOT_FOUND])
    }

    /// The sizes of the node and of all its indexes.
    pub async fn stats(&self) -> Result<NodeStats, MeiliError> {
        self.get(&["stats"], &[]).await?.parse()
    }

    /// All settings of an index, in the node's own words.
    pub async fn settings(&self, uid: &str) -> Result<Value, MeiliError> {
        self.get(&["indexes", uid, "settings"], &[]).await?.parse()
    }

    /// Enqueues a change of the settings that `settings` names; `null` resets one. An
    /// index that does not exist is created.
    pub async fn patch_settings(
        &self,
        uid: &str,
        settings: &Value,
    ) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(&["indexes", uid, "settings"])?;
        self.send_json(Method::PATCH, url, settings).await?.parse()
    }
}
