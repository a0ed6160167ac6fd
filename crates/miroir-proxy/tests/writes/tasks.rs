//! Tasks that need no node, and tasks that fail.

use bytes::Bytes;
use miroir_core::cluster::{TaskKind, TaskStatus};
use miroir_proxy::write::{AddDocuments, Operation};
use serde_json::{Value, json};

use super::cluster::{Cluster, Proxy, add, document, until};

async fn code(
    cluster: &Cluster,
    proxy: &Proxy,
    operation: Operation,
) -> (TaskKind, TaskStatus, Option<String>) {
    let shown = format!("{operation:?}");
    let accepted = proxy.submit(operation).await.expect(&shown);
    let task = cluster.task(accepted.task_uid);
    assert_eq!(task.kind, accepted.kind);
    let code = task
        .error
        .as_ref()
        .map(|error| error["code"].as_str().expect("a code").to_owned());
    (task.kind, task.status, code)
}

fn failed(kind: TaskKind, code: &str) -> (TaskKind, TaskStatus, Option<String>) {
    (kind, TaskStatus::Failed, Some(code.to_owned()))
}

#[tokio::test]
async fn operations_on_an_unknown_index_become_failed_tasks() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    let batch = Bytes::from_static(b"[1]");
    let table = [
        (
            Operation::DeleteOne { id: "1".to_owned() },
            TaskKind::DocumentDeletion,
        ),
        (
            Operation::DeleteBatch { body: batch },
            TaskKind::DocumentDeletion,
        ),
        (
            Operation::DeleteByFilter {
                filter: json!("a = 1"),
            },
            TaskKind::DocumentDeletion,
        ),
        (Operation::DeleteAll, TaskKind::DocumentDeletion),
        (Operation::ResetSettings, TaskKind::SettingsUpdate),
        (
            Operation::UpdateIndex {
                primary_key: Some("id".to_owned()),
            },
            TaskKind::IndexUpdate,
        ),
        (Operation::DeleteIndex, TaskKind::IndexDeletion),
    ];
    for (operation, kind) in table {
        assert_eq!(
            code(&cluster, &proxy, operation).await,
            failed(kind, "index_not_found")
        );
    }
    assert!(cluster.coordinator.state(|state| state.indexes.is_empty()));
}

#[tokio::test]
async fn bad_requests_create_no_index() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    let broken = AddDocuments {
        body: Bytes::from_static(b"[{"),
        ..match add(json!([])) {
            Operation::AddDocuments(add) => add,
            _ => unreachable!("add() adds"),
        }
    };
    let table = [
        (Operation::AddDocuments(broken), "malformed_payload"),
        (
            Operation::Settings {
                creates: true,
                patch: json!({ "stopWords": 1 }),
            },
            "invalid_settings_stop_words",
        ),
        (
            Operation::DeleteByFilter {
                filter: json!("_miroir_shard = 1"),
            },
            "invalid_document_filter",
        ),
    ];
    for (operation, code) in table {
        let error = proxy.submit(operation).await.expect_err(code);
        let body: Value = serde_json::from_slice(&error.body()).expect("JSON");
        assert_eq!((error.status(), body["code"].as_str()), (400, Some(code)));
    }
    assert!(cluster.coordinator.state(|state| state.indexes.is_empty()));
    assert!(cluster.coordinator.tasks().is_empty());
}

#[tokio::test]
async fn indexes_are_created_and_given_keys_by_name() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    let create = |key: Option<&str>| Operation::CreateIndex {
        primary_key: key.map(str::to_owned),
    };
    let update = |key: Option<&str>| Operation::UpdateIndex {
        primary_key: key.map(str::to_owned),
    };
    let enqueued = |kind| (kind, TaskStatus::Enqueued, None);
    assert_eq!(
        code(&cluster, &proxy, create(None)).await,
        enqueued(TaskKind::IndexCreation)
    );
    assert_eq!(
        code(&cluster, &proxy, create(None)).await,
        failed(TaskKind::IndexCreation, "index_already_exists")
    );
    assert_eq!(
        code(&cluster, &proxy, update(None)).await,
        enqueued(TaskKind::IndexUpdate)
    );
    assert_eq!(
        code(&cluster, &proxy, update(Some("sku"))).await,
        enqueued(TaskKind::IndexUpdate)
    );
    assert_eq!(
        code(&cluster, &proxy, update(Some("id"))).await,
        failed(TaskKind::IndexUpdate, "index_primary_key_already_exists")
    );
    let Operation::AddDocuments(plain) = add(json!([{ "sku": 1, "id": 2 }])) else {
        unreachable!("add() adds")
    };
    let other_key = AddDocuments {
        primary_key: Some("id".to_owned()),
        ..plain
    };
    assert_eq!(
        code(&cluster, &proxy, Operation::AddDocuments(other_key)).await,
        failed(
            TaskKind::DocumentAdditionOrUpdate,
            "index_primary_key_already_exists"
        )
    );
    // The writer gives a new index to its nodes without being asked.
    until("on the node", || {
        cluster.nodes[0]
            .tasks()
            .iter()
            .any(|t| t.path == "/indexes/x/settings")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_that_cannot_be_inferred_fail_the_task_and_fix_nothing() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    let table = [
        (
            json!([{ "title": "x" }]),
            "index_primary_key_no_candidate_found",
        ),
        (
            json!([{ "aid": 1, "bid": 2 }]),
            "index_primary_key_multiple_candidates_found",
        ),
        (json!([{ "id": 1 }, { "id": "a b" }]), "invalid_document_id"),
    ];
    for (documents, expected) in table {
        let expected = failed(TaskKind::DocumentAdditionOrUpdate, expected);
        assert_eq!(code(&cluster, &proxy, add(documents)).await, expected);
    }
    let key = || {
        cluster.coordinator.state(|s| {
            s.indexes
                .values()
                .next()
                .and_then(|i| i.primary_key.clone())
        })
    };
    assert_eq!(key(), None);
    assert!(cluster.nodes[0].documents().is_empty());
    // Several first writes at once fix one key, and all of them go by it.
    let writes = (0..8).map(|n| proxy.begin(add(json!([document(&n.to_string(), 0)]))));
    for write in futures::future::join_all(writes).await {
        write.expect("no panic").expect("accepted");
    }
    assert_eq!(key().as_deref(), Some("id"));
    assert_eq!(cluster.nodes[0].ids().len(), 8);
}

#[tokio::test]
async fn settings_are_committed_first_and_reach_nodes_in_order() {
    let cluster = Cluster::start(2, 1).await;
    let proxy = cluster.proxy().await;
    let patch = json!({ "stopWords": ["the"] });
    let accepted = proxy
        .submit(Operation::Settings {
            creates: true,
            patch: patch.clone(),
        })
        .await
        .expect("accepted");
    let task = cluster.task(accepted.task_uid);
    assert_eq!(
        (task.kind, &task.details),
        (TaskKind::SettingsUpdate, &patch)
    );
    proxy
        .add(json!([
            document("1", 0),
            document("2", 0),
            document("3", 0)
        ]))
        .await
        .expect("accepted");
    proxy
        .submit(Operation::Settings {
            creates: true,
            patch: json!({ "stopWords": null, "dictionary": ["x"] }),
        })
        .await
        .expect("2");
    proxy.submit(Operation::ResetSettings).await.expect("3");
    until("all nodes have them", || {
        let index = cluster
            .coordinator
            .state(|state| state.indexes.values().next().cloned())?;
        index
            .nodes
            .values()
            .all(|known| known.settings_version == 4)
            .then_some(())
    })
    .await;
    let desired = cluster.coordinator.state(|s| {
        s.indexes
            .values()
            .next()
            .map(|i| i.settings.desired.clone())
    });
    assert_eq!(desired, Some(json!({})));
    for node in &cluster.nodes {
        let tasks = node.tasks();
        let settings: Vec<Value> = tasks
            .iter()
            .filter(|task| task.path == "/indexes/x/settings")
            .map(|task| serde_json::from_str(&task.body).expect("JSON"))
            .collect();
        let last = settings.last().expect("settings");
        assert_eq!(
            (&last["stopWords"], &last["dictionary"]),
            (&Value::Null, &Value::Null)
        );
        assert!(
            last["filterableAttributes"]
                .to_string()
                .contains("_miroir_shard"),
            "{last}"
        );
        let first_documents = tasks
            .iter()
            .position(|task| task.path.ends_with("/documents"));
        let with_stop_words = tasks.iter().position(|task| task.body.contains("the"));
        assert!(
            first_documents
                .is_none_or(|documents| with_stop_words.is_some_and(|at| at < documents))
        );
    }
    let task = cluster.task(accepted.task_uid);
    assert_eq!(task.parts.len(), 2, "the nodes' tasks are the task's parts");
}
