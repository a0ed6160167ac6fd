//! Changes: once, at the leader, and with an answer that says what became of them.

use anyhow::Result;
use miroir_core::cluster::Rejection;
use miroir_core::id::NodeId;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::support::{Coordinator, Script, miroirctl, not_leader, refused, status};

const ADD: &str = "node add http://127.0.0.1:7704";

fn added(node: u64) -> Option<Result<v1::ChangeReply, Status>> {
    Some(Ok(v1::ChangeReply {
        node: Some(node),
        operation: Some(7),
        ..Default::default()
    }))
}

fn adding(me: u64, changes: Vec<Option<Result<v1::ChangeReply, Status>>>) -> Script {
    Script {
        status: status(me, 1, ""),
        changes: changes.into(),
        ..Default::default()
    }
}

fn exists() -> Status {
    let rejection = Rejection::NodeExists {
        url: "http://127.0.0.1:7704".to_owned(),
        node: NodeId(4),
    };
    refused(Code::AlreadyExists, &rejection)
}

#[tokio::test]
async fn a_change_follows_the_leader_with_one_request_id() -> Result<()> {
    let leader = Coordinator::start(adding(1, vec![added(4)])).await?;
    let follower =
        Coordinator::start(adding(2, vec![Some(Err(not_leader(Some(&leader.url))))])).await?;
    let line = format!("{ADD} --group 2 --zone a --weight 3 --output json");
    let run = miroirctl(&[&follower.url], &line).await?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_eq!(
        run.json()?,
        json!({"node": 4, "operation": 7, "added": true, "done": null})
    );
    let (first, second) = (
        follower.script().change_requests.clone(),
        leader.script().change_requests.clone(),
    );
    assert_eq!((first.len(), &first), (1, &second));
    assert_eq!(first[0].request_id.len(), 36, "a UUID: {first:?}");
    let Some(Change::AddNode(sent)) = &first[0].change else {
        panic!("{first:?}")
    };
    let sent = (
        sent.url.as_str(),
        sent.group,
        sent.zone.as_deref(),
        sent.weight,
    );
    assert_eq!(sent, ("http://127.0.0.1:7704", Some(2), Some("a"), Some(3)));
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_id() -> Result<()> {
    let lost = || Some(Err(Status::deadline_exceeded("the outcome is unknown")));
    let adds = vec![lost(), Some(Err(not_leader(None))), lost(), added(4)];
    let coordinator = Coordinator::start(adding(1, adds)).await?;
    let run = miroirctl(&[&coordinator.url], ADD).await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stdout, "node 4 is added by operation 7\n");
    let requests = coordinator.script().change_requests.clone();
    assert_eq!(requests.len(), 4);
    assert!(
        requests.iter().all(|request| *request == requests[0]),
        "{requests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_refusal_exits_1_and_is_not_repeated() -> Result<()> {
    let table = [
        (
            Status::invalid_argument("`x` is not of the form http://host:port"),
            "http://host:port",
        ),
        (
            Status::failed_precondition("node http://127.0.0.1:7704 cannot be reached"),
            "cannot be reached",
        ),
        (
            Status::permission_denied("node http://127.0.0.1:7704 refuses the master key"),
            "master key",
        ),
        (
            exists(),
            "already in the cluster as node 4; --if-needed accepts that",
        ),
    ];
    for (answer, text) in table {
        let coordinator = Coordinator::start(adding(1, vec![Some(Err(answer))])).await?;
        let run = miroirctl(&[&coordinator.url], ADD).await?;
        run.failed(1, &[text]);
        assert_eq!(coordinator.script().change_requests.len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_change_without_answer_exits_4_and_says_how_to_repeat_it() -> Result<()> {
    let coordinator = Coordinator::start(adding(1, vec![None])).await?;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let line = format!("{ADD} --timeout-ms 600 --request-id {id}");
    let run = miroirctl(&[&coordinator.url], &line).await?;
    run.failed(4, &["unknown", "miroirctl node list", id]);
    assert_eq!(coordinator.script().change_requests[0].request_id, id);
    Ok(())
}

/// A second try that fails before the log is asked says nothing about the first.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_is_no_answer_to_it() -> Result<()> {
    let lost = Some(Err(Status::deadline_exceeded("the outcome is unknown")));
    let probe = Some(Err(Status::failed_precondition(
        "node http://127.0.0.1:7704 cannot be reached",
    )));
    let coordinator = Coordinator::start(adding(1, vec![lost.clone(), probe])).await?;
    let run = miroirctl(&[&coordinator.url], ADD).await?;
    run.failed(4, &["unknown", "cannot be reached"]);
    let coordinator = Coordinator::start(adding(1, vec![lost, Some(Err(exists()))])).await?;
    miroirctl(&[&coordinator.url], ADD)
        .await?
        .failed(1, &["already in the cluster"]);
    Ok(())
}

#[tokio::test]
async fn without_a_leader_nothing_was_changed_and_the_exit_is_3() -> Result<()> {
    let coordinator = Coordinator::start(adding(1, vec![Some(Err(not_leader(None)))])).await?;
    let run = miroirctl(&[&coordinator.url], &format!("{ADD} --timeout-ms 700")).await?;
    run.failed(3, &["no coordinator leads", &coordinator.url]);
    assert!(
        coordinator.script().change_requests.len() > 1,
        "it must have been tried again"
    );
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let run = miroirctl(&[&closed.to_string()], &format!("{ADD} --timeout-ms 400")).await?;
    run.failed(3, &["can be reached", &closed.to_string()]);
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_there_is_accepted_when_it_is_the_same() -> Result<()> {
    let mut script = adding(1, vec![Some(Err(exists()))]);
    let node = v1::Node {
        id: 4,
        url: "http://127.0.0.1:7704".to_owned(),
        group: 1,
        weight: 1,
        ..Default::default()
    };
    script.nodes = v1::ListNodesReply { nodes: vec![node] };
    let coordinator = Coordinator::start(script).await?;
    let run = miroirctl(
        &[&coordinator.url],
        &format!("{ADD} --if-needed --group 1 --output json"),
    )
    .await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.json()?,
        json!({"node": 4, "operation": null, "added": false, "done": null})
    );
    let run = miroirctl(
        &[&coordinator.url],
        &format!("{ADD} --if-needed --wait --output json"),
    )
    .await?;
    assert_eq!(run.json()?["done"], json!(true));
    let run = miroirctl(&[&coordinator.url], &format!("{ADD} --if-needed --group 2")).await?;
    run.failed(1, &["another group", "node 4"]);
    Ok(())
}

fn fresh(inits: Vec<Result<v1::InitClusterReply, Status>>) -> Script {
    let status = v1::StatusReply {
        coordinator: 1,
        ..Default::default()
    };
    Script {
        status,
        inits: inits.into(),
        ..Default::default()
    }
}

fn already(id: &str) -> Result<v1::InitClusterReply, Status> {
    let rejection = Rejection::AlreadyInitialised {
        cluster_id: id.to_owned(),
    };
    Err(refused(Code::AlreadyExists, &rejection))
}

#[tokio::test]
async fn a_cluster_is_initialised_with_what_was_asked_for() -> Result<()> {
    let reply = Ok(v1::InitClusterReply {
        cluster_id: "prod".to_owned(),
    });
    let coordinator = Coordinator::start(fresh(vec![reply])).await?;
    let line = "cluster init --cluster-id prod --shards 16 --rf 2 --groups 3 --min-in-sync 2 --reverse-window-ms 500 \
                --max-concurrent-migrations 5 --max-migrations-per-target 4 --max-migrations-per-source 3 \
                --throttle-docs-per-s 1000 --output json";
    let run = miroirctl(&[&coordinator.url], line).await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.json()?, json!({"cluster_id": "prod", "created": true}));
    let expected = v1::InitClusterRequest {
        cluster_id: "prod".to_owned(),
        default_shards: Some(16),
        default_replication_factor: Some(2),
        groups: Some(3),
        min_in_sync: Some(2),
        reverse_window_ms: Some(500),
        max_concurrent_migrations: Some(5),
        max_migrations_per_target: Some(4),
        max_migrations_per_source: Some(3),
        throttle_docs_per_s: Some(1_000),
    };
    assert_eq!(coordinator.script().init_requests, [expected]);
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_initialised_once() -> Result<()> {
    let script = Script {
        status: status(1, 1, ""),
        ..Default::default()
    };
    let coordinator = Coordinator::start(script).await?;
    let run = miroirctl(&[&coordinator.url], "cluster init").await?;
    run.failed(1, &["already initialised as `c-1`", "--if-needed"]);
    let run = miroirctl(
        &[&coordinator.url],
        "cluster init --if-needed --output json",
    )
    .await?;
    assert_eq!(run.json()?, json!({"cluster_id": "c-1", "created": false}));
    let run = miroirctl(
        &[&coordinator.url],
        "cluster init --if-needed --cluster-id other",
    )
    .await?;
    run.failed(1, &["already initialised as `c-1`"]);
    assert!(
        coordinator.script().init_requests.is_empty(),
        "whoever knows its cluster is not asked to make one"
    );
    Ok(())
}

/// A coordinator that lost its disk must not begin a second cluster beside the first.
#[tokio::test]
async fn one_coordinator_that_knows_its_cluster_is_enough() -> Result<()> {
    let empty = Coordinator::start(fresh(vec![Ok(v1::InitClusterReply {
        cluster_id: "new".to_owned(),
    })]))
    .await?;
    let known = Coordinator::start(Script {
        status: status(2, 0, ""),
        ..Default::default()
    })
    .await?;
    let run = miroirctl(&[&empty.url, &known.url], "cluster init").await?;
    run.failed(1, &["already initialised as `c-1`"]);
    assert!(empty.script().init_requests.is_empty());
    Ok(())
}

#[tokio::test]
async fn somebody_elses_initialisation_is_told_from_ones_own() -> Result<()> {
    let coordinator = Coordinator::start(fresh(vec![already("theirs")])).await?;
    miroirctl(&[&coordinator.url], "cluster init")
        .await?
        .failed(1, &["`theirs`"]);
    let run = miroirctl(
        &[&coordinator.url],
        "cluster init --if-needed --output json",
    )
    .await?;
    assert_eq!(
        run.json()?,
        json!({"cluster_id": "theirs", "created": false})
    );
    // The answer to the first try was lost; the second finds the cluster that it made.
    let lost = Err(Status::deadline_exceeded("the outcome is unknown"));
    let coordinator = Coordinator::start(fresh(vec![lost, already("mine")])).await?;
    let run = miroirctl(
        &[&coordinator.url],
        "cluster init --cluster-id mine --output json",
    )
    .await?;
    assert_eq!(run.json()?, json!({"cluster_id": "mine", "created": true}));
    Ok(())
}

/// The set-up of a cluster starts coordinators and this command at the same time.
#[tokio::test]
async fn initialisation_waits_for_coordinators_to_come() -> Result<()> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let endpoint = format!("http://{address}");
    let running =
        tokio::spawn(
            async move { miroirctl(&[&endpoint], "cluster init --timeout-ms 20000").await },
        );
    // It has found nobody by then, or it finds somebody at once: right either way.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let reply = Ok(v1::InitClusterReply {
        cluster_id: "late".to_owned(),
    });
    let _coordinator = Coordinator::start_at(address, fresh(vec![reply])).await?;
    let run = running.await??;
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "cluster late is initialised\n"),
        "{run:?}"
    );
    Ok(())
}

/// A cluster is made of coordinators that are all there.
#[tokio::test]
async fn initialisation_waits_for_every_coordinator() -> Result<()> {
    let missing = || {
        Err(Status::failed_precondition(
            "coordinator 2 cannot become a member",
        ))
    };
    let made = Ok(v1::InitClusterReply {
        cluster_id: "c".to_owned(),
    });
    let coordinator = Coordinator::start(fresh(vec![missing(), missing(), made])).await?;
    let run = miroirctl(&[&coordinator.url], "cluster init").await?;
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "cluster c is initialised\n"),
        "{run:?}"
    );
    assert_eq!(
        run.stderr,
        "waiting: coordinator 2 cannot become a member\n"
    );
    let coordinator = Coordinator::start(fresh(vec![missing()])).await?;
    let run = miroirctl(&[&coordinator.url], "cluster init --timeout-ms 700").await?;
    run.failed(1, &["coordinator 2 cannot become a member"]);
    assert!(coordinator.script().init_requests.len() > 1);
    Ok(())
}
