//! API keys: `hex(HMAC-SHA256(master key, uid))`, so that a uid gives the same key on every node.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use deserr::{Deserr, ValuePointerRef};
use hmac::{Hmac, Mac};
use milli_core::update::Setting;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

use super::actions;
use super::extract::{IndexUid, parameters};
use super::{App, page};
use crate::error::{ApiError, Code, marker};
use crate::queue::TaskQueue;
use crate::queue::heads::visible;
use crate::queue::task::timestamp;
use crate::validate::{
    FromParam, InvalidJson, InvalidQuery, Param, missing_field, unknown_or_immutable,
};

/// A stored API key. Its secret value is derived, never stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    name: Option<String>,
    description: Option<String>,
    uid: String,
    actions: Vec<String>,
    /// Index uids or patterns ending in `*`.
    pub indexes: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl Key {
    fn new(name: &str, description: &str, action: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            uid: Uuid::new_v4().to_string(),
            actions: vec![action.to_owned()],
            indexes: vec!["*".to_owned()],
            expires_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether the key may do this; `documents.*` includes `documents.add`.
    pub fn allows(&self, action: &str) -> bool {
        self.actions
            .iter()
            .any(|granted| actions::includes(granted, action))
    }

    /// Whether the key may touch this index.
    pub fn sees(&self, uid: &str) -> bool {
        visible(Some(&self.indexes), uid)
    }

    /// The index patterns, sorted, for messages.
    pub fn sorted_indexes(&self) -> Vec<&str> {
        let mut indexes: Vec<&str> = self.indexes.iter().map(String::as_str).collect();
        indexes.sort_unstable();
        indexes
    }

    /// Whether its time is over.
    pub fn is_expired(&self) -> bool {
        self.expires_at
            .is_some_and(|at| at <= OffsetDateTime::now_utc())
    }
}

/// The master key and all API keys.
pub struct Keys {
    queue: Arc<TaskQueue>,
    master: Option<String>,
    /// Keys with their secret values.
    keys: RwLock<Vec<(String, Key)>>,
}

impl Keys {
    /// Loads the keys; a fresh node with a master key gets one for searching and one for the rest.
    pub fn open(queue: Arc<TaskQueue>, master: Option<String>) -> Result<Self, ApiError> {
        let mut stored: Vec<Key> = queue.store.keys()?;
        if stored.is_empty() && master.is_some() {
            stored = vec![
                Key::new(
                    "Default Search API Key",
                    "Use it to search from the frontend",
                    actions::SEARCH,
                ),
                Key::new(
                    "Default Admin API Key",
                    "Use it for anything that is not a search operation. Caution! Do not expose \
                     it on a public frontend",
                    "*",
                ),
            ];
            stored
                .iter()
                .try_for_each(|key| queue.store.put_key(&key.uid, key))?;
        }
        let derive = |key: Key| (derive(master.as_deref().unwrap_or_default(), &key.uid), key);
        let keys = RwLock::new(stored.into_iter().map(derive).collect());
        Ok(Self {
            queue,
            master,
            keys,
        })
    }

    /// The master key, if the node has one.
    pub fn master(&self) -> Option<&str> {
        self.master.as_deref()
    }

    /// The key with this secret value.
    pub fn by_value(&self, value: &str) -> Option<Key> {
        self.find(|(secret, _)| secret == value).map(|(_, key)| key)
    }

    fn find(&self, matches: impl Fn(&(String, Key)) -> bool) -> Option<(String, Key)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|entry| matches(entry)).cloned()
    }

    /// The key with this uid or secret value.
    fn get(&self, name: &str) -> Result<(String, Key), ApiError> {
        let uid = Uuid::parse_str(name).map(|uid| uid.to_string());
        self.find(|(value, key)| value == name || uid.as_ref() == Ok(&key.uid))
            .ok_or_else(|| {
                ApiError::new(Code::ApiKeyNotFound, format!("API key `{name}` not found."))
            })
    }

    fn put(&self, key: Key) -> Result<(String, Key), ApiError> {
        self.queue.store.put_key(&key.uid, &key)?;
        let value = derive(self.master().unwrap_or_default(), &key.uid);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(_, old)| old.uid != key.uid);
        keys.push((value.clone(), key.clone()));
        Ok((value, key))
    }

    fn remove(&self, key: &Key) -> Result<(), ApiError> {
        self.queue.store.delete_key(&key.uid)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(_, old)| old.uid != key.uid);
        Ok(())
    }
}

fn derive(master: &str, uid: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(master.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(uid.as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn view((value, key): (String, Key)) -> Value {
    json!({
        "name": key.name,
        "description": key.description,
        "key": value,
        "uid": key.uid,
        "actions": key.actions,
        "indexes": key.indexes,
        "expiresAt": key.expires_at.and_then(|at| at.format(&Rfc3339).ok()),
        "createdAt": timestamp(key.created_at),
        "updatedAt": timestamp(key.updated_at),
    })
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
struct CreateKey {
    #[deserr(default, error = InvalidJson<marker::InvalidApiKeyDescription>)]
    description: Option<String>,
    #[deserr(default, error = InvalidJson<marker::InvalidApiKeyName>)]
    name: Option<String>,
    #[deserr(default, error = InvalidJson<marker::InvalidApiKeyUid>)]
    uid: Option<String>,
    #[deserr(error = InvalidJson<marker::InvalidApiKeyActions>, missing_field_error = missing_field::<marker::MissingApiKeyActions>)]
    actions: Vec<String>,
    #[deserr(error = InvalidJson<marker::InvalidApiKeyIndexes>, missing_field_error = missing_field::<marker::MissingApiKeyIndexes>)]
    indexes: Vec<String>,
    #[deserr(error = InvalidJson<marker::InvalidApiKeyExpiresAt>, missing_field_error = missing_field::<marker::MissingApiKeyExpiresAt>)]
    expires_at: Option<String>,
}

impl CreateKey {
    fn into_key(self) -> Result<Key, ApiError> {
        let uid = match &self.uid {
            Some(uid) => Uuid::parse_str(uid).map_err(|error| {
                let message = format!("Invalid value at `.uid`: {error}");
                ApiError::new(Code::InvalidApiKeyUid, message)
            })?,
            None => Uuid::new_v4(),
        };
        for (at, action) in self.actions.iter().enumerate() {
            if !actions::ALL.contains(&action.as_str()) {
                let known: Vec<_> = actions::ALL.iter().map(|a| format!("`{a}`")).collect();
                let message = format!(
                    "Unknown value `{action}` at `.actions[{at}]`: expected one of {}",
                    known.join(", ")
                );
                return Err(ApiError::new(Code::InvalidApiKeyActions, message));
            }
        }
        for (at, pattern) in self.indexes.iter().enumerate() {
            let uid = pattern.strip_suffix('*').unwrap_or(pattern);
            let whole = pattern.ends_with('*') && uid.is_empty();
            if !whole && IndexUid::from_param(uid).is_err() {
                let message = format!(
                    "Invalid value at `.indexes[{at}]`: `{pattern}` is not a valid index uid \
                     pattern. Index uid patterns can be an integer or a string containing only \
                     alphanumeric characters, hyphens (-), underscores (_), and optionally end \
                     with a star (*)."
                );
                return Err(ApiError::new(Code::InvalidApiKeyIndexes, message));
            }
        }
        let now = OffsetDateTime::now_utc();
        Ok(Key {
            name: self.name,
            description: self.description,
            uid: uid.to_string(),
            actions: self.actions,
            indexes: self.indexes,
            expires_at: self
                .expires_at
                .map(|text| parse_expiry(&text))
                .transpose()?,
            created_at: now,
            updated_at: now,
        })
    }
}

/// RFC 3339, or a date with or without a time; it must lie in the future.
fn parse_expiry(text: &str) -> Result<OffsetDateTime, ApiError> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| {
        let with_t = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        let with_space = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
        let day = format_description!("[year]-[month]-[day]");
        PrimitiveDateTime::parse(text, with_t)
            .or_else(|_| PrimitiveDateTime::parse(text, with_space))
            .or_else(|_| Date::parse(text, day).map(|d| PrimitiveDateTime::new(d, Time::MIDNIGHT)))
            .ok()
            .map(PrimitiveDateTime::assume_utc)
    });
    moment
        .filter(|moment| *moment > OffsetDateTime::now_utc())
        .ok_or_else(|| {
            let message = format!(
                "Invalid value at `.expiresAt`: `{text}` is not a valid date. It should follow the \
             RFC 3339 format to represents a date or datetime in the future or specified as a \
             null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
            );
            ApiError::new(Code::InvalidApiKeyExpiresAt, message)
        })
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields = immutable)]
struct PatchKey {
    #[deserr(default, error = InvalidJson<marker::InvalidApiKeyDescription>)]
    description: Setting<String>,
    #[deserr(default, error = InvalidJson<marker::InvalidApiKeyName>)]
    name: Setting<String>,
}

fn immutable(field: &str, accepted: &[&str], location: ValuePointerRef<'_>) -> InvalidJson {
    let fields = [
        ("uid", Code::ImmutableApiKeyUid),
        ("key", Code::ImmutableApiKeyKey),
        ("actions", Code::ImmutableApiKeyActions),
        ("indexes", Code::ImmutableApiKeyIndexes),
        ("expiresAt", Code::ImmutableApiKeyExpiresAt),
        ("createdAt", Code::ImmutableApiKeyCreatedAt),
        ("updatedAt", Code::ImmutableApiKeyUpdatedAt),
    ];
    unknown_or_immutable(field, accepted, location, &fields)
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct ListKeys {
    #[deserr(default, error = InvalidQuery<marker::InvalidApiKeyOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(20), error = InvalidQuery<marker::InvalidApiKeyLimit>)]
    limit: Param<usize>,
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::KEYS_GET, None)?;
    let ListKeys {
        offset: Param(offset),
        limit: Param(limit),
    } = parameters(&uri)?;
    let mut keys = app
        .keys()
        .keys
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    // Newest first, as Meilisearch lists them.
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.created_at));
    let total = keys.len() as u64;
    let keys = keys
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(view)
        .collect();
    Ok(page(keys, offset, limit, total))
}

pub(super) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::KEYS_CREATE, None)?;
    let key = app
        .validated::<CreateKey>(&headers, body)
        .await?
        .into_key()?;
    let stored = app
        .blocking(move |app| {
            if app.keys().get(&key.uid).is_ok() {
                let message = format!(
                    "`uid` field value `{}` is already an existing API key.",
                    key.uid
                );
                return Err(ApiError::new(Code::ApiKeyAlreadyExists, message));
            }
            app.keys().put(key)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(view(stored))).into_response())
}

pub(super) async fn get_one(
    State(app): State<App>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::KEYS_GET, None)?;
    Ok(Json(view(app.keys().get(&key)?)))
}

pub(super) async fn update(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::KEYS_UPDATE, None)?;
    let PatchKey {
        description,
        name: label,
    } = app.validated(&headers, body).await?;
    let stored = app.blocking(move |app| {
        let (_, mut key) = app.keys().get(&name)?;
        change(&mut key.description, description);
        change(&mut key.name, label);
        key.updated_at = OffsetDateTime::now_utc();
        app.keys().put(key)
    });
    Ok(Json(view(stored.await?)))
}

fn change(field: &mut Option<String>, setting: Setting<String>) {
    match setting {
        Setting::Set(value) => *field = Some(value),
        Setting::Reset => *field = None,
        Setting::NotSet => (),
    }
}

pub(super) async fn delete(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    app.authorize(&headers, actions::KEYS_DELETE, None)?;
    app.blocking(move |app| {
        let (_, key) = app.keys().get(&name)?;
        app.keys().remove(&key)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_derived_as_meilisearch_derives_them() {
        // The value Python's hmac module gives for this master key and uid.
        assert_eq!(
            derive("masterKey", "74c9c733-3368-4738-bbe5-1d18a5fecb37"),
            "1f9a5b47f5439bff2e2603c5c295ad55e888c92a57f607ab76ab046118556da6"
        );
    }
}
