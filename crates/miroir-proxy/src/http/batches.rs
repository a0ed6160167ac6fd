//! Batches: in a cluster every task that some node has begun is a batch of its own, under the same uid.

use axum::extract::State;
use axum::http::Uri;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::Task;
use miroir_core::id::{IndexUid, TaskUid};
use serde_json::{Map, Value, json};

use super::params::Params;
use super::path::Path;
use super::task_query::{PARAMETERS, read_page};
use super::tasks::is_shown;
use super::{Allowed, Server, view};
use crate::error::HttpError;

/// `GET /batches/{uid}`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
) -> Result<axum::Json<Value>, HttpError> {
    let uid: u32 = uid.parse().map_err(|_| {
        let message =
            format!("Batch uid `{uid}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidBatchUids, message)
    })?;
    let found = server.parts().catalog.get_task(TaskUid(uid)).await?;
    let shown = |task: &Task| task.started_at_ms.is_some() && is_shown(task, &allowed);
    match found.filter(shown) {
        Some(task) => Ok(axum::Json(batch(&task))),
        None => Err(ApiError::new(Code::BatchNotFound, format!("Batch `{uid}` not found.")).into()),
    }
}

/// `GET /batches`
pub async fn list(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let params = Params::only(&uri, &PARAMETERS)?;
    let mut filter = read_page(&params)?;
    filter.query.begun = true;
    filter.query.index_patterns = allowed.patterns();
    let list = server.parts().catalog.list_tasks(&filter).await?;
    let results: Vec<Value> = list.results.iter().map(batch).collect();
    Ok(axum::Json(view::page(&results, &list, &filter)))
}

fn batch(task: &Task) -> Value {
    let one = |name: &str| Value::Object(Map::from_iter([(name.to_owned(), json!(1))]));
    let index = task.index.as_ref().map(IndexUid::as_str);
    let index = index.or(view::index_of(task.kind));
    let took = task.started_at_ms.zip(task.finished_at_ms);
    let took = took.map(|(from, to)| to.saturating_sub(from));
    json!({
        "uid": task.uid.0,
        "progress": null,
        "details": if task.details.is_null() { json!({}) } else { task.details.clone() },
        "stats": {
            "totalNbTasks": 1,
            "status": one(task.status.as_str()),
            "types": one(task.kind.as_str()),
            // Nodes trace their own steps; what the cluster knows is the whole.
            "progressTrace": took.map_or_else(|| json!({}), |ms| json!({"processing tasks": format!("{ms}.00ms")})),
            "indexUids": index.map_or_else(|| json!({}), one),
        },
        "duration": took.map(view::duration),
        "startedAt": task.started_at_ms.map(view::timestamp),
        "finishedAt": task.finished_at_ms.map(view::timestamp),
        "batchStrategy": "a task of a cluster is a batch of its own",
    })
}
