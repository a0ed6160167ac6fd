//! What a node does with all that it holds.

use reqwest::Method;
use serde_json::json;

use crate::client::NodeClient;
use crate::error::MeiliError;
use crate::tasks::EnqueuedTask;

impl NodeClient {
    /// Enqueues the writing of a dump, into the node's own directory of dumps.
    pub async fn create_dump(&self) -> Result<EnqueuedTask, MeiliError> {
        self.post_nothing(&["dumps"]).await
    }

    /// Enqueues the writing of a snapshot, into the node's own directory of snapshots.
    pub async fn create_snapshot(&self) -> Result<EnqueuedTask, MeiliError> {
        self.post_nothing(&["snapshots"]).await
    }

    /// Enqueues giving back the disk space that an index does not use. The task fails if there is no such index.
    pub async fn compact_index(&self, uid: &str) -> Result<EnqueuedTask, MeiliError> {
        self.post_nothing(&["indexes", uid, "compact"]).await
    }

    async fn post_nothing(&self, path: &[&str]) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(path)?;
        self.send_json(Method::POST, url, &json!({})).await?.parse()
    }
}
