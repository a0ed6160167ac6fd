//! Routes about the settings of an index.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::App;
use super::actions;
use super::extract::index_uid;
use crate::engine::settings::Settings;
use crate::engine::settings_read;
use crate::error::{ApiError, Code};
use crate::queue::NewTask;
use crate::queue::task::Operation;

pub(super) async fn read(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::SETTINGS_GET, Some(&uid))?;
    let uid = index_uid(&uid)?;
    app.blocking(move |app| {
        let index = app.engine().index(&uid)?;
        let rtxn = index.read_txn()?;
        Ok(Json(settings_read::read(&index, &rtxn)?.view()))
    })
    .await
}

pub(super) async fn update(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let access = app.authorize(&headers, actions::SETTINGS_UPDATE, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let settings: Settings = app.validated(&headers, body).await?;
    enqueue(&app, uid, settings.validated()?, access.may_create).await
}

pub(super) async fn reset(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::SETTINGS_UPDATE, Some(&uid))?;
    let uid = index_uid(&uid)?;
    // A reset of an index that does not exist fails when it is its turn.
    enqueue(&app, uid, Settings::reset(), false).await
}

async fn enqueue(
    app: &App,
    index_uid: String,
    settings: Settings,
    may_create: bool,
) -> Result<Response, ApiError> {
    let settings = serde_json::to_value(settings)
        .map_err(|error| ApiError::new(Code::Internal, error.to_string()))?;
    let operation = Operation::Settings {
        settings,
        may_create,
    };
    app.enqueue(NewTask::new(index_uid, operation)).await
}
