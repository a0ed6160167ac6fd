//! Health, version and numbers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

use super::App;
use super::actions;
use super::extract::index_uid;
use crate::VERSION;
use crate::engine::stats::{index_footprint, index_stats};
use crate::error::ApiError;
use crate::queue::heads::visible;
use crate::queue::task::timestamp;

pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "available" }))
}

pub(super) async fn version(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::VERSION, None)?;
    Ok(Json(
        json!({ "commitSha": "unknown", "commitDate": "unknown", "pkgVersion": VERSION }),
    ))
}

pub(super) async fn index(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::STATS_GET, Some(&uid))?;
    let uid = index_uid(&uid)?;
    app.blocking(move |app| {
        let index = app.engine().index(&uid)?;
        Ok(Json(json!(index_stats(
            &index,
            app.queue().is_indexing(&uid)
        )?)))
    })
    .await
}

pub(super) async fn all(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let access = app.authorize(&headers, actions::STATS_GET, None)?;
    app.blocking(move |app| {
        let (mut size, mut used) = app.queue().store.footprint()?;
        let mut last_update = None;
        let mut indexes = Map::new();
        for (uid, index) in app.engine().all() {
            let (updated_at, index_size, index_used) = index_footprint(&index)?;
            size += index_size;
            used += index_used;
            last_update = last_update.max(Some(updated_at));
            if visible(access.indexes.as_deref(), &uid) {
                let stats = index_stats(&index, app.queue().is_indexing(&uid))?;
                indexes.insert(uid, json!(stats));
            }
        }
        Ok(Json(json!({
            "databaseSize": size,
            "usedDatabaseSize": used,
            "lastUpdate": last_update.map(timestamp),
            "indexes": indexes,
        })))
    })
    .await
}
