//! Nodes come and go.

use std::sync::Arc;

use anyhow::{Context, ensure};
use miroir_dev::demo::{Client, Corpus, INDEX, Oracle};
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::Load;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{change, copies_by_node, drill, remove_node, with_nodes};

/// Documents of one batch.
const BATCH: usize = 100;

/// A node is added in the middle of indexing. Everything is readable, and nothing is there twice.
#[test]
fn add_node_mid_indexing() -> anyhow::Result<()> {
    drill("add_node_mid_indexing", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 2).await?;
        let load = Load::start(&trial, seed);
        let stop = CancellationToken::new();
        let corpus = Corpus::read(None)?;
        let (client, oracle) = (trial.client.clone(), Arc::clone(&trial.oracle));
        let indexing = tokio::spawn(index(client, oracle, corpus, seed, stop.clone()));
        let (_, operation) = trial.cluster.add_node(1).await?;
        trial.wait_until_moved(operation).await?;
        stop.cancel();
        let indexed = indexing.await??;
        ensure!(indexed > 0, "nothing was indexed meanwhile");
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        trial.heal_and_check().await?;
        let copies = copies_by_node(&trial.cluster.admin).await?;
        ensure!(
            copies.len() == 3 && copies.values().all(|n| *n == 6),
            "{copies:?}"
        );
        Ok(())
    })
}

/// Adds batches of new documents, without waiting for the nodes to index them; answers how many batches.
async fn index(
    client: Client,
    oracle: Arc<Oracle>,
    corpus: Corpus,
    seed: u64,
    stop: CancellationToken,
) -> anyhow::Result<u64> {
    let models: Vec<_> = corpus.changeable().collect();
    for batch in 0.. {
        if stop.is_cancelled() {
            return Ok(batch);
        }
        let mut lines = Vec::new();
        let mut documents = Vec::new();
        for (number, model) in models.iter().take(BATCH).enumerate() {
            let id = format!("bulk-{seed}-{batch}-{number}");
            let mut fields = model.fields.as_ref().clone();
            fields.insert("id".to_owned(), json!(id));
            lines.push(Value::Object(fields.clone()).to_string());
            documents.push((id, Arc::new(fields)));
        }
        client.add_ndjson(INDEX, lines.join("\n")).await?;
        for (id, fields) in documents {
            oracle.put(&id, fields);
        }
    }
    Ok(0)
}

/// A node is drained while clients search and write: no request fails. What it held is elsewhere, and it is still there.
#[test]
fn drain_node_while_querying() -> anyhow::Result<()> {
    drill("drain_node_while_querying", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 3).await?;
        let nodes = trial.cluster.admin.nodes().await?;
        let node = nodes.last().context("no node")?.id;
        let load = Load::start(&trial, seed);
        change(&trial, Change::DrainNode(v1::DrainNode { node })).await?;
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        trial.heal_and_check().await?;
        let copies = copies_by_node(&trial.cluster.admin).await?;
        ensure!(copies.get(&node) == Some(&0), "{copies:?}");
        ensure!(copies.len() == nodes.len(), "the node is gone: {copies:?}");
        // It may have copies again, and gets its share when it is asked for.
        change(&trial, Change::UndrainNode(v1::UndrainNode { node })).await?;
        change(&trial, Change::Rebalance(v1::Rebalance { index: None })).await?;
        let copies = copies_by_node(&trial.cluster.admin).await?;
        ensure!(copies.get(&node) == Some(&6), "{copies:?}");
        trial.heal_and_check().await
    })
}

/// A node is removed while clients search and write: it is drained, and then it is gone.
#[test]
fn remove_node_while_querying() -> anyhow::Result<()> {
    drill("remove_node_while_querying", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 3).await?;
        let nodes = trial.cluster.admin.nodes().await?;
        let last = nodes.last().context("no node")?;
        let load = Load::start(&trial, seed);
        remove_node(&mut trial, last, false).await?;
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        trial.heal_and_check().await
    })
}
