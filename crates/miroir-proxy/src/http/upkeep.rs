//! What every node does by itself, as one task: dumps, snapshots, compactions.

use axum::extract::State;
use axum::http::StatusCode;
use miroir_core::cluster::{NewTask, TaskKind};
use miroir_core::id::IndexUid;
use serde_json::{Value, json};
use uuid::Uuid;

use super::path::Path;
use super::{Server, index_uid, view};
use crate::error::HttpError;

type Answer = Result<(StatusCode, axum::Json<Value>), HttpError>;

/// `POST /dumps`
pub async fn dump(State(server): State<Server>) -> Answer {
    let details = json!({ "dumpUid": null });
    ask_nodes(&server, None, TaskKind::DumpCreation, details).await
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
