//! Writing documents.

use axum::extract::{Request, State};
use axum::http::{Uri, header};
use axum::response::Response;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::document::ContentType;
use miroir_core::request::{parse_json, unknown_field, wrong_type};
use serde_json::Value;

use super::incoming::Incoming;
use super::params::Params;
use super::path::Path;
use super::{Server, body, document_query, index_uid};
use crate::error::HttpError;
use crate::write::{AddDocuments, Mode, Operation};

const ADD_PARAMETERS: [&str; 4] = [
    "primaryKey",
    "csvDelimiter",
    "customMetadata",
    "skipCreation",
];

/// `POST /indexes/{uid}/documents`
pub async fn replace(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    Box::pin(add(server, uid, Mode::Replace, request)).await
}

/// `PUT /indexes/{uid}/documents`
pub async fn update(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    Box::pin(add(server, uid, Mode::Update, request)).await
}

async fn add(
    server: Server,
    uid: String,
    mode: Mode,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    let params = Params::only(incoming.uri(), &ADD_PARAMETERS)?;
    let skip_creation = match params.text("skipCreation") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let message =
                format!("skipCreation must be either `true` or `false`. Found: `{other}`");
            return Err(ApiError::new(Code::InvalidSkipCreation, message).into());
        }
    };
    let content_type = ContentType::parse(
        body::header_text(incoming.headers(), header::CONTENT_TYPE),
        params.text("csvDelimiter"),
    )?;
    let operation = Operation::AddDocuments(AddDocuments {
        mode,
        content_type,
        primary_key: params.text("primaryKey").map(str::to_owned),
        custom_metadata: params.text("customMetadata").map(str::to_owned),
        skip_creation,
        body: incoming.body().clone(),
    });
    Ok(incoming.submit(&server, index, operation).await)
}

/// `DELETE /indexes/{uid}/documents/{id}`
pub async fn delete_one(
    State(server): State<Server>,
    Path((uid, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    let metadata = read_metadata(incoming.uri())?;
    Ok(incoming
        .submit_with(&server, index, Operation::DeleteOne { id }, metadata)
        .await)
}

/// `POST /indexes/{uid}/documents/delete-batch`
pub async fn delete_batch(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    let metadata = read_metadata(incoming.uri())?;
    body::require_json(incoming.headers())?;
    let operation = Operation::DeleteBatch {
        body: incoming.body().clone(),
    };
    Ok(incoming
        .submit_with(&server, index, operation, metadata)
        .await)
}

/// `POST /indexes/{uid}/documents/delete`
pub async fn delete_by_filter(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    let metadata = read_metadata(incoming.uri())?;
    body::require_json(incoming.headers())?;
    let filter = read_filter(incoming.body())?;
    Ok(incoming
        .submit_with(
            &server,
            index,
            Operation::DeleteByFilter { filter },
            metadata,
        )
        .await)
}

/// `DELETE /indexes/{uid}/documents`
pub async fn delete_all(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    let metadata = read_metadata(incoming.uri())?;
    Ok(incoming
        .submit_with(&server, index, Operation::DeleteAll, metadata)
        .await)
}

/// The client's own `customMetadata`, the one parameter of a deletion.
pub(super) fn read_metadata(uri: &Uri) -> Result<Option<String>, ApiError> {
    let params = Params::only(uri, &["customMetadata"])?;
    Ok(params.text("customMetadata").map(str::to_owned))
}

/// The filter of a deletion, which must select something.
fn read_filter(body: &[u8]) -> Result<Value, ApiError> {
    let members = match parse_json(body)? {
        Value::Object(members) => members,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => {
            return Err(wrong_type(Code::BadRequest, "", "an object", &other));
        }
    };
    if let Some(name) = members.keys().find(|name| *name != "filter") {
        return Err(unknown_field("", name, &["filter"]));
    }
    let Some(filter) = members.get("filter") else {
        return Err(ApiError::new(
            Code::MissingDocumentFilter,
            "Missing field `filter`",
        ));
    };
    let is_empty = match filter {
        Value::String(expression) => expression.trim().is_empty(),
        Value::Array(members) => members.is_empty(),
        Value::Null => {
            let message =
                "Invalid syntax for the filter parameter: `expected String, Array, found: null`.";
            return Err(ApiError::new(Code::InvalidDocumentFilter, message));
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    if is_empty {
        let message = "Sending an empty filter is forbidden.";
        return Err(ApiError::new(Code::InvalidDocumentFilter, message));
    }
    document_query::check_filter(filter)?;
    Ok(filter.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_of_deletions() {
        for filter in [json!("a = 1"), json!(["a = 1", ["b = 2", "c = 3"]])] {
            let body = json!({"filter": filter}).to_string();
            assert_eq!(read_filter(body.as_bytes()), Ok(filter));
        }
        let table = [
            (
                json!({}),
                Code::MissingDocumentFilter,
                "Missing field `filter`",
            ),
            (
                json!({"filter": ""}),
                Code::InvalidDocumentFilter,
                "empty filter",
            ),
            (
                json!({"filter": []}),
                Code::InvalidDocumentFilter,
                "empty filter",
            ),
            (
                json!({"filter": null}),
                Code::InvalidDocumentFilter,
                "found: null",
            ),
            (
                json!({"filter": 12}),
                Code::InvalidDocumentFilter,
                "expected String, Array, found: 12",
            ),
            (
                json!({"filter": "_miroir_shard = a"}),
                Code::InvalidDocumentFilter,
                "_miroir_shard",
            ),
            (
                json!({"filter": "a = 1", "x": 1}),
                Code::BadRequest,
                "Unknown field `x`",
            ),
            (json!([]), Code::BadRequest, "expected an object"),
        ];
        for (body, code, text) in table {
            let error = read_filter(body.to_string().as_bytes()).expect_err("refused");
            assert_eq!(error.code, code, "{body}");
            assert!(error.message.contains(text), "{error}");
        }
    }
}
