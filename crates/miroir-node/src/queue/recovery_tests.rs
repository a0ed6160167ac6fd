//! What the queue makes of a crash at the two moments that matter: just before an index commits,
//! and just after.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::json;
use time::OffsetDateTime;

use super::finish::Stamp;
use super::payload::Payloads;
use super::process::Run;
use super::store::{Prepared, Store};
use super::task::{Method, Operation, Status, Task, TaskId};
use super::{BatchLimitBytes, NewTask, TaskQueue, spawn};
use crate::engine::{Engine, EngineOptions};

const LIMIT: BatchLimitBytes = BatchLimitBytes(1 << 20);

fn open(root: &Path) -> (Arc<Engine>, Arc<TaskQueue>) {
    let store = Store::open(&root.join("tasks")).unwrap();
    let options = EngineOptions {
        root: root.join("indexes"),
        dumps: root.join("dumps"),
        indexing_threads: 1,
        indexing_memory_bytes: 64 << 20,
    };
    let engine = Engine::open(options, store.catalog().unwrap()).unwrap();
    let payloads = Payloads::open(root.join("update_files")).unwrap();
    let queue = TaskQueue::open(store, payloads).unwrap();
    (Arc::new(engine), Arc::new(queue))
}

fn finished(queue: &TaskQueue, uid: TaskId) -> Task {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let task = queue.get(uid).unwrap();
        if matches!(task.status, Status::Succeeded | Status::Failed) {
            return task;
        }
        assert!(Instant::now() < deadline, "{task:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A database with one index of three documents, and a task that deletes two of them.
fn with_open_deletion(root: &Path) -> TaskId {
    let (engine, queue) = open(root);
    let worker = spawn(engine, queue.clone(), LIMIT, "no hold".into()).unwrap();
    let documents = b"{\"id\":1}{\"id\":2}{\"id\":3}".to_vec();
    let (payload, row) = queue.payloads.place(documents.clone()).unwrap();
    let operation = Operation::Addition {
        method: Method::Replace,
        payload,
        payload_bytes: documents.len() as u64,
        received: 3,
        primary_key: None,
        may_create: true,
    };
    let addition = NewTask {
        row,
        ..NewTask::new("docs".to_owned(), operation)
    };
    let addition = queue.register(addition).unwrap();
    assert_eq!(finished(&queue, addition.uid).status, Status::Succeeded);
    worker.stop();
    let operation = Operation::DeleteIds(vec!["1".to_owned(), "3".to_owned(), "9".to_owned()]);
    let deletion = NewTask::new("docs".to_owned(), operation);
    queue.register(deletion).unwrap().uid
}

fn run(root: &Path, uid: TaskId) -> Task {
    let (engine, queue) = open(root);
    let worker = spawn(engine.clone(), queue.clone(), LIMIT, "no hold".into()).unwrap();
    let task = finished(&queue, uid);
    worker.stop();
    assert_eq!(queue.store.prepared().unwrap(), None);
    let index = engine.index("docs").unwrap();
    let rtxn = index.read_txn().unwrap();
    assert_eq!(index.number_of_documents(&rtxn).unwrap(), 1);
    task
}

#[test]
fn a_deletion_that_was_committed_but_not_finished_keeps_its_count() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let uid = with_open_deletion(root);
    {
        let (engine, queue) = open(root);
        let stamp = Stamp {
            batch_uid: 7,
            started_at: OffsetDateTime::now_utc(),
        };
        let stop = AtomicBool::new(false);
        let run = Run {
            engine: &engine,
            queue: &queue,
            stamp,
            stop: &stop,
        };
        let batch = vec![queue.get(uid).unwrap()];
        run.process(&batch).unwrap();
        // The index is committed; the crash comes before the task is finished.
        assert_eq!(queue.get(uid).unwrap().status, Status::Enqueued);
    }
    let task = run(root, uid);
    assert_eq!(task.batch_uid, Some(7), "the first run's outcome is kept");
    assert_eq!(task.details.unwrap()["deletedDocuments"], 2);
}

#[test]
fn a_deletion_that_was_prepared_but_not_committed_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let uid = with_open_deletion(root);
    {
        let (_, queue) = open(root);
        let mut task = queue.get(uid).unwrap();
        task.status = Status::Succeeded;
        task.details = Some(json!({ "deletedDocuments": 99 }));
        let prepared = Prepared {
            index_uid: "docs".to_owned(),
            updated_at_ns: 42,
            tasks: vec![task],
        };
        queue.store.prepare(&prepared).unwrap();
    }
    let task = run(root, uid);
    assert_eq!(task.details.unwrap()["deletedDocuments"], 2);
}
