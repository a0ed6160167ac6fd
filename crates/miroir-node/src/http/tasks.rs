//! Routes about tasks.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use deserr::Deserr;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::App;
use super::actions;
use super::extract::{IndexUid, parameters};
use crate::error::{ApiError, Code, marker};
use crate::queue::heads::{TaskFilter, TaskPage, visible};
use crate::queue::task::{KindFilter, Status, TaskId};
use crate::validate::{FromParam, InvalidQuery, Param, Problem, StarList};

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct ListParams {
    #[deserr(default = Param(20), error = InvalidQuery<marker::InvalidTaskLimit>)]
    limit: Param<u32>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskFrom>)]
    from: Option<Param<u32>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskReverse>)]
    reverse: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidBatchUids>)]
    batch_uids: StarList<u32>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskUids>)]
    uids: StarList<u32>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskCanceledBy>)]
    canceled_by: StarList<u32>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskTypes>)]
    types: StarList<KindFilter>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskStatuses>)]
    statuses: StarList<Status>,
    #[deserr(default, error = InvalidQuery<marker::InvalidIndexUid>)]
    index_uids: StarList<IndexUid>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskAfterEnqueuedAt>)]
    after_enqueued_at: Param<After>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskBeforeEnqueuedAt>)]
    before_enqueued_at: Param<Before>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskAfterStartedAt>)]
    after_started_at: Param<After>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskBeforeStartedAt>)]
    before_started_at: Param<Before>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskAfterFinishedAt>)]
    after_finished_at: Param<After>,
    #[deserr(default, error = InvalidQuery<marker::InvalidTaskBeforeFinishedAt>)]
    before_finished_at: Param<Before>,
}

impl ListParams {
    fn into_filter(self, visible: Option<Vec<String>>) -> (TaskFilter, TaskPage) {
        let page = TaskPage {
            from: self.from.map(|from| from.0),
            limit: self.limit.0 as usize,
            reverse: self.reverse.0,
        };
        let filter = TaskFilter {
            uids: self.uids.0,
            batch_uids: self.batch_uids.0,
            statuses: self.statuses.0,
            kinds: self
                .types
                .0
                .map(|kinds| kinds.into_iter().map(|kind| kind.0).collect()),
            index_uids: self
                .index_uids
                .0
                .map(|uids| uids.into_iter().map(|uid| uid.0).collect()),
            visible,
            canceled_by: self.canceled_by.0,
            before_enqueued_at: self.before_enqueued_at.0.0,
            after_enqueued_at: self.after_enqueued_at.0.0,
            before_started_at: self.before_started_at.0.0,
            after_started_at: self.after_started_at.0.0,
            before_finished_at: self.before_finished_at.0.0,
            after_finished_at: self.after_finished_at.0.0,
        };
        (filter, page)
    }
}

impl FromParam for Status {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(Problem)
    }
}

impl FromParam for KindFilter {
    fn from_param(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(Problem)
    }
}

/// A lower bound, exclusive: a whole day excludes that day.
#[derive(Debug, Clone, Copy, Default)]
struct After(Option<OffsetDateTime>);

/// An upper bound, exclusive: a whole day ends where the day begins.
#[derive(Debug, Clone, Copy, Default)]
struct Before(Option<OffsetDateTime>);

impl FromParam for After {
    fn from_param(text: &str) -> Result<Self, Problem> {
        date(text, Duration::DAY - Duration::NANOSECOND).map(Self)
    }
}

impl FromParam for Before {
    fn from_param(text: &str) -> Result<Self, Problem> {
        date(text, Duration::ZERO).map(Self)
    }
}

fn date(text: &str, into_the_day: Duration) -> Result<Option<OffsetDateTime>, Problem> {
    if text.trim() == "*" {
        return Ok(None);
    }
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Some(moment));
    }
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(day) => Ok(Some(day.midnight().assume_utc() + into_the_day)),
        Err(_) => Err(Problem(format!(
            "`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 \
             date-time format."
        ))),
    }
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let access = app.authorize(&headers, actions::TASKS_GET, None)?;
    let (filter, page) = parameters::<ListParams>(&uri)?.into_filter(access.indexes);
    app.blocking(move |app| {
        let (tasks, selection) = app.queue().list(&filter, page)?;
        let results: Vec<Value> = tasks.iter().map(|task| task.view()).collect();
        Ok(Json(json!({
            "results": results,
            "total": selection.total,
            "limit": page.limit,
            "from": selection.uids.first(),
            "next": selection.next,
        })))
    })
    .await
}

pub(super) async fn get_one(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let access = app.authorize(&headers, actions::TASKS_GET, None)?;
    let uid: TaskId = uid.parse().map_err(|_| {
        let message =
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters.");
        ApiError::new(Code::InvalidTaskUids, message)
    })?;
    let task = app.blocking(move |app| app.queue().get(uid)).await?;
    if !visible(access.indexes.as_deref(), &task.index_uid) {
        return Err(ApiError::new(
            Code::TaskNotFound,
            format!("Task `{uid}` not found."),
        ));
    }
    Ok(Json(task.view()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_moments() {
        let moment = date("2024-08-08T16:37:09.971Z", Duration::ZERO)
            .unwrap()
            .unwrap();
        assert_eq!(moment.millisecond(), 971);
        let After(Some(after)) = After::from_param("2024-08-08").unwrap() else {
            panic!()
        };
        let Before(Some(before)) = Before::from_param("2024-08-08").unwrap() else {
            panic!()
        };
        assert_eq!((after - before).whole_days(), 0);
        assert_eq!((after + Duration::NANOSECOND - before).whole_days(), 1);
        assert_eq!(date("*", Duration::ZERO).unwrap(), None);
        assert!(date("yesterday", Duration::ZERO).is_err());
    }
}
