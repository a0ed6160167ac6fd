//! What a task is: the unit of asynchronous work, and what clients see of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::settings;
use crate::error::ErrorBody;

/// Identifies a task. Dense from 0, in the order tasks were accepted and are processed.
pub type TaskId = u32;

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Accepted and durable, not started.
    Enqueued,
    /// In the batch that is being processed. Never stored: a restart makes it enqueued again.
    Processing,
    /// Done; what it asked for is committed.
    Succeeded,
    /// Done; it changed no document or setting.
    Failed,
    /// Never produced by this node; accepted in filters.
    Canceled,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub enum Kind {
    DocumentAdditionOrUpdate,
    DocumentDeletion,
    SettingsUpdate,
    IndexCreation,
    IndexUpdate,
    IndexDeletion,
    DumpCreation,
}

const STATUSES: [(Status, &str); 5] = [
    (Status::Enqueued, "enqueued"),
    (Status::Processing, "processing"),
    (Status::Succeeded, "succeeded"),
    (Status::Failed, "failed"),
    (Status::Canceled, "canceled"),
];

/// Every task type of Meilisearch, in its order, with the ones this node creates.
const KINDS: [(Option<Kind>, &str); 18] = [
    (
        Some(Kind::DocumentAdditionOrUpdate),
        "documentAdditionOrUpdate",
    ),
    (None, "documentEdition"),
    (Some(Kind::DocumentDeletion), "documentDeletion"),
    (Some(Kind::SettingsUpdate), "settingsUpdate"),
    (Some(Kind::IndexCreation), "indexCreation"),
    (Some(Kind::IndexDeletion), "indexDeletion"),
    (Some(Kind::IndexUpdate), "indexUpdate"),
    (None, "indexSwap"),
    (None, "taskCancelation"),
    (None, "taskDeletion"),
    (Some(Kind::DumpCreation), "dumpCreation"),
    (None, "snapshotCreation"),
    (None, "export"),
    (None, "upgradeDatabase"),
    (None, "indexCompaction"),
    (None, "networkTopologyChange"),
    (None, "dsrUpdate"),
    (None, "dsrClear"),
];

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&STATUSES, *self))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&KINDS, Some(*self)))
    }
}

fn name_of<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table
        .iter()
        .find(|(v, _)| *v == value)
        .map_or("unknown", |(_, name)| name)
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        STATUSES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(s, _)| *s)
            .ok_or_else(|| {
                let names: Vec<_> = STATUSES.iter().map(|(_, n)| format!("`{n}`")).collect();
                format!(
                    "`{text}` is not a valid task status. Available statuses are {}.",
                    names.join(", ")
                )
            })
    }
}

/// A task type in a filter: one of ours, or one of Meilisearch's that matches nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindFilter(pub Option<Kind>);

impl FromStr for KindFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((kind, _)) = KINDS
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
        {
            return Ok(Self(*kind));
        }
        let names: Vec<_> = KINDS.iter().map(|(_, name)| format!("`{name}`")).collect();
        Err(format!(
            "`{text}` is not a valid task type. Available types are {}.",
            names.join(", ")
        ))
    }
}

/// How a document addition treats a document that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// The new document takes its place.
    Replace,
    /// Its top-level fields are merged into the old one.
    Update,
}

/// Where the documents of an addition wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// In a file of this name.
    File(String),
    /// In the task store, under the task's uid: small payloads, which then need no disk write
    /// of their own.
    Row,
}

/// What a task has to do, with everything it needs to do it again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// Adds the documents of a payload.
    Addition {
        /// Replace or merge.
        method: Method,
        /// Where its documents are.
        payload: Payload,
        /// Size of the payload, bytes; bounds batches.
        payload_bytes: u64,
        /// Documents in it.
        received: u64,
        /// Primary key the client asked for.
        primary_key: Option<String>,
        /// Whether the index may be created for it.
        may_create: bool,
    },
    /// Deletes documents by external id.
    DeleteIds(Vec<String>),
    /// Deletes what a filter matches.
    DeleteFilter(Value),
    /// Deletes every document.
    Clear,
    /// Changes settings; `null` resets one.
    Settings {
        /// The settings object.
        settings: Value,
        /// Whether the index may be created for it.
        may_create: bool,
    },
    /// Creates the index.
    IndexCreation(Option<String>),
    /// Sets the index's primary key.
    IndexUpdate(Option<String>),
    /// Deletes the index.
    IndexDeletion,
    /// Writes a dump of everything.
    Dump,
}

impl Operation {
    /// The type clients see.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Addition { .. } => Kind::DocumentAdditionOrUpdate,
            Self::DeleteIds(_) | Self::DeleteFilter(_) | Self::Clear => Kind::DocumentDeletion,
            Self::Settings { .. } => Kind::SettingsUpdate,
            Self::IndexCreation(_) => Kind::IndexCreation,
            Self::IndexUpdate(_) => Kind::IndexUpdate,
            Self::IndexDeletion => Kind::IndexDeletion,
            Self::Dump => Kind::DumpCreation,
        }
    }

    /// Details before the task is finished; counts that are not known yet are `null`.
    pub fn initial_details(&self) -> Value {
        self.details(Value::Null)
    }

    /// Details with the number of documents the task indexed or deleted.
    pub fn details(&self, count: Value) -> Value {
        match self {
            Self::Addition { received, .. } => {
                json!({ "receivedDocuments": received, "indexedDocuments": count })
            }
            Self::DeleteIds(ids) => json!({
                "providedIds": ids.len(), "deletedDocuments": count, "originalFilter": null,
            }),
            Self::DeleteFilter(filter) => json!({
                "providedIds": 0, "deletedDocuments": count, "originalFilter": filter.to_string(),
            }),
            Self::Clear | Self::IndexDeletion => json!({ "deletedDocuments": count }),
            Self::Settings { settings, .. } => settings::present(settings.clone()),
            Self::IndexCreation(key) | Self::IndexUpdate(key) => json!({ "primaryKey": key }),
            Self::Dump => json!({ "dumpUid": null }),
        }
    }
}

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in Meilisearch's API")]
pub struct Task {
    pub uid: TaskId,
    pub batch_uid: Option<u32>,
    /// Empty for a task of the whole node.
    pub index_uid: String,
    pub status: Status,
    pub kind: Kind,
    /// Present until the task is finished.
    pub operation: Option<Operation>,
    pub details: Option<Value>,
    pub error: Option<ErrorBody>,
    #[serde(with = "time::serde::rfc3339")]
    pub enqueued_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<String>,
}

impl Task {
    /// The object `GET /tasks/{uid}` answers with.
    pub fn view(&self) -> Value {
        let duration = self
            .started_at
            .zip(self.finished_at)
            .map(|(s, f)| iso_duration(f - s));
        let mut view = Map::new();
        view.insert("uid".into(), json!(self.uid));
        view.insert("batchUid".into(), json!(self.batch_uid));
        view.insert("indexUid".into(), self.index_shown());
        view.insert("status".into(), json!(self.status.to_string()));
        view.insert("type".into(), json!(self.kind.to_string()));
        view.insert("canceledBy".into(), Value::Null);
        if let Some(details) = &self.details {
            view.insert("details".into(), details.clone());
        }
        view.insert("error".into(), json!(self.error));
        view.insert("duration".into(), json!(duration));
        view.insert("enqueuedAt".into(), json!(timestamp(self.enqueued_at)));
        view.insert("startedAt".into(), json!(self.started_at.map(timestamp)));
        view.insert("finishedAt".into(), json!(self.finished_at.map(timestamp)));
        self.insert_metadata(&mut view);
        Value::Object(view)
    }

    /// The object a write is answered with.
    pub fn summary(&self) -> Value {
        let mut view = Map::new();
        view.insert("taskUid".into(), json!(self.uid));
        view.insert("indexUid".into(), self.index_shown());
        view.insert("status".into(), json!(self.status.to_string()));
        view.insert("type".into(), json!(self.kind.to_string()));
        view.insert("enqueuedAt".into(), json!(timestamp(self.enqueued_at)));
        self.insert_metadata(&mut view);
        Value::Object(view)
    }

    fn index_shown(&self) -> Value {
        if self.index_uid.is_empty() {
            Value::Null
        } else {
            json!(self.index_uid)
        }
    }

    fn insert_metadata(&self, view: &mut Map<String, Value>) {
        if let Some(metadata) = &self.custom_metadata {
            view.insert("customMetadata".into(), json!(metadata));
        }
    }
}

/// RFC 3339 in UTC, always with a fraction and `Z`: the Python SDK rejects anything else.
pub fn timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    // The formatter drops a fraction of zero, so keep at least one nanosecond visible.
    let at = if at.nanosecond() == 0 {
        at + time::Duration::nanoseconds(1)
    } else {
        at
    };
    at.format(&Rfc3339)
        .unwrap_or_else(|_| "1970-01-01T00:00:00.000000001Z".to_owned())
}

/// ISO 8601 duration in seconds, as Meilisearch prints it: `PT0.003251S`.
fn iso_duration(duration: time::Duration) -> String {
    format!(
        "PT{}.{:09}S",
        duration.whole_seconds(),
        duration.subsec_nanoseconds().unsigned_abs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_always_have_a_fraction_and_a_z() {
        for nanos in [0, 1_000, 123_456_789] {
            let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_000_000 + nanos)
                .unwrap();
            let text = timestamp(at);
            assert!(text.ends_with('Z') && text.contains('.'), "{text}");
        }
    }

    #[test]
    fn details_follow_the_kind() {
        let addition = Operation::Addition {
            method: Method::Replace,
            payload: Payload::Row,
            payload_bytes: 2,
            received: 3,
            primary_key: None,
            may_create: true,
        };
        assert_eq!(
            addition.initial_details(),
            json!({ "receivedDocuments": 3, "indexedDocuments": null })
        );
        assert_eq!(
            Operation::DeleteIds(vec!["1".into()]).details(json!(1))["providedIds"],
            1
        );
    }

    #[test]
    fn a_filter_may_name_types_this_node_never_creates() {
        assert_eq!("indexSwap".parse(), Ok(KindFilter(None)));
        assert_eq!(
            "settingsupdate".parse(),
            Ok(KindFilter(Some(Kind::SettingsUpdate)))
        );
        assert!("nonsense".parse::<KindFilter>().is_err());
    }
}
