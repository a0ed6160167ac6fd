//! What clients are told of a task, from what its nodes say. Pure.
//!
//! A task is enqueued until some node has begun it, processing until all have ended, and then failed if one
//! failed, canceled if one was canceled, and succeeded otherwise.

use miroir_core::api_error::{ApiError, Code};
use miroir_core::called::told_of;
use miroir_core::cluster::{Task, TaskKind, TaskStatus, TaskUpdate};
use miroir_core::hidden_field::scrub_message;
use miroir_core::id::{IndexUid, NodeId};
use miroir_meili::{NodeError, TaskStatus as NodeStatus};
use serde_json::{Map, Value, json};

/// What a node says of its own task.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Where the task is.
    pub status: NodeStatus,
    /// The node's counts.
    pub details: Option<Value>,
    /// Why it failed.
    pub error: Option<NodeError>,
    /// When the node began it, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// When the node ended it.
    pub finished_at_ms: Option<u64>,
}

/// What is known of a node's share.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// Nothing yet: it was not asked, or did not answer.
    Nothing,
    /// What it said.
    Report(Box<Report>),
    /// It says that it has no such task, and keeps saying so.
    Lost,
    /// It is gone, or does not answer or has lost it while what it holds is out of use: nothing depends on its share.
    Excused,
}

/// A node's share of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The node.
    pub node: NodeId,
    /// Whether what it counts is counted.
    pub counts: bool,
    /// What is known of it.
    pub known: Known,
}

/// How a share ended, if it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Well,
    /// It was refused, or is lost.
    Badly,
    /// It was called off.
    Canceled,
    /// It does not matter any more.
    Excused,
}

/// How a share of a task of `kind` ended; `None` while it has not.
#[must_use]
pub fn end_of(kind: TaskKind, known: &Known) -> Option<End> {
    match known {
        Known::Nothing => None,
        Known::Lost => Some(End::Badly),
        // An index is gone from a node that is gone.
        Known::Excused if kind == TaskKind::IndexDeletion => Some(End::Well),
        Known::Excused => Some(End::Excused),
        Known::Report(report) => match report.status {
            NodeStatus::Enqueued | NodeStatus::Processing => None,
            NodeStatus::Succeeded => Some(End::Well),
            NodeStatus::Canceled => Some(End::Canceled),
            NodeStatus::Failed if kind == TaskKind::IndexDeletion && is_gone(report) => {
                Some(End::Well)
            }
            NodeStatus::Failed => Some(End::Badly),
        },
    }
}

/// What a deletion wants: that there is no such index.
fn is_gone(report: &Report) -> bool {
    report
        .error
        .as_ref()
        .is_some_and(|error| error.code == "index_not_found")
}

fn has_begun(known: &Known) -> bool {
    match known {
        Known::Nothing | Known::Lost | Known::Excused => false,
        Known::Report(report) => match report.status {
            NodeStatus::Enqueued => false,
            NodeStatus::Processing
            | NodeStatus::Succeeded
            | NodeStatus::Failed
            | NodeStatus::Canceled => true,
        },
    }
}

/// What is known of all shares of a task.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The shares.
    pub shares: &'a [Share],
    /// Whether every node that has to have a share has one.
    pub complete: bool,
    /// Whether every failed share is covered by other copies that took the write: then it did not fail.
    pub failures_covered: bool,
}

/// What to report of `task`; `None` when nothing changed. `now_ms` stands in where no node tells a time.
#[must_use]
pub fn update(task: &Task, evidence: Evidence<'_>, now_ms: u64) -> Option<TaskUpdate> {
    let status = status(task.kind, evidence);
    if status == task.status {
        return None;
    }
    let started = earliest(evidence.shares).map(|at| at.max(task.enqueued_at_ms));
    let mut update = TaskUpdate {
        uid: task.uid,
        status,
        details: None,
        error: None,
        started_at_ms: started,
        finished_at_ms: None,
    };
    if status.is_final() {
        let started = started
            .or(task.started_at_ms)
            .unwrap_or(now_ms.max(task.enqueued_at_ms));
        let finished = latest(evidence.shares).unwrap_or(now_ms);
        update.started_at_ms = Some(started);
        update.finished_at_ms = Some(finished.max(started));
        update.details = Some(details(task, status, evidence.shares));
        if status == TaskStatus::Failed {
            update.error = Some(error((task.kind, task.index.as_ref()), evidence.shares));
        }
    }
    Some(update)
}

fn status(kind: TaskKind, evidence: Evidence<'_>) -> TaskStatus {
    let ends: Vec<Option<End>> = evidence
        .shares
        .iter()
        .map(|share| end_of(kind, &share.known))
        .collect();
    let any = |end: End| ends.contains(&Some(end));
    if !evidence.complete || ends.contains(&None) {
        let begun = evidence.shares.iter().any(|share| has_begun(&share.known));
        return if begun {
            TaskStatus::Processing
        } else {
            TaskStatus::Enqueued
        };
    }
    let nothing_left = !ends.is_empty() && ends.iter().all(|end| *end == Some(End::Excused));
    if nothing_left || (any(End::Badly) && !evidence.failures_covered) {
        TaskStatus::Failed
    } else if any(End::Canceled) {
        TaskStatus::Canceled
    } else {
        TaskStatus::Succeeded
    }
}

fn reports(shares: &[Share]) -> impl Iterator<Item = (&Share, &Report)> {
    shares.iter().filter_map(|share| match &share.known {
        Known::Report(report) => Some((share, report.as_ref())),
        Known::Nothing | Known::Lost | Known::Excused => None,
    })
}

fn earliest(shares: &[Share]) -> Option<u64> {
    reports(shares)
        .filter_map(|(_, report)| report.started_at_ms)
        .min()
}

fn latest(shares: &[Share]) -> Option<u64> {
    reports(shares)
        .filter_map(|(_, report)| report.finished_at_ms)
        .max()
}

/// The details of a task that has ended: counted, and without the writer's own notes.
fn details(task: &Task, status: TaskStatus, shares: &[Share]) -> Value {
    let Value::Object(mut fields) = task.details.clone() else {
        return task.details.clone();
    };
    let succeeded = status == TaskStatus::Succeeded;
    match task.kind {
        // The nodes' counts say nothing: a document is on several of them. The writer counted distinct ids.
        TaskKind::DocumentAdditionOrUpdate => {
            let distinct = fields.get("_distinct").cloned().unwrap_or(Value::from(0));
            fields.insert(
                "indexedDocuments".to_owned(),
                if succeeded { distinct } else { Value::from(0) },
            );
        }
        TaskKind::DocumentDeletion => {
            let deleted = if succeeded { deleted(shares) } else { 0 };
            fields.insert("deletedDocuments".to_owned(), Value::from(deleted));
        }
        // Nodes count every copy.
        TaskKind::IndexDeletion => {
            let deleted = if succeeded { deleted(shares) } else { 0 };
            let count = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or(1).max(1);
            let (copies, shards) = (count("_copies"), count("_shards"));
            let once = (deleted * shards + copies / 2) / copies;
            fields.insert("deletedDocuments".to_owned(), Value::from(once));
        }
        // Every node names its own dump; clients are told one.
        TaskKind::DumpCreation => {
            let uid =
                reports(shares).find_map(|(_, report)| report.details.as_ref()?.get("dumpUid"));
            fields.insert("dumpUid".to_owned(), uid.cloned().unwrap_or_default());
        }
        TaskKind::SettingsUpdate
        | TaskKind::IndexCreation
        | TaskKind::IndexUpdate
        | TaskKind::IndexSwap
        | TaskKind::IndexCompaction
        | TaskKind::SnapshotCreation
        | TaskKind::TaskCancelation
        | TaskKind::TaskDeletion
        | TaskKind::DsrUpdate
        | TaskKind::DsrClear => {}
    }
    let kept: Map<String, Value> = fields
        .into_iter()
        .filter(|(key, _)| !key.starts_with('_'))
        .collect();
    Value::Object(kept)
}

fn deleted(shares: &[Share]) -> u64 {
    let counted = reports(shares).filter(|(share, _)| share.counts);
    counted
        .filter_map(|(_, report)| report.details.as_ref()?.get("deletedDocuments")?.as_u64())
        .sum()
}

/// The first failed node's error, as one node without anything of Miroir's would have put it.
fn error((kind, uid): (TaskKind, Option<&IndexUid>), shares: &[Share]) -> Value {
    let failed = shares
        .iter()
        .find(|share| end_of(kind, &share.known) == Some(End::Badly));
    let lost = |text: String| {
        serde_json::to_value(ApiError::new(Code::Internal, text))
            .expect("an error is an object of strings")
    };
    match failed.map(|share| (share.node, &share.known)) {
        Some((_, Known::Report(report))) => match &report.error {
            Some(error) => json!({
                "message": told_of(&scrub_message(&error.message), uid),
                "code": error.code,
                "type": error.kind,
                "link": error.link,
            }),
            None => lost("The task failed on a node that does not say why.".to_owned()),
        },
        Some((node, _)) => lost(format!(
            "Node {node} has lost the task: its database was replaced, or its task history was deleted."
        )),
        None => lost("Every node that held the task is gone.".to_owned()),
    }
}

#[cfg(test)]
mod tests;
