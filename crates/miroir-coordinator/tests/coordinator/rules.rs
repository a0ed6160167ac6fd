//! Dynamic search rules are given to nodes, and their tasks end when nodes have them.

use std::collections::BTreeSet;

use miroir_core::registry::RulesChange;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use serde_json::json;

use super::cluster::{Cluster, Coordinator, eventually};
use super::fake_node::FakeNode;
use super::proxy::{task, task_at};

const QUICK: &str = "nodes.health_interval_ms = 50";

async fn add(coordinator: &Coordinator, node: &FakeNode) {
    let adding = Change::AddNode(v1::NewNode {
        url: node.url.clone(),
        ..Default::default()
    });
    coordinator.change(adding).await.expect("added");
}

async fn switch_on(coordinator: &Coordinator) {
    let request = v1::ChangeRegistryRequest {
        request_id: String::new(),
        collection: "experimentalFeatures".to_owned(),
        name: "features".to_owned(),
        expected: None,
        value: Some(json!({ "dynamicSearchRules": true }).to_string()),
    };
    let changed = coordinator.catalog().change_registry(request).await;
    changed.expect("switched on");
}

async fn change(coordinator: &Coordinator, change: RulesChange, kind: &str) -> u32 {
    let request = v1::RegisterTaskRequest {
        request_id: String::new(),
        uid: None,
        task: Some(task(kind, json!({ "deletedDocuments": null }))),
        rules: Some((&change).into()),
    };
    let reply = coordinator.catalog().register_task(request).await;
    reply.expect("registered").into_inner().task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_rules_ends_when_nodes_have_done_it() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let (node, without) = (FakeNode::start().await, FakeNode::start().await);
    node.set(|state| state.rules = Some(BTreeSet::from(["foreign".to_owned()])));
    // One of an older version has no rules and keeps nothing waiting.
    without.set(|state| state.has_keys = true);
    add(leader, &node).await;
    add(leader, &without).await;
    switch_on(leader).await;
    let members = json!({ "actions": [] });
    let patch = RulesChange::Patch {
        uid: "mine".to_owned(),
        members: members.as_object().cloned().expect("an object"),
    };
    let uid = change(leader, patch, "dsrUpdate").await;
    let asked = eventually("the rules of the node", async || {
        let changes = node.get(|state| state.changes.clone());
        let has = |change: &str| changes.iter().any(|one| one == change);
        let done =
            has("DELETE /dynamic-search-rules/foreign") && has("PATCH /dynamic-search-rules/mine");
        done.then_some(()).ok_or_else(|| format!("{changes:?}"))
    });
    asked.await;
    task_at(leader, uid, "enqueued").await;
    node.set(|state| {
        for task in state.tasks.values_mut() {
            task["status"] = json!("succeeded");
        }
        state.rules_are_done = true;
    });
    task_at(leader, uid, "succeeded").await;
    assert_eq!(
        node.get(|state| state.rules.clone()),
        Some(BTreeSet::from(["mine".to_owned()]))
    );
    let uid = change(leader, RulesChange::Clear, "dsrClear").await;
    task_at(leader, uid, "succeeded").await;
    assert_eq!(node.get(|state| state.rules.clone()), Some(BTreeSet::new()));
    let details = task_at(leader, uid, "succeeded").await.details;
    assert_eq!(details, json!({ "deletedDocuments": 1 }).to_string());
}
