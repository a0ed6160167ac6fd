//! `verify`: what is printed of differing copies, and how the command ends.

use anyhow::Result;
use miroir_proto::v1;
use serde_json::json;

use crate::support::{Coordinator, Script, miroirctl, status};

fn verdict(shard: u32, odd: &[u64]) -> v1::ShardVerdict {
    v1::ShardVerdict {
        shard,
        copies: vec![1, 2, 3],
        documents: 10,
        differing: odd.len() as u64,
        odd: odd.to_vec(),
        ids: odd.iter().map(|node| format!("d{node}")).collect(),
        ..Default::default()
    }
}

async fn coordinator(verdicts: Vec<v1::ShardVerdict>) -> Result<Coordinator> {
    Coordinator::start(Script {
        status: status(1, 1, ""),
        verdicts,
        ..Script::default()
    })
    .await
}

#[tokio::test]
async fn equal_copies_end_well() -> Result<()> {
    let coordinator = coordinator(vec![verdict(0, &[]), verdict(1, &[])]).await?;
    let run = miroirctl(&[&coordinator.url], "verify movies").await?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(run.stdout.contains("equal"), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn a_difference_is_printed_and_ends_with_one() -> Result<()> {
    let coordinator = coordinator(vec![verdict(0, &[]), verdict(1, &[3])]).await?;
    let run = miroirctl(&[&coordinator.url], "verify movies --repair --output json").await?;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("copies differ in 1 of 2 shards"),
        "{run:?}"
    );
    let shards = &run.json()?["shards"];
    assert_eq!(shards[1]["odd"], json!([3]));
    assert_eq!(shards[1]["ids"], json!(["d3"]));
    Ok(())
}
