//! One setting of an index, by a route of its own.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use miroir_core::request::parse_json;
use miroir_core::settings::{SubSetting, Verb};
use serde_json::Value;

use super::incoming::Incoming;
use super::path::Path;
use super::reads::caller;
use super::settings::require_feature;
use super::{Server, body, index_uid, unsupported};
use crate::error::HttpError;
use crate::write::Operation;

/// The setting that a path names, or the answer to one that Meilisearch does not have.
fn named(setting: &str) -> Result<&'static SubSetting, StatusCode> {
    SubSetting::at(setting).ok_or(StatusCode::NOT_FOUND)
}

/// `GET /indexes/{uid}/settings/{setting}`
pub async fn get(
    State(server): State<Server>,
    Path((uid, setting)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<axum::Json<Value>, Response> {
    let setting = named(&setting).map_err(IntoResponse::into_response)?;
    let caller = caller(&headers);
    let read = async {
        let uid = index_uid(&uid)?;
        let reads = &server.parts().reads;
        Box::pin(reads.setting(uid.as_str(), setting, &caller)).await
    };
    read.await
        .map(axum::Json)
        .map_err(IntoResponse::into_response)
}

/// `PUT` or `PATCH /indexes/{uid}/settings/{setting}`, whichever the setting has.
pub async fn update(
    State(server): State<Server>,
    Path((uid, setting)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    let setting = named(&setting).map_err(IntoResponse::into_response)?;
    let (verb, name) = match setting.verb {
        Verb::Put => (Method::PUT, "PUT"),
        Verb::Patch => (Method::PATCH, "PATCH"),
    };
    if *request.method() != verb {
        let allowed = format!("GET, {name}, DELETE");
        return Err(unsupported::method_not_allowed(&allowed));
    }
    let write = async {
        let incoming = Incoming::read(&server, request).await?;
        body::require_json(incoming.headers())?;
        let value: Value = parse_json(incoming.body())?;
        let patch = setting.patch(value)?;
        require_feature(&server, &patch)?;
        let index = index_uid(&uid)?;
        let operation = Operation::Settings {
            patch,
            creates: true,
        };
        Ok(incoming.submit(&server, index, operation).await)
    };
    write
        .await
        .map_err(|error: HttpError| error.into_response())
}

/// `DELETE /indexes/{uid}/settings/{setting}`
pub async fn reset(
    State(server): State<Server>,
    Path((uid, setting)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    let setting = named(&setting).map_err(IntoResponse::into_response)?;
    let write = async {
        let incoming = Incoming::read(&server, request).await?;
        let index = index_uid(&uid)?;
        let operation = Operation::Settings {
            patch: setting.patch(Value::Null)?,
            creates: false,
        };
        Ok(incoming.submit(&server, index, operation).await)
    };
    write
        .await
        .map_err(|error: HttpError| error.into_response())
}
