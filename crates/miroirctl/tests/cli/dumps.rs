//! `dump create` and `dump manifest`: what they wait for, print and write. Imports are tested with clusters.

use anyhow::Result;
use miroir_proto::v1;
use serde_json::{Value, json};

use crate::support::{Coordinator, Script, miroirctl, status};

fn dump(status: &str, manifest: Option<&Value>) -> v1::Dump {
    v1::Dump {
        status: status.to_owned(),
        error: if status == "failed" {
            json!({"message": "No node answers."}).to_string()
        } else {
            String::new()
        },
        manifest: manifest.map_or_else(String::new, ToString::to_string),
    }
}

fn manifest() -> Value {
    json!({
        "clusterId": "c-1", "taskUid": 7, "epoch": 3,
        "nodes": {"1": {"url": "http://a:1", "nodeTask": 4, "dumpUid": "2026"}},
        "indexes": [{"uid": "a", "name": "a", "primaryKey": null, "maxValuesPerFacet": null,
            "onNodes": true, "shards": [[1]]}],
    })
}

async fn coordinator(dumps: Vec<v1::Dump>) -> Result<Coordinator> {
    Coordinator::start(Script {
        status: status(1, 1, ""),
        dumps: dumps.into(),
        ..Script::default()
    })
    .await
}

#[tokio::test]
async fn a_dump_is_waited_for_and_its_manifest_kept() -> Result<()> {
    let manifest = manifest();
    let answers = vec![
        dump("enqueued", None),
        dump("processing", Some(&manifest)),
        dump("succeeded", Some(&manifest)),
    ];
    let coordinator = coordinator(answers).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("dump.json");
    let line = format!("dump create --to {}", file.display());
    let run = miroirctl(&[&coordinator.url], &line).await?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.contains("2026.dump"), "{run:?}");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    assert_eq!(kept, manifest);
    let asked = coordinator.script().asked.clone();
    assert_eq!(
        asked.iter().filter(|call| **call == "create_dump").count(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_or_unknown_dump_ends_with_one() -> Result<()> {
    let failing = coordinator(vec![dump("failed", None)]).await?;
    for line in ["dump create", "dump manifest 7"] {
        let run = miroirctl(&[&failing.url], line).await?;
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("No node answers."), "{run:?}");
    }
    let early = coordinator(vec![dump("enqueued", None)]).await?;
    let run = miroirctl(&[&early.url], "dump manifest 7").await?;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("no manifest yet"), "{run:?}");
    let none = coordinator(Vec::new()).await?;
    let run = miroirctl(&[&none.url], "dump manifest 7").await?;
    assert_eq!(run.code, 1, "{run:?}");
    Ok(())
}
