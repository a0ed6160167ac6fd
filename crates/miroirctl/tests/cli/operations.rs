//! Every change: what a command line asks the cluster for, and what is made of the answer.

use anyhow::Result;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use serde_json::json;

use crate::support::{Coordinator, Script, miroirctl, status};

fn answering(reply: v1::ChangeReply) -> Script {
    Script {
        status: status(1, 1, ""),
        changes: [Some(Ok(reply))].into(),
        ..Default::default()
    }
}

fn on_migration(action: v1::control_migration::Action) -> Change {
    let action = Some(action);
    Change::ControlMigration(v1::ControlMigration { id: 5, action })
}

fn on_operation(action: v1::control_operation::Action) -> Change {
    let action = Some(action);
    Change::ControlOperation(v1::ControlOperation { id: 5, action })
}

fn pin(node: Option<u64>, pinned: bool) -> Change {
    Change::Pin(v1::Pin {
        index: "books".to_owned(),
        shard: 3,
        node,
        pinned,
    })
}

fn removal(force: bool) -> Change {
    Change::RemoveNode(v1::RemoveNode { node: 4, force })
}

fn topology() -> Vec<(&'static str, Change)> {
    let node = |url: &str, zone: Option<&str>, weight| v1::NewNode {
        url: url.to_owned(),
        group: None,
        zone: zone.map(ToOwned::to_owned),
        weight,
    };
    let nodes = vec![
        node("http://a:1", Some("z"), Some(2)),
        node("http://b:1", None, None),
    ];
    vec![
        ("node drain 4", Change::DrainNode(v1::DrainNode { node: 4 })),
        (
            "node undrain 4",
            Change::UndrainNode(v1::UndrainNode { node: 4 }),
        ),
        ("node remove 4", removal(false)),
        ("node remove 4 --force --yes", removal(true)),
        (
            "group add --node http://a:1,zone=z,weight=2 --node http://b:1",
            Change::AddGroup(v1::AddGroup { nodes }),
        ),
        (
            "group remove 2 --yes",
            Change::RemoveGroup(v1::RemoveGroup { group: 2 }),
        ),
        (
            "hold disks",
            Change::Hold(v1::Hold {
                reason: "disks".to_owned(),
            }),
        ),
        ("release", Change::Release(v1::Release {})),
        (
            "policy set --max-concurrent-migrations 3 --throttle-docs-per-s none",
            Change::Policy(v1::PolicyChange {
                max_concurrent_migrations: Some(3),
                throttle_docs_per_s: Some(v1::Limit { per_s: None }),
                ..Default::default()
            }),
        ),
    ]
}

fn placement() -> Vec<(&'static str, Change)> {
    use v1::control_migration::Action as OnMigration;
    use v1::control_operation::Action as OnOperation;
    let index = || "books".to_owned();
    let throttle = v1::Throttle {
        docs_per_s: Some(9),
        bytes_per_s: None,
    };
    vec![
        (
            "index set-replication-factor books 2",
            Change::ChangeReplicationFactor(v1::ChangeReplicationFactor {
                index: index(),
                replication_factor: 2,
            }),
        ),
        (
            "rebalance",
            Change::Rebalance(v1::Rebalance { index: None }),
        ),
        (
            "rebalance --index books",
            Change::Rebalance(v1::Rebalance {
                index: Some(index()),
            }),
        ),
        (
            "shard move books 3 --from 1 --to 2",
            Change::MoveShard(v1::MoveShard {
                index: index(),
                shard: 3,
                from: 1,
                to: 2,
            }),
        ),
        ("shard pin books 3", pin(None, true)),
        ("shard unpin books 3 --node 2", pin(Some(2), false)),
        (
            "migration pause 5",
            on_migration(OnMigration::Pause(v1::Pause {})),
        ),
        (
            "migration reverse 5",
            on_migration(OnMigration::Reverse(v1::Reverse {})),
        ),
        (
            "migration throttle 5 --docs-per-s 9",
            on_migration(OnMigration::Throttle(throttle)),
        ),
        (
            "migration throttle 5 --no-limit",
            on_migration(OnMigration::Throttle(v1::Throttle::default())),
        ),
        (
            "operation resume 5",
            on_operation(OnOperation::Resume(v1::Resume {})),
        ),
        (
            "operation cancel 5",
            on_operation(OnOperation::Cancel(v1::Cancel {})),
        ),
        (
            "operation throttle 5 --docs-per-s 9",
            on_operation(OnOperation::Throttle(throttle)),
        ),
    ]
}

#[tokio::test]
async fn every_command_asks_for_its_change_and_can_try_it() -> Result<()> {
    let reply = v1::ChangeReply {
        operation: Some(7),
        plan: Some(v1::Plan::default()),
        ..Default::default()
    };
    let coordinator = Coordinator::start(answering(reply)).await?;
    for (line, change) in topology().into_iter().chain(placement()) {
        for (more, dry_run) in [("", false), (" --dry-run", true)] {
            let line = format!("{line}{more} --output json");
            let run = miroirctl(&[&coordinator.url], &line).await?;
            assert_eq!(run.code, 0, "{line}: {run:?}");
            assert_eq!(run.json()?["operation"], 7, "{line}");
            let asked = coordinator.script().change_requests.pop();
            let asked = asked.unwrap_or_else(|| panic!("{line} asked for nothing"));
            assert_eq!(asked.change.as_ref(), Some(&change), "{line}");
            assert_eq!((asked.dry_run, asked.request_id.len()), (dry_run, 36));
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_confirmed_and_nonsense_is_not_sent() -> Result<()> {
    let coordinator = Coordinator::start(answering(v1::ChangeReply::default())).await?;
    for line in ["node remove 4 --force", "group remove 2"] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        run.failed(2, &["--yes", "--dry-run"]);
        let run = miroirctl(&[&coordinator.url], &format!("{line} --dry-run")).await?;
        assert_eq!(run.code, 0, "{line}: {run:?}");
    }
    coordinator.script().change_requests.clear();
    for line in [
        "migration throttle 5",
        "migration throttle 5 --docs-per-s -1",
        "migration throttle 5 --docs-per-s 3 --no-limit",
        "policy set",
        "policy set --throttle-docs-per-s some",
        "group add",
        "group add --node http://a:1,rack=2",
        "node drain one",
        "shard move books 3 --from 1",
        "node drain 4 --wait --dry-run",
    ] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        assert_eq!(run.code, 2, "{line}: {run:?}");
    }
    assert!(coordinator.script().change_requests.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_went_on_in_vain_is_told() -> Result<()> {
    let reply = v1::ChangeReply {
        migrations: vec![1, 2],
        left: vec![3],
        ..Default::default()
    };
    let coordinator = Coordinator::start(answering(reply)).await?;
    let run = miroirctl(&[&coordinator.url], "operation cancel 5").await?;
    assert_eq!(
        run.stdout,
        "the cancellation of operation 5: migrations 1, 2; too late for migrations 3, which go on\n"
    );
    Ok(())
}

#[tokio::test]
async fn waiting_for_an_operation_that_is_cancelled_fails() -> Result<()> {
    let mut script = answering(v1::ChangeReply {
        operation: Some(7),
        ..Default::default()
    });
    let over = || vec![Ok(v1::ListMigrationsReply::default())];
    script.watches = [over(), over()].into();
    script.operation = v1::Operation {
        id: 7,
        state: "cancelled".to_owned(),
        ..Default::default()
    };
    let coordinator = Coordinator::start(script).await?;
    let line = "node drain 4 --wait --output json";
    let run = miroirctl(&[&coordinator.url], line).await?;
    run.failed(1, &["operation 7 was cancelled"]);
    assert_eq!(run.json()?["done"], json!(false));
    coordinator.script().operation.state = "done".to_owned();
    let run = miroirctl(&[&coordinator.url], line).await?;
    assert_eq!((run.code, &run.json()?["done"]), (0, &json!(true)));
    Ok(())
}

#[tokio::test]
async fn places_are_shown() -> Result<()> {
    let copy = v1::ShardCopy {
        index: "books".to_owned(),
        shard: 3,
        group: 1,
        node: 4,
        state: "InSync".to_owned(),
        pinned: true,
        moving: Some(9),
    };
    let script = Script {
        status: status(1, 1, ""),
        shards: v1::ListShardsReply {
            copies: vec![copy.clone()],
        },
        node: v1::NodeDetail {
            node: Some(v1::Node {
                id: 4,
                url: "http://a:1".to_owned(),
                admission: "draining".to_owned(),
                ..Default::default()
            }),
            copies: vec![copy],
            operations: vec![6],
        },
        explained: v1::ExplainShardReply {
            lines: vec!["It is pinned.".to_owned(), "It stays.".to_owned()],
        },
        topology: v1::Topology {
            policy: Some(v1::Policy {
                default_shards: 64,
                ..Default::default()
            }),
            hold: Some(v1::HoldState {
                reason: "disks".to_owned(),
                since_ms: 1,
            }),
            ..Default::default()
        },
        operation: v1::Operation {
            id: 6,
            kind: "drainNode".to_owned(),
            node: Some(4),
            state: "running".to_owned(),
            paused: true,
            ..Default::default()
        },
        ..Default::default()
    };
    let coordinator = Coordinator::start(script).await?;
    for (line, words) in [
        ("shard list", ["InSync", "yes"]),
        ("node show 4", ["draining", "http://a:1"]),
        ("shard explain books 3", ["It is pinned.\n", "It stays."]),
        ("policy show", ["64", "disks"]),
        ("operation show 6", ["drainNode", "running, paused"]),
    ] {
        let run = miroirctl(&[&coordinator.url], line).await?;
        assert_eq!(run.code, 0, "{line}: {run:?}");
        for word in words {
            assert!(run.stdout.contains(word), "{line}: {run:?}");
        }
        let run = miroirctl(&[&coordinator.url], &format!("{line} --output json")).await?;
        run.json()?;
    }
    let run = miroirctl(&[&coordinator.url], "node show 5").await?;
    run.failed(1, &["no node 5"]);
    Ok(())
}
