//! Tasks: the coordinators keep them, in Meilisearch's shape.

use axum::extract::State;
use axum::http::Uri;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{Task, TaskKind, TaskQuery};
use miroir_core::id::TaskUid;
use serde_json::Value;
use uuid::Uuid;

use super::params::Params;
use super::path::Path;
use super::task_query::{FILTERS, PARAMETERS, read_page, read_query};
use super::{Allowed, Server, view};
use crate::error::HttpError;

/// `GET /tasks/{uid}`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
) -> Result<axum::Json<Value>, HttpError> {
    let task = find(&server, &uid, &allowed).await?;
    Ok(axum::Json(view::task(&task)))
}

/// `GET /_miroir/tasks/{uid}`: the task with the nodes' shares of it.
pub async fn detail(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
) -> Result<axum::Json<Value>, HttpError> {
    let task = find(&server, &uid, &allowed).await?;
    Ok(axum::Json(view::detail(&task)))
}

async fn find(server: &Server, uid: &str, allowed: &Allowed) -> Result<Task, HttpError> {
    let uid = read_uid(uid)?;
    let found = server.parts().catalog.get_task(uid).await?;
    let missing = || ApiError::new(Code::TaskNotFound, format!("Task `{uid}` not found."));
    Ok(found
        .filter(|task| is_shown(task, allowed))
        .ok_or_else(missing)?)
}

/// The uid of a task in a path.
///
/// # Errors
/// Meilisearch's, when it is no number.
pub fn read_uid(uid: &str) -> Result<TaskUid, ApiError> {
    uid.parse().map(TaskUid).map_err(|_| {
        let message =
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidTaskUids, message)
    })
}

/// Whether whoever sent a request may see a task.
pub fn is_shown(task: &Task, allowed: &Allowed) -> bool {
    match &task.index {
        Some(index) => allowed.index(index.as_str()),
        None => allowed.all_indexes(),
    }
}

/// `GET /tasks`
pub async fn list(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let params = Params::only(&uri, &PARAMETERS)?;
    let mut filter = read_page(&params)?;
    filter.query.index_patterns = allowed.patterns();
    let list = server.parts().catalog.list_tasks(&filter).await?;
    let results: Vec<Value> = list.results.iter().map(view::task).collect();
    Ok(axum::Json(view::page(&results, &list, &filter)))
}

/// `POST /tasks/cancel`
pub async fn cancel(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let (query, original) = selection(&uri, &allowed, "cancel")?;
    let catalog = &server.parts().catalog;
    let registered = catalog.cancel_tasks(Uuid::now_v7(), &query, &original);
    let task = registered.await?.task;
    let kind = TaskKind::TaskCancelation;
    Ok(axum::Json(view::summary_now(task, None, kind)))
}

/// `DELETE /tasks`
pub async fn delete(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let (query, original) = selection(&uri, &allowed, "delete")?;
    let catalog = &server.parts().catalog;
    let registered = catalog.delete_tasks(Uuid::now_v7(), &query, &original);
    let task = registered.await?.task;
    let kind = TaskKind::TaskDeletion;
    Ok(axum::Json(view::summary_now(task, None, kind)))
}

/// The tasks that a request to `verb` some names, and its own words for them.
fn selection(uri: &Uri, allowed: &Allowed, verb: &str) -> Result<(TaskQuery, String), HttpError> {
    let params = Params::only(uri, &FILTERS)?;
    if params.pairs().next().is_none() {
        let message = format!(
            "Query parameters to filter the tasks to {verb} are missing. Available query parameters are: `uids`, `indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`."
        );
        return Err(ApiError::new(Code::MissingTaskFilters, message).into());
    }
    let original = format!("?{}", uri.query().unwrap_or_default());
    let query = TaskQuery {
        index_patterns: allowed.patterns(),
        ..read_query(&params)?
    };
    Ok((query, original))
}
