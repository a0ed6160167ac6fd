//! A request read and checked as a whole, before anything of it is sent anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::NewTask;
use miroir_core::document::{Batch, Split, parse_delete_batch, resolve_primary_key, split_ids};
use miroir_core::hidden_field;
use miroir_core::id::ShardId;
use miroir_core::routing::IndexRoute;
use miroir_core::settings;
use serde_json::Value;

use super::queue::Scope;
use super::request::{AddDocuments, Mode, Operation};
use super::tasks;

/// Bodies above this are read on a thread of their own, so that they do not hold up other requests.
const LARGE_BODY_BYTES: usize = 64 << 10;
/// The longest filter to delete by. The coordinators keep it in the task, and their commands are bounded.
const FILTER_BYTES_MAX: usize = 64 << 10;

/// A change of settings that a client asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SettingsChange {
    /// What the client's object names.
    Patch(Value),
    /// All, to their defaults.
    Reset,
}

/// Documents, checked and placed.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) split: Split,
    pub(super) mode: Mode,
    pub(super) primary_key: String,
    pub(super) skip_creation: bool,
    /// Whether no document can fail on a node by itself, so that other requests' documents may share its task.
    pub(super) may_be_grouped: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Nothing: the task has failed already, or has nothing to do.
    Nothing,
    /// Adds documents.
    Documents(Arc<Documents>),
    /// Deletes documents by id.
    Ids(BTreeMap<ShardId, Vec<String>>),
    /// Deletes the documents that match the client's filter; all of them without one.
    Filter(Option<Value>),
    /// Changes settings.
    Settings(SettingsChange),
    /// Deletes the index.
    DeleteIndex,
}

/// A checked write and its task.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) work: Work,
    pub(super) task: NewTask,
    /// Set when the index has no primary key yet: the key to be committed before anything is sent.
    pub(super) new_key: Option<String>,
}

impl Prepared {
    fn new(work: Work, task: NewTask) -> Self {
        Self {
            work,
            task,
            new_key: None,
        }
    }
}

impl Work {
    /// What it touches; `None` when nothing.
    pub(super) fn scope(&self) -> Option<Scope> {
        match self {
            Self::Nothing => None,
            Self::Documents(documents) => {
                let shards: BTreeSet<ShardId> =
                    documents.split.shards().into_iter().map(ShardId).collect();
                (!shards.is_empty()).then_some(Scope::Shards(shards))
            }
            Self::Ids(ids) => {
                (!ids.is_empty()).then(|| Scope::Shards(ids.keys().copied().collect()))
            }
            Self::Filter(_) => Some(Scope::All),
            Self::Settings(_) => Some(Scope::Step),
            Self::DeleteIndex => Some(Scope::Alone),
        }
    }
}

/// Checks what can be checked without knowing the index: what Meilisearch answers 400 to.
pub(super) fn check(operation: &Operation) -> Result<(), ApiError> {
    match operation {
        Operation::AddDocuments(add) => Batch::parse(&add.body, add.content_type).map(drop),
        Operation::DeleteBatch { body } => parse_delete_batch(body).map(drop),
        Operation::DeleteByFilter { filter } => check_filter(filter),
        Operation::Settings { patch, .. } => settings::validate(patch),
        Operation::DeleteOne { .. }
        | Operation::DeleteAll
        | Operation::ResetSettings
        | Operation::CreateIndex { .. }
        | Operation::UpdateIndex { .. }
        | Operation::DeleteIndex => Ok(()),
    }
}

/// [`check`], on another thread when the body is large.
pub(super) async fn check_apart(operation: &Operation) -> Result<(), ApiError> {
    let large =
        matches!(operation, Operation::AddDocuments(add) if add.body.len() > LARGE_BODY_BYTES);
    if large {
        let operation = operation.clone();
        apart(move || check(&operation)).await
    } else {
        check(operation)
    }
}

fn check_filter(filter: &Value) -> Result<(), ApiError> {
    let empty = filter.is_null()
        || filter.as_str().is_some_and(|text| text.trim().is_empty())
        || filter.as_array().is_some_and(Vec::is_empty);
    if empty {
        let message = "Sending an empty filter is forbidden.";
        return Err(ApiError::new(Code::InvalidDocumentFilter, message));
    }
    if filter.to_string().len() > FILTER_BYTES_MAX {
        let message = format!("The filter is longer than {FILTER_BYTES_MAX} bytes.");
        return Err(ApiError::new(Code::InvalidDocumentFilter, message));
    }
    hidden_field::check_filter(filter, Code::InvalidDocumentFilter)?;
    hidden_field::and_filter(Some(filter), "")
        .map(drop)
        .map_err(|error| ApiError {
            code: Code::InvalidDocumentFilter,
            ..error
        })
}

/// Reads an operation on an index that exists.
///
/// # Errors
/// The 400 that Meilisearch would answer. What makes only the task fail is in the task.
pub(super) async fn prepare(
    operation: &Operation,
    route: &IndexRoute,
) -> Result<Prepared, ApiError> {
    let shard_count = route.shard_count();
    Ok(match operation {
        Operation::AddDocuments(add) => {
            let key = route.primary_key.clone();
            let add = add.clone();
            if add.body.len() > LARGE_BODY_BYTES {
                apart(move || addition(&add, key.as_deref(), shard_count)).await?
            } else {
                addition(&add, key.as_deref(), shard_count)?
            }
        }
        Operation::DeleteOne { id } => Prepared::new(
            by_ids(std::slice::from_ref(id), shard_count),
            tasks::deletion_by_ids(1),
        ),
        Operation::DeleteBatch { body } => {
            let ids = parse_delete_batch(body)?;
            Prepared::new(by_ids(&ids, shard_count), tasks::deletion_by_ids(ids.len()))
        }
        Operation::DeleteByFilter { filter } => {
            check_filter(filter)?;
            Prepared::new(
                Work::Filter(Some(filter.clone())),
                tasks::deletion_by_filter(filter),
            )
        }
        Operation::DeleteAll => Prepared::new(Work::Filter(None), tasks::deletion_of_all()),
        Operation::Settings { patch, .. } => {
            settings::validate(patch)?;
            Prepared::new(
                Work::Settings(SettingsChange::Patch(patch.clone())),
                tasks::settings(patch),
            )
        }
        Operation::ResetSettings => Prepared::new(
            Work::Settings(SettingsChange::Reset),
            tasks::settings_reset(),
        ),
        Operation::DeleteIndex => Prepared::new(Work::DeleteIndex, tasks::index_deletion()),
        // Both are commands to the catalog and reach no node.
        Operation::CreateIndex { primary_key } => {
            Prepared::new(Work::Nothing, tasks::creation(primary_key.as_deref()))
        }
        Operation::UpdateIndex { primary_key } => {
            Prepared::new(Work::Nothing, tasks::update(primary_key.as_deref()))
        }
    })
}

fn by_ids(ids: &[String], shard_count: u16) -> Work {
    let parts = split_ids(ids, shard_count);
    Work::Ids(
        parts
            .into_iter()
            .map(|(shard, ids)| (ShardId(shard), ids))
            .collect(),
    )
}

fn addition(
    add: &AddDocuments,
    of_index: Option<&str>,
    shard_count: u16,
) -> Result<Prepared, ApiError> {
    let batch = Batch::parse(&add.body, add.content_type)?;
    let received = batch.len();
    let task = |distinct| tasks::addition(received, distinct, add.custom_metadata.clone());
    let fails = |error: &ApiError| Prepared::new(Work::Nothing, tasks::failed(task(0), error));
    let primary_key = match resolve_primary_key(of_index, add.primary_key.as_deref(), &batch) {
        Err(error) => return Ok(fails(&error)),
        Ok(None) => return Ok(Prepared::new(Work::Nothing, task(0))),
        Ok(Some(primary_key)) => primary_key,
    };
    let split = match Split::new(&batch, &primary_key, shard_count) {
        Err(error) => return Ok(fails(&error)),
        Ok(split) => split,
    };
    let by_itself = split
        .documents()
        .iter()
        .any(|document| document.has_geo || document.has_vectors);
    let task = task(split.distinct_ids());
    let documents = Documents {
        split,
        mode: add.mode,
        primary_key: primary_key.clone(),
        skip_creation: add.skip_creation,
        may_be_grouped: !by_itself && !add.skip_creation,
    };
    let new_key = of_index.is_none().then_some(primary_key);
    Ok(Prepared {
        work: Work::Documents(Arc::new(documents)),
        task,
        new_key,
    })
}

async fn apart<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => Err(ApiError::new(
            Code::Internal,
            format!("reading the request body failed: {error}"),
        )),
    }
}

impl Documents {
    /// The body for a node: the documents of `shards`, in the client's order.
    pub(super) fn ndjson(&self, shards: &BTreeSet<ShardId>) -> Bytes {
        Bytes::from(self.split.ndjson(|shard| shards.contains(&ShardId(shard))))
    }

    /// The size of that body, in bytes.
    pub(super) fn bytes(&self, shards: &BTreeSet<ShardId>) -> usize {
        let documents = self
            .split
            .documents()
            .iter()
            .filter(|d| shards.contains(&ShardId(d.shard)));
        documents
            .map(|document| self.split.json(document).len() + 1)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::route;
    use super::*;
    use miroir_core::document::ContentType;
    use serde_json::json;

    fn add(body: &str, primary_key: Option<&str>) -> Operation {
        Operation::AddDocuments(AddDocuments {
            mode: Mode::Replace,
            content_type: ContentType::Json,
            primary_key: primary_key.map(str::to_owned),
            custom_metadata: Some("mine".to_owned()),
            skip_creation: false,
            body: Bytes::from(body.to_owned()),
        })
    }

    async fn prepared(operation: &Operation, primary_key: Option<&str>) -> Prepared {
        let mut route = route(&["I1", "I1", "I1", "I1"]);
        route.primary_key = primary_key.map(str::to_owned);
        prepare(operation, &route).await.expect("readable")
    }

    #[tokio::test]
    async fn one_bad_document_of_a_thousand_fails_the_task_and_nothing_is_to_be_done() {
        let mut documents: Vec<Value> = (0..1000)
            .map(|n| json!({ "id": n, "t": "x".repeat(100) }))
            .collect();
        documents[637]["id"] = json!("six three seven");
        let prepared = prepared(&add(&json!(documents).to_string(), None), None).await;
        assert!(prepared.work.scope().is_none());
        assert_eq!(
            prepared.new_key, None,
            "a failed batch must not fix the primary key"
        );
        let failure = prepared.task.failure.expect("failed");
        assert_eq!(failure["code"], "invalid_document_id");
        assert!(
            failure["message"]
                .as_str()
                .expect("text")
                .contains("six three seven"),
            "{failure}"
        );
        assert_eq!(prepared.task.details["receivedDocuments"], 1000);
    }

    #[tokio::test]
    async fn the_primary_key_is_the_indexs_or_is_to_be_committed() {
        let body = r#"[{"id":1,"sku":"a"},{"id":1,"sku":"b"}]"#;
        let table = [
            (None, None, Ok((Some("id"), 1))),
            (None, Some("sku"), Ok((Some("sku"), 2))),
            (Some("sku"), None, Ok((None, 2))),
            (Some("sku"), Some("sku"), Ok((None, 2))),
            (
                Some("sku"),
                Some("id"),
                Err("index_primary_key_already_exists"),
            ),
        ];
        for (of_index, parameter, expected) in table {
            let prepared = prepared(&add(body, parameter), of_index).await;
            let got = match &prepared.task.failure {
                Some(failure) => Err(failure["code"].as_str().expect("a code")),
                None => Ok((
                    prepared.new_key.as_deref(),
                    prepared.task.details["_distinct"].as_u64().expect("n"),
                )),
            };
            assert_eq!(
                got,
                expected.map(|(key, n): (_, u64)| (key, n)),
                "{of_index:?} {parameter:?}"
            );
            assert_eq!(prepared.task.custom_metadata.as_deref(), Some("mine"));
        }
        let empty = prepared(&add("[]", None), None).await;
        assert!(empty.work.scope().is_none() && empty.task.failure.is_none());
    }

    #[tokio::test]
    async fn bodies_that_meilisearch_answers_400_to_are_refused_at_once() {
        let route = route(&["I1"]);
        let table = [
            (add("", None), "missing_payload"),
            (add("[{", None), "malformed_payload"),
            (
                Operation::DeleteBatch {
                    body: Bytes::from_static(b"{}"),
                },
                "bad_request",
            ),
            (
                Operation::DeleteByFilter {
                    filter: json!("_miroir_shard = 1"),
                },
                "invalid_document_filter",
            ),
            (
                Operation::DeleteByFilter { filter: json!(" ") },
                "invalid_document_filter",
            ),
            (
                Operation::DeleteByFilter { filter: json!([]) },
                "invalid_document_filter",
            ),
            (
                Operation::DeleteByFilter { filter: json!({}) },
                "invalid_document_filter",
            ),
            (
                Operation::DeleteByFilter {
                    filter: json!(format!("a IN [{}1]", "1,".repeat(40 << 10))),
                },
                "invalid_document_filter",
            ),
            (
                Operation::Settings {
                    patch: json!({ "stopWords": 1 }),
                    creates: true,
                },
                "invalid_settings_stop_words",
            ),
        ];
        for (operation, code) in table {
            let at_once = check_apart(&operation).await.expect_err(code);
            let later = prepare(&operation, &route).await.expect_err(code);
            assert_eq!((at_once.code.name(), later.code.name()), (code, code));
        }
    }

    #[tokio::test]
    async fn deletions_are_split_by_shard() {
        let batch = Operation::DeleteBatch {
            body: Bytes::from_static(b"[1, \"2\", 3]"),
        };
        let prepared = prepared(&batch, Some("id")).await;
        let Work::Ids(ids) = &prepared.work else {
            panic!("{:?}", prepared.work)
        };
        let mut all: Vec<&String> = ids.values().flatten().collect();
        all.sort();
        assert_eq!(all, ["1", "2", "3"]);
        assert_eq!(prepared.task.details["providedIds"], 3);
    }

    #[tokio::test]
    async fn documents_that_nodes_check_by_themselves_are_not_grouped() {
        let table = [
            (r#"{"id":1}"#, true),
            (r#"{"id":1,"_geo":null}"#, false),
            (r#"{"id":1,"_vectors":{}}"#, false),
        ];
        for (body, expected) in table {
            let prepared = prepared(&add(body, None), Some("id")).await;
            let Work::Documents(documents) = &prepared.work else {
                panic!("{body}")
            };
            assert_eq!(documents.may_be_grouped, expected, "{body}");
        }
    }
}
