//! Tasks about tasks, and tasks that every node carries out by itself.

use std::collections::BTreeSet;

use miroir_core::cluster::{
    Command, NewTask, Outcome, Task, TaskKind, TaskQuery, TaskStatus, TaskUpdate,
};
use miroir_core::id::{NodeId, TaskUid};
use serde_json::{Value, json};

use crate::support::{Log, uid};

fn new(kind: TaskKind, details: Value) -> NewTask {
    NewTask {
        kind,
        details,
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

fn registered(log: &mut Log, command: &Command) -> TaskUid {
    let outcome = log.apply(command);
    let Outcome::TaskRegistered(uid) = outcome else {
        panic!("{outcome:?}")
    };
    uid
}

fn task(log: &Log, uid: TaskUid) -> &Task {
    log.state.tasks.get(uid).expect("it is remembered")
}

/// Three tasks, of which the middle one has failed.
fn with_tasks() -> Log {
    let mut log = Log::with_books(2, 4, 1);
    for n in 0..3 {
        let failure = (n == 1).then(|| json!({"code": "index_not_found"}));
        log.apply(&Command::RegisterTask {
            uid: Some(uid("books")),
            task: NewTask {
                failure,
                ..new(TaskKind::DocumentDeletion, json!({}))
            },
        });
    }
    log
}

fn of_books() -> TaskQuery {
    TaskQuery {
        index_uids: vec![uid("books")],
        ..TaskQuery::default()
    }
}

fn delete(query: TaskQuery) -> Command {
    Command::DeleteTasks {
        query,
        original_filter: "?indexUids=books".to_owned(),
    }
}

fn end(log: &mut Log, uid: TaskUid) {
    log.apply(&Command::UpdateTasks {
        updates: vec![TaskUpdate {
            uid,
            status: TaskStatus::Succeeded,
            details: None,
            error: None,
            started_at_ms: Some(1),
            finished_at_ms: Some(2),
        }],
    });
}

#[test]
fn finished_tasks_are_deleted_once_what_is_being_carried_out_has_ended() {
    let mut log = with_tasks();
    let deletion = registered(&mut log, &delete(of_books()));
    assert_eq!(deletion, TaskUid(3));
    assert_eq!(task(&log, deletion).status, TaskStatus::Enqueued);
    assert!(
        log.state.tasks.get(TaskUid(1)).is_some(),
        "it waits for task 0"
    );
    end(&mut log, TaskUid(0));
    let done = task(&log, deletion);
    assert_eq!(
        (done.status, &done.details),
        (
            TaskStatus::Succeeded,
            &json!({"matchedTasks": 3, "deletedTasks": 2, "originalFilter": "?indexUids=books"})
        )
    );
    assert!(done.started_at_ms.is_some() && done.finished_at_ms.is_some());
    let left: Vec<u32> = log.state.tasks.iter().map(|task| task.uid.0).collect();
    assert_eq!(left, [2, 3], "it does not wait for what comes later");
    // What tells of a deletion can be deleted, too; it is never its own. Uids are not given again.
    let succeeded = TaskQuery {
        statuses: vec![TaskStatus::Succeeded],
        ..TaskQuery::default()
    };
    let second = registered(&mut log, &delete(succeeded));
    assert_eq!(second, TaskUid(4));
    assert_eq!(task(&log, second).details["deletedTasks"], 1);
    assert_eq!(log.state.tasks.get(deletion), None);
    assert!(log.state.deletions.is_empty());
}

#[test]
fn what_nodes_were_given_is_not_called_off() {
    let mut log = with_tasks();
    let cancel = Command::CancelTasks {
        query: of_books(),
        original_filter: "?indexUids=books".to_owned(),
    };
    let cancelation = registered(&mut log, &cancel);
    assert_eq!(
        task(&log, cancelation).details,
        json!({"matchedTasks": 3, "canceledTasks": 0, "originalFilter": "?indexUids=books"})
    );
    assert_eq!(task(&log, TaskUid(0)).status, TaskStatus::Enqueued);
    // Later the copies' verdicts count as ever.
    end(&mut log, TaskUid(0));
    assert_eq!(task(&log, TaskUid(0)).status, TaskStatus::Succeeded);
}

fn snapshot() -> Command {
    Command::Broadcast {
        uid: None,
        task: new(TaskKind::SnapshotCreation, Value::Null),
    }
}

fn sent(task: TaskUid, node: u64, answer: Result<u32, Value>) -> Command {
    Command::BroadcastSent {
        task,
        node: NodeId(node),
        answer,
    }
}

fn waiting(log: &Log) -> BTreeSet<NodeId> {
    let waiting = log.state.broadcasts.iter().flat_map(|one| &one.waiting);
    waiting.copied().collect()
}

#[test]
fn every_node_is_asked_once() {
    let mut log = Log::with_books(3, 4, 2);
    let asked = registered(&mut log, &snapshot());
    assert_eq!(waiting(&log), [1, 2, 3].map(NodeId).into());
    log.apply(&sent(asked, 1, Ok(10)));
    log.apply(&sent(asked, 1, Ok(11)));
    log.apply(&Command::RemoveNode {
        node: NodeId(2),
        force: true,
    });
    assert_eq!(waiting(&log), [3].map(NodeId).into(), "one has left");
    log.apply(&sent(asked, 3, Ok(30)));
    assert!(log.state.broadcasts.is_empty());
    let parts = &task(&log, asked).parts;
    let parts: Vec<(u64, u32)> = parts.iter().map(|p| (p.node.0, p.node_task)).collect();
    assert_eq!(parts, [(1, 10), (3, 30)]);
    assert_eq!(task(&log, asked).status, TaskStatus::Enqueued);
}

#[test]
fn a_node_that_refuses_fails_the_task() {
    let mut log = Log::with_books(2, 4, 1);
    let asked = registered(&mut log, &snapshot());
    log.apply(&sent(asked, 2, Err(json!({"code": "not_found"}))));
    assert!(log.state.broadcasts.is_empty(), "nobody else is asked");
    let failed = task(&log, asked);
    assert_eq!(failed.status, TaskStatus::Failed);
    assert_eq!(failed.error, Some(json!({"code": "not_found"})));
    log.apply(&sent(asked, 1, Ok(1)));
    assert!(task(&log, asked).parts.is_empty(), "it has ended");
}

#[test]
fn an_index_is_compacted_where_it_is() {
    let mut log = Log::with_books(3, 4, 1);
    let compact = |name| Command::Broadcast {
        uid: Some(uid(name)),
        task: new(TaskKind::IndexCompaction, json!({})),
    };
    registered(&mut log, &compact("books"));
    let index = &log.state.indexes[&uid("books")];
    assert_eq!(waiting(&log), log.state.holders(index));
    let unknown = registered(&mut log, &compact("films"));
    let failed = task(&log, unknown);
    assert_eq!(failed.status, TaskStatus::Failed);
    assert_eq!(
        failed.error.as_ref().map(|error| &error["message"]),
        Some(&json!("Index `films` not found."))
    );
    assert_eq!(log.state.broadcasts.len(), 1);
}
