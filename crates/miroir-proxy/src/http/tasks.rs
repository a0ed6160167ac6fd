//! Tasks: the coordinators keep them, in Meilisearch's shape.

use axum::extract::State;
use axum::http::Uri;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{Task, TaskKind, TaskStatus};
use miroir_core::id::{IndexUid, TaskUid};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use super::params::{Params, invalid, number_item};
use super::path::Path;
use super::{Allowed, Server, view};
use crate::catalog::TaskFilter;
use crate::error::HttpError;

const DEFAULT_LIMIT: u32 = 20;

const PARAMETERS: [&str; 15] = [
    "limit",
    "from",
    "reverse",
    "batchUids",
    "uids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

const STATUSES: [TaskStatus; 5] = [
    TaskStatus::Enqueued,
    TaskStatus::Processing,
    TaskStatus::Succeeded,
    TaskStatus::Failed,
    TaskStatus::Canceled,
];

const KINDS: [TaskKind; 6] = [
    TaskKind::DocumentAdditionOrUpdate,
    TaskKind::DocumentDeletion,
    TaskKind::SettingsUpdate,
    TaskKind::IndexCreation,
    TaskKind::IndexDeletion,
    TaskKind::IndexUpdate,
];

/// Types that Meilisearch has and this cluster never makes: a filter may name them.
const FOREIGN_KINDS: [&str; 10] = [
    "documentEdition",
    "indexSwap",
    "taskCancelation",
    "taskDeletion",
    "dumpCreation",
    "snapshotCreation",
    "export",
    "upgradeDatabase",
    "indexCompaction",
    "networkTopologyChange",
];

/// `GET /tasks/{uid}`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    Params::only(&uri, &[])?;
    let uid: u32 = uid.parse().map_err(|_| {
        let message =
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidTaskUids, message)
    })?;
    let shown = |task: &Task| match &task.index {
        Some(index) => allowed.index(index.as_str()),
        None => allowed.all_indexes(),
    };
    let task = server.parts().catalog.get_task(TaskUid(uid)).await?;
    match task.filter(shown) {
        Some(task) => Ok(axum::Json(view::task(&task))),
        None => Err(ApiError::new(Code::TaskNotFound, format!("Task `{uid}` not found.")).into()),
    }
}

/// `GET /tasks`
pub async fn list(
    State(server): State<Server>,
    allowed: Allowed,
    uri: Uri,
) -> Result<axum::Json<Value>, HttpError> {
    let params = Params::only(&uri, &PARAMETERS)?;
    let limit = params
        .number("limit", Code::InvalidTaskLimit)?
        .unwrap_or(DEFAULT_LIMIT);
    let Some(mut filter) = read_filter(&params, limit)? else {
        return Ok(axum::Json(page(&[], 0, limit, None)));
    };
    filter.index_patterns = allowed.patterns();
    let list = server.parts().catalog.list_tasks(&filter).await?;
    let results: Vec<Value> = list.results.iter().map(view::task).collect();
    Ok(axum::Json(page(
        &results,
        list.total,
        limit,
        list.next.map(|uid| uid.0),
    )))
}

fn page(results: &[Value], total: u32, limit: u32, next: Option<u32>) -> Value {
    json!({
        "results": results,
        "total": total,
        "limit": limit,
        "from": results.first().map(|task| task["uid"].clone()),
        "next": next,
    })
}

/// The filter, or `None` when nothing can match it.
fn read_filter(params: &Params, limit: u32) -> Result<Option<TaskFilter>, ApiError> {
    let uids = params.star_list("uids", Code::InvalidTaskUids, number_item)?;
    let batches = params.star_list("batchUids", Code::InvalidTaskUids, number_item)?;
    // No task of this cluster is ever canceled.
    let canceled = params.star_list("canceledBy", Code::InvalidTaskCanceledBy, number_item)?;
    let kinds = params.star_list("types", Code::InvalidTaskTypes, kind_item)?;
    let index = |text: &str| IndexUid::parse(text).map_err(|error| error.to_string());
    let time = |name, code, end_of_day| read_time(params, name, code, end_of_day);
    // A task is its own batch.
    let uids = match (uids, batches) {
        (Some(uids), Some(batches)) => {
            Some(uids.into_iter().filter(|u| batches.contains(u)).collect())
        }
        (one, other) => one.or(other),
    };
    let filter = TaskFilter {
        uids: uids.iter().flatten().copied().map(TaskUid).collect(),
        index_uids: params
            .star_list("indexUids", Code::InvalidIndexUid, index)?
            .unwrap_or_default(),
        index_patterns: Vec::new(),
        statuses: params
            .star_list("statuses", Code::InvalidTaskStatuses, status_item)?
            .unwrap_or_default(),
        kinds: kinds.iter().flatten().flatten().copied().collect(),
        from: params.number("from", Code::InvalidTaskFrom)?.map(TaskUid),
        limit: Some(limit),
        reverse: params
            .flag("reverse", Code::InvalidTaskReverse)?
            .unwrap_or(false),
        after_enqueued_at_ms: time("afterEnqueuedAt", Code::InvalidTaskAfterEnqueuedAt, true)?,
        before_enqueued_at_ms: time("beforeEnqueuedAt", Code::InvalidTaskBeforeEnqueuedAt, false)?,
        after_started_at_ms: time("afterStartedAt", Code::InvalidTaskAfterStartedAt, true)?,
        before_started_at_ms: time("beforeStartedAt", Code::InvalidTaskBeforeStartedAt, false)?,
        after_finished_at_ms: time("afterFinishedAt", Code::InvalidTaskAfterFinishedAt, true)?,
        before_finished_at_ms: time("beforeFinishedAt", Code::InvalidTaskBeforeFinishedAt, false)?,
    };
    // An empty list means "any" to the catalog, and "none of these" to the client.
    let nothing = canceled.is_some()
        || (uids.is_some() && filter.uids.is_empty())
        || (kinds.is_some() && filter.kinds.is_empty());
    Ok((!nothing).then_some(filter))
}

fn status_item(text: &str) -> Result<TaskStatus, String> {
    let found = STATUSES
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let known = quoted(STATUSES.iter().map(|status| status.as_str()));
        format!("`{text}` is not a valid task status. Available statuses are {known}.")
    })
}

/// The type, or `None` for one that this cluster never makes.
fn kind_item(text: &str) -> Result<Option<TaskKind>, String> {
    if let Some(kind) = KINDS
        .into_iter()
        .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    {
        return Ok(Some(kind));
    }
    if FOREIGN_KINDS
        .iter()
        .any(|name| name.eq_ignore_ascii_case(text))
    {
        return Ok(None);
    }
    let known = quoted(KINDS.iter().map(|kind| kind.as_str()).chain(FOREIGN_KINDS));
    Err(format!(
        "`{text}` is not a valid task type. Available types are {known}."
    ))
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A time in milliseconds since the Unix epoch. A date alone means its beginning, or, for what must
/// come after it, its end.
fn read_time(
    params: &Params,
    name: &str,
    code: Code,
    end_of_day: bool,
) -> Result<Option<u64>, ApiError> {
    let Some(text) = params.text(name).filter(|text| *text != "*") else {
        return Ok(None);
    };
    let date = format_description!("[year repr:full base:calendar]-[month repr:numerical]-[day]");
    let at = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) => Some(at),
        Err(_) => Date::parse(text, &date).ok().and_then(|day| {
            let day = if end_of_day { day.next_day()? } else { day };
            Some(day.with_time(Time::MIDNIGHT).assume_utc())
        }),
    };
    let at = at.ok_or_else(|| {
        let problem = format!(
            "`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format."
        );
        invalid(name, code, problem)
    })?;
    // Before 1970 there was no task.
    Ok(Some(
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Option<TaskFilter>, ApiError> {
        let uri = format!("/tasks?{query}").parse().expect("a URI");
        read_filter(&Params::only(&uri, &PARAMETERS)?, 20)
    }

    #[test]
    fn filters_are_read() {
        let table = [
            ("", TaskFilter::default()),
            (
                "uids=1,2&statuses=*",
                TaskFilter {
                    uids: vec![TaskUid(1), TaskUid(2)],
                    ..Default::default()
                },
            ),
            (
                "batchUids=3,4&uids=4,5",
                TaskFilter {
                    uids: vec![TaskUid(4)],
                    ..Default::default()
                },
            ),
            (
                "statuses=Enqueued,failed&reverse=true&from=7",
                TaskFilter {
                    statuses: vec![TaskStatus::Enqueued, TaskStatus::Failed],
                    reverse: true,
                    from: Some(TaskUid(7)),
                    ..Default::default()
                },
            ),
            (
                "types=indexSwap,settingsUpdate",
                TaskFilter {
                    kinds: vec![TaskKind::SettingsUpdate],
                    ..Default::default()
                },
            ),
            (
                "afterEnqueuedAt=2023-11-14&beforeEnqueuedAt=2023-11-14",
                TaskFilter {
                    after_enqueued_at_ms: Some(1_700_006_400_000),
                    before_enqueued_at_ms: Some(1_699_920_000_000),
                    ..Default::default()
                },
            ),
            (
                "afterStartedAt=2023-11-14T22:13:20.123Z&afterFinishedAt=*",
                TaskFilter {
                    after_started_at_ms: Some(1_700_000_000_123),
                    ..Default::default()
                },
            ),
        ];
        for (query, expected) in table {
            let expected = TaskFilter {
                limit: Some(20),
                ..expected
            };
            assert_eq!(filter(query), Ok(Some(expected)), "{query}");
        }
        for nothing in ["canceledBy=1", "types=indexSwap", "uids=1&batchUids=2"] {
            assert_eq!(filter(nothing), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn wrong_filters_get_meilisearchs_answer() {
        let table = [
            (
                "uids=a",
                Code::InvalidTaskUids,
                "Invalid value in parameter `uids`: could not parse `a` as a positive integer",
            ),
            (
                "statuses=done",
                Code::InvalidTaskStatuses,
                "Invalid value in parameter `statuses`: `done` is not a valid task status. Available statuses are `enqueued`, `processing`, `succeeded`, `failed`, `canceled`.",
            ),
            (
                "beforeStartedAt=soon",
                Code::InvalidTaskBeforeStartedAt,
                "Invalid value in parameter `beforeStartedAt`: `soon` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format.",
            ),
        ];
        for (query, code, message) in table {
            let error = filter(query).expect_err(query);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
        let error = filter("types=cleaning").expect_err("unknown");
        assert!(
            error
                .message
                .contains("`cleaning` is not a valid task type"),
            "{error}"
        );
        let error = filter("statuse=failed").expect_err("unknown");
        assert!(
            error.message.contains("did you mean `statuses`?"),
            "{error}"
        );
    }

    #[test]
    fn pages_have_meilisearchs_shape() {
        assert_eq!(
            page(&[json!({"uid": 7}), json!({"uid": 6})], 8, 2, Some(5)).to_string(),
            r#"{"results":[{"uid":7},{"uid":6}],"total":8,"limit":2,"from":7,"next":5}"#
        );
        assert_eq!(
            page(&[], 0, 20, None).to_string(),
            r#"{"results":[],"total":0,"limit":20,"from":null,"next":null}"#
        );
    }
}
