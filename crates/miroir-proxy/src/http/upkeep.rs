//! What every node does by itself, as one task: dumps, snapshots, compactions.

use axum::extract::State;
use axum::http::StatusCode;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{NewTask, Rejection, TaskKind};
use miroir_core::id::IndexUid;
use serde_json::{Value, json};
use uuid::Uuid;

use super::idempotency::WithoutBody;
use super::path::Path;
use super::{Server, index_uid, tasks, view};
use crate::error::HttpError;
use crate::write::key_reused;

type Answer = Result<(StatusCode, axum::Json<Value>), HttpError>;

/// `POST /dumps`
pub async fn dump(State(server): State<Server>, request: WithoutBody) -> Answer {
    let kind = (TaskKind::DumpCreation, json!({ "dumpUid": null }));
    ask_nodes(&server, None, kind, request).await
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
pub async fn snapshot(State(server): State<Server>, request: WithoutBody) -> Answer {
    let kind = (TaskKind::SnapshotCreation, Value::Null);
    ask_nodes(&server, None, kind, request).await
}

/// `POST /indexes/{uid}/compact`
pub async fn compact(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: WithoutBody,
) -> Answer {
    let uid = index_uid(&uid)?;
    let kind = (TaskKind::IndexCompaction, json!({}));
    ask_nodes(&server, Some(&uid), kind, request).await
}

async fn ask_nodes(
    server: &Server,
    index: Option<&IndexUid>,
    (kind, details): (TaskKind, Value),
    WithoutBody(idempotency): WithoutBody,
) -> Answer {
    let task = NewTask {
        kind,
        details,
        custom_metadata: None,
        failure: None,
        idempotency,
    };
    let catalog = &server.parts().catalog;
    let summary = match catalog.broadcast(Uuid::now_v7(), index, &task).await {
        Ok(registered) => view::summary_now(registered.task, index, kind),
        Err(error) => match error.rejection() {
            Some(Rejection::Repeated { task, at_ms }) => {
                let index = index.map(IndexUid::as_str);
                view::summary(task.0, index, kind, *at_ms, None)
            }
            Some(Rejection::KeyReused) => return Err(key_reused().into()),
            _ => return Err(error.into()),
        },
    };
    Ok((StatusCode::ACCEPTED, axum::Json(summary)))
}
