//! Finished tasks as a webhook gets them.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use miroir_core::cluster::Task;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One line for each task, gzipped.
///
/// # Errors
/// Never in practice: memory takes every byte.
pub(super) fn of(tasks: &[Task]) -> std::io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for task in tasks {
        writeln!(packed, "{}", view(task))?;
    }
    packed.finish().map(Bytes::from)
}

/// The object that `GET /tasks/{uid}` answers, but for what is not there.
fn view(task: &Task) -> Value {
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("uid", json!(task.uid.0));
    put("batchUid", json!(task.started_at_ms.map(|_| task.uid.0)));
    put("indexUid", json!(task.index));
    put("status", json!(task.status.as_str()));
    put("type", json!(task.kind.as_str()));
    put("canceledBy", Value::Null);
    put("details", visible(&task.details));
    put("error", json!(task.error));
    let took = task.started_at_ms.zip(task.finished_at_ms);
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

/// Details without what Miroir keeps in them for itself.
fn visible(details: &Value) -> Value {
    let Value::Object(fields) = details else {
        return details.clone();
    };
    let kept = fields.iter().filter(|(name, _)| !name.starts_with('_'));
    Value::Object(kept.map(|(n, v)| (n.clone(), v.clone())).collect())
}

fn duration(ms: u64) -> String {
    format!("PT{}.{:06}S", ms / 1000, ms % 1000 * 1000)
}

/// RFC 3339 with a fraction, which clients expect.
fn timestamp(at_ms: u64) -> Option<String> {
    let nanos = i128::from(at_ms) * 1_000_000 + if at_ms.is_multiple_of(1000) { 1_000 } else { 0 };
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    at.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use miroir_core::cluster::{TaskKind, TaskStatus};
    use miroir_core::id::{IndexUid, TaskUid};

    use super::*;

    #[test]
    fn tasks_are_lines_without_what_is_hidden() {
        let task = Task {
            uid: TaskUid(7),
            index: IndexUid::parse("movies").ok(),
            kind: TaskKind::DocumentAdditionOrUpdate,
            status: TaskStatus::Succeeded,
            details: json!({ "receivedDocuments": 1, "indexedDocuments": 1, "_distinct": 1 }),
            error: None,
            custom_metadata: Some("mine".to_owned()),
            parts: Vec::new(),
            enqueued_at_ms: 1_700_000_000_000,
            started_at_ms: Some(1_700_000_000_010),
            finished_at_ms: Some(1_700_000_001_133),
        };
        let packed = of(&[task.clone(), task]).expect("in memory");
        let mut text = String::new();
        GzDecoder::new(&packed[..])
            .read_to_string(&mut text)
            .expect("gzip");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let expected = json!({
            "uid": 7, "batchUid": 7, "indexUid": "movies", "status": "succeeded",
            "type": "documentAdditionOrUpdate", "canceledBy": null,
            "details": { "receivedDocuments": 1, "indexedDocuments": 1 }, "error": null,
            "duration": "PT1.123000S", "enqueuedAt": "2023-11-14T22:13:20.000001Z",
            "startedAt": "2023-11-14T22:13:20.01Z", "finishedAt": "2023-11-14T22:13:21.133Z",
            "customMetadata": "mine",
        });
        assert_eq!(lines, [expected.clone(), expected]);
    }
}
