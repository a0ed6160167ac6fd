//! What the HTTP layer hands over, and what it gets back.

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use miroir_core::cluster::{Idempotency, TaskKind};
use miroir_core::document::ContentType;
use miroir_core::id::{IndexUid, TaskUid};
use serde_json::Value;
use uuid::Uuid;

/// What happens to the fields that a document has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The new document takes the old one's place (POST).
    Replace,
    /// Fields of the new document replace those of the old one, whose others stay (PUT).
    Update,
}

/// Documents to be added.
#[derive(Debug, Clone)]
pub struct AddDocuments {
    /// Replace or update.
    pub mode: Mode,
    /// How the body is written down, the CSV delimiter included.
    pub content_type: ContentType,
    /// The `primaryKey` parameter.
    pub primary_key: Option<String>,
    /// The client's own `customMetadata`.
    pub custom_metadata: Option<String>,
    /// The `skipCreation` parameter: documents of unknown ids are left out.
    pub skip_creation: bool,
    /// The documents.
    pub body: Bytes,
}

/// A write to one index.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Adds, replaces or updates documents.
    AddDocuments(AddDocuments),
    /// Deletes one document.
    DeleteOne {
        /// Its id.
        id: String,
    },
    /// Deletes documents by id.
    DeleteBatch {
        /// A JSON array of ids.
        body: Bytes,
    },
    /// Deletes the documents that match.
    DeleteByFilter {
        /// The client's filter: a string, or an array of strings and arrays of strings.
        filter: Value,
    },
    /// Deletes every document.
    DeleteAll,
    /// Changes the settings that `patch` names.
    Settings {
        /// The client's JSON object.
        patch: Value,
        /// Whether an index that does not exist is created for it.
        creates: bool,
    },
    /// Puts every setting back to its default.
    ResetSettings,
    /// Creates the index.
    CreateIndex {
        /// The documents' id field.
        primary_key: Option<String>,
    },
    /// Sets the index's primary key.
    UpdateIndex {
        /// The documents' id field.
        primary_key: Option<String>,
    },
    /// Deletes the index.
    DeleteIndex,
}

impl Operation {
    /// The type of the task that it becomes.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::AddDocuments(_) => TaskKind::DocumentAdditionOrUpdate,
            Self::DeleteOne { .. }
            | Self::DeleteBatch { .. }
            | Self::DeleteByFilter { .. }
            | Self::DeleteAll => TaskKind::DocumentDeletion,
            Self::Settings { .. } | Self::ResetSettings => TaskKind::SettingsUpdate,
            Self::CreateIndex { .. } => TaskKind::IndexCreation,
            Self::UpdateIndex { .. } => TaskKind::IndexUpdate,
            Self::DeleteIndex => TaskKind::IndexDeletion,
        }
    }
}

/// The client's request as it came, to be passed on to the index's writer.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// Its method.
    pub method: Method,
    /// Its path and query, beginning with `/`.
    pub path_and_query: String,
    /// The headers worth passing on: `Content-Type` and the like; no hop-by-hop ones, and no `Authorization`,
    /// which the first proxy has checked.
    pub headers: HeaderMap,
    /// Its body, unpacked.
    pub body: Bytes,
}

/// A write, as the HTTP layer read it.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The index it is for.
    pub index: IndexUid,
    /// What is to be done.
    pub operation: Operation,
    /// The client's own `customMetadata` of a deletion. Documents bring theirs.
    pub custom_metadata: Option<String>,
    /// Whether the client may have the index created by writing to it.
    pub may_create: bool,
    /// Whether another proxy sent it: it is never passed on again then.
    pub forwarded: bool,
    /// The request itself.
    pub raw: RawRequest,
    /// Tells a repeated request from a new one; a forwarded request brings its own.
    pub request_id: Uuid,
    /// The client's own key, by which it may repeat the request.
    pub idempotency: Option<Idempotency>,
}

impl WriteRequest {
    /// The answer to it, when its task was registered before.
    pub(super) fn accepted_before(&self, task: TaskUid, at_ms: u64) -> Accepted {
        let custom_metadata = if let Operation::AddDocuments(add) = &self.operation {
            add.custom_metadata.as_ref()
        } else {
            self.custom_metadata.as_ref()
        };
        Accepted {
            task_uid: task,
            index_uid: self.index.clone(),
            kind: self.operation.kind(),
            enqueued_at_ms: at_ms,
            custom_metadata: custom_metadata.cloned(),
        }
    }
}

/// A write that was registered: what Meilisearch's summarised task (HTTP 202) is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The cluster's task.
    pub task_uid: TaskUid,
    /// The index.
    pub index_uid: IndexUid,
    /// The type of the task.
    pub kind: TaskKind,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub enqueued_at_ms: u64,
    /// The client's own `customMetadata`.
    pub custom_metadata: Option<String>,
}
