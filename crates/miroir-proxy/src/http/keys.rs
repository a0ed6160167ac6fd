//! API keys: read from the routing table, changed in the registry.

mod body;

use std::cmp::Reverse;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::{ApiKey, Change, Collection, Entry, Expected, RegistryError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::params::Params;
use super::path::Path;
use super::{Server, registry, view};
use crate::error::HttpError;
use body::KeyPatch;

const DEFAULT_LIMIT: usize = 20;

/// A key as clients see it, with its value.
fn shown(server: &Server, uid: &str, entry: &Entry) -> Result<Value, HttpError> {
    let key = ApiKey::read(&entry.value)
        .ok_or_else(|| HttpError::internal("a key is of a later version than this proxy"))?;
    Ok(json!({
        "name": key.name,
        "description": key.description,
        "key": server.parts().keys.value_of(uid),
        "uid": uid,
        "actions": key.actions,
        "indexes": key.indexes,
        "expiresAt": key.expires_at,
        "createdAt": view::timestamp(entry.created_at_ms),
        "updatedAt": view::timestamp(entry.updated_at_ms),
    }))
}

fn not_found(name: &str) -> HttpError {
    ApiError::new(Code::ApiKeyNotFound, format!("API key `{name}` not found.")).into()
}

/// The uid of the key that a path names by its uid or its value. Only a value is looked up.
fn uid_of(server: &Server, name: &str) -> Result<String, HttpError> {
    let by_value = || server.parts().keys.uid_of(&server.registry(), name);
    let uid = Uuid::parse_str(name).ok().or_else(by_value);
    uid.map(|uid| uid.to_string())
        .ok_or_else(|| not_found(name))
}

/// What became of a change that the registry refused.
fn refusal(uid: &str, refused: RegistryError) -> HttpError {
    match refused {
        RegistryError::Exists { .. } => {
            let message = format!("`uid` field value `{uid}` is already an existing API key.");
            ApiError::new(Code::ApiKeyAlreadyExists, message).into()
        }
        RegistryError::Unknown { .. } => not_found(uid),
        RegistryError::Changed { .. }
        | RegistryError::Full { .. }
        | RegistryError::IsIndex { .. }
        | RegistryError::NoIndex { .. }
        | RegistryError::Unfit { .. } => registry::of_refusal(&refused),
    }
}

/// `GET /keys`
pub async fn list(State(server): State<Server>, uri: Uri) -> Result<axum::Json<Value>, HttpError> {
    let params = Params::only(&uri, &["offset", "limit"])?;
    let offset = params.number("offset", Code::InvalidApiKeyOffset)?;
    let limit = params.number("limit", Code::InvalidApiKeyLimit)?;
    let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(DEFAULT_LIMIT));
    let registry = server.registry();
    let mut keys: Vec<(&str, &Entry)> = registry
        .iter(Collection::Keys)
        .map(|(uid, entry)| (uid, entry.as_ref()))
        .collect();
    // Newest first.
    keys.sort_by_key(|(_, entry)| Reverse((entry.created_at_ms, entry.version)));
    let page = keys.iter().skip(offset).take(limit);
    let page: Vec<Value> = page
        .map(|(uid, entry)| shown(&server, uid, entry))
        .collect::<Result<_, _>>()?;
    Ok(axum::Json(json!({
        "results": page, "offset": offset, "limit": limit, "total": keys.len(),
    })))
}

/// `GET /keys/{key}`
pub async fn get(
    State(server): State<Server>,
    Path(name): Path<String>,
) -> Result<axum::Json<Value>, HttpError> {
    let uid = uid_of(&server, &name)?;
    let registry = server.registry();
    let entry = registry.get(Collection::Keys, &uid);
    let entry = entry.ok_or_else(|| not_found(&uid))?;
    shown(&server, &uid, entry).map(axum::Json)
}

/// `POST /keys`
pub async fn create(
    State(server): State<Server>,
    request: Request,
) -> Result<(StatusCode, axum::Json<Value>), HttpError> {
    let body = server.json_body(request).await?;
    let new = body::read_new(&body, OffsetDateTime::now_utc())?;
    let uid = new.uid.unwrap_or_else(Uuid::new_v4).to_string();
    let change = Change {
        collection: Collection::Keys,
        name: uid.clone(),
        expected: Expected::Absent,
        value: Some(json!(new.key)),
    };
    let registry = server.change_registry(&change).await;
    let registry = registry.map_err(|refused| refused.map_or_else(|e| e, |r| refusal(&uid, r)))?;
    // Gone again already is made and gone: the client hears of both when it looks.
    let entry = registry.get(Collection::Keys, &uid);
    let entry = entry.ok_or_else(|| not_found(&uid))?;
    Ok((
        StatusCode::CREATED,
        axum::Json(shown(&server, &uid, entry)?),
    ))
}

/// `PATCH /keys/{key}`
pub async fn update(
    State(server): State<Server>,
    Path(name): Path<String>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let body = server.json_body(request).await?;
    let patch = body::read_patch(&body)?;
    let uid = uid_of(&server, &name)?;
    let edit = |value: Option<&Value>| match value {
        Some(value) => Ok(patched(value, &patch)),
        None => Err(not_found(&uid)),
    };
    let entry = server
        .edit_object((Collection::Keys, &uid), edit, |refused| {
            refusal(&uid, refused)
        })
        .await?;
    shown(&server, &uid, &entry).map(axum::Json)
}

fn patched(value: &Value, patch: &KeyPatch) -> Value {
    let mut value = value.clone();
    let fields = [("name", &patch.name), ("description", &patch.description)];
    for (name, field) in fields {
        if let Some(field) = field {
            value[name] = json!(field);
        }
    }
    value
}

/// `DELETE /keys/{key}`
pub async fn delete(
    State(server): State<Server>,
    Path(name): Path<String>,
) -> Result<StatusCode, HttpError> {
    let uid = uid_of(&server, &name)?;
    let change = Change {
        collection: Collection::Keys,
        name: uid.clone(),
        expected: Expected::Present,
        value: None,
    };
    match server.change_registry(&change).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(Ok(refused)) => Err(refusal(&uid, refused)),
        Err(Err(error)) => Err(error),
    }
}
