//! Indexes: listed from the routing table, changed by tasks.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::body::text;
use miroir_core::cluster::{IndexRename, TaskKind};
use miroir_core::id::IndexUid;
use miroir_core::request::{parse_json, unknown_field, wrong_type};
use miroir_core::routing::IndexRoute;
use serde_json::{Map, Value, json};

use super::incoming::{Incoming, refuse};
use super::params::Params;
use super::path::Path;
use super::{Allowed, Server, body, index_uid, view};
use crate::error::HttpError;
use crate::write::Operation;

const DEFAULT_LIMIT: usize = 20;

fn view_of(index: &IndexRoute) -> Value {
    json!({
        "uid": index.uid,
        "createdAt": view::timestamp(index.created_at_ms),
        "updatedAt": view::timestamp(index.updated_at_ms),
        "primaryKey": index.primary_key,
    })
}

/// `GET /indexes`
pub async fn list(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let params = Params::only(&uri, &["offset", "limit"])?;
    let offset = params
        .number("offset", Code::InvalidIndexOffset)?
        .unwrap_or(0);
    let limit = params
        .number("limit", Code::InvalidIndexLimit)?
        .unwrap_or(DEFAULT_LIMIT);
    let mut indexes = server.parts().reads.indexes()?;
    indexes.retain(|index| allowed.index(index.uid.as_str()));
    let page: Vec<Value> = indexes
        .iter()
        .skip(offset)
        .take(limit)
        .map(|i| view_of(i))
        .collect();
    Ok(axum::Json(json!({
        "results": page, "offset": offset, "limit": limit, "total": indexes.len(),
    })))
}

/// `GET /indexes/{uid}`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
) -> Result<axum::Json<Value>, HttpError> {
    let uid = index_uid(&uid)?;
    let indexes = server.parts().reads.indexes()?;
    let found = indexes.iter().find(|index| index.uid == uid);
    let index = found.ok_or_else(|| HttpError::index_not_found(uid.as_str()))?;
    Ok(axum::Json(view_of(index)))
}

/// `POST /indexes`
pub async fn create(State(server): State<Server>, request: Request) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    body::require_json(incoming.headers())?;
    let (index, primary_key) = read_creation(incoming.body())?;
    incoming.allowed().require_index(index.as_str())?;
    Ok(incoming
        .submit(&server, index, Operation::CreateIndex { primary_key })
        .await)
}

/// `PATCH /indexes/{uid}`
pub async fn update(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    body::require_json(incoming.headers())?;
    let (uid, primary_key) = read_update(incoming.body())?;
    let Some(to) = uid else {
        let operation = Operation::UpdateIndex { primary_key };
        return Ok(incoming.submit(&server, index, operation).await);
    };
    let rename = IndexRename {
        uid: index,
        to,
        primary_key,
        idempotency: incoming.idempotency(),
    };
    Ok(match server.parts().writes.rename(&rename).await {
        Ok(task) => {
            let summary = view::summary_now(task, Some(&rename.uid), TaskKind::IndexUpdate);
            (StatusCode::ACCEPTED, axum::Json(summary)).into_response()
        }
        Err(error) => refuse(&error),
    })
}

/// `DELETE /indexes/{uid}`
pub async fn delete(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    Ok(incoming
        .submit(&server, index, Operation::DeleteIndex)
        .await)
}

fn read_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match parse_json(body)? {
        Value::Object(members) => Ok(members),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => Err(wrong_type(Code::BadRequest, "", "an object", &other)),
    }
}

fn read_primary_key(members: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    match members.get("primaryKey") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) => Ok(Some(key.clone())),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
            Err(wrong_type(
                Code::InvalidIndexPrimaryKey,
                ".primaryKey",
                "a string",
                other,
            ))
        }
    }
}

fn read_creation(body: &[u8]) -> Result<(IndexUid, Option<String>), ApiError> {
    let members = read_object(body)?;
    let accepted = ["uid", "primaryKey"];
    if let Some(name) = members
        .keys()
        .find(|name| !accepted.contains(&name.as_str()))
    {
        return Err(unknown_field("", name, &accepted));
    }
    let uid = match members.get("uid") {
        None => return Err(ApiError::new(Code::MissingIndexUid, "Missing field `uid`")),
        Some(Value::String(uid)) => IndexUid::parse(uid).map_err(|error| {
            ApiError::new(
                Code::InvalidIndexUid,
                format!("Invalid value at `.uid`: {error}"),
            )
        })?,
        Some(
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)),
        ) => return Err(wrong_type(Code::InvalidIndexUid, ".uid", "a string", other)),
    };
    Ok((uid, read_primary_key(&members)?))
}

/// The uid and the primary key that an index is to have, as far as they are named.
fn read_update(body: &[u8]) -> Result<(Option<IndexUid>, Option<String>), ApiError> {
    let members = read_object(body)?;
    let accepted = ["primaryKey", "uid"];
    let unknown = |name: &&String| !accepted.contains(&name.as_str());
    if let Some(name) = members.keys().find(unknown) {
        let immutable = match name.as_str() {
            "createdAt" => Code::ImmutableIndexCreatedAt,
            "updatedAt" => Code::ImmutableIndexUpdatedAt,
            _ => return Err(unknown_field("", name, &accepted)),
        };
        let message = format!("Immutable field `{name}`: expected one of `primaryKey`, `uid`");
        return Err(ApiError::new(immutable, message));
    }
    let uid = match members.get("uid") {
        None | Some(Value::Null) => None,
        Some(uid) => Some(text(uid, ".uid", Code::InvalidIndexUid)?),
    };
    let primary_key = read_primary_key(&members)?;
    Ok((uid.as_deref().map(index_uid).transpose()?, primary_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_are_checked() {
        let (uid, key) = read_creation(br#"{"uid":"movies","primaryKey":"id"}"#).expect("valid");
        assert_eq!((uid.as_str(), key.as_deref()), ("movies", Some("id")));
        assert_eq!(
            read_creation(br#"{"uid":"m","primaryKey":null}"#)
                .expect("valid")
                .1,
            None
        );
        let table = [
            (r#"{}"#, Code::MissingIndexUid, "Missing field `uid`"),
            (
                r#"{"uid":1}"#,
                Code::InvalidIndexUid,
                "Invalid value type at `.uid`: expected a string",
            ),
            (
                r#"{"uid":"a b"}"#,
                Code::InvalidIndexUid,
                "Invalid value at `.uid`: `a b` is not a valid",
            ),
            (
                r#"{"uid":"a","primaryKey":1}"#,
                Code::InvalidIndexPrimaryKey,
                "`.primaryKey`",
            ),
            (
                r#"{"uid":"a","other":1}"#,
                Code::BadRequest,
                "Unknown field `other`",
            ),
            (r#"[]"#, Code::BadRequest, "expected an object"),
            ("", Code::MissingPayload, "missing"),
        ];
        for (body, code, text) in table {
            let error = read_creation(body.as_bytes()).expect_err(body);
            assert_eq!(error.code, code, "{body}");
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn updates_are_checked() {
        assert_eq!(
            read_update(br#"{"primaryKey":"id"}"#),
            Ok((None, Some("id".to_owned())))
        );
        assert_eq!(read_update(b"{}"), Ok((None, None)));
        let uid = IndexUid::parse("b").expect("valid");
        assert_eq!(read_update(br#"{"uid":"b"}"#), Ok((Some(uid), None)));
        assert_eq!(read_update(br#"{"uid":null}"#), Ok((None, None)));
        let table = [
            (r#"{"uid":"a b"}"#, Code::InvalidIndexUid),
            (r#"{"uid":1}"#, Code::InvalidIndexUid),
            (r#"{"createdAt":"now"}"#, Code::ImmutableIndexCreatedAt),
            (r#"{"updatedAt":"now"}"#, Code::ImmutableIndexUpdatedAt),
            (r#"{"other":1}"#, Code::BadRequest),
        ];
        for (body, code) in table {
            let error = read_update(body.as_bytes()).expect_err(body);
            assert_eq!(error.code, code, "{body}");
        }
    }
}
