//! Nodes that come back empty, and nodes that stay away: what they held is built again from other copies, and where
//! there is none, searches say so.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Role};
use miroir_dev::demo::INDEX;
use miroir_tests::Trial;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// How long anything may take that must happen.
const WITHIN: Duration = Duration::from_secs(90);

/// One cluster at a time: two at once would starve each other on a small machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn options(nodes: u16, copies: u8) -> Options {
    let set = |name: &str, ms: u32| (format!("MIROIR_COORDINATOR__{name}"), ms.to_string());
    Options {
        nodes,
        coordinators: 1,
        replication_factor: copies,
        shards: 8,
        environment: vec![
            set("NODES__HEALTH_INTERVAL_MS", 200),
            set("MIGRATION__REPAIR_INTERVAL_MS", 200),
            set("MIGRATION__LOST_AFTER_MS", 1_000),
        ],
        ..Trial::options(PROGRAM)
    }
}

/// Repeats a look until it succeeds.
async fn eventually(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context(what.to_owned())),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Kills a node and starts it again without anything.
async fn wipe(trial: &mut Trial, node: u16) -> anyhow::Result<()> {
    let role = Role::Node(node);
    trial.cluster.kill(role).await?;
    let database = trial.cluster.layout.home(role).join("data.ms");
    std::fs::remove_dir_all(&database).with_context(|| database.display().to_string())?;
    trial.cluster.spawn(role)
}

/// Copies that are out of use or missing.
async fn is_whole(trial: &Trial, copies: usize) -> anyhow::Result<()> {
    let detail = trial.cluster.admin.index(INDEX).await?;
    let summary = detail.summary.context("no summary")?;
    let (stale, moving) = (summary.replicas_stale, summary.shards_moving);
    ensure!(
        stale == 0 && moving == 0,
        "{stale} copies are stale, {moving} shards move"
    );
    let few = detail
        .shards
        .iter()
        .filter(|s| s.replicas.len() != copies)
        .count();
    ensure!(few == 0, "{few} shards do not have {copies} copies");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_filled_from_the_other_copies() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options(3, 2)).await?;
    let outcome = async {
        wipe(&mut trial, 2).await?;
        eventually("the copies are whole again", async || {
            is_whole(&trial, 2).await?;
            trial.check().await
        })
        .await
    }
    .await;
    trial.end(outcome).await
}

/// With one copy of each shard a wiped node takes documents with it. That must never look like a smaller index.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_wiped_node_held_is_missed_out_loud() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options(2, 1)).await?;
    let outcome = loses_out_loud(&mut trial).await;
    trial.end(outcome).await
}

async fn loses_out_loud(trial: &mut Trial) -> anyhow::Result<()> {
    let path = format!("/indexes/{INDEX}/search");
    let query = json!({"q": "", "hitsPerPage": 1, "page": 1});
    let whole = trial.client.send_json(Method::POST, &path, &query).await?["totalHits"].clone();
    ensure!(whole.as_u64() > Some(0), "nothing is there");
    wipe(trial, 2).await?;
    eventually("its copies are out of use", async || {
        if let Ok(answer) = trial.client.send_json(Method::POST, &path, &query).await {
            // Not an error of this look alone: it ends the test.
            assert_eq!(answer["totalHits"], whole, "documents are missing silently");
        }
        let detail = trial.cluster.admin.index(INDEX).await?;
        let stale = detail.summary.context("no summary")?.replicas_stale;
        ensure!(stale == 4, "{stale} copies are stale");
        Ok(())
    })
    .await?;
    let answer = trial.client.send_json(Method::POST, &path, &query).await;
    ensure!(answer.is_err(), "it answered {answer:?}");
    Ok(())
}

/// A node stays away for longer than it may: the other nodes get its copies; when it is back, what it held is swept.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_replaced_and_swept_when_it_returns() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options(3, 2)).await?;
    let outcome = replaced_and_swept(&mut trial).await;
    trial.end(outcome).await
}

async fn replaced_and_swept(trial: &mut Trial) -> anyhow::Result<()> {
    let lost = Role::Node(3);
    let url = trial.cluster.layout.node_url(3);
    let nodes = trial.cluster.admin.nodes().await?;
    let id = nodes
        .iter()
        .find(|node| node.url == url)
        .context("no node 3")?
        .id;
    trial.cluster.kill(lost).await?;
    eventually("its copies are elsewhere", async || {
        is_whole(trial, 2).await?;
        let detail = trial.cluster.admin.index(INDEX).await?;
        let mut copies = detail.shards.iter().flat_map(|shard| &shard.replicas);
        ensure!(copies.all(|copy| copy.node != id), "it still has copies");
        Ok(())
    })
    .await?;
    trial.cluster.spawn(lost)?;
    // The check refuses whatever a node holds that is not its own.
    eventually("what it held is swept, and nothing else", async || {
        is_whole(trial, 2).await?;
        trial.check().await
    })
    .await
}
