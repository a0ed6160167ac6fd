//! Routes that search.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use serde_json::Value;

use super::App;
use super::actions;
use super::extract::{index_uid, parameters};
use super::search_get::SearchParams;
use crate::engine::search;
use crate::engine::search_query::SearchQuery;
use crate::error::ApiError;

pub(super) async fn search_post(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::SEARCH, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let query: SearchQuery = app.validated(&headers, body).await?;
    run(&app, uid, query).await
}

pub(super) async fn search_get(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::SEARCH, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let params: SearchParams = parameters(&uri)?;
    run(&app, uid, params.into_query()?).await
}

async fn run(app: &App, uid: String, query: SearchQuery) -> Result<Json<Value>, ApiError> {
    app.reading(move |app| {
        let index = app.engine().index(&uid)?;
        search::run(app.engine(), &uid, &index, &query).map(Json)
    })
    .await
}
