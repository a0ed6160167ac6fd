//! Following migrations.

use anyhow::Result;
use miroir_proto::v1;
use serde_json::{Value, json};
use tonic::Status;

use crate::support::{Coordinator, Run, Script, miroirctl, status};

fn report(
    at_ms: u64,
    done: u32,
    moving: &[(u64, v1::Phase, u64)],
) -> Result<v1::ListMigrationsReply, Status> {
    let migration = |(id, phase, documents): &(u64, v1::Phase, u64)| v1::Migration {
        id: *id,
        operation: 7,
        index: "movies".to_owned(),
        shard: *id as u32,
        source: 1,
        target: 4,
        phase: (*phase).into(),
        documents_done: *documents,
        documents_total: 1_000,
        ..Default::default()
    };
    Ok(v1::ListMigrationsReply {
        migrations: moving.iter().map(migration).collect(),
        total: 20,
        done,
        at_ms,
    })
}

fn script(watches: Vec<Vec<Result<v1::ListMigrationsReply, Status>>>) -> Script {
    let operation = v1::Operation {
        id: 7,
        kind: "addNode".to_owned(),
        state: "running".to_owned(),
        node: Some(4),
        migrations_done: 2,
        ..Default::default()
    };
    Script {
        status: status(1, 1, ""),
        operations: v1::ListOperationsReply {
            operations: vec![operation],
        },
        migrations: v1::ListMigrationsReply {
            total: 20,
            done: 18,
            ..Default::default()
        },
        watches: watches.into(),
        ..Default::default()
    }
}

fn documents(run: &Run) -> Result<Vec<Value>> {
    run.stdout
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[tokio::test]
async fn every_report_is_a_line_of_json() -> Result<()> {
    let watches = vec![vec![
        report(
            1_000,
            18,
            &[(9, v1::Phase::Copying, 0), (10, v1::Phase::Planned, 0)],
        ),
        report(
            2_000,
            18,
            &[(9, v1::Phase::Copying, 500), (10, v1::Phase::Planned, 0)],
        ),
        report(3_000, 20, &[]),
    ]];
    let coordinator = Coordinator::start(script(watches)).await?;
    let run = miroirctl(&[&coordinator.url], "migration watch --output json").await?;
    assert_eq!(run.code, 0, "{run:?}");
    let lines = documents(&run)?;
    assert_eq!(lines.len(), 3);
    // Sixteen of the migrations belong to an operation that was over before.
    let shards = |line: &Value| (line["shards_done"].clone(), line["shards_total"].clone());
    assert_eq!(shards(&lines[0]), (json!(2), json!(4)));
    assert_eq!(
        (&lines[0]["documents_per_s"], &lines[0]["eta_ms"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(lines[1]["documents_per_s"], json!(500));
    assert_eq!(lines[1]["phases"], json!({"Copying": 1, "Planned": 1}));
    assert_eq!(lines[1]["migrations"][0]["phase"], json!("Copying"));
    assert!(
        lines[1]["eta_ms"].as_u64().is_some_and(|eta| eta > 0),
        "{}",
        lines[1]
    );
    assert_eq!(
        (shards(&lines[2]), &lines[2]["eta_ms"]),
        ((json!(4), json!(4)), &json!(0))
    );
    Ok(())
}

#[tokio::test]
async fn without_a_terminal_people_get_plain_lines_and_the_last_always() -> Result<()> {
    let watches = vec![vec![
        report(1_000, 18, &[(9, v1::Phase::Copying, 0)]),
        report(1_200, 18, &[(9, v1::Phase::Copying, 500)]),
        report(1_400, 19, &[(10, v1::Phase::CatchingUp, 1_000)]),
        report(3_000, 20, &[]),
    ]];
    let coordinator = Coordinator::start(script(watches)).await?;
    let run = miroirctl(&[&coordinator.url], "migration watch --operation 7").await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.is_ascii() && !run.stdout.contains('\u{1b}') && !run.stdout.contains('\r'),
        "{run:?}"
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(
        lines.first(),
        Some(&"18/20 shards, 0 documents; movies/9 1->4 Copying 10%")
    );
    assert!(
        lines.iter().any(|line| line.starts_with("19/20 shards")),
        "{lines:?}"
    );
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("20/20 shards, 2,000 documents")),
        "{lines:?}"
    );
    assert_eq!(
        coordinator.script().watch_requests,
        [v1::WatchMigrationsRequest { operation: Some(7) }]
    );
    Ok(())
}

#[tokio::test]
async fn watching_goes_on_at_another_coordinator() -> Result<()> {
    let broken = vec![
        report(1_000, 18, &[(9, v1::Phase::Copying, 0)]),
        Err(Status::unavailable("this coordinator is stopping")),
    ];
    let rest = vec![
        report(9_000, 19, &[(10, v1::Phase::Fenced, 0)]),
        report(9_500, 20, &[]),
    ];
    let coordinator = Coordinator::start(script(vec![broken, rest])).await?;
    let run = miroirctl(
        &[&coordinator.url],
        "migration watch --operation 7 --output json",
    )
    .await?;
    assert_eq!(run.code, 0, "{run:?}");
    let done: Vec<Value> = documents(&run)?
        .iter()
        .map(|line| line["shards_done"].clone())
        .collect();
    assert_eq!(done, [json!(18), json!(19), json!(20)]);
    Ok(())
}

#[tokio::test]
async fn an_operation_that_is_not_there_is_refused_at_once() -> Result<()> {
    let watches = vec![vec![Err(Status::not_found("there is no operation 99"))]];
    let coordinator = Coordinator::start(script(watches)).await?;
    let run = miroirctl(&[&coordinator.url], "migration watch --operation 99").await?;
    run.failed(1, &["there is no operation 99"]);
    assert_eq!(coordinator.script().watch_requests.len(), 1);
    Ok(())
}

#[tokio::test]
async fn adding_a_node_can_wait_for_its_share() -> Result<()> {
    let watch = || {
        vec![
            report(1_000, 18, &[(9, v1::Phase::Copying, 0)]),
            report(2_000, 20, &[]),
        ]
    };
    let mut script = script(vec![watch(), watch()]);
    script.operation = v1::Operation {
        id: 7,
        state: "done".to_owned(),
        ..Default::default()
    };
    script.changes.push_back(Some(Ok(v1::ChangeReply {
        node: Some(4),
        operation: Some(7),
        ..Default::default()
    })));
    let coordinator = Coordinator::start(script).await?;
    let run = miroirctl(
        &[&coordinator.url],
        "node add http://127.0.0.1:7704 --wait --output json",
    )
    .await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.json()?,
        json!({"node": 4, "operation": 7, "added": true, "done": true})
    );
    let run = miroirctl(&[&coordinator.url], "node add http://127.0.0.1:7704 --wait").await?;
    assert_eq!(run.code, 0, "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"node 4 is added by operation 7"));
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("20/20 shards")),
        "{lines:?}"
    );
    Ok(())
}
