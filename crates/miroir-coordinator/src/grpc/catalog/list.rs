//! Which tasks a request asks for, in Meilisearch's terms.

use std::borrow::Cow;

use miroir_core::cluster::{Task, TaskQuery, TaskRegistry};
use miroir_core::id::TaskUid;
use miroir_proto::ConvertError;
use miroir_proto::v1::ListTasksRequest;
use serde_json::Value;

/// Tasks on a page when the request does not say.
const LIMIT_DEFAULT: u32 = 20;

/// One page of tasks.
#[derive(Debug, PartialEq)]
pub(super) struct Page<'a> {
    pub tasks: Vec<&'a Task>,
    /// How many match on all pages.
    pub total: u32,
    /// Where the next page begins.
    pub next: Option<TaskUid>,
}

/// The page that `request` asks for: newest first, or oldest first with `reverse`.
///
/// # Errors
/// When the request names what is no state, type or index uid.
pub(super) fn page<'a>(
    registry: &'a TaskRegistry,
    request: &ListTasksRequest,
) -> Result<Page<'a>, ConvertError> {
    let query = TaskQuery::try_from(request)?;
    let limit = usize::try_from(request.limit.unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
    let mut page = Page {
        tasks: Vec::new(),
        total: 0,
        next: None,
    };
    let mut take = |task: &'a Task| {
        if !query.matches(task) {
            return;
        }
        page.total += 1;
        let reached = request.from.is_none_or(|from| {
            if request.reverse {
                task.uid.0 >= from
            } else {
                task.uid.0 <= from
            }
        });
        if !reached {
            return;
        }
        if page.tasks.len() < limit {
            page.tasks.push(task);
        } else if page.next.is_none() {
            page.next = Some(task.uid);
        }
    };
    if request.reverse {
        registry.iter().for_each(&mut take);
    } else {
        registry.iter().rev().for_each(&mut take);
    }
    Ok(page)
}

/// Details without the keys that begin with `_`: those are notes of Miroir's own.
pub(super) fn visible(details: &Value) -> Cow<'_, Value> {
    match details {
        Value::Object(fields) if fields.keys().any(|key| key.starts_with('_')) => {
            let kept = fields.iter().filter(|(key, _)| !key.starts_with('_'));
            Cow::Owned(Value::Object(
                kept.map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            ))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Cow::Borrowed(details),
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{
        ClusterState, Command, NewTask, Policy, TaskKind, TaskStatus, TaskUpdate,
    };
    use miroir_core::id::IndexUid;
    use serde_json::json;

    use super::*;

    /// Six tasks, 0 to 5, enqueued at 1000, 1001 and so on: even ones of `a`, odd ones of `b`; 0 has succeeded.
    fn tasks() -> TaskRegistry {
        let mut state = ClusterState::default();
        state.apply(
            1,
            0,
            &Command::Bootstrap {
                cluster_id: "c".to_owned(),
                policy: Policy::default(),
            },
        );
        for at in 0..6_u64 {
            let uid = if at % 2 == 0 { "a" } else { "b" };
            let kind = if at < 3 {
                TaskKind::DocumentDeletion
            } else {
                TaskKind::SettingsUpdate
            };
            let task = NewTask {
                kind,
                details: json!({}),
                custom_metadata: None,
                failure: None,
                idempotency: None,
            };
            let uid = Some(IndexUid::parse(uid).expect("a uid"));
            state.apply(at + 2, 1_000 + at, &Command::RegisterTask { uid, task });
        }
        let done = TaskUpdate {
            uid: TaskUid(0),
            status: TaskStatus::Succeeded,
            details: None,
            error: None,
            started_at_ms: Some(2_000),
            finished_at_ms: Some(3_000),
        };
        state.apply(
            9,
            0,
            &Command::UpdateTasks {
                updates: vec![done],
            },
        );
        state.tasks
    }

    fn ask(change: impl FnOnce(&mut ListTasksRequest)) -> (Vec<u32>, u32, Option<u32>) {
        let mut request = ListTasksRequest::default();
        change(&mut request);
        let registry = tasks();
        let page = page(&registry, &request).expect("a request in our own words");
        let uids = page.tasks.iter().map(|task| task.uid.0).collect();
        (uids, page.total, page.next.map(|uid| uid.0))
    }

    fn text(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pages_follow_one_another() {
        assert_eq!(ask(|_| {}), (vec![5, 4, 3, 2, 1, 0], 6, None));
        assert_eq!(ask(|r| r.limit = Some(2)), (vec![5, 4], 6, Some(3)));
        assert_eq!(
            ask(|r| (r.limit, r.from) = (Some(2), Some(3))),
            (vec![3, 2], 6, Some(1))
        );
        assert_eq!(
            ask(|r| (r.limit, r.from) = (Some(2), Some(1))),
            (vec![1, 0], 6, None)
        );
        assert_eq!(ask(|r| r.limit = Some(0)), (vec![], 6, Some(5)));
        assert_eq!(
            ask(|r| (r.limit, r.reverse) = (Some(2), true)),
            (vec![0, 1], 6, Some(2))
        );
        assert_eq!(
            ask(|r| (r.from, r.reverse) = (Some(4), true)),
            (vec![4, 5], 6, None)
        );
    }

    #[test]
    fn filters_are_combined() {
        assert_eq!(ask(|r| r.uids = vec![1, 4, 99]), (vec![4, 1], 2, None));
        assert_eq!(
            ask(|r| r.index_uids = text(&["a"])),
            (vec![4, 2, 0], 3, None)
        );
        assert_eq!(ask(|r| r.index_uids = text(&["a", "b"])).1, 6);
        assert_eq!(
            ask(|r| r.statuses = text(&["succeeded"])),
            (vec![0], 1, None)
        );
        assert_eq!(
            ask(|r| r.kinds = text(&["settingsUpdate"])),
            (vec![5, 4, 3], 3, None)
        );
        assert_eq!(
            ask(|r| r.kinds = text(&["dumpCreation"])),
            (vec![], 0, None)
        );
        assert_eq!(ask(|r| r.begun = true), (vec![0], 1, None));
        assert_eq!(ask(|r| r.nothing = true), (vec![], 0, None));
        let unknown = ListTasksRequest {
            kinds: text(&["cleaning"]),
            ..ListTasksRequest::default()
        };
        assert!(page(&tasks(), &unknown).is_err());
        let both = ask(|r| (r.kinds, r.index_uids) = (text(&["settingsUpdate"]), text(&["b"])));
        assert_eq!(both, (vec![5, 3], 2, None));
    }

    #[test]
    fn bounds_in_time_exclude_themselves() {
        assert_eq!(ask(|r| r.after_enqueued_at_ms = Some(1_003)).0, [5, 4]);
        assert_eq!(ask(|r| r.before_enqueued_at_ms = Some(1_002)).0, [1, 0]);
        assert_eq!(ask(|r| r.after_started_at_ms = Some(1_999)).0, [0]);
        assert_eq!(ask(|r| r.after_started_at_ms = Some(2_000)).0, [0; 0]);
        assert_eq!(ask(|r| r.before_finished_at_ms = Some(3_001)).0, [0]);
        assert_eq!(ask(|r| r.before_finished_at_ms = Some(3_000)).0, [0; 0]);
    }

    #[test]
    fn notes_of_our_own_are_not_shown() {
        let details = json!({"receivedDocuments": 2, "_distinct": 1});
        assert_eq!(*visible(&details), json!({"receivedDocuments": 2}));
        assert_eq!(*visible(&json!({"a": {"_b": 1}})), json!({"a": {"_b": 1}}));
        assert_eq!(*visible(&Value::Null), Value::Null);
    }
}
