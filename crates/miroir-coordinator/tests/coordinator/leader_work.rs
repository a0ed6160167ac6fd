//! What the leader does by itself: following tasks, purging, planning, repairing.

use miroir_coordinator::grpc::status::STALE_METADATA;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use serde_json::{Value, json};
use tonic::Code;

use super::cluster::{Cluster, Coordinator, eventually, refused};
use super::fake_node::FakeNode;
use super::proxy::{Proxy, create, task, task_at, write};

/// Leases that outlast the test, and quick looks.
const QUICK: &str = "lease_ms = 60000\nnodes.health_interval_ms = 50\ntasks.poll_max_ms = 40\n\
                     tasks.lost_after_ms = 200\nmigration.repair_interval_ms = 100";

fn adding(node: &FakeNode) -> Change {
    Change::AddNode(v1::NewNode {
        url: node.url.clone(),
        ..Default::default()
    })
}

async fn add(coordinator: &Coordinator, node: &FakeNode) -> u64 {
    let added = coordinator.change(adding(node)).await;
    added.expect("added").node.expect("its id")
}

async fn index(coordinator: &Coordinator) -> v1::IndexDetail {
    let request = v1::GetIndexRequest {
        uid: "books".to_owned(),
    };
    coordinator
        .admin()
        .get_index(request)
        .await
        .expect("it exists")
        .into_inner()
}

fn details(task: &v1::Task) -> Value {
    serde_json::from_str(&task.details).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_follows_its_nodes_to_the_end() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let (one, two) = (FakeNode::start().await, FakeNode::start().await);
    let (a, b) = (add(leader, &one).await, add(leader, &two).await);
    let proxy = Proxy::connect(leader, "proxy").await;
    let books = create(leader, Some(proxy.id), 1).await;

    one.task(10, "enqueued", json!({}));
    two.task(20, "enqueued", json!({}));
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let uid = write(leader, (&books, proxy.id), &[(a, 10), (b, 20)], id).await;
    assert_eq!(
        write(leader, (&books, proxy.id), &[(a, 10), (b, 20)], id).await,
        uid,
        "the same request"
    );
    let enqueued = task_at(leader, uid, "enqueued").await;
    assert_eq!(
        details(&enqueued),
        json!({"receivedDocuments": 3, "indexedDocuments": null})
    );

    let begun = enqueued.enqueued_at_ms + 60_000;
    let at = |ms: u64| {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
            .expect("a time");
        at.format(&time::format_description::well_known::Rfc3339)
            .expect("a text")
    };
    one.task(
        10,
        "succeeded",
        json!({"startedAt": at(begun), "finishedAt": at(begun + 5)}),
    );
    let processing = task_at(leader, uid, "processing").await;
    assert_eq!(
        (processing.started_at_ms, processing.finished_at_ms),
        (Some(begun), None)
    );
    two.task(
        20,
        "succeeded",
        json!({"startedAt": at(begun + 3), "finishedAt": at(begun + 9)}),
    );
    let done = task_at(leader, uid, "succeeded").await;
    assert_eq!(
        (done.started_at_ms, done.finished_at_ms),
        (Some(begun), Some(begun + 9))
    );
    assert_eq!(
        details(&done),
        json!({"receivedDocuments": 3, "indexedDocuments": 2})
    );

    let refusal =
        json!({"message": "bad id", "code": "invalid_document_id", "type": "invalid_request"});
    one.task(
        11,
        "failed",
        json!({"startedAt": at(begun), "finishedAt": at(begun), "error": refusal}),
    );
    two.task(21, "succeeded", json!({}));
    let uid = write(leader, (&books, proxy.id), &[(a, 11), (b, 21)], "").await;
    let failed = task_at(leader, uid, "failed").await;
    assert!(
        failed
            .error
            .as_ref()
            .is_some_and(|error| error.contains("invalid_document_id")),
        "{failed:?}"
    );
    // Each shard has one copy: there is none to take out of use.
    assert_eq!(
        index(leader)
            .await
            .summary
            .map(|index| index.replicas_stale),
        Some(0)
    );

    let uid = write(leader, (&books, proxy.id), &[(a, 99)], "").await;
    let lost = task_at(leader, uid, "failed").await;
    assert!(
        lost.error
            .as_ref()
            .is_some_and(|error| error.contains("has lost the task")),
        "{lost:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_lacks_a_write_is_taken_out_of_use_and_repaired() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let (one, two) = (FakeNode::start().await, FakeNode::start().await);
    let (a, b) = (add(leader, &one).await, add(leader, &two).await);
    let proxy = Proxy::connect(leader, "proxy").await;
    let books = create(leader, Some(proxy.id), 2).await;
    one.task(10, "succeeded", json!({}));
    two.task(
        20,
        "failed",
        json!({"error": {"message": "disk", "code": "io_error", "type": "system"}}),
    );
    let uid = write(leader, (&books, proxy.id), &[(a, 10), (b, 20)], "").await;
    let done = task_at(leader, uid, "succeeded").await;
    assert_eq!(details(&done)["indexedDocuments"], 2);

    let detail = index(leader).await;
    for shard in &detail.shards {
        for replica in &shard.replicas {
            let sound = replica.state() == v1::ReplicaState::InSync;
            assert_eq!(sound, replica.node == a, "{shard:?}");
        }
    }
    let repairs = eventually("a repair of every shard", async || {
        let request = v1::ListMigrationsRequest {
            operation: None,
            unfinished_only: false,
        };
        let reply = leader
            .admin()
            .list_migrations(request)
            .await
            .map_err(|status| status.to_string())?;
        let all = reply.into_inner().migrations;
        if all.len() == detail.shards.len() {
            Ok(all)
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
    for migration in &repairs {
        assert_eq!(
            (migration.source, migration.target, migration.replaces),
            (a, b, None)
        );
    }
    let reply = leader
        .admin()
        .list_operations(v1::ListOperationsRequest {})
        .await
        .expect("listed")
        .into_inner();
    let of_repairs = |one: &v1::Operation| {
        repairs
            .iter()
            .any(|migration| migration.operation == one.id)
    };
    let kinds: Vec<_> = reply
        .operations
        .iter()
        .filter(|one| of_repairs(one))
        .map(|one| one.kind.as_str())
        .collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == "repair"),
        "{kinds:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_index_leaves_every_node_before_they_get_another_of_its_name() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let (one, two) = (FakeNode::start().await, FakeNode::start().await);
    add(leader, &one).await;
    add(leader, &two).await;
    let proxy = Proxy::connect(leader, "proxy").await;
    let books = create(leader, Some(proxy.id), 1).await;
    one.set(|node| {
        node.indexes.insert("books".to_owned(), 30);
    });
    // The second never got the index, and answers nobody for now.
    two.set(|node| node.broken = true);
    let request = v1::DeleteIndexRequest {
        request_id: String::new(),
        index: Some(books),
        proxy: proxy.id,
        called: None,
        task: Some(task("indexDeletion", json!({"deletedDocuments": null}))),
    };
    let uid = leader
        .catalog()
        .delete_index(request)
        .await
        .expect("accepted")
        .into_inner()
        .task;
    eventually("the first deletion", async || {
        match one.get(|node| node.changes.clone()).as_slice() {
            [only] if only == "DELETE /indexes/books" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let again = v1::CreateIndexRequest {
        uid: "books".to_owned(),
        ..Default::default()
    };
    leader
        .catalog()
        .create_index(again)
        .await
        .expect("clients can have another at once");
    let request = v1::GetIndexRequest {
        uid: "books".to_owned(),
    };
    let next = leader.admin().get_index(request).await.expect("it exists");
    let name = next.into_inner().summary.unwrap_or_default().name;
    assert!(name.starts_with("books-"), "{name}");
    let task = leader
        .catalog()
        .get_task(v1::GetTaskRequest { uid })
        .await
        .expect("known")
        .into_inner();
    assert!(
        ["enqueued", "processing"].contains(&task.status.as_str()),
        "{task:?}"
    );

    two.set(|node| node.broken = false);
    let done = task_at(leader, uid, "succeeded").await;
    assert_eq!(details(&done), json!({"deletedDocuments": 30}));
    assert_eq!(
        one.get(|node| node.changes.len()),
        1,
        "one deletion is enough"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_gets_exactly_its_share_planned_and_begun() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let (one, two) = (FakeNode::start().await, FakeNode::start().await);
    let a = add(leader, &one).await;
    create(leader, None, 1).await;
    let added = leader.change(adding(&two)).await.expect("added");
    let unknown = v1::WatchMigrationsRequest {
        operation: Some(99),
    };
    refused(
        leader.admin().watch_migrations(unknown).await.map(drop),
        Code::NotFound,
        &["operation 99"],
    );
    let request = v1::WatchMigrationsRequest {
        operation: added.operation,
    };
    let mut reports = leader
        .admin()
        .watch_migrations(request)
        .await
        .expect("a stream")
        .into_inner();
    loop {
        let report = reports
            .message()
            .await
            .expect("no error")
            .expect("the work is not over");
        let begun = report
            .migrations
            .iter()
            .filter(|one| one.phase() == v1::Phase::Preparing)
            .count();
        if begun == 2 {
            assert_eq!((report.total, report.done), (2, 0));
            for migration in report.migrations {
                assert_eq!((migration.source, Some(migration.target)), (a, added.node));
                assert_eq!(migration.replaces, Some(a));
                assert_eq!(
                    migration
                        .history
                        .first()
                        .map(|change| change.event.as_str()),
                    Some("SlotGranted")
                );
            }
            break;
        }
        assert!(report.migrations.len() <= 2, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_without_a_writer_is_given_to_a_live_proxy() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let node = FakeNode::start().await;
    add(leader, &node).await;
    create(leader, None, 1).await;
    assert_eq!(
        index(leader).await.summary.and_then(|index| index.writer),
        None
    );
    let written_by = async |proxy: u64| {
        eventually("the writer", async || {
            let writer = index(leader).await.summary.and_then(|index| index.writer);
            if writer == Some(proxy) {
                Ok(())
            } else {
                Err(format!("{writer:?}"))
            }
        })
        .await;
    };
    let first = Proxy::connect(leader, "first").await;
    written_by(first.id).await;
    let second = Proxy::connect(leader, "second").await;
    let reply = leader
        .admin()
        .list_proxies(v1::ListProxiesRequest {})
        .await
        .expect("listed")
        .into_inner();
    let leases: Vec<_> = reply
        .proxies
        .iter()
        .map(|proxy| (proxy.id, proxy.lease.as_str()))
        .collect();
    assert_eq!(leases, [(first.id, "live"), (second.id, "live")]);
    first.leave().await;
    written_by(second.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_read_from_a_coordinator_that_was_left_alone_and_says_so() {
    let mut cluster = Cluster::initialised_with(3, "").await;
    let leader = cluster.leader().await;
    let request = v1::RegisterTaskRequest {
        rules: None,
        request_id: String::new(),
        uid: Some("books".to_owned()),
        task: Some(task("indexDeletion", json!({}))),
    };
    let uid = leader
        .catalog()
        .register_task(request)
        .await
        .expect("registered")
        .into_inner()
        .task;
    let fresh = leader
        .catalog()
        .get_task(v1::GetTaskRequest { uid })
        .await
        .expect("known");
    assert!(fresh.metadata().get(STALE_METADATA).is_none());
    let unknown = leader
        .catalog()
        .get_task(v1::GetTaskRequest { uid: 99 })
        .await;
    refused(unknown, Code::NotFound, &["`99` not found"]);
    let left = cluster.follower().await.config.id;
    eventually("the task on all", async || {
        let applied: Vec<_> = {
            let mut all = Vec::new();
            for one in cluster.running() {
                all.push(one.status().await?.applied);
            }
            all
        };
        if applied.windows(2).all(|pair| pair[0] == pair[1]) {
            Ok(())
        } else {
            Err(format!("{applied:?}"))
        }
    })
    .await;
    for id in (1..=3).filter(|id| *id != left) {
        cluster.stop(id).await;
    }
    let alone = cluster.running().next().expect("one is left");
    let stale = eventually("an answer without a leader", async || {
        let reply = alone.catalog().get_task(v1::GetTaskRequest { uid }).await;
        reply.map_err(|status| status.to_string())
    })
    .await;
    assert_eq!(
        stale
            .metadata()
            .get(STALE_METADATA)
            .and_then(|value| value.to_str().ok()),
        Some("1")
    );
    assert_eq!(stale.into_inner().uid, uid);
    // It may have missed the newest tasks, so it must not deny one.
    let unknown = alone
        .catalog()
        .get_task(v1::GetTaskRequest { uid: 99 })
        .await;
    refused(unknown, Code::Unavailable, &["no leader to ask"]);
    let status = alone.status().await.expect("it answers");
    assert_eq!((status.has_quorum, status.leader), (false, 0));
}
