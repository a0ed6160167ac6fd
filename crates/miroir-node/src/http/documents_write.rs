//! Routes that change documents.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use deserr::Deserr;
use serde_json::Value;

use super::App;
use super::actions;
use super::extract::{
    index_uid, invalid_content_type, malformed_json, media_type, missing_content_type, parameters,
};
use super::payload_format::{PayloadFormat, to_documents};
use crate::engine::filter;
use crate::error::{ApiError, Code, marker};
use crate::queue::NewTask;
use crate::queue::task::{Method, Operation};
use crate::validate::{FromParam, InvalidJson, InvalidQuery, Param, Problem, missing_field};

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct WriteParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentCsvDelimiter>)]
    csv_delimiter: Option<Param<Delimiter>>,
    /// Newer than the engine's version, but harmless, and what Miroir looks tasks up by.
    #[deserr(default, error = InvalidQuery<marker::InvalidIndexCustomMetadata>)]
    custom_metadata: Option<String>,
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct DeleteParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidIndexCustomMetadata>)]
    custom_metadata: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Delimiter(char);

impl FromParam for Delimiter {
    fn from_param(text: &str) -> Result<Self, Problem> {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Self(c)),
            _ => Err(Problem(format!(
                "expected a string of one character, but found the following string of {} \
                 characters: `{text}`",
                text.chars().count()
            ))),
        }
    }
}

pub(super) async fn replace(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    add(&app, Method::Replace, uid, &headers, &uri, body).await
}

pub(super) async fn update(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    add(&app, Method::Update, uid, &headers, &uri, body).await
}

fn ascii(delimiter: char) -> Result<u8, ApiError> {
    u8::try_from(delimiter)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| {
            let message = format!("csv delimiter must be an ascii character. Found: `{delimiter}`");
            ApiError::new(Code::InvalidDocumentCsvDelimiter, message)
        })
}

async fn add(
    app: &App,
    method: Method,
    uid: String,
    headers: &HeaderMap,
    uri: &Uri,
    body: Body,
) -> Result<Response, ApiError> {
    let access = app.authorize(headers, actions::DOCUMENTS_ADD, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let params: WriteParams = parameters(uri)?;
    let delimiter = params
        .csv_delimiter
        .map(|Param(Delimiter(c))| ascii(c))
        .transpose()?;
    let format = payload_format(headers, delimiter)?;
    let content = app.body(body).await?;
    if content.is_empty() {
        let message = format!("A {format} payload is missing.");
        return Err(ApiError::new(Code::MissingPayload, message));
    }
    let task = app
        .blocking(move |app| {
            let documents = to_documents(&content, format)?;
            drop(content);
            let payload_bytes = documents.content.len() as u64;
            let (payload, row) = app.queue().payloads.place(documents.content)?;
            let operation = Operation::Addition {
                method,
                payload,
                payload_bytes,
                received: documents.count,
                primary_key: params.primary_key,
                may_create: access.may_create,
            };
            let custom_metadata = params.custom_metadata;
            Ok(NewTask {
                custom_metadata,
                row,
                ..NewTask::new(uid, operation)
            })
        })
        .await?;
    app.enqueue(task).await
}

fn payload_format(headers: &HeaderMap, delimiter: Option<u8>) -> Result<PayloadFormat, ApiError> {
    let accepted = ["application/json", "application/x-ndjson", "text/csv"];
    let Some(media) = media_type(headers) else {
        return Err(missing_content_type(&accepted));
    };
    match (media.as_str(), delimiter) {
        ("application/json", None) => Ok(PayloadFormat::Json),
        ("application/x-ndjson", None) => Ok(PayloadFormat::Ndjson),
        ("text/csv", delimiter) => Ok(PayloadFormat::Csv {
            delimiter: delimiter.unwrap_or(b','),
        }),
        ("application/json" | "application/x-ndjson", Some(_)) => Err(ApiError::new(
            Code::InvalidContentType,
            format!(
                "The Content-Type `{media}` does not support the use of a csv delimiter. The csv \
                 delimiter can only be used with the Content-Type `text/csv`."
            ),
        )),
        _ => Err(invalid_content_type(&media, &accepted)),
    }
}

/// Registers a deletion.
async fn remove(
    app: &App,
    uid: &str,
    uri: &Uri,
    operation: Operation,
) -> Result<Response, ApiError> {
    let index_uid = index_uid(uid)?;
    let DeleteParams { custom_metadata } = parameters(uri)?;
    let task = NewTask {
        custom_metadata,
        ..NewTask::new(index_uid, operation)
    };
    app.enqueue(task).await
}

pub(super) async fn delete_one(
    State(app): State<App>,
    Path((uid, document_id)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_DELETE, Some(&uid))?;
    remove(&app, &uid, &uri, Operation::DeleteIds(vec![document_id])).await
}

pub(super) async fn delete_batch(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_DELETE, Some(&uid))?;
    let content = app.json_bytes(&headers, body).await?;
    let ids: Vec<Value> = serde_json::from_slice(&content).map_err(|error| {
        if error.is_data() {
            ApiError::new(Code::BadRequest, format!("Json deserialize error: {error}"))
        } else {
            malformed_json(&error)
        }
    })?;
    let ids = ids
        .iter()
        .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    let operation = Operation::DeleteIds(ids.collect());
    remove(&app, &uid, &uri, operation).await
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
struct DeleteByFilter {
    #[deserr(error = InvalidJson<marker::InvalidDocumentFilter>, missing_field_error = missing_field::<marker::MissingDocumentFilter>)]
    filter: Value,
}

pub(super) async fn delete_by_filter(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_DELETE, Some(&uid))?;
    let DeleteByFilter { filter } = app.validated(&headers, body).await?;
    // Syntax is checked now; whether the attributes are filterable only when it is its turn.
    if filter::parse(&filter, Code::InvalidDocumentFilter)?.is_none() {
        let message = "Sending an empty filter is forbidden.";
        return Err(ApiError::new(Code::InvalidDocumentFilter, message));
    }
    remove(&app, &uid, &uri, Operation::DeleteFilter(filter)).await
}

pub(super) async fn clear(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_DELETE, Some(&uid))?;
    remove(&app, &uid, &uri, Operation::Clear).await
}
