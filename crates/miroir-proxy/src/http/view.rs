//! Times and tasks as Meilisearch writes them.

use miroir_core::cluster::{Task, TaskKind, TaskPart, TaskStatus};
use miroir_core::id::{IndexUid, TaskUid};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::catalog::{TaskFilter, TaskList};

/// A time in milliseconds since the Unix epoch as RFC 3339 in UTC, always with a fraction and `Z`:
/// SDKs parse nothing else.
#[must_use]
pub fn timestamp(at_ms: u64) -> String {
    // A fraction of zero would be left out; a microsecond more keeps it and hurts nobody.
    let nanos = i128::from(at_ms) * 1_000_000 + if at_ms.is_multiple_of(1000) { 1_000 } else { 0 };
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        // Only years beyond 9999 have no RFC 3339 form.
        .unwrap_or_else(|| "9999-12-31T23:59:59.999Z".to_owned())
}

/// A duration in milliseconds as ISO 8601: `PT0.123000S`.
#[must_use]
pub fn duration(ms: u64) -> String {
    format!("PT{}.{:06}S", ms / 1000, ms % 1000 * 1000)
}

/// The object that `GET /tasks/{uid}` answers.
#[must_use]
pub fn task(task: &Task) -> Value {
    let took = task.started_at_ms.zip(task.finished_at_ms);
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("uid", json!(task.uid.0));
    // One cluster task is one batch; there is none before it begins.
    put("batchUid", json!(task.started_at_ms.map(|_| task.uid.0)));
    let index = task.index.as_ref().map(IndexUid::as_str);
    put("indexUid", json!(index.or(index_of(task.kind))));
    put("status", json!(task.status.as_str()));
    put("type", json!(task.kind.as_str()));
    put("canceledBy", Value::Null);
    if !task.details.is_null() {
        put("details", task.details.clone());
    }
    put("error", json!(task.error));
    put(
        "duration",
        json!(took.map(|(from, to)| duration(to.saturating_sub(from)))),
    );
    put("enqueuedAt", json!(timestamp(task.enqueued_at_ms)));
    put("startedAt", json!(task.started_at_ms.map(timestamp)));
    put("finishedAt", json!(task.finished_at_ms.map(timestamp)));
    if let Some(metadata) = &task.custom_metadata {
        put("customMetadata", json!(metadata));
    }
    Value::Object(view)
}

/// The index that Meilisearch names in tasks of a kind that are about none of a client's.
#[must_use]
pub fn index_of(kind: TaskKind) -> Option<&'static str> {
    match kind {
        TaskKind::DsrUpdate | TaskKind::DsrClear => Some(".meili_dsr"),
        TaskKind::DocumentAdditionOrUpdate
        | TaskKind::DocumentDeletion
        | TaskKind::SettingsUpdate
        | TaskKind::IndexCreation
        | TaskKind::IndexUpdate
        | TaskKind::IndexDeletion
        | TaskKind::IndexCompaction
        | TaskKind::TaskCancelation
        | TaskKind::TaskDeletion
        | TaskKind::DumpCreation
        | TaskKind::SnapshotCreation
        | TaskKind::IndexSwap => None,
    }
}

/// The object that `GET /_miroir/tasks/{uid}` answers: a task with the nodes' shares of it.
#[must_use]
pub fn detail(shown: &Task) -> Value {
    let share = |part: &TaskPart| json!({ "node": part.node, "nodeTask": part.node_task, "counts": part.counts });
    let mut view = task(shown);
    if let Value::Object(members) = &mut view {
        let parts = shown.parts.iter().map(share).collect();
        members.insert("parts".to_owned(), Value::Array(parts));
    }
    view
}

/// A page of tasks or batches.
#[must_use]
pub fn page(results: &[Value], list: &TaskList, filter: &TaskFilter) -> Value {
    json!({
        "results": results,
        "total": list.total,
        "limit": filter.limit,
        "from": results.first().map(|task| task["uid"].clone()),
        "next": list.next.map(|uid| uid.0),
    })
}

/// The object that a request is answered with whose task was registered just now.
#[must_use]
pub fn summary_now(task: TaskUid, index: Option<&IndexUid>, kind: TaskKind) -> Value {
    summary(task.0, index.map(IndexUid::as_str), kind, now_ms(), None)
}

/// The time of day, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(now).unwrap_or(0)
}

/// The object that a write is answered with.
#[must_use]
pub fn summary(
    uid: u32,
    index: Option<&str>,
    kind: TaskKind,
    enqueued_at_ms: u64,
    custom_metadata: Option<&str>,
) -> Value {
    let mut view = json!({
        "taskUid": uid,
        "indexUid": index.or(index_of(kind)),
        "status": TaskStatus::Enqueued.as_str(),
        "type": kind.as_str(),
        "enqueuedAt": timestamp(enqueued_at_ms),
    });
    if let (Some(metadata), Value::Object(members)) = (custom_metadata, &mut view) {
        members.insert("customMetadata".to_owned(), json!(metadata));
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_fraction_and_a_z() {
        let table = [
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20.000001Z"),
            (0, "1970-01-01T00:00:00.000001Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, expected) in table {
            assert_eq!(timestamp(ms), expected);
        }
    }

    #[test]
    fn durations_are_iso_8601() {
        let table = [
            (0, "PT0.000000S"),
            (123, "PT0.123000S"),
            (61_005, "PT61.005000S"),
        ];
        for (ms, expected) in table {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn tasks_have_meilisearchs_shape() {
        let mut example = Task {
            uid: TaskUid(7),
            index: IndexUid::parse("movies").ok(),
            kind: TaskKind::DocumentAdditionOrUpdate,
            status: TaskStatus::Enqueued,
            details: json!({"receivedDocuments": 2, "indexedDocuments": null}),
            error: None,
            custom_metadata: None,
            parts: Vec::new(),
            enqueued_at_ms: 1_700_000_000_123,
            started_at_ms: None,
            finished_at_ms: None,
        };
        assert_eq!(
            task(&example).to_string(),
            r#"{"uid":7,"batchUid":null,"indexUid":"movies","status":"enqueued","type":"documentAdditionOrUpdate","canceledBy":null,"details":{"receivedDocuments":2,"indexedDocuments":null},"error":null,"duration":null,"enqueuedAt":"2023-11-14T22:13:20.123Z","startedAt":null,"finishedAt":null}"#
        );
        example.status = TaskStatus::Succeeded;
        example.started_at_ms = Some(1_700_000_000_200);
        example.finished_at_ms = Some(1_700_000_000_323);
        example.custom_metadata = Some("mine".to_owned());
        let done = task(&example);
        assert_eq!(done["duration"], "PT0.123000S");
        assert_eq!(
            (&done["batchUid"], &done["customMetadata"]),
            (&json!(7), &json!("mine"))
        );
    }

    #[test]
    fn summaries_have_meilisearchs_shape() {
        let view = summary(
            3,
            Some("movies"),
            TaskKind::DocumentDeletion,
            1_700_000_000_123,
            None,
        );
        assert_eq!(
            view.to_string(),
            r#"{"taskUid":3,"indexUid":"movies","status":"enqueued","type":"documentDeletion","enqueuedAt":"2023-11-14T22:13:20.123Z"}"#
        );
        let tagged = summary(3, None, TaskKind::DocumentDeletion, 0, Some("mine"));
        assert_eq!(
            (&tagged["indexUid"], &tagged["customMetadata"]),
            (&Value::Null, &json!("mine"))
        );
    }

    #[test]
    fn pages_have_meilisearchs_shape() {
        let list = |total, next: Option<u32>| TaskList {
            results: Vec::new(),
            total,
            next: next.map(TaskUid),
        };
        let filter = |limit| TaskFilter {
            limit: Some(limit),
            ..TaskFilter::default()
        };
        let full = page(
            &[json!({"uid": 7}), json!({"uid": 6})],
            &list(8, Some(5)),
            &filter(2),
        );
        assert_eq!(
            full.to_string(),
            r#"{"results":[{"uid":7},{"uid":6}],"total":8,"limit":2,"from":7,"next":5}"#
        );
        assert_eq!(
            page(&[], &list(0, None), &filter(20)).to_string(),
            r#"{"results":[],"total":0,"limit":20,"from":null,"next":null}"#
        );
    }
}
