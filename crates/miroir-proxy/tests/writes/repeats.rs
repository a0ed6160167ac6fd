//! Writes that clients send again under their own key.

use std::time::Instant;

use miroir_core::cluster::{Command, Digest, Idempotency, TaskStatus};
use miroir_core::id::IndexUid;
use miroir_proxy::write::{Accepted, Operation, WriteError, WriteRequest};
use serde_json::json;

use super::cluster::{Cluster, LONG, Proxy, add, document, request, until};

fn key(key: u8, request: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: Digest([key; 16]),
        request: Digest([request; 16]),
    })
}

async fn submit(
    proxy: &Proxy,
    operation: Operation,
    idempotency: Option<Idempotency>,
) -> Result<Accepted, WriteError> {
    let request = WriteRequest {
        idempotency,
        ..request(operation)
    };
    proxy.writes.submit(request).await
}

fn begin(
    proxy: &Proxy,
    operation: Operation,
    idempotency: Option<Idempotency>,
) -> tokio::task::JoinHandle<Result<Accepted, WriteError>> {
    let writes = proxy.writes.clone();
    let request = WriteRequest {
        idempotency,
        ..request(operation)
    };
    tokio::spawn(async move { writes.submit(request).await })
}

async fn follows(proxy: &Proxy, cluster: &Cluster) {
    let epoch = cluster.coordinator.epoch();
    assert!(proxy.control.wait_epoch(epoch, Instant::now() + LONG).await);
}

fn written(cluster: &Cluster) -> usize {
    cluster.nodes[0].documents().into_iter().flatten().count()
}

/// Has the coordinators lose the writer, and name another.
fn change_writer(cluster: &Cluster, to: &Proxy) {
    let uid = IndexUid::parse("x").expect("a uid");
    let (incarnation, writer) = cluster.coordinator.state(|state| {
        let index = &state.indexes[&uid];
        (index.incarnation, index.writer.expect("a writer"))
    });
    cluster
        .coordinator
        .apply(&Command::LoseProxy { proxy: writer });
    let proxy = to.control.proxy_id().expect("registered");
    cluster.coordinator.apply(&Command::AssignWriter {
        uid,
        incarnation,
        proxy,
    });
}

#[tokio::test]
async fn a_repeated_write_is_applied_once_wherever_it_comes() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    let documents = || add(json!([document("1", 1)]));
    // At once, by both: also while the index is being created.
    let both = (0..10).map(|n| begin(if n % 2 == 0 { &one } else { &two }, documents(), key(1, 1)));
    let mut uids = std::collections::BTreeSet::new();
    for answer in futures::future::join_all(both).await {
        uids.insert(answer.expect("no panic").expect("accepted").task_uid);
    }
    assert_eq!((uids.len(), written(&cluster)), (1, 1));
    // Another request under the key is refused, by whatever proxy; another key is another write.
    follows(&two, &cluster).await;
    for proxy in [&one, &two] {
        let error = submit(proxy, documents(), key(1, 2)).await;
        assert_eq!(error.expect_err("reused").status(), 422);
    }
    let other = submit(&two, documents(), key(2, 1))
        .await
        .expect("accepted");
    assert!(!uids.contains(&other.task_uid));
    assert_eq!(
        (cluster.coordinator.tasks().len(), written(&cluster)),
        (2, 2)
    );
    // The next writer knows, too, and so does a proxy after the index is gone.
    change_writer(&cluster, &two);
    follows(&two, &cluster).await;
    let again = submit(&two, documents(), key(1, 1)).await.expect("known");
    assert!(uids.contains(&again.task_uid));
    submit(&two, Operation::DeleteIndex, key(3, 1))
        .await
        .expect("accepted");
    let again = submit(&one, documents(), key(1, 1)).await.expect("known");
    assert!(uids.contains(&again.task_uid));
    let exists = cluster.coordinator.state(|state| !state.indexes.is_empty());
    assert!(!exists, "what is known does not bring the index back");
}

#[tokio::test]
async fn every_write_that_becomes_a_task_may_be_repeated() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    let patch = json!({ "stopWords": ["a"] });
    let settings = Operation::Settings {
        patch,
        creates: true,
    };
    let with_key = |primary_key: &str| Some(primary_key.to_owned());
    let table = [
        // Fails, and is known to have failed.
        Operation::DeleteAll,
        Operation::CreateIndex { primary_key: None },
        // Fails, because there is one.
        Operation::CreateIndex {
            primary_key: with_key("other"),
        },
        Operation::UpdateIndex {
            primary_key: with_key("id"),
        },
        settings,
        add(json!([document("1", 1)])),
        // Fails as a whole.
        add(json!([{ "id": "a b" }])),
        Operation::DeleteOne { id: "1".to_owned() },
        Operation::DeleteByFilter {
            filter: json!("a = 1"),
        },
        Operation::DeleteAll,
        Operation::ResetSettings,
        Operation::DeleteIndex,
    ];
    for (n, operation) in (1..).zip(table) {
        let first = submit(&proxy, operation.clone(), key(n, n)).await;
        let first = first.expect("accepted");
        let tasks = cluster.coordinator.tasks().len();
        let again = submit(&proxy, operation.clone(), key(n, n)).await;
        let again = again.expect("known");
        assert_eq!(
            (again.task_uid, again.kind),
            (first.task_uid, first.kind),
            "{operation:?}"
        );
        assert_eq!(cluster.coordinator.tasks().len(), tasks, "{operation:?}");
    }
    let failed = |task: &&miroir_core::cluster::Task| task.status == TaskStatus::Failed;
    assert_eq!(cluster.coordinator.tasks().iter().filter(failed).count(), 3);
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_or_says_that_it_is_under_way() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document("0", 0)]))
        .await
        .expect("accepted");
    let documents = || add(json!([document("1", 1)]));
    cluster.coordinator.stall(true);
    let first = begin(&proxy, documents(), key(1, 1));
    until("the node has it", || (written(&cluster) == 2).then_some(())).await;
    // Its client goes away; the write goes on.
    first.abort();
    let error = submit(&proxy, documents(), key(1, 1)).await;
    assert_eq!(error.expect_err("under way").status(), 409);
    let second = begin(&proxy, documents(), key(1, 1));
    cluster.coordinator.stall(false);
    let second = second.await.expect("no panic");
    let known = match second {
        Ok(accepted) => accepted,
        // A slow machine: it was under way for too long.
        Err(_) => submit(&proxy, documents(), key(1, 1)).await.expect("known"),
    };
    let tasks = cluster.coordinator.tasks();
    assert_eq!((tasks.len(), written(&cluster)), (2, 2));
    assert_eq!(tasks[1].uid, known.task_uid);
}

#[tokio::test]
async fn a_write_that_was_not_registered_is_a_new_one_when_it_is_repeated() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document("0", 0)])).await.expect("accepted");
    let documents = || add(json!([document("1", 1)]));
    cluster.coordinator.stall(true);
    let first = begin(&one, documents(), key(1, 1));
    until("the node has it", || (written(&cluster) == 2).then_some(())).await;
    change_writer(&cluster, &two);
    cluster.coordinator.stall(false);
    let error = first
        .await
        .expect("no panic")
        .expect_err("not acknowledged");
    assert!(error.outcome_unknown(), "{error}");
    follows(&two, &cluster).await;
    let second = submit(&two, documents(), key(1, 1))
        .await
        .expect("accepted");
    assert_eq!(
        written(&cluster),
        3,
        "the node takes the same documents twice"
    );
    let tasks = cluster.coordinator.tasks();
    assert_eq!((tasks.len(), tasks[1].uid), (2, second.task_uid));
}

#[tokio::test]
async fn without_a_leader_a_write_with_a_key_is_not_sent() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document("0", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.lead(false, None);
    let write = submit(&proxy, add(json!([document("1", 1)])), key(1, 1)).await;
    let error = write.expect_err("nobody knows");
    assert_eq!((error.status(), error.outcome_unknown()), (503, false));
    assert_eq!(written(&cluster), 1);
}
