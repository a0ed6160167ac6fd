//! The tasks that writes become.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{NewTask, TaskKind};
use miroir_core::id::IndexUid;
use miroir_core::settings;
use serde_json::{Value, json};

fn task(kind: TaskKind, details: Value) -> NewTask {
    NewTask {
        kind,
        details,
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

/// The same task, known to fail with `error` before any node sees it: it counts nothing.
pub(super) fn failed(mut task: NewTask, error: &ApiError) -> NewTask {
    for counted in ["indexedDocuments", "deletedDocuments"] {
        if let Some(count) = task.details.get_mut(counted) {
            *count = json!(0);
        }
    }
    NewTask {
        failure: Some(json!(error)),
        ..task
    }
}

/// An addition of `received` documents with `distinct` different ids. Details that begin with `_` are for the
/// coordinators alone.
pub(super) fn addition(
    received: usize,
    distinct: usize,
    custom_metadata: Option<String>,
) -> NewTask {
    let details =
        json!({ "receivedDocuments": received, "indexedDocuments": null, "_distinct": distinct });
    NewTask {
        custom_metadata,
        ..task(TaskKind::DocumentAdditionOrUpdate, details)
    }
}

/// A deletion of `provided` ids.
pub(super) fn deletion_by_ids(provided: usize) -> NewTask {
    let details =
        json!({ "providedIds": provided, "originalFilter": null, "deletedDocuments": null });
    task(TaskKind::DocumentDeletion, details)
}

/// A deletion by a client's filter.
pub(super) fn deletion_by_filter(filter: &Value) -> NewTask {
    let details =
        json!({ "providedIds": 0, "originalFilter": filter.to_string(), "deletedDocuments": null });
    task(TaskKind::DocumentDeletion, details)
}

/// A deletion of every document.
pub(super) fn deletion_of_all() -> NewTask {
    task(
        TaskKind::DocumentDeletion,
        json!({ "deletedDocuments": null }),
    )
}

/// A change of settings, as the client wrote it.
pub(super) fn settings(patch: &Value) -> NewTask {
    task(TaskKind::SettingsUpdate, settings::details(patch))
}

/// The reset of all settings.
pub(super) fn settings_reset() -> NewTask {
    task(TaskKind::SettingsUpdate, settings::details_of_reset())
}

/// The creation of an index.
pub(super) fn creation(primary_key: Option<&str>) -> NewTask {
    task(
        TaskKind::IndexCreation,
        json!({ "primaryKey": primary_key }),
    )
}

/// A change of an index's primary key.
pub(super) fn update(primary_key: Option<&str>) -> NewTask {
    task(TaskKind::IndexUpdate, json!({ "primaryKey": primary_key }))
}

/// The deletion of an index.
pub(super) fn index_deletion() -> NewTask {
    task(TaskKind::IndexDeletion, json!({ "deletedDocuments": null }))
}

pub(super) fn index_not_found(uid: &IndexUid) -> ApiError {
    ApiError::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
}

pub(super) fn index_already_exists(uid: &IndexUid) -> ApiError {
    ApiError::new(
        Code::IndexAlreadyExists,
        format!("Index `{uid}` already exists."),
    )
}

pub(super) fn primary_key_already_exists(primary_key: &str) -> ApiError {
    ApiError::new(
        Code::IndexPrimaryKeyAlreadyExists,
        format!("Index already has a primary key: `{primary_key}`."),
    )
}
