//! What every node does by itself, as one task: dumps, snapshots, compactions.

use axum::extract::State;
use axum::http::StatusCode;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{NewTask, TaskKind};
use miroir_core::id::IndexUid;
use serde_json::{Value, json};
use uuid::Uuid;

use super::path::Path;
use super::{Server, index_uid, tasks, view};
use crate::error::HttpError;

type Answer = Result<(StatusCode, axum::Json<Value>), HttpError>;

/// `POST /dumps`
pub async fn dump(State(server): State<Server>) -> Answer {
    let details = json!({ "dumpUid": null });
    ask_nodes(&server, None, TaskKind::DumpCreation, details).await
}

/// `GET /_miroir/dumps/{uid}`: the manifest of the dump that a task made.
pub async fn manifest(
    State(server): State<Server>,
    Path(uid): Path<String>,
) -> Result<axum::Json<Value>, HttpError> {
    let task = tasks::read_uid(&uid)?;
    let found = server.parts().catalog.dump_manifest(task).await?;
    let missing = || {
        let message = format!(
            "Task `{task}` has no manifest of a dump: it is no dump, has failed, has not got so far, or is too old."
        );
        ApiError::new(Code::TaskNotFound, message)
    };
    Ok(axum::Json(found.ok_or_else(missing)?))
}

/// `POST /snapshots`
pub async fn snapshot(State(server): State<Server>) -> Answer {
    ask_nodes(&server, None, TaskKind::SnapshotCreation, Value::Null).await
}

/// `POST /indexes/{uid}/compact`
pub async fn compact(State(server): State<Server>, Path(uid): Path<String>) -> Answer {
    let uid = index_uid(&uid)?;
    ask_nodes(&server, Some(&uid), TaskKind::IndexCompaction, json!({})).await
}

async fn ask_nodes(
    server: &Server,
    index: Option<&IndexUid>,
    kind: TaskKind,
    details: Value,
) -> Answer {
    let task = NewTask {
        kind,
        details,
        custom_metadata: None,
        failure: None,
    };
    let catalog = &server.parts().catalog;
    let registered = catalog.broadcast(Uuid::now_v7(), index, &task).await?;
    let summary = view::summary_now(registered.task, index, kind);
    Ok((StatusCode::ACCEPTED, axum::Json(summary)))
}
