//! Documents of a node: writing, deleting and reading them as they are stored.

use crate::client::{NodeClient, with_query};
use crate::error::MeiliError;
use crate::tasks::EnqueuedTask;
use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// What happens to the fields a document already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteMode {
    /// The new document takes the place of the old one (POST).
    Replace,
    /// Top-level fields of the new document replace those of the old one, whose other
    /// fields stay (PUT).
    Update,
}

/// How a body of documents is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// A JSON array, or one object.
    Json,
    /// One JSON object a line.
    NdJson,
}

impl ContentType {
    fn header(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
        }
    }
}

/// Options of a document write. A node answers 400 to one that its version does not
/// know: see [`NodeVersion`](crate::NodeVersion).
#[derive(Debug, Clone, Copy, Default)]
pub struct AddParams<'a> {
    /// The field that identifies documents, for an index that has none yet.
    pub primary_key: Option<&'a str>,
    /// A text that the task carries and shows (Meilisearch 1.26).
    pub custom_metadata: Option<&'a str>,
    /// Documents whose id is unknown to the node are left out (Meilisearch 1.31).
    pub skip_creation: bool,
}

/// Which documents to read, and how much of each.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchRequest {
    /// How many documents to skip. The order is the node's own and shifts with deletes.
    pub offset: usize,
    /// The most documents to return. Meilisearch sets no maximum.
    pub limit: usize,
    /// The fields to return; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Which documents, as a filter expression over filterable attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Which documents, by id; an unknown id is left out silently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Whether `_vectors` comes with each document, in the form that can be written back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retrieve_vectors: bool,
}

/// One page of documents, read in one transaction of the node.
#[derive(Debug, Clone, Deserialize)]
pub struct FetchPage {
    /// The documents as JSON text: numbers keep every digit the node gave.
    pub results: Vec<Box<RawValue>>,
    /// The offset of the request.
    pub offset: usize,
    /// The limit of the request.
    pub limit: usize,
    /// How many documents match in all.
    pub total: usize,
}

impl NodeClient {
    /// Enqueues documents. One bad document makes the whole task fail, later.
    pub async fn add_documents(
        &self,
        uid: &str,
        mode: WriteMode,
        params: AddParams<'_>,
        content_type: ContentType,
        body: Bytes,
    ) -> Result<EnqueuedTask, MeiliError> {
        let mut query = metadata_query(params.custom_metadata);
        if let Some(key) = params.primary_key {
            query.push(("primaryKey", key.to_owned()));
        }
        if params.skip_creation {
            query.push(("skipCreation", "true".to_owned()));
        }
        let method = match mode {
            WriteMode::Replace => Method::POST,
            WriteMode::Update => Method::PUT,
        };
        let url = with_query(self.url(&["indexes", uid, "documents"])?, &query);
        self.send_body(method, url, content_type.header(), body)
            .await?
            .parse()
    }

    /// Enqueues the deletion of documents by id. `ids` is a JSON array of strings and
    /// numbers, sent as it is.
    pub async fn delete_batch(
        &self,
        uid: &str,
        ids: Bytes,
        custom_metadata: Option<&str>,
    ) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(&["indexes", uid, "documents", "delete-batch"])?;
        let url = with_query(url, &metadata_query(custom_metadata));
        self.send_body(Method::POST, url, ContentType::Json.header(), ids)
            .await?
            .parse()
    }

    /// Enqueues the deletion of the documents that match when the task runs. A filter
    /// that cannot be parsed is refused now; an attribute that cannot be filtered makes
    /// the task fail.
    pub async fn delete_by_filter(
        &self,
        uid: &str,
        filter: &str,
        custom_metadata: Option<&str>,
    ) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(&["indexes", uid, "documents", "delete"])?;
        let url = with_query(url, &metadata_query(custom_metadata));
        let body = json!({ "filter": filter });
        self.send_json(Method::POST, url, &body).await?.parse()
    }

    /// Enqueues the deletion of every document. The index and its settings stay.
    pub async fn delete_all(
        &self,
        uid: &str,
        custom_metadata: Option<&str>,
    ) -> Result<EnqueuedTask, MeiliError> {
        self.delete(
            &["indexes", uid, "documents"],
            &metadata_query(custom_metadata),
        )
        .await?
        .parse()
    }

    /// Reads documents as they are stored, whatever `displayedAttributes` says.
    pub async fn fetch(&self, uid: &str, request: &FetchRequest) -> Result<FetchPage, MeiliError> {
        let body = serde_json::to_vec(request).map_err(|error| MeiliError::Invalid {
            what: format!("fetch request: {error}"),
        })?;
        let url = self.url(&["indexes", uid, "documents", "fetch"])?;
        self.send_body(
            Method::POST,
            url,
            ContentType::Json.header(),
            Bytes::from(body),
        )
        .await?
        .parse()
    }

    /// One document as JSON text, or `None` if the index has no document of that id. A
    /// missing index is an error.
    pub async fn get_document(
        &self,
        uid: &str,
        id: &str,
    ) -> Result<Option<Box<RawValue>>, MeiliError> {
        self.get(&["indexes", uid, "documents", id], &[])
            .await?
            .parse_unless(&["document_not_found"])
    }
}

fn metadata_query(custom_metadata: Option<&str>) -> Vec<(&'static str, String)> {
    custom_metadata
        .map(|text| ("customMetadata", text.to_owned()))
        .into_iter()
        .collect()
}
