//! The part of every task that filters look at, kept in memory so that polling is cheap.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::task::{Kind, Status, Task, TaskId};

/// What a filter needs to know about one task.
#[derive(Debug, Clone)]
pub struct Head {
    /// Where the task is, including `Processing`, which is never stored.
    pub status: Status,
    /// What it does.
    pub kind: Kind,
    /// The index it works on.
    pub index_uid: Arc<str>,
    /// The batch it is or was processed in.
    pub batch_uid: Option<u32>,
    /// When it was accepted.
    pub enqueued_at: OffsetDateTime,
    /// When its batch began.
    pub started_at: Option<OffsetDateTime>,
    /// When its batch ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// Which tasks to list. A `None` or empty condition matches everything.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "named as the query parameters")]
pub struct TaskFilter {
    pub uids: Option<Vec<TaskId>>,
    pub batch_uids: Option<Vec<u32>>,
    pub statuses: Option<Vec<Status>>,
    pub kinds: Option<Vec<Option<Kind>>>,
    pub index_uids: Option<Vec<String>>,
    /// Indexes the caller's key may see.
    pub visible: Option<Vec<String>>,
    pub canceled_by: Option<Vec<TaskId>>,
    pub before_enqueued_at: Option<OffsetDateTime>,
    pub after_enqueued_at: Option<OffsetDateTime>,
    pub before_started_at: Option<OffsetDateTime>,
    pub after_started_at: Option<OffsetDateTime>,
    pub before_finished_at: Option<OffsetDateTime>,
    pub after_finished_at: Option<OffsetDateTime>,
}

/// Which part of the matching tasks to answer with.
#[derive(Debug, Clone, Copy)]
pub struct TaskPage {
    /// First uid of the page, inclusive.
    pub from: Option<TaskId>,
    /// Most tasks to return.
    pub limit: usize,
    /// Oldest first instead of newest first.
    pub reverse: bool,
}

/// Uids of a page of matching tasks, how many match in all, and where the next page begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// Uids, in the order asked for.
    pub uids: Vec<TaskId>,
    /// Matching tasks, whatever the page.
    pub total: u64,
    /// First uid of the next page.
    pub next: Option<TaskId>,
}

/// Heads of all tasks; the position of a head is its task's uid.
#[derive(Debug, Default)]
pub struct Heads {
    heads: Vec<Head>,
    /// One copy of each index uid.
    names: HashMap<String, Arc<str>>,
}

impl Heads {
    /// Appends the head of a task, whose uid must be the next one.
    pub fn push(&mut self, task: &Task) {
        debug_assert_eq!(task.uid as usize, self.heads.len());
        let index_uid = self
            .names
            .entry(task.index_uid.clone())
            .or_insert_with(|| Arc::from(task.index_uid.as_str()))
            .clone();
        self.heads.push(Head {
            status: task.status,
            kind: task.kind,
            index_uid,
            batch_uid: task.batch_uid,
            enqueued_at: task.enqueued_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
        });
    }

    /// The uid the next task gets.
    pub fn next_uid(&self) -> TaskId {
        TaskId::try_from(self.heads.len()).expect("the store refuses the 2^32nd task")
    }

    /// The head of one task.
    pub fn get(&self, uid: TaskId) -> Option<&Head> {
        self.heads.get(uid as usize)
    }

    /// Marks tasks as being processed in a batch.
    pub fn start(&mut self, uids: &[TaskId], batch_uid: u32, at: OffsetDateTime) {
        for head in self.each(uids) {
            head.status = Status::Processing;
            head.batch_uid = Some(batch_uid);
            head.started_at = Some(at);
        }
    }

    /// Puts tasks of an abandoned batch back.
    pub fn abandon(&mut self, uids: &[TaskId]) {
        for head in self.each(uids) {
            head.status = Status::Enqueued;
            head.batch_uid = None;
            head.started_at = None;
        }
    }

    /// Takes over how a task ended.
    pub fn finish(&mut self, task: &Task) {
        if let Some(head) = self.heads.get_mut(task.uid as usize) {
            head.status = task.status;
            head.batch_uid = task.batch_uid;
            head.started_at = task.started_at;
            head.finished_at = task.finished_at;
        }
    }

    /// The oldest task that is not finished, from `from` on.
    pub fn first_enqueued(&self, from: TaskId) -> Option<TaskId> {
        self.heads
            .iter()
            .enumerate()
            .skip(from as usize)
            .find(|(_, head)| head.status == Status::Enqueued)
            .map(|(uid, _)| uid as TaskId)
    }

    /// Whether a task of this index is being processed. `from` is a uid below every such task.
    pub fn is_indexing(&self, index_uid: &str, from: TaskId) -> bool {
        self.heads
            .iter()
            .skip(from as usize)
            .any(|head| head.status == Status::Processing && &*head.index_uid == index_uid)
    }

    /// Lists matching tasks.
    pub fn select(&self, filter: &TaskFilter, page: TaskPage) -> Selection {
        let mut selection = Selection {
            uids: Vec::new(),
            total: 0,
            next: None,
        };
        let in_page = |uid: TaskId| match page.from {
            None => true,
            Some(from) if page.reverse => uid >= from,
            Some(from) => uid <= from,
        };
        let mut visit = |uid: TaskId, head: &Head| {
            if !matches(filter, uid, head) {
                return;
            }
            selection.total += 1;
            if !in_page(uid) {
                return;
            }
            if selection.uids.len() < page.limit {
                selection.uids.push(uid);
            } else if selection.next.is_none() {
                selection.next = Some(uid);
            }
        };
        let numbered = self
            .heads
            .iter()
            .enumerate()
            .map(|(uid, head)| (uid as TaskId, head));
        if page.reverse {
            numbered.for_each(|(uid, head)| visit(uid, head));
        } else {
            numbered.rev().for_each(|(uid, head)| visit(uid, head));
        }
        selection
    }

    fn each(&mut self, uids: &[TaskId]) -> impl Iterator<Item = &mut Head> {
        let (first, last) = (uids.first().copied(), uids.last().copied());
        let range = match (first, last) {
            (Some(first), Some(last)) => first as usize..(last as usize + 1).min(self.heads.len()),
            _ => 0..0,
        };
        let start = range.start;
        self.heads[range]
            .iter_mut()
            .enumerate()
            .filter(move |(at, _)| uids.contains(&((start + at) as TaskId)))
            .map(|(_, head)| head)
    }
}

fn matches(filter: &TaskFilter, uid: TaskId, head: &Head) -> bool {
    fn allows<T: PartialEq>(allowed: &Option<Vec<T>>, value: &T) -> bool {
        allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(value))
    }
    fn named(allowed: &Option<Vec<String>>, name: &str) -> bool {
        allowed
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(|a| a == name))
    }
    let batch_matches = filter
        .batch_uids
        .as_ref()
        .is_none_or(|uids| head.batch_uid.is_some_and(|uid| uids.contains(&uid)));
    allows(&filter.uids, &uid)
        && batch_matches
        && allows(&filter.statuses, &head.status)
        && allows(&filter.kinds, &Some(head.kind))
        && named(&filter.index_uids, &head.index_uid)
        && visible(filter.visible.as_deref(), &head.index_uid)
        // No task of this node is ever canceled.
        && filter.canceled_by.is_none()
        && within(Some(head.enqueued_at), filter.after_enqueued_at, filter.before_enqueued_at)
        && within(head.started_at, filter.after_started_at, filter.before_started_at)
        && within(head.finished_at, filter.after_finished_at, filter.before_finished_at)
}

/// Whether a key's index patterns (`movies`, `prod_*`, `*`) let it see an index.
pub fn visible(patterns: Option<&[String]>, index_uid: &str) -> bool {
    patterns.is_none_or(|patterns| {
        patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => index_uid.starts_with(prefix),
                None => pattern == index_uid,
            })
    })
}

/// Strictly between the bounds; a task without the date matches only when no bound is set.
fn within(
    at: Option<OffsetDateTime>,
    after: Option<OffsetDateTime>,
    before: Option<OffsetDateTime>,
) -> bool {
    match at {
        Some(at) => after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before),
        None => after.is_none() && before.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(indexes: &[&str]) -> Heads {
        let mut heads = Heads::default();
        for (uid, index) in indexes.iter().enumerate() {
            heads.push(&Task {
                uid: uid as TaskId,
                batch_uid: None,
                index_uid: (*index).to_owned(),
                status: Status::Enqueued,
                kind: Kind::DocumentDeletion,
                operation: None,
                details: None,
                error: None,
                enqueued_at: OffsetDateTime::UNIX_EPOCH,
                started_at: None,
                finished_at: None,
                custom_metadata: None,
            });
        }
        heads
    }

    #[test]
    fn pages_follow_each_other_in_both_directions() {
        let heads = heads(&["a", "b", "a", "a", "b", "a"]);
        let filter = TaskFilter {
            index_uids: Some(vec!["a".into()]),
            ..TaskFilter::default()
        };
        let page = |from, reverse| {
            heads.select(
                &filter,
                TaskPage {
                    from,
                    limit: 2,
                    reverse,
                },
            )
        };
        assert_eq!(
            page(None, false),
            Selection {
                uids: vec![5, 3],
                total: 4,
                next: Some(2)
            }
        );
        assert_eq!(
            page(Some(2), false),
            Selection {
                uids: vec![2, 0],
                total: 4,
                next: None
            }
        );
        assert_eq!(
            page(None, true),
            Selection {
                uids: vec![0, 2],
                total: 4,
                next: Some(3)
            }
        );
        assert_eq!(
            page(Some(3), true),
            Selection {
                uids: vec![3, 5],
                total: 4,
                next: None
            }
        );
    }

    #[test]
    fn starting_marks_exactly_the_named_tasks() {
        let mut heads = heads(&["a", "b", "a"]);
        heads.start(&[0, 2], 7, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(heads.first_enqueued(0), Some(1));
        assert!(heads.is_indexing("a", 0) && !heads.is_indexing("b", 0));
        heads.abandon(&[0, 2]);
        assert_eq!(heads.first_enqueued(0), Some(0));
    }

    #[test]
    fn index_patterns_of_a_key_end_in_a_star() {
        let patterns = ["movies".to_owned(), "prod_*".to_owned()];
        for (uid, seen) in [("movies", true), ("prod_a", true), ("movies2", false)] {
            assert_eq!(visible(Some(&patterns), uid), seen, "{uid}");
        }
        assert!(visible(None, "anything"));
    }
}
