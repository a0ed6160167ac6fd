//! Order, fences and leases.

use std::time::Duration;

use bytes::Bytes;
use miroir_core::cluster::TaskStatus;
use miroir_core::hidden_field;
use miroir_core::id::ShardId;
use miroir_core::migration::Event;
use miroir_proxy::write::Operation;
use serde_json::{Value, json};

use super::cluster::{Cluster, SHARDS, document, id_of, ids_of, until};
use super::coordinator::Heard;
use super::node::{Enqueued, Fault};

#[tokio::test]
async fn a_write_is_on_every_copy_before_it_is_acknowledged() {
    let cluster = Cluster::start(3, 2).await;
    let proxy = cluster.proxy().await;
    let documents: Vec<Value> = (0..100).map(|n| document(&n.to_string(), 0)).collect();
    let accepted = proxy.add(json!(documents)).await.expect("accepted");
    for id in 0..100 {
        let shard = hidden_field::shard_of(&id.to_string(), SHARDS);
        let copies = cluster.copies(ShardId(shard));
        assert_eq!(copies.len(), 2);
        for copy in copies {
            assert!(
                cluster.node(copy).ids().contains(&id.to_string()),
                "{id} on {copy}"
            );
        }
    }
    let task = cluster.task(accepted.task_uid);
    assert_eq!(task.status, TaskStatus::Enqueued);
    assert_eq!(
        task.details,
        json!({ "receivedDocuments": 100, "indexedDocuments": null, "_distinct": 100 })
    );
    assert_eq!(task.parts.len(), 3);
    let primary_key = cluster.coordinator.state(|s| {
        s.indexes
            .values()
            .next()
            .and_then(|i| i.primary_key.clone())
    });
    assert_eq!(
        primary_key.as_deref(),
        Some("id"),
        "inferred, and committed"
    );
    for node in &cluster.nodes {
        let tasks = node.tasks();
        assert_eq!(
            (tasks[0].method.as_str(), tasks[0].path.as_str()),
            ("PATCH", "/indexes/x/settings")
        );
        assert!(
            tasks[0].body.contains(hidden_field::NAME),
            "{}",
            tasks[0].body
        );
        let writes: Vec<&Enqueued> = tasks
            .iter()
            .filter(|task| task.path.ends_with("/documents"))
            .collect();
        assert!(writes.iter().all(|task| task.query["primaryKey"] == "id"));
        assert!(
            writes
                .iter()
                .all(|task| task.body.contains(hidden_field::NAME))
        );
    }
}

#[tokio::test]
async fn all_copies_see_the_same_order() {
    let cluster = Cluster::start(3, 3).await;
    let proxy = cluster.proxy().await;
    let ids: Vec<String> = ids_of(ShardId(1)).take(3).collect();
    let writes = (0..60).map(|n| {
        let one = document(&ids[n % 3], u32::try_from(n).expect("small"));
        let other = document(&id_of(2), u32::try_from(n).expect("small"));
        if n % 10 == 9 {
            proxy.begin(Operation::DeleteBatch {
                body: Bytes::from(json!([ids[0]]).to_string()),
            })
        } else {
            proxy.begin(super::cluster::add(json!([one, other])))
        }
    });
    for write in futures::future::join_all(writes).await {
        write.expect("no panic").expect("accepted");
    }
    let lines = |node: &super::node::Node| -> Vec<String> {
        let tasks = node.tasks();
        let writes = tasks
            .iter()
            .filter(|task| !task.path.ends_with("/settings"));
        writes
            .flat_map(|task| task.body.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let first = lines(&cluster.nodes[0]);
    assert_eq!(first.len(), 54 * 2 + 6);
    assert_eq!(lines(&cluster.nodes[1]), first);
    assert_eq!(lines(&cluster.nodes[2]), first);
}

#[tokio::test]
async fn a_fence_holds_its_shard_and_releases_it_in_order_to_both_copies() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let target = cluster.add_node();
    let shard = ShardId(0);
    let migration = cluster.begin_move(shard, target);
    for event in [Event::TargetClean, Event::Copied, Event::CaughtUp] {
        cluster.coordinator.advance(migration, event);
    }
    let fence = cluster.coordinator.epoch();
    until("the fence is acknowledged", || {
        cluster
            .coordinator
            .acked()
            .filter(|a| a.writes_epoch >= fence.0)
    })
    .await;

    let held: Vec<_> = (1..=3)
        .map(|n| {
            proxy.begin(super::cluster::add(json!([
                document(&id_of(0), n),
                document(&id_of(1), n)
            ])))
        })
        .collect();
    // Another shard's writes pass, also behind the parts that are held.
    proxy
        .add(json!([document(&id_of(2), 9)]))
        .await
        .expect("not held");
    until("the other parts", || {
        (cluster.nodes[0]
            .ids()
            .iter()
            .filter(|i| **i == id_of(1))
            .count()
            == 3)
            .then_some(())
    })
    .await;
    assert!(held.iter().all(|write| !write.is_finished()));
    assert_eq!(
        cluster.nodes[0]
            .ids()
            .iter()
            .filter(|id| **id == id_of(0))
            .count(),
        1,
        "held"
    );

    cluster.coordinator.advance(migration, Event::FenceDrained);
    for write in held {
        write.await.expect("no panic").expect("accepted");
    }
    let versions = |node: usize| -> Vec<Value> {
        let documents = cluster.nodes[node].documents().into_iter().flatten();
        documents
            .filter(|d| d["id"] == id_of(0))
            .map(|d| d["v"].clone())
            .collect()
    };
    assert_eq!(versions(0), [0, 1, 2, 3]);
    assert_eq!(versions(1), [1, 2, 3], "mirrored from the fence on");
    assert_eq!(cluster.nodes[1].tasks()[0].path, "/indexes/x/settings");
    let stats = proxy.writes.hold_stats();
    assert!(stats.count >= 3 && stats.max_ms > 0.0, "{stats:?}");
}

#[tokio::test]
async fn what_is_written_behind_the_copy_is_reported() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let target = cluster.add_node();
    let migration = cluster.begin_move(ShardId(0), target);
    let epoch = cluster.coordinator.advance(migration, Event::TargetClean);
    until("the table", || {
        (proxy.control.table().epoch >= epoch).then_some(())
    })
    .await;
    let ids: Vec<String> = ids_of(ShardId(0)).take(3).collect();
    proxy
        .add(json!([document(&ids[0], 1), document(&id_of(1), 1)]))
        .await
        .expect("accepted");
    let batch = Bytes::from(json!([ids[1]]).to_string());
    proxy
        .submit(Operation::DeleteBatch { body: batch })
        .await
        .expect("accepted");
    let dirty = || {
        let heard = cluster.coordinator.heard();
        let heard = heard.borrow();
        let of = heard.iter().filter_map(|one| match one {
            Heard::Dirty(dirty) if dirty.migration == migration.0 => Some(dirty.clone()),
            _ => None,
        });
        of.collect::<Vec<_>>()
    };
    let mut expected = ids[..2].to_vec();
    expected.sort();
    until("the ids", || {
        let mut seen: Vec<String> = dirty().into_iter().flat_map(|d| d.ids).collect();
        seen.sort();
        (seen == expected).then_some(())
    })
    .await;
    proxy
        .submit(Operation::DeleteByFilter {
            filter: json!("v = 1"),
        })
        .await
        .expect("accepted");
    until("the whole shard", || {
        dirty().iter().any(|d| d.whole_shard).then_some(())
    })
    .await;
}

#[tokio::test]
async fn deletions_by_filter_name_the_shards_that_a_copy_counts() {
    let cluster = Cluster::start(3, 2).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    let filter = json!(["v = 1", ["a = 1", "b = 2"]]);
    let accepted = proxy
        .submit(Operation::DeleteByFilter {
            filter: filter.clone(),
        })
        .await
        .expect("accepted");
    let task = cluster.task(accepted.task_uid);
    assert_eq!(task.details["originalFilter"], filter.to_string());
    let mut counted = 0;
    for part in &task.parts {
        let sent = &cluster.node(part.node).tasks()[part.node_task as usize];
        assert_eq!(sent.path, "/indexes/x/documents/delete");
        let body: Value = serde_json::from_str(&sent.body).expect("JSON");
        assert_eq!(
            (&body["filter"][1], &body["filter"][2]),
            (&filter[0], &filter[1])
        );
        let hidden = body["filter"][0].as_str().expect("a filter");
        let shards = (0..SHARDS)
            .filter(|shard| hidden.contains(&hidden_field::encode(*shard)))
            .count();
        counted += if part.counts { shards } else { 0 };
    }
    assert_eq!(
        counted,
        usize::from(SHARDS),
        "every shard is counted on one copy"
    );
}

#[tokio::test]
async fn writes_are_held_while_the_lease_is_over() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    let sent = cluster.nodes[0].tasks().len();
    cluster.coordinator.renew(false);
    cluster.coordinator.lead(false, None);
    until("over", || {
        proxy.control.lease_left().is_zero().then_some(())
    })
    .await;
    let held = proxy.begin(super::cluster::add(json!([document("1", 1)])));
    let pause =
        tokio::time::timeout(Duration::from_millis(300), async { held.is_finished() }).await;
    assert_eq!(pause, Ok(false));
    assert_eq!(
        cluster.nodes[0].tasks().len(),
        sent,
        "no node is sent anything"
    );
    cluster.coordinator.renew(true);
    cluster.coordinator.lead(true, None);
    held.await.expect("no panic").expect("accepted");
    assert_eq!(cluster.nodes[0].ids(), ["1", "1"]);
}

#[tokio::test]
async fn what_is_held_too_long_is_refused_and_sent_nowhere() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.renew(false);
    cluster.coordinator.lead(false, None);
    until("over", || {
        proxy.control.lease_left().is_zero().then_some(())
    })
    .await;
    let error = proxy
        .add(json!([document("2", 1)]))
        .await
        .expect_err("held too long");
    assert_eq!(
        (
            error.status(),
            error.retry_after_s(),
            error.outcome_unknown()
        ),
        (503, Some(1), false)
    );
    cluster.coordinator.renew(true);
    cluster.coordinator.lead(true, None);
    until("again", || proxy.control.begin_write().ok()).await;
    proxy
        .add(json!([document("3", 1)]))
        .await
        .expect("accepted");
    assert_eq!(cluster.nodes[0].ids(), ["1", "3"]);
}

#[tokio::test]
async fn registrations_wait_for_the_leader_and_are_batched() {
    let cluster = Cluster::start(2, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.stall(true);
    let writes: Vec<_> = (0..20)
        .map(|n| proxy.begin(super::cluster::add(json!([document(&n.to_string(), 1)]))))
        .collect();
    until("all sent", || {
        let sent: usize = cluster.nodes.iter().map(|node| node.ids().len()).sum();
        (sent == 21).then_some(())
    })
    .await;
    assert!(
        writes.iter().all(|write| !write.is_finished()),
        "not acknowledged before it is committed"
    );
    let before = cluster.coordinator.tasks().len();
    cluster.coordinator.stall(false);
    for write in writes {
        write.await.expect("no panic").expect("accepted");
    }
    assert_eq!(cluster.coordinator.tasks().len(), before + 20);
}

#[tokio::test]
async fn additions_that_wait_for_a_busy_node_share_a_request() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("0", 0)]))
        .await
        .expect("accepted");
    // The node does not answer for a while: the following writes gather behind this one.
    cluster.nodes[0].fail(&[Fault::LoseRequest]);
    let writes: Vec<_> = (1..=30)
        .map(|n| proxy.begin(super::cluster::add(json!([document(&n.to_string(), 1)]))))
        .collect();
    let mut tasks = Vec::new();
    for write in writes {
        tasks.push(write.await.expect("no panic").expect("accepted").task_uid);
    }
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), 30, "every client has its own task");
    assert_eq!(cluster.nodes[0].ids().len(), 31);
    let requests = cluster.nodes[0].documents().len();
    assert!(requests < 10, "{requests} requests for 31 writes");
}

#[tokio::test]
async fn an_epoch_is_not_acknowledged_before_older_writes_are_registered() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.stall(true);
    let write = proxy.begin(super::cluster::add(json!([document("1", 1)])));
    until("sent", || (cluster.nodes[0].ids().len() == 2).then_some(())).await;
    cluster.add_node();
    let epoch = cluster.coordinator.epoch().0;
    let acked = || cluster.coordinator.acked().expect("acknowledged before");
    until("reads", || (acked().reads_epoch >= epoch).then_some(())).await;
    assert!(acked().writes_epoch < epoch, "{:?} of {epoch}", acked());
    cluster.coordinator.stall(false);
    write.await.expect("no panic").expect("accepted");
    until("writes", || (acked().writes_epoch >= epoch).then_some(())).await;
}

#[tokio::test]
async fn a_part_behind_one_fence_does_not_keep_back_the_barrier_of_another() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let target = cluster.add_node();
    let fence = |cluster: &Cluster, shard| {
        let migration = cluster.begin_move(ShardId(shard), target);
        for event in [Event::TargetClean, Event::Copied, Event::CaughtUp] {
            cluster.coordinator.advance(migration, event);
        }
        migration
    };
    let acked = |cluster: &Cluster| {
        cluster
            .coordinator
            .acked()
            .map_or(0, |ack| ack.writes_epoch)
    };
    let first = fence(&cluster, 0);
    let epoch = cluster.coordinator.epoch().0;
    until("the first barrier", || {
        (acked(&cluster) >= epoch).then_some(())
    })
    .await;
    let write = proxy.begin(super::cluster::add(json!([
        document(&id_of(0), 1),
        document(&id_of(1), 1)
    ])));
    until("the free part", || {
        cluster.nodes[0].ids().contains(&id_of(1)).then_some(())
    })
    .await;
    let second = fence(&cluster, 1);
    let epoch = cluster.coordinator.epoch().0;
    until("the second barrier", || {
        (acked(&cluster) >= epoch).then_some(())
    })
    .await;
    assert!(!write.is_finished());
    cluster.coordinator.advance(first, Event::FenceDrained);
    write.await.expect("no panic").expect("accepted");
    cluster.coordinator.advance(second, Event::FenceDrained);
    assert_eq!(
        cluster.nodes[1].ids(),
        [id_of(0)],
        "only what was held is mirrored"
    );
}
