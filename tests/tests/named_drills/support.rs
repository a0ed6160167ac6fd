//! What the drills do to their cluster.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::admin::Admin;
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::{self, Phase};
use miroir_tests::{Stage, Trial, seed};
use tokio::time::Instant;

use super::STAGE;

/// How long anything may take that must happen; only reached when a test fails.
pub const WITHIN: Duration = Duration::from_secs(120);

/// Plays a drill on the shared cluster, loaded with the sample; it gets a seed.
pub fn drill<F>(name: &str, run: impl FnOnce(Arc<Stage>, u64) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let seed = seed(name)?;
    STAGE.play(|stage| run(stage, seed))
}

/// Loads the sample if it is not there, and gives the only group this many nodes.
pub async fn with_nodes(trial: &mut Trial, count: usize) -> anyhow::Result<()> {
    if trial.oracle.is_empty() {
        trial.load().await?;
    }
    loop {
        let nodes = trial.cluster.admin.nodes().await?;
        let last = nodes.last().context("a cluster without nodes")?;
        match nodes.len() {
            now if now < count => {
                let (_, operation) = trial.cluster.add_node(1).await?;
                trial.wait_until_moved(operation).await?;
            }
            now if now > count => remove_node(trial, last, false).await?,
            _ => return Ok(()),
        }
    }
}

/// Has a change carried out, and waits until its operation is done.
pub async fn change(trial: &Trial, change: Change) -> anyhow::Result<v1::ChangeReply> {
    let reply = trial.cluster.admin.change(change).await?;
    if let Some(operation) = reply.operation {
        trial.wait_until_moved(operation).await?;
    }
    Ok(reply)
}

/// Removes a node, by force or not, and then stops its process, if it runs.
pub async fn remove_node(trial: &mut Trial, node: &v1::Node, force: bool) -> anyhow::Result<()> {
    let id = node.id;
    change(
        trial,
        Change::RemoveNode(v1::RemoveNode { node: id, force }),
    )
    .await?;
    let left = trial.cluster.admin.nodes().await?;
    ensure!(
        left.iter().all(|node| node.id != id),
        "node {id} is still there"
    );
    let role = role_of(trial, node)?;
    if trial
        .cluster
        .process(role)
        .is_some_and(|process| process.is_running())
    {
        trial.cluster.kill(role).await?;
    }
    Ok(())
}

/// Which process a node is.
pub fn role_of(trial: &Trial, node: &v1::Node) -> anyhow::Result<Role> {
    let layout = &trial.cluster.layout;
    let mut numbers = 1..=layout.nodes();
    let number = numbers.find(|number| layout.node_url(*number) == node.url);
    Ok(Role::Node(number.context("a node of another cluster")?))
}

/// Waits until the leader has found out that a node is dead.
pub async fn found_down(trial: &Trial, node: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let nodes = trial.cluster.admin.nodes().await?;
        let now = nodes.iter().find(|one| one.id == node);
        let now = now.context("the node is not in the cluster")?;
        if now.health == "down" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the dead node is {}", now.health);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many copies of the index each node holds, as the shard map says.
pub async fn copies_by_node(admin: &Admin) -> anyhow::Result<BTreeMap<u64, usize>> {
    let nodes = admin.nodes().await?;
    let mut copies: BTreeMap<u64, usize> = nodes.iter().map(|node| (node.id, 0)).collect();
    for shard in admin.index(INDEX).await?.shards {
        for replica in shard.replicas {
            *copies.entry(replica.node).or_default() += 1;
        }
    }
    Ok(copies)
}

/// Who holds each shard of an index, in order of node.
pub async fn placement(admin: &Admin, index: &str) -> anyhow::Result<Vec<Vec<u64>>> {
    let shards = admin.index(index).await?.shards;
    let holders = |shard: &v1::ShardRoute| {
        let mut nodes: Vec<u64> = shard.replicas.iter().map(|replica| replica.node).collect();
        nodes.sort_unstable();
        nodes
    };
    Ok(shards.iter().map(holders).collect())
}

/// A shard of the index with a node that holds it, and one that does not.
pub async fn a_move(trial: &Trial, shard: u16) -> anyhow::Result<v1::MoveShard> {
    let admin = &trial.cluster.admin;
    let holders = placement(admin, INDEX).await?;
    let holders = holders.get(usize::from(shard)).context("no such shard")?;
    let nodes = admin.nodes().await?;
    let free = nodes.iter().find(|node| !holders.contains(&node.id));
    Ok(v1::MoveShard {
        index: INDEX.to_owned(),
        shard: u32::from(shard),
        from: *holders.first().context("the shard has no copy")?,
        to: free.context("every node holds the shard")?.id,
    })
}

/// The only migration of an operation.
pub async fn migration(trial: &Trial, operation: u64) -> anyhow::Result<v1::Migration> {
    let found = trial.cluster.admin.migrations(operation).await?.migrations;
    found.into_iter().next().context("no migration")
}

/// Waits until the only migration of an operation is in a phase.
pub async fn reached(trial: &Trial, operation: u64, phase: Phase) -> anyhow::Result<v1::Migration> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let now = migration(trial, operation).await?;
        if now.phase() == phase {
            return Ok(now);
        }
        ensure!(
            Instant::now() < deadline,
            "it did not come to {}; it is in {}: {} {}",
            phase.as_str_name(),
            now.phase().as_str_name(),
            now.waits_for,
            now.last_error
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Checks that a change is refused in words that contain all of these, tried and for good, and that nothing is changed.
pub async fn refused(trial: &Trial, change: Change, words: &[&str]) -> anyhow::Result<()> {
    let admin = &trial.cluster.admin;
    let before = told(admin).await?;
    for dry_run in [true, false] {
        let outcome = match dry_run {
            true => admin.dry_run(change.clone()).await,
            false => admin.change(change.clone()).await,
        };
        let error = match outcome {
            Ok(reply) => anyhow::bail!("{change:?} was not refused: {reply:?}"),
            Err(error) => format!("{error:#}"),
        };
        for word in words {
            ensure!(error.contains(word), "{change:?}: {error:?} lacks `{word}`");
        }
    }
    let after = told(admin).await?;
    ensure!(
        before == after,
        "{change:?} changed {before:?} to {after:?}"
    );
    Ok(())
}

/// What operators have told the cluster: its nodes, groups and policy, and what they asked for.
async fn told(admin: &Admin) -> anyhow::Result<String> {
    let topology = admin.topology().await?;
    let nodes: Vec<_> = topology
        .nodes
        .iter()
        .map(|node| (node.id, node.group, &node.admission))
        .collect();
    let operations: Vec<_> = admin
        .operations()
        .await?
        .into_iter()
        .map(|one| (one.id, one.kind, one.paused))
        .collect();
    Ok(format!(
        "{nodes:?} {:?} {:?} {operations:?}",
        topology.groups, topology.policy
    ))
}
