//! Calls to the catalog over lost leaders and lost answers.

use std::time::Duration;

use miroir_core::cluster::{Command, NewTask, Policy, Rejection, TaskKind};
use miroir_core::id::{Incarnation, IndexUid, ProxyId, TaskUid};
use miroir_meili::Secret;
use miroir_proxy::catalog::{Catalog, CatalogError, Coordinators};
use serde_json::json;
use uuid::Uuid;

use super::coordinator::{Coordinator, TOKEN};

fn catalog(endpoints: &[&str]) -> Catalog {
    let endpoints: Vec<String> = endpoints.iter().map(|e| (*e).to_owned()).collect();
    Catalog::new(Coordinators::new(&endpoints, &Secret::new(TOKEN)).expect("addresses"))
}

async fn coordinator() -> Coordinator {
    let coordinator = Coordinator::start().await;
    let policy = Policy::default();
    coordinator.apply(&Command::Bootstrap {
        cluster_id: "c".to_owned(),
        policy,
    });
    coordinator
}

fn task() -> NewTask {
    NewTask {
        kind: TaskKind::IndexUpdate,
        details: json!({ "primaryKey": null }),
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

#[tokio::test]
async fn a_call_finds_the_leader_and_survives_lost_answers() {
    let leader = coordinator().await;
    let follower = Coordinator::start().await;
    follower.lead(false, Some(&leader.url));
    let catalog = catalog(&["http://127.0.0.1:1", &follower.url]);
    leader.lose_answers(2);
    let registered = catalog
        .register_task(Uuid::now_v7(), None, &task())
        .await
        .expect("registered");
    assert_eq!(registered.task, TaskUid(0));
    assert_eq!(leader.tasks().len(), 1, "one request id, one task");
    let read = catalog
        .get_task(TaskUid(0))
        .await
        .expect("a task")
        .expect("known");
    assert_eq!(read.details, task().details);
    assert_eq!(catalog.get_task(TaskUid(9)).await.expect("an answer"), None);
}

#[tokio::test]
async fn what_nobody_took_is_told_from_what_somebody_may_have_taken() {
    let coordinator = coordinator().await;
    let briefly = Duration::from_millis(400);
    let id = Uuid::now_v7();
    let nobody = catalog(&["http://127.0.0.1:1"]).within(briefly);
    let error = nobody
        .register_task(id, None, &task())
        .await
        .expect_err("nobody is there");
    assert!(matches!(error, CatalogError::NoLeader { .. }), "{error:?}");
    assert!(error.retryable() && !error.outcome_unknown());

    let catalog = catalog(&[&coordinator.url]).within(briefly);
    coordinator.lead(false, None);
    let error = catalog
        .register_task(id, None, &task())
        .await
        .expect_err("nobody leads");
    assert!(matches!(error, CatalogError::NoLeader { .. }), "{error:?}");

    coordinator.lead(true, None);
    coordinator.lose_answers(1000);
    let error = catalog
        .register_task(id, None, &task())
        .await
        .expect_err("no answer");
    assert!(error.outcome_unknown() && error.retryable(), "{error:?}");
    coordinator.lose_answers(0);
    catalog
        .register_task(id, None, &task())
        .await
        .expect("the same, at last");
    assert_eq!(coordinator.tasks().len(), 1);
}

#[tokio::test]
async fn refusals_arrive_as_they_are() {
    let coordinator = coordinator().await;
    let uid = IndexUid::parse("x").expect("a uid");
    let whose = (&uid, Incarnation(7));
    let catalog = catalog(&[&coordinator.url]);
    let deleting = catalog
        .delete_index(Uuid::now_v7(), whose, whose.0, ProxyId(1), &task())
        .await;
    let error = deleting.expect_err("no such index");
    assert_eq!(
        error.rejection(),
        Some(&Rejection::UnknownIndex(uid.clone()))
    );
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_wrong_token_is_told_at_once() {
    let coordinator = coordinator().await;
    let endpoints = [coordinator.url.clone()];
    let coordinators = Coordinators::new(&endpoints, &Secret::new("another")).expect("addresses");
    let calling = Catalog::new(coordinators);
    let error = calling
        .register_task(Uuid::now_v7(), None, &task())
        .await
        .expect_err("refused");
    assert!(
        matches!(error, CatalogError::Protocol { .. }) && !error.retryable(),
        "{error:?}"
    );
    assert!(coordinator.tasks().is_empty());
}
