//! What is asked and printed, and whom it is asked of.

use anyhow::Result;
use miroir_proto::v1;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Coordinator, Script, miroirctl, run_with, status};

/// An address where nobody listens.
async fn closed() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}", listener.local_addr()?))
}

fn node(id: u64, group: u32) -> v1::Node {
    v1::Node {
        id,
        url: format!("http://n{id}:7700"),
        group,
        weight: 1,
        version: "1.15.1".to_owned(),
        admission: "active".to_owned(),
        health: "up".to_owned(),
        replicas: 22,
        documents: Some(21_222),
        ..Default::default()
    }
}

fn leader() -> Script {
    let summary = v1::IndexSummary {
        uid: "movies".to_owned(),
        shards: 2,
        replication_factor: 1,
        ..Default::default()
    };
    let shard = v1::ShardRoute {
        replicas: vec![v1::ReplicaRoute {
            node: 1,
            group: 1,
            state: v1::ReplicaState::InSync.into(),
        }],
        moving: None,
    };
    let migration = v1::Migration {
        id: 9,
        operation: 7,
        index: "movies".to_owned(),
        shard: 1,
        group: 1,
        source: 1,
        target: 4,
        replaces: Some(1),
        phase: v1::Phase::CatchingUp.into(),
        history: vec![v1::PhaseChange {
            phase: v1::Phase::Planned.into(),
            at_ms: 1_000,
            event: String::new(),
        }],
        ..Default::default()
    };
    Script {
        status: status(1, 1, ""),
        nodes: v1::ListNodesReply {
            nodes: vec![node(1, 1), node(2, 1)],
        },
        groups: v1::ListGroupsReply {
            groups: vec![v1::Group {
                id: 1,
                state: "searchable".to_owned(),
                nodes: vec![1, 2],
            }],
        },
        indexes: v1::ListIndexesReply {
            indexes: vec![summary.clone()],
        },
        index: v1::IndexDetail {
            summary: Some(summary),
            shards: vec![shard.clone(), shard],
            settings: r#"{"rankingRules":["words"]}"#.to_owned(),
        },
        operations: v1::ListOperationsReply {
            operations: vec![v1::Operation {
                id: 7,
                kind: "addNode".to_owned(),
                state: "running".to_owned(),
                node: Some(4),
                migrations: vec![9, 10],
                created_at_ms: 5,
                migrations_done: 1,
                ..Default::default()
            }],
        },
        migrations: v1::ListMigrationsReply {
            migrations: vec![migration.clone()],
            total: 2,
            done: 1,
            at_ms: 9,
        },
        migration,
        coordinators: v1::ListCoordinatorsReply {
            coordinators: vec![v1::Coordinator {
                id: 1,
                api_url: "http://c1:7710".to_owned(),
                raft_url: "http://c1:7720".to_owned(),
                role: "leader".to_owned(),
                matched: Some(50),
            }],
        },
        proxies: v1::ListProxiesReply {
            proxies: vec![v1::Proxy {
                id: 3,
                name: "proxy-1".to_owned(),
                url: "http://p1:7700".to_owned(),
                lease: "live".to_owned(),
                writes_epoch: 40,
                reads_epoch: 40,
                ..Default::default()
            }],
        },
        ..Default::default()
    }
}

#[tokio::test]
async fn json_documents_have_their_shapes() -> Result<()> {
    let coordinator = Coordinator::start(leader()).await?;
    let migration = json!({
        "id": 9, "operation": 7, "index": "movies", "shard": 1, "group": 1, "source": 1, "target": 4,
        "replaces": 1, "phase": "CatchingUp", "documents_done": 0, "documents_total": 0, "bytes_done": 0,
        "attempts": 0, "last_error": null, "throttle_docs_per_s": null, "kind": "", "paused": false,
        "throttle_bytes_per_s": null, "documents_per_s": null, "eta_ms": null, "waits_for": null,
        "pace_docs_per_s": null, "pace_reason": null,
    });
    let table = [
        (
            "group list",
            json!({"groups": [{"id": 1, "state": "searchable", "nodes": [1, 2]}]}),
        ),
        (
            "operation list",
            json!({"operations": [{
                "id": 7, "kind": "addNode", "state": "running", "paused": false, "node": 4, "group": null,
                "index": null, "migrations": [9, 10], "migrations_done": 1, "excused": 0, "documents_done": 0,
                "documents_total": 0, "bytes_done": 0, "documents_per_s": null, "eta_ms": null,
                "created_at_ms": 5, "finished_at_ms": null, "last_error": null,
            }]}),
        ),
        (
            "coordinator list",
            json!({"coordinators": [{
                "id": 1, "role": "leader", "api_url": "http://c1:7710", "raft_url": "http://c1:7720", "matched": 50,
            }]}),
        ),
        (
            "proxy list",
            json!({"proxies": [{
                "id": 3, "name": "proxy-1", "url": "http://p1:7700", "lease": "live", "lost": false,
                "writes_epoch": 40, "reads_epoch": 40,
            }]}),
        ),
        (
            "migration list",
            json!({"migrations": [migration], "total": 2, "done": 1}),
        ),
    ];
    for (line, expected) in table {
        let run = miroirctl(&[&coordinator.url], &format!("{line} --output json")).await?;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{line}: {run:?}");
        assert_eq!(run.json()?, expected, "{line}");
    }
    let get = async |line: &str| -> Result<Value> {
        run_with(&[&coordinator.url], line, &[("MIROIR_OUTPUT", "json")])
            .await?
            .json()
    };
    let nodes = get("node list").await?;
    let expected = json!({
        "id": 2, "url": "http://n2:7700", "group": 1, "zone": null, "weight": 1, "version": "1.15.1",
        "admission": "active", "health": "up", "replicas": 22, "documents": 21_222, "queue": null, "last_error": null,
    });
    assert_eq!(nodes["nodes"][1], expected);
    let index = get("index show movies").await?;
    assert_eq!(index["settings"]["rankingRules"], json!(["words"]));
    assert_eq!(
        index["shard_map"][1]["replicas"],
        json!([{"node": 1, "group": 1, "state": "InSync"}])
    );
    assert_eq!(get("index list").await?["indexes"][0]["uid"], "movies");
    let shown = get("migration show 9").await?;
    assert_eq!(
        shown["history"],
        json!([{"phase": "Planned", "at_ms": 1_000, "took_ms": null, "event": null}])
    );
    let status = get("status").await?;
    assert_eq!(
        (&status["initialised"], &status["leader"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(status["endpoints"][0]["endpoint"], json!(coordinator.url));
    Ok(())
}

#[tokio::test]
async fn without_a_terminal_tables_are_plain_text() -> Result<()> {
    let coordinator = Coordinator::start(leader()).await?;
    let run = miroirctl(&[&coordinator.url], "node list").await?;
    let expected = "\
ID  URL             GROUP  ZONE  WEIGHT  VERSION  ADMISSION  HEALTH  COPIES  DOCUMENTS  QUEUE  ERROR
1   http://n1:7700  1      -     1       1.15.1   active     up      22      21,222     -      -
2   http://n2:7700  1      -     1       1.15.1   active     up      22      21,222     -      -
";
    assert_eq!((run.code, run.stdout.as_str()), (0, expected), "{run:?}");
    for line in [
        "status",
        "group list",
        "index list",
        "index show movies",
        "migration list",
        "migration show 9",
        "operation list",
        "coordinator list",
        "proxy list",
    ] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        assert_eq!(run.code, 0, "{line}: {run:?}");
        assert!(
            run.stdout.is_ascii() && !run.stdout.contains('\u{1b}'),
            "{line}: {run:?}"
        );
        assert!(
            run.stdout.lines().all(|line| line == line.trim_end()),
            "{line}: {run:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn migrations_are_listed_as_asked() -> Result<()> {
    let coordinator = Coordinator::start(leader()).await?;
    for line in ["migration list", "migration list --operation 7 --all"] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        assert_eq!(run.code, 0, "{run:?}");
        assert!(run.stdout.contains("1 of 2 done"), "{run:?}");
    }
    let asked = &coordinator.script().list_migration_requests;
    assert_eq!(
        asked[0],
        v1::ListMigrationsRequest {
            operation: None,
            unfinished_only: true
        }
    );
    assert_eq!(
        asked[1],
        v1::ListMigrationsRequest {
            operation: Some(7),
            unfinished_only: false
        }
    );
    Ok(())
}

#[tokio::test]
async fn the_leader_is_found_from_any_endpoint() -> Result<()> {
    let leader = Coordinator::start(leader()).await?;
    let follower = Coordinator::start(Script {
        status: status(2, 1, &leader.url),
        ..Default::default()
    })
    .await?;
    let run = miroirctl(&[&closed().await?, &follower.url], "node list").await?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.contains("http://n2:7700"), "{run:?}");
    assert!(!follower.script().asked.contains(&"list_nodes"));
    let status = miroirctl(&[&follower.url], "status --output json")
        .await?
        .json()?;
    assert_eq!(
        (&status["answered_by"], &status["nodes_reachable"]),
        (&json!(1), &json!(2))
    );
    Ok(())
}

#[tokio::test]
async fn an_old_leader_is_not_believed() -> Result<()> {
    let new = Coordinator::start(leader()).await?;
    let mut old_status = status(2, 2, "");
    old_status.term = 2;
    let old = Coordinator::start(Script {
        status: old_status,
        ..Default::default()
    })
    .await?;
    let status = miroirctl(&[&old.url, &new.url], "status --output json")
        .await?
        .json()?;
    assert_eq!((&status["leader"], &status["term"]), (&json!(1), &json!(3)));
    Ok(())
}

#[tokio::test]
async fn without_the_leader_others_answer_with_a_warning() -> Result<()> {
    let mut script = leader();
    script.status = status(2, 1, &closed().await?);
    let follower = Coordinator::start(script).await?;
    let run = miroirctl(&[&follower.url], "node list").await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("http://n1:7700"), "{run:?}");
    assert!(
        run.stderr.starts_with("warning: ") && run.stderr.contains("coordinator 2"),
        "{run:?}"
    );
    let run = miroirctl(&[&follower.url], "status").await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("term 3, not within reach"), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_there_exits_3_and_names_every_endpoint() -> Result<()> {
    let (a, b) = (closed().await?, closed().await?);
    for line in [
        "node list",
        "index show movies",
        "migration watch --timeout-ms 500",
    ] {
        let run = miroirctl(&[&a, &b], line).await?;
        run.failed(3, &[&a, &b, "refused", "--endpoint"]);
        assert_eq!(run.stdout, "", "{line}");
    }
    // What is known is printed all the same: who was asked, and why it did not answer.
    let run = miroirctl(&[&a, &b], "status --output json").await?;
    run.failed(3, &[&a, &b]);
    assert_eq!(run.json()?["leader"], Value::Null);
    assert!(
        run.json()?["endpoints"][1]["error"]
            .as_str()
            .is_some_and(|e| e.contains("refused")),
        "{run:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_hangs_does_not_hide_the_others() -> Result<()> {
    let leader = Coordinator::start(leader()).await?;
    // It accepts connections, as a stopped process does, and says nothing.
    let hung = TcpListener::bind("127.0.0.1:0").await?;
    let hung_url = format!("http://{}", hung.local_addr()?);
    let run = miroirctl(&[&hung_url, &leader.url], "node list").await?;
    assert_eq!(run.code, 0, "{run:?}");
    let run = miroirctl(&[&hung_url], "node list --timeout-ms 700").await?;
    run.failed(3, &[&hung_url, "no answer"]);
    Ok(())
}

#[tokio::test]
async fn status_needs_a_cluster_and_a_leader() -> Result<()> {
    let fresh = v1::StatusReply {
        coordinator: 1,
        ..Default::default()
    };
    let coordinator = Coordinator::start(Script {
        status: fresh,
        ..Default::default()
    })
    .await?;
    let run = miroirctl(&[&coordinator.url], "status").await?;
    run.failed(3, &["not initialised", "miroirctl cluster init"]);
    assert!(run.stdout.contains("not initialised"), "{run:?}");

    coordinator.script().status = status(1, 0, "");
    let run = miroirctl(&[&coordinator.url], "status").await?;
    run.failed(3, &["no coordinator leads", &coordinator.url]);
    assert!(run.stdout.contains("c-1"), "{run:?}");

    coordinator.script().status = status(1, 1, "");
    let run = miroirctl(&[&coordinator.url], "status").await?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_exits_1_with_the_coordinators_words() -> Result<()> {
    let coordinator = Coordinator::start(leader()).await?;
    let run = miroirctl(&[&coordinator.url], "index show books").await?;
    run.failed(1, &["Index `books` not found."]);
    let run = miroirctl(&[&coordinator.url], "migration show 77").await?;
    run.failed(1, &["there is no migration 77"]);
    Ok(())
}
