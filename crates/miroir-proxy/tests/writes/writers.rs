//! Several proxies, one writer.

use std::time::Instant;

use miroir_core::cluster::{Command, TaskStatus};
use miroir_core::id::{IndexUid, ProxyId, ShardId};
use miroir_core::migration::Event;
use miroir_proxy::write::{Operation, WriteRequest};
use serde_json::json;

use super::cluster::{Cluster, LATE_REQUEST, LONG, Proxy, add, document, id_of, request, until};

fn writer(cluster: &Cluster) -> Option<ProxyId> {
    cluster
        .coordinator
        .state(|state| state.indexes.values().next().and_then(|index| index.writer))
}

/// Makes `to` the writer, as the coordinators do when the present one is lost.
fn change_writer(cluster: &Cluster, to: &Proxy) {
    let lost = writer(cluster).expect("a writer");
    cluster
        .coordinator
        .apply(&Command::LoseProxy { proxy: lost });
    let uid = IndexUid::parse("x").expect("a uid");
    let incarnation = cluster
        .coordinator
        .state(|state| state.indexes[&uid].incarnation);
    let proxy = to.control.proxy_id().expect("registered");
    cluster.coordinator.apply(&Command::AssignWriter {
        uid,
        incarnation,
        proxy,
    });
}

async fn follows(proxy: &Proxy, cluster: &Cluster) {
    assert!(
        proxy
            .control
            .wait_epoch(cluster.coordinator.epoch(), Instant::now() + LONG)
            .await
    );
}

#[tokio::test]
async fn any_proxy_takes_a_write_and_the_writer_orders_it() {
    let cluster = Cluster::start(2, 2).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document("1", 0)])).await.expect("accepted");
    assert_eq!(writer(&cluster), one.control.proxy_id());
    follows(&two, &cluster).await;
    let both = (0..20).map(|n| if n % 2 == 0 { &one } else { &two });
    let writes = both.map(|proxy| proxy.begin(add(json!([document("1", 1)]))));
    for write in futures::future::join_all(writes).await {
        write.expect("no panic").expect("accepted");
    }
    assert_eq!(
        cluster.nodes[0].documents().into_iter().flatten().count(),
        21
    );
    assert_eq!(cluster.coordinator.tasks().len(), 21);
    assert_eq!(writer(&cluster), one.control.proxy_id(), "still");
}

#[tokio::test]
async fn a_forwarded_request_is_never_passed_on() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document("1", 0)])).await.expect("accepted");
    follows(&two, &cluster).await;
    let stray = WriteRequest {
        custom_metadata: None,
        forwarded: true,
        ..request(add(json!([document("1", 1)])))
    };
    let error = two.writes.submit(stray).await.expect_err("not the writer");
    assert_eq!(error.status(), 421);
}

#[tokio::test]
async fn two_proxies_that_create_an_index_at_once_agree() {
    let cluster = Cluster::start(2, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    let writes = (0..10).map(|n| {
        let proxy = if n % 2 == 0 { &one } else { &two };
        proxy.begin(add(json!([document(&n.to_string(), 0)])))
    });
    for write in futures::future::join_all(writes).await {
        write.expect("no panic").expect("accepted");
    }
    let ids: usize = cluster.nodes.iter().map(|node| node.ids().len()).sum();
    assert_eq!((ids, cluster.coordinator.tasks().len()), (10, 10));
}

#[tokio::test]
async fn what_was_not_sent_goes_to_the_next_writer() {
    let mut cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let target = cluster.add_node();
    let migration = cluster.begin_move(ShardId(0), target);
    for event in [Event::TargetClean, Event::Copied, Event::CaughtUp] {
        cluster.coordinator.advance(migration, event);
    }
    follows(&one, &cluster).await;
    follows(&two, &cluster).await;
    let held = one.begin(add(json!([document(&id_of(0), 1)])));
    let forwarded = two.begin(add(json!([document(&id_of(0), 2)])));
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!held.is_finished() && !forwarded.is_finished());
    // Losing the writer lifts the fence; the next one carries the held writes out.
    change_writer(&cluster, &two);
    held.await.expect("no panic").expect("accepted");
    forwarded.await.expect("no panic").expect("accepted");
    assert_eq!(cluster.nodes[0].ids().len(), 3);
    assert_eq!(writer(&cluster), two.control.proxy_id());
}

#[tokio::test]
async fn whoever_takes_an_index_over_lets_late_requests_arrive_first() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document("1", 0)])).await.expect("accepted");
    until("settings are reported", || {
        let table = cluster.coordinator.table();
        let mut indexes = table.indexes.values();
        indexes
            .all(|index| index.behind_on_settings().is_empty())
            .then_some(())
    })
    .await;
    change_writer(&cluster, &two);
    follows(&two, &cluster).await;
    let begun = Instant::now();
    two.add(json!([document("1", 1)])).await.expect("accepted");
    assert!(begun.elapsed() >= LATE_REQUEST, "{:?}", begun.elapsed());
    assert_eq!(cluster.nodes[0].ids(), ["1", "1"]);
}

#[tokio::test]
async fn what_was_sent_and_not_registered_is_of_unknown_outcome() {
    let cluster = Cluster::start(1, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    one.add(json!([document("1", 0)])).await.expect("accepted");
    cluster.coordinator.stall(true);
    let write = one.begin(add(json!([document("1", 1)])));
    until("sent", || (cluster.nodes[0].ids().len() == 2).then_some(())).await;
    change_writer(&cluster, &two);
    let error = write.await.expect("no panic").expect_err("not registered");
    assert_eq!((error.status(), error.outcome_unknown()), (503, true));
    cluster.coordinator.stall(false);
    two.add(json!([document("1", 2)])).await.expect("accepted");
    assert_eq!(
        cluster.coordinator.tasks().len(),
        2,
        "the lost write was never registered"
    );
}

#[tokio::test]
async fn a_deletion_is_accepted_also_when_its_table_comes_before_its_answer() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.stall(true);
    let deleted = proxy.begin(Operation::DeleteIndex);
    until("the index is deleted", || {
        let gone = cluster.coordinator.state(|state| state.indexes.is_empty());
        gone.then_some(())
    })
    .await;
    follows(&proxy, &cluster).await;
    cluster.coordinator.stall(false);
    deleted.await.expect("no panic").expect("accepted");
}

#[tokio::test]
async fn a_deleted_index_can_be_made_again() {
    let cluster = Cluster::start(2, 1).await;
    let (one, two) = (cluster.proxy().await, cluster.proxy().await);
    let first = one.add(json!([document("1", 0)])).await.expect("accepted");
    follows(&two, &cluster).await;
    let deleted = two
        .submit(Operation::DeleteIndex)
        .await
        .expect("accepted, by way of the writer");
    assert!(deleted.task_uid > first.task_uid);
    let departed = cluster.coordinator.state(|state| state.departed[0].clone());
    let again = one.begin(add(json!([{ "sku": "a", "uid": 1 }])));
    for node in departed.waiting {
        let (uid, incarnation) = (departed.uid.clone(), departed.incarnation);
        cluster.coordinator.apply(&Command::IndexPurged {
            uid,
            incarnation,
            node,
            node_task: None,
        });
    }
    let again = again.await.expect("no panic").expect("accepted");
    assert_eq!(cluster.task(again.task_uid).status, TaskStatus::Enqueued);
    let index = cluster
        .coordinator
        .state(|state| state.indexes.values().next().cloned())
        .expect("an index");
    assert!(index.incarnation > departed.incarnation);
    assert_eq!(index.primary_key.as_deref(), Some("uid"));
}

#[tokio::test]
async fn a_new_holder_gets_the_settings_without_any_write() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .submit(Operation::Settings {
            creates: true,
            patch: json!({ "stopWords": ["the"] }),
        })
        .await
        .expect("accepted");
    let target = cluster.add_node();
    cluster.begin_move(ShardId(3), target);
    until("the new node has them", || {
        let settings = cluster
            .coordinator
            .state(|s| s.indexes.values().next()?.nodes.get(&target).cloned());
        settings.filter(|known| known.settings_version == 2)
    })
    .await;
    let body = &cluster.nodes[1].tasks()[0].body;
    assert!(body.contains("stopWords") && body.contains("the"), "{body}");
}

#[tokio::test]
async fn draining_waits_for_writes_and_takes_no_more() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.stall(true);
    let write = proxy.begin(add(json!([document("2", 0)])));
    until("sent", || (cluster.nodes[0].ids().len() == 2).then_some(())).await;
    assert!(
        !proxy
            .writes
            .drain(std::time::Duration::from_millis(50))
            .await
    );
    assert_eq!(
        proxy
            .add(json!([document("3", 0)]))
            .await
            .expect_err("draining")
            .status(),
        503
    );
    cluster.coordinator.stall(false);
    assert!(proxy.writes.drain(LONG).await);
    write.await.expect("no panic").expect("accepted");
}
