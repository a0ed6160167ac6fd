//! Nodes and coordinators that fail in the middle of a write.

use std::time::Duration;

use miroir_core::cluster::{ReplicaState, TaskStatus};
use miroir_core::id::{NodeId, ShardId};
use miroir_core::migration::Event;
use miroir_proxy::write::Operation;
use serde_json::{Value, json};

use super::cluster::{Cluster, LONG, document, id_of, until};
use super::node::Fault;

/// The states of the copies of a shard of `x`.
fn copies(cluster: &Cluster, shard: u16) -> Vec<(NodeId, ReplicaState)> {
    cluster.coordinator.state(|state| {
        let index = state.indexes.values().next().expect("an index");
        let shard = index.shard(ShardId(shard)).expect("a shard");
        shard.replicas.iter().map(|r| (r.node, r.state)).collect()
    })
}

#[tokio::test]
async fn a_copy_that_missed_a_write_is_stale_before_the_write_is_acknowledged() {
    let mut cluster = Cluster::start(2, 2).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    cluster.nodes[1].stop();
    proxy
        .add(json!([document(&id_of(0), 1)]))
        .await
        .expect("one copy took it");
    assert_eq!(
        copies(&cluster, 0),
        [
            (NodeId(1), ReplicaState::InSync),
            (NodeId(2), ReplicaState::Stale)
        ]
    );
    assert_eq!(
        copies(&cluster, 1)[1].1,
        ReplicaState::InSync,
        "another shard missed nothing"
    );
    // A stale copy is sent no more of its shard; the node is tried again for others.
    cluster.nodes[1].restart();
    proxy
        .add(json!([document(&id_of(0), 2), document(&id_of(1), 2)]))
        .await
        .expect("accepted");
    assert_eq!(cluster.nodes[1].ids(), [id_of(0), id_of(1)]);
}

#[tokio::test]
async fn without_a_copy_that_takes_it_a_write_is_refused() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.nodes[0].stop();
    let error = proxy
        .add(json!([document("2", 0)]))
        .await
        .expect_err("nowhere");
    // On a connection that was open the request may have left, so the outcome is unknown the first time.
    assert_eq!((error.status(), error.retry_after_s()), (503, Some(1)));
    let error = proxy
        .add(json!([document("2", 0)]))
        .await
        .expect_err("nowhere");
    assert_eq!((error.status(), error.outcome_unknown()), (503, false));
    assert_eq!(
        cluster.coordinator.tasks().len(),
        1,
        "nothing was registered"
    );
    cluster.nodes[0].restart();
    proxy
        .add(json!([document("3", 0)]))
        .await
        .expect("accepted");
    assert_eq!(cluster.nodes[0].ids(), ["1", "3"]);
    assert_eq!(copies(&cluster, 0)[0].1, ReplicaState::InSync);
}

#[tokio::test]
async fn a_node_that_comes_back_in_time_gets_the_write() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    cluster.nodes[0].stop();
    let write = proxy.begin(super::cluster::add(json!([document("2", 0)])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.nodes[0].restart();
    write.await.expect("no panic").expect("accepted");
    assert_eq!(cluster.nodes[0].ids(), ["1", "2"]);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_not_sent_again() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    let table = [
        (Fault::LoseAnswer, "2"),
        (Fault::LoseRequest, "3"),
        (Fault::Busy, "4"),
    ];
    for (fault, id) in table {
        cluster.nodes[0].fail(&[fault]);
        let accepted = proxy.add(json!([document(id, 0)])).await.expect(id);
        let task = cluster.task(accepted.task_uid);
        assert_eq!(task.parts.len(), 1);
        let sent = &cluster.nodes[0].tasks()[task.parts[0].node_task as usize];
        assert!(
            sent.body.contains(&format!("\"id\":\"{id}\"")),
            "{fault:?}: {}",
            sent.body
        );
    }
    assert_eq!(
        cluster.nodes[0].ids(),
        ["1", "2", "3", "4"],
        "each once, in order"
    );
}

#[tokio::test]
async fn where_a_lost_answer_cannot_be_looked_up_the_copy_has_missed_it() {
    let cluster = Cluster::start(2, 2).await;
    cluster.nodes[1].be_old();
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("an old node needs no marks");
    cluster.nodes[1].fail(&[Fault::LoseAnswer]);
    proxy
        .add(json!([document(&id_of(0), 1)]))
        .await
        .expect("the other copy has it");
    assert_eq!(copies(&cluster, 0)[1], (NodeId(2), ReplicaState::Stale));
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_is_registered_once() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    until("settings are reported", || {
        cluster
            .coordinator
            .table()
            .indexes
            .values()
            .all(|i| i.behind_on_settings().is_empty())
            .then_some(())
    })
    .await;
    cluster.coordinator.lose_answers(2);
    let accepted = proxy
        .add(json!([document("2", 0)]))
        .await
        .expect("accepted");
    assert_eq!(cluster.coordinator.tasks().len(), 2);
    assert_eq!(accepted.task_uid.0, 1);
}

#[tokio::test]
async fn what_every_node_refuses_is_refused_with_their_words() {
    let cluster = Cluster::start(2, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    // A node with counted copies gets one request.
    cluster
        .nodes
        .iter()
        .for_each(|node| node.fail(&[Fault::BadFilter]));
    let error = proxy
        .submit(Operation::DeleteByFilter {
            filter: json!("a ~ 1"),
        })
        .await
        .expect_err("refused");
    assert_eq!((error.status(), error.outcome_unknown()), (400, false));
    let body: Value = serde_json::from_slice(&error.body()).expect("JSON");
    assert_eq!(body["code"], "invalid_document_filter");
    assert_eq!(
        body["message"],
        "Was expecting an operation. Available: `a`."
    );
    assert_eq!(cluster.coordinator.tasks().len(), 1);
}

#[tokio::test]
async fn one_bad_document_of_a_thousand_is_named_and_nothing_is_sent() {
    let cluster = Cluster::start(2, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    let before: Vec<usize> = cluster.nodes.iter().map(|node| node.ids().len()).collect();
    let mut documents: Vec<Value> = (0..1000).map(|n| document(&n.to_string(), 0)).collect();
    documents[500]["id"] = json!("not an id");
    let accepted = proxy
        .add(json!(documents))
        .await
        .expect("a task, as in Meilisearch");
    let task = cluster.task(accepted.task_uid);
    assert_eq!(task.status, TaskStatus::Failed);
    let error = task.error.expect("an error");
    assert_eq!(error["code"], "invalid_document_id");
    assert!(
        error["message"]
            .as_str()
            .expect("text")
            .contains("not an id"),
        "{error}"
    );
    assert_eq!(task.parts, []);
    let after: Vec<usize> = cluster.nodes.iter().map(|node| node.ids().len()).collect();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_writer_that_cannot_make_copies_equal_gives_its_identity_up() {
    let mut cluster = Cluster::start_with(2, 2, 2).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let before = proxy.control.proxy_id().expect("registered");
    cluster.nodes[1].stop();
    // One copy has it, the other not, and no copy may be taken out of use.
    let error = proxy
        .add(json!([document(&id_of(0), 1)]))
        .await
        .expect_err("too few in sync");
    assert_eq!((error.status(), error.outcome_unknown()), (503, true));
    let after = until("another id", || {
        proxy.control.proxy_id().filter(|id| *id != before)
    })
    .await;
    assert!(after > before);
}

/// The mirror may have been compared before the write arrived: without another comparison it would be read, and differ.
#[tokio::test]
async fn a_mirror_that_has_more_than_the_only_copy_in_use_is_a_reason_to_resign() {
    let mut cluster = Cluster::start(1, 1).await;
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let target = cluster.add_node();
    let migration = cluster.begin_move(ShardId(0), target);
    for event in [Event::TargetClean, Event::Copied, Event::CaughtUp] {
        cluster.coordinator.advance(migration, event);
    }
    let epoch = cluster.coordinator.advance(migration, Event::FenceDrained);
    let by = std::time::Instant::now() + LONG;
    assert!(proxy.control.wait_epoch(epoch, by).await);
    let before = proxy.control.proxy_id().expect("registered");
    cluster.nodes[0].stop();
    let error = proxy
        .add(json!([document(&id_of(0), 1)]))
        .await
        .expect_err("the copy in use missed it");
    assert_eq!((error.status(), error.outcome_unknown()), (503, true));
    assert_eq!(cluster.node(target).ids(), [id_of(0)], "the other took it");
    let after = until("another id", || {
        proxy.control.proxy_id().filter(|id| *id != before)
    })
    .await;
    assert!(after > before);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_registered_in_halves() {
    let cluster = Cluster::start(1, 1).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("0", 0)]))
        .await
        .expect("accepted");
    cluster.coordinator.take_writes(2);
    cluster.coordinator.stall(true);
    let writes = (1..=12).map(|n| proxy.begin(super::cluster::add(json!([document("0", n)]))));
    let writes: Vec<_> = writes.collect();
    // One request may carry several writes, so that only documents can be counted.
    until("sent", || {
        (cluster.nodes[0].ids().len() == 13).then_some(())
    })
    .await;
    cluster.coordinator.stall(false);
    for write in futures::future::join_all(writes).await {
        write.expect("no panic").expect("accepted");
    }
    assert_eq!(cluster.coordinator.tasks().len(), 13);
}

#[tokio::test]
async fn a_write_that_can_never_be_registered_ends() {
    let cluster = Cluster::start_with(2, 2, 1).await;
    // It cannot tell whether it has a write whose answer is lost.
    cluster.nodes[1].be_old();
    let proxy = cluster.impatient_proxy().await;
    proxy
        .add(json!([document(&id_of(0), 0)]))
        .await
        .expect("accepted");
    let before = proxy.control.proxy_id().expect("registered");
    cluster.coordinator.take_writes(0);
    let error = proxy
        .add(json!([document(&id_of(0), 1)]))
        .await
        .expect_err("never");
    assert_eq!((error.status(), error.outcome_unknown()), (503, true));
    assert_eq!(proxy.control.proxy_id(), Some(before), "every copy has it");
    cluster.nodes[1].fail(&[Fault::LoseAnswer]);
    proxy
        .add(json!([document(&id_of(0), 2)]))
        .await
        .expect_err("never");
    until("another id", || {
        proxy.control.proxy_id().filter(|id| *id != before)
    })
    .await;
}

#[tokio::test]
async fn settings_that_every_node_refuses_are_gone_back_on() {
    let cluster = Cluster::start(2, 2).await;
    let proxy = cluster.proxy().await;
    proxy
        .add(json!([document("1", 0)]))
        .await
        .expect("accepted");
    let settled = || {
        let table = cluster.coordinator.table();
        let behind = |index: &std::sync::Arc<miroir_core::routing::IndexRoute>| {
            !index.behind_on_settings().is_empty()
        };
        (!table.indexes.values().any(behind)).then_some(())
    };
    until("the index's settings are everywhere", settled).await;
    for node in &cluster.nodes {
        node.fail(&[Fault::BadSettings]);
    }
    let change = |patch| {
        proxy.submit(Operation::Settings {
            patch,
            creates: true,
        })
    };
    let bad = change(json!({"stopWords": ["an"]})).await.expect("a task");
    until("its task has failed", || {
        let task = cluster.task(bad.task_uid);
        (task.status == TaskStatus::Failed && task.error.is_some()).then_some(())
    })
    .await;
    until("the settings before are everywhere", settled).await;
    proxy
        .add(json!([document("2", 0)]))
        .await
        .expect("documents are not kept out");
    let good = change(json!({"synonyms": {"a": ["b"]}})).await;
    let good = good.expect("a task").task_uid;
    until("they are everywhere", settled).await;
    let task = cluster.task(good);
    assert_eq!(task.status, TaskStatus::Enqueued, "{task:?}");
    let desired = cluster.coordinator.state(|state| {
        let index = state.indexes.values().next().expect("an index");
        index.settings.desired.clone()
    });
    assert_eq!(desired, json!({"synonyms": {"a": ["b"]}}));
}
