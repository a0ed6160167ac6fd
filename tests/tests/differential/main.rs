//! Searches of a cluster are those of one node with all documents: generated queries over every parameter, put to both.
//!
//! The nodes are embedded ones, or those that `MEILISEARCH_BIN` names. `MIROIR_QUERIES` asks more queries of every index
//! in every stage, `MIROIR_SEED` the same ones again.

mod compare;
mod corpus;
mod dice;
mod known;
mod queries;
mod server;
mod stage;

use anyhow::Context;
use stage::Stage;
use tokio::runtime::Runtime;

/// The seed of the queries, if nobody names another: the suite asks the same every time.
const SEED: u64 = 6;

/// Two nodes become three and then five, in one group; searches go on while shards move.
#[test]
fn one_group() -> anyhow::Result<()> {
    let seed = seed("one_group")?;
    Runtime::new()?.block_on(async {
        let mut stage = Stage::start(seed, 2, 1).await?;
        let outcome = grow(&mut stage, &[1, 1, 1]).await;
        stage.end(outcome).await
    })
}

/// The same in two groups, each with a copy of its own of everything.
#[test]
fn two_groups() -> anyhow::Result<()> {
    let seed = seed("two_groups")?;
    Runtime::new()?.block_on(async {
        let mut stage = Stage::start(seed, 2, 2).await?;
        let outcome = grow_groups(&mut stage).await;
        stage.end(outcome).await
    })
}

async fn grow(stage: &mut Stage, more: &[u32]) -> anyhow::Result<()> {
    stage.load(1).await?;
    stage.load(2).await?;
    stage.compare("2 nodes", 1).await?;
    stage.compare("2 nodes", 2).await?;
    for (nodes, group) in (3..).zip(more) {
        let moving = format!("while a node is added to {}", nodes - 1);
        let (_, operation) = stage.trial.cluster.add_node(*group).await?;
        stage.compare_during(operation, &moving, 1).await?;
        if nodes == 4 {
            continue;
        }
        let what = format!("{nodes} nodes");
        stage.compare(&what, 1).await?;
        stage.compare(&what, 2).await?;
    }
    Ok(())
}

async fn grow_groups(stage: &mut Stage) -> anyhow::Result<()> {
    stage.load(1).await?;
    stage.compare("1 + 1 nodes", 1).await?;
    for (what, group) in [("2 + 1 nodes", 1), ("2 + 2 nodes", 2), ("3 + 2 nodes", 1)] {
        let (_, operation) = stage.trial.cluster.add_node(group).await?;
        stage
            .compare_during(operation, &format!("on the way to {what}"), 1)
            .await?;
        stage.compare(what, 1).await?;
    }
    stage.load(2).await?;
    stage.compare("3 + 2 nodes", 2).await
}

/// Tells the seed, and how to ask the same again.
fn seed(test: &str) -> anyhow::Result<u64> {
    let seed = match std::env::var("MIROIR_SEED") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("MIROIR_SEED is `{text}`"))?,
        Err(_) => SEED,
    };
    println!(
        "{test}: seed {seed}; repeat with MIROIR_SEED={seed} cargo test -p miroir-tests --test differential {test}"
    );
    Ok(seed)
}
