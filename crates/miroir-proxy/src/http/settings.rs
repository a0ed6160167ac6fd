//! The settings object of an index.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::request::{parse_json, wrong_type};
use miroir_core::search::hydrate::FOREIGN_KEYS;
use miroir_core::settings;
use serde_json::Value;

use super::incoming::Incoming;
use super::path::Path;
use super::reads::caller;
use super::{Server, body, index_uid};
use crate::error::HttpError;
use crate::write::Operation;

/// `GET /indexes/{uid}/settings`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<axum::Json<Value>, HttpError> {
    let caller = caller(&headers);
    Box::pin(server.parts().reads.settings(&uid, &caller))
        .await
        .map(axum::Json)
}

/// `PATCH /indexes/{uid}/settings`
pub async fn patch(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    body::require_json(incoming.headers())?;
    let patch: Value = parse_json(incoming.body())?;
    if !patch.is_object() {
        return Err(wrong_type(Code::BadRequest, "", "an object", &patch).into());
    }
    settings::validate(&patch)?;
    require_feature(&server, &patch)?;
    let index = index_uid(&uid)?;
    let operation = Operation::Settings {
        patch,
        creates: true,
    };
    Ok(incoming.submit(&server, index, operation).await)
}

/// `DELETE /indexes/{uid}/settings`
pub async fn reset(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let incoming = Incoming::read(&server, request).await?;
    let index = index_uid(&uid)?;
    Ok(incoming
        .submit(&server, index, Operation::ResetSettings)
        .await)
}

/// Refuses foreign keys while their feature is off. They can be taken away then, too.
///
/// # Errors
/// `feature_not_enabled`, in Meilisearch's words.
pub(super) fn require_feature(server: &Server, patch: &Value) -> Result<(), ApiError> {
    let sets = patch.get(FOREIGN_KEYS).is_some_and(|keys| !keys.is_null());
    if !sets || server.registry().feature(FOREIGN_KEYS) {
        return Ok(());
    }
    let message = "setting `foreignKeys` in the index settings requires enabling the `foreign_keys` experimental feature. See https://github.com/orgs/meilisearch/discussions/873";
    Err(ApiError::new(Code::FeatureNotEnabled, message))
}
