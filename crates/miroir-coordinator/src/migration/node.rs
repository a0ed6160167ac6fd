//! One copy of one shard on one node: what a migration reads from it and does to it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use miroir_core::cluster::ClusterState;
use miroir_core::hidden_field;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_meili::{
    AddParams, ContentType, FetchRequest, MeiliError, NodeClient, NodeTaskUid, WriteMode,
};
use serde_json::value::RawValue;

use super::MoveError;

/// More documents than an index can hold: Meilisearch sets no upper bound to a fetch.
const ALL: usize = 1 << 31;

/// Between two looks at a node's queue.
const POLL: Duration = Duration::from_millis(15);

/// A copy of a shard.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The node.
    pub node: NodeId,
    client: NodeClient,
    uid: String,
    filter: String,
    primary_key: Option<String>,
    with_vectors: bool,
}

/// What to know of an index to read a copy of a shard of it.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The index's name on every node.
    pub uid: String,
    /// The documents' id field; without one there are no documents.
    pub primary_key: Option<String>,
    /// Whether documents carry vectors that Meilisearch keeps apart.
    pub with_vectors: bool,
}

impl Shape {
    /// What the state says of an index; of none there is nothing to read.
    pub fn of(state: &ClusterState, uid: &IndexUid) -> Self {
        let index = state.indexes.get(uid);
        let embedders = index.and_then(|index| index.settings.desired.get("embedders"));
        Self {
            uid: uid.to_string(),
            primary_key: index.and_then(|index| index.primary_key.clone()),
            with_vectors: embedders
                .and_then(serde_json::Value::as_object)
                .is_some_and(|embedders| !embedders.is_empty()),
        }
    }
}

impl Copy {
    /// The copy of `shard` on a node.
    pub fn new(node: NodeId, client: NodeClient, shape: &Shape, shard: ShardId) -> Self {
        Self {
            node,
            client,
            uid: shape.uid.clone(),
            filter: hidden_field::filter_for(&BTreeSet::from([shard.0])),
            primary_key: shape.primary_key.clone(),
            with_vectors: shape.with_vectors,
        }
    }

    fn failed(&self) -> impl Fn(MeiliError) -> MoveError + '_ {
        |error| MoveError::Node {
            node: self.node,
            error,
        }
    }

    /// Whether the node has the index at all.
    pub async fn has_index(&self) -> Result<bool, MoveError> {
        Ok(self
            .client
            .index(&self.uid)
            .await
            .map_err(self.failed())?
            .is_some())
    }

    /// Waits until the node answers.
    pub async fn wait_until_up(&self) {
        while self.client.health().await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The newest task of the index on the node.
    pub async fn mark(&self) -> Result<Option<NodeTaskUid>, MoveError> {
        self.client
            .last_task_uid(&self.uid)
            .await
            .map_err(self.failed())
    }

    /// Waits until the node has processed everything of the index that was enqueued before this call.
    pub async fn drain(&self) -> Result<(), MoveError> {
        match self.mark().await? {
            Some(mark) => self.drain_up_to(mark).await,
            None => Ok(()),
        }
    }

    /// Waits until the node has processed everything of the index up to `mark`.
    pub async fn drain_up_to(&self, mark: NodeTaskUid) -> Result<(), MoveError> {
        while !self
            .client
            .index_drained_up_to(&self.uid, mark)
            .await
            .map_err(self.failed())?
        {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The ids of the shard's documents in one request, which is one snapshot of the node, sorted.
    pub async fn ids(&self) -> Result<Vec<String>, MoveError> {
        let Some(primary_key) = &self.primary_key else {
            return Ok(Vec::new());
        };
        let request = FetchRequest {
            limit: ALL,
            fields: Some(vec![primary_key.clone()]),
            filter: Some(self.filter.clone()),
            ..FetchRequest::default()
        };
        let page = self
            .client
            .fetch(&self.uid, &request)
            .await
            .map_err(self.failed())?;
        let ids = page
            .results
            .iter()
            .map(|document| super::digest::id_of(document, primary_key));
        let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// How many documents of the shard the node holds; none where it has no such index.
    pub async fn count(&self) -> Result<usize, MoveError> {
        let request = FetchRequest {
            filter: Some(self.filter.clone()),
            ..FetchRequest::default()
        };
        match self.client.fetch(&self.uid, &request).await {
            Ok(page) => Ok(page.total),
            Err(error) if error.is_index_not_found() => Ok(0),
            Err(error) => Err(self.failed()(error)),
        }
    }

    /// The present state of documents, by id. Ids that the node does not have are left out.
    ///
    /// The shard's filter is applied as well: an id always hashes to the same shard, so this changes nothing
    /// but guards against copying what does not belong.
    pub async fn documents(
        &self,
        ids: &[String],
    ) -> Result<Vec<(String, Box<RawValue>)>, MoveError> {
        let Some(primary_key) = &self.primary_key else {
            return Ok(Vec::new());
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = FetchRequest {
            limit: ids.len(),
            filter: Some(self.filter.clone()),
            ids: Some(ids.to_vec()),
            retrieve_vectors: self.with_vectors,
            ..FetchRequest::default()
        };
        let page = self
            .client
            .fetch(&self.uid, &request)
            .await
            .map_err(self.failed())?;
        page.results
            .into_iter()
            .map(|document| Ok((super::digest::id_of(&document, primary_key)?, document)))
            .collect()
    }

    /// The digest of a document as this copy shows it.
    pub fn digest(&self, document: &RawValue) -> Result<u64, MoveError> {
        Ok(super::digest::digest_of(
            document,
            self.primary_key.as_deref().unwrap_or_default(),
        )?)
    }

    /// Enqueues documents as they are. Answers how many bytes were sent.
    pub async fn add(&self, documents: &[(String, Box<RawValue>)]) -> Result<usize, MoveError> {
        if documents.is_empty() {
            return Ok(0);
        }
        let mut body = Vec::with_capacity(
            documents
                .iter()
                .map(|(_, document)| document.get().len() + 1)
                .sum(),
        );
        for (_, document) in documents {
            body.extend_from_slice(document.get().as_bytes());
            body.push(b'\n');
        }
        let bytes = body.len();
        let params = AddParams {
            primary_key: self.primary_key.as_deref(),
            ..AddParams::default()
        };
        self.client
            .add_documents(
                &self.uid,
                WriteMode::Replace,
                params,
                ContentType::NdJson,
                Bytes::from(body),
            )
            .await
            .map_err(self.failed())?;
        Ok(bytes)
    }

    /// Enqueues the deletion of documents.
    pub async fn delete(&self, ids: &[String]) -> Result<(), MoveError> {
        if ids.is_empty() {
            return Ok(());
        }
        let body =
            serde_json::to_vec(ids).map_err(|error| MoveError::Internal(error.to_string()))?;
        self.client
            .delete_batch(&self.uid, Bytes::from(body), None)
            .await
            .map_err(self.failed())?;
        Ok(())
    }

    /// The same copy, for calls that may not take longer than `timeout`.
    pub fn hurried(mut self, timeout: Duration) -> Self {
        self.client = self.client.with_timeout(timeout);
        self
    }

    /// Enqueues the deletion of the whole shard, waits for it, and makes sure that nothing is left.
    pub async fn clear(&self) -> Result<(), MoveError> {
        let task = self
            .client
            .delete_by_filter(&self.uid, &self.filter, None)
            .await
            .map_err(self.failed())?;
        self.drain_up_to(task.task_uid).await?;
        match self.count().await? {
            0 => Ok(()),
            left => Err(MoveError::NotCleared {
                node: self.node,
                left,
            }),
        }
    }

    /// Tasks of the index after `after` that failed, in words.
    pub async fn failures_since(
        &self,
        after: Option<NodeTaskUid>,
    ) -> Result<Option<String>, MoveError> {
        let Some(last) = self.mark().await? else {
            return Ok(None);
        };
        let failed = self
            .client
            .failures(&self.uid, after, last)
            .await
            .map_err(self.failed())?;
        Ok(failed
            .first()
            .and_then(|task| task.error.as_ref())
            .map(|error| error.message.clone()))
    }
}
