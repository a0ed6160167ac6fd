//! Which tasks the parameters of a request name.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{TaskKind, TaskQuery, TaskStatus};
use miroir_core::id::{IndexUid, TaskUid};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use super::params::{Params, invalid, number_item};
use crate::catalog::TaskFilter;

/// Tasks on a page when the request does not say.
const DEFAULT_LIMIT: u32 = 20;

/// The parameters that name tasks.
pub const FILTERS: [&str; 12] = [
    "uids",
    "batchUids",
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

/// The parameters of a list of tasks or batches.
pub const PARAMETERS: [&str; 15] = [
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

/// Every type of Meilisearch: a filter may name also those that no task of a cluster has.
const KIND_NAMES: [&str; 18] = [
    "documentAdditionOrUpdate",
    "documentEdition",
    "documentDeletion",
    "settingsUpdate",
    "indexCreation",
    "indexDeletion",
    "indexUpdate",
    "indexSwap",
    "taskCancelation",
    "taskDeletion",
    "dumpCreation",
    "snapshotCreation",
    "export",
    "upgradeDatabase",
    "indexCompaction",
    "networkTopologyChange",
    "dsrUpdate",
    "dsrClear",
];

/// A page of tasks or batches that a request asks for.
///
/// # Errors
/// Meilisearch's words for a value that is none.
pub fn read_page(params: &Params) -> Result<TaskFilter, ApiError> {
    let limit = params.number("limit", Code::InvalidTaskLimit)?;
    let from = params.number("from", Code::InvalidTaskFrom)?;
    let reverse = params.flag("reverse", Code::InvalidTaskReverse)?;
    Ok(TaskFilter {
        query: read_query(params)?,
        limit: limit.or(Some(DEFAULT_LIMIT)),
        from: from.map(TaskUid),
        reverse: reverse.unwrap_or(false),
    })
}

/// The tasks that a request names.
///
/// # Errors
/// Meilisearch's words for a value that is none.
pub fn read_query(params: &Params) -> Result<TaskQuery, ApiError> {
    let batches = params.star_list("batchUids", Code::InvalidBatchUids, number_item)?;
    let uids = params.star_list("uids", Code::InvalidTaskUids, number_item)?;
    // No task of a cluster is ever canceled by a task.
    let canceled = params.star_list("canceledBy", Code::InvalidTaskCanceledBy, number_item)?;
    let kinds = params.star_list("types", Code::InvalidTaskTypes, kind_item)?;
    let statuses = params.star_list("statuses", Code::InvalidTaskStatuses, status_item)?;
    let index = |text: &str| IndexUid::parse(text).map_err(|error| error.to_string());
    let indexes = params.star_list("indexUids", Code::InvalidIndexUid, index)?;
    let time = |name, code, end_of_day| read_time(params, name, code, end_of_day);
    // A task is its own batch, once it has begun.
    let begun = batches.is_some();
    let uids = match (uids, batches) {
        (Some(uids), Some(batches)) => {
            Some(uids.into_iter().filter(|u| batches.contains(u)).collect())
        }
        (one, other) => one.or(other),
    };
    let mut query = TaskQuery {
        nothing: false,
        begun,
        uids: uids.iter().flatten().copied().map(TaskUid).collect(),
        index_uids: indexes.clone().unwrap_or_default(),
        index_patterns: Vec::new(),
        statuses: statuses.clone().unwrap_or_default(),
        kinds: kinds.iter().flatten().flatten().copied().collect(),
        after_enqueued_at_ms: time("afterEnqueuedAt", Code::InvalidTaskAfterEnqueuedAt, true)?,
        before_enqueued_at_ms: time("beforeEnqueuedAt", Code::InvalidTaskBeforeEnqueuedAt, false)?,
        after_started_at_ms: time("afterStartedAt", Code::InvalidTaskAfterStartedAt, true)?,
        before_started_at_ms: time("beforeStartedAt", Code::InvalidTaskBeforeStartedAt, false)?,
        after_finished_at_ms: time("afterFinishedAt", Code::InvalidTaskAfterFinishedAt, true)?,
        before_finished_at_ms: time("beforeFinishedAt", Code::InvalidTaskBeforeFinishedAt, false)?,
    };
    // An empty list means "any" to the catalog, and "none of these" to the client.
    query.nothing = canceled.is_some()
        || (uids.is_some() && query.uids.is_empty())
        || (kinds.is_some() && query.kinds.is_empty())
        || (statuses.is_some() && query.statuses.is_empty())
        || (indexes.is_some() && query.index_uids.is_empty());
    Ok(query)
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

/// The type, or `None` for one that no task of a cluster has.
fn kind_item(text: &str) -> Result<Option<TaskKind>, String> {
    let named = |name: &&&str| name.eq_ignore_ascii_case(text);
    match KIND_NAMES.iter().find(named) {
        Some(name) => Ok(TaskKind::parse(name)),
        None => {
            let known = quoted(KIND_NAMES.into_iter());
            Err(format!(
                "`{text}` is not a valid task type. Available types are {known}."
            ))
        }
    }
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

    fn filter(query: &str) -> Result<TaskFilter, ApiError> {
        let uri = format!("/tasks?{query}").parse().expect("a URI");
        read_page(&Params::only(&uri, &PARAMETERS)?)
    }

    #[test]
    fn tasks_are_named_by_filters() {
        let table = [
            (
                "uids=1,2&statuses=*",
                TaskQuery {
                    uids: vec![TaskUid(1), TaskUid(2)],
                    ..TaskQuery::default()
                },
            ),
            (
                "batchUids=3,4&uids=4,5",
                TaskQuery {
                    uids: vec![TaskUid(4)],
                    begun: true,
                    ..TaskQuery::default()
                },
            ),
            (
                "statuses=Enqueued,failed",
                TaskQuery {
                    statuses: vec![TaskStatus::Enqueued, TaskStatus::Failed],
                    ..TaskQuery::default()
                },
            ),
            (
                "types=documentEdition,settingsUpdate,TASKDELETION",
                TaskQuery {
                    kinds: vec![TaskKind::SettingsUpdate, TaskKind::TaskDeletion],
                    ..TaskQuery::default()
                },
            ),
            (
                "afterEnqueuedAt=2023-11-14&beforeEnqueuedAt=2023-11-14",
                TaskQuery {
                    after_enqueued_at_ms: Some(1_700_006_400_000),
                    before_enqueued_at_ms: Some(1_699_920_000_000),
                    ..TaskQuery::default()
                },
            ),
            (
                "afterStartedAt=2023-11-14T22:13:20.123Z&afterFinishedAt=*",
                TaskQuery {
                    after_started_at_ms: Some(1_700_000_000_123),
                    ..TaskQuery::default()
                },
            ),
        ];
        for (text, query) in table {
            let expected = TaskFilter {
                query,
                limit: Some(20),
                ..TaskFilter::default()
            };
            assert_eq!(filter(text), Ok(expected), "{text}");
        }
        for nothing in [
            "canceledBy=1",
            "types=documentEdition",
            "uids=1&batchUids=2",
            "uids=",
            "statuses=,",
        ] {
            assert!(filter(nothing).expect(nothing).query.nothing, "{nothing}");
        }
        let page = filter("reverse=true&from=7&limit=3").expect("a page");
        assert_eq!(
            (page.reverse, page.from, page.limit),
            (true, Some(TaskUid(7)), Some(3))
        );
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
}
