//! Replica groups come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::{self, ReplicaState};
use miroir_tests::{Load, Trial};
use tokio::time::Instant;

use super::support::{WITHIN, change, drill, with_nodes};

/// A group is added while clients search and write. Nobody notices; and it is not searched before it has every shard.
#[test]
fn add_replica_group_while_querying() -> anyhow::Result<()> {
    drill(
        "add_replica_group_while_querying",
        |stage, seed| async move {
            let mut trial = stage.trial.write().await;
            with_nodes(&mut trial, 2).await?;
            let before = holders(&trial, 1).await?;
            let load = Load::start(&trial, seed);
            let (group, operation) = add_group(&mut trial).await?;
            let early = initialised(&trial, group).await?;
            println!("  seen {early} times before it was searched");
            ensure!(early > 0, "it was searched at once");
            trial.wait_until_moved(operation).await?;
            let seen = load.stop().await?;
            seen.every_read_succeeded()?;
            seen.every_write_succeeded()?;
            ensure!(
                holders(&trial, 1).await? == before,
                "the group that was there has changed"
            );
            trial.cluster.layout.options.groups = 2;
            trial.heal_and_check().await?;
            remove_group(&mut trial, group).await?;
            trial.heal_and_check().await
        },
    )
}

/// A group is removed while clients search and write: it is not searched from then on, and no data moves.
#[test]
fn remove_replica_group_while_querying() -> anyhow::Result<()> {
    drill(
        "remove_replica_group_while_querying",
        |stage, seed| async move {
            let mut trial = stage.trial.write().await;
            with_nodes(&mut trial, 2).await?;
            let (group, operation) = add_group(&mut trial).await?;
            trial.wait_until_moved(operation).await?;
            let before = holders(&trial, 1).await?;
            let load = Load::start(&trial, seed);
            remove_group(&mut trial, group).await?;
            let seen = load.stop().await?;
            seen.every_read_succeeded()?;
            seen.every_write_succeeded()?;
            ensure!(holders(&trial, 1).await? == before, "data moved");
            trial.heal_and_check().await
        },
    )
}

/// Starts a node and makes a group of it; answers the group and the operation.
async fn add_group(trial: &mut Trial) -> anyhow::Result<(u32, u64)> {
    let cluster = &mut trial.cluster;
    let node = cluster.layout.add_node(2)?;
    cluster.spawn(Role::Node(node))?;
    let url = cluster.layout.node_url(node);
    cluster
        .wait_for_http(Role::Node(node), &format!("{url}/health"))
        .await?;
    let node = v1::NewNode {
        url,
        ..v1::NewNode::default()
    };
    let change = Change::AddGroup(v1::AddGroup { nodes: vec![node] });
    let reply = cluster.admin.change(change).await?;
    let group = reply.group.context("a group has an id")?;
    Ok((group, reply.operation.context("it is an operation")?))
}

/// Removes a group and stops its nodes.
async fn remove_group(trial: &mut Trial, group: u32) -> anyhow::Result<()> {
    let nodes = trial.cluster.admin.nodes().await?;
    change(trial, Change::RemoveGroup(v1::RemoveGroup { group })).await?;
    let left = trial.cluster.admin.nodes().await?;
    ensure!(left.iter().all(|node| node.group != group), "{left:?}");
    for node in nodes.iter().filter(|node| node.group == group) {
        let role = super::support::role_of(trial, node)?;
        trial.cluster.kill(role).await?;
    }
    trial.cluster.layout.options.groups = 1;
    Ok(())
}

/// Who holds what in a group.
async fn holders(trial: &Trial, group: u32) -> anyhow::Result<Vec<BTreeSet<u64>>> {
    let shards = trial.cluster.admin.index(INDEX).await?.shards;
    let in_group = |shard: &v1::ShardRoute| {
        let copies = shard.replicas.iter().filter(|copy| copy.group == group);
        copies.map(|copy| copy.node).collect()
    };
    Ok(shards.iter().map(in_group).collect())
}

/// Waits until a group is searched. Whenever it is, every shard is in sync there; answers how often it was seen not to be
/// searched yet.
async fn initialised(trial: &Trial, group: u32) -> anyhow::Result<u32> {
    let (mut early, deadline) = (0, Instant::now() + WITHIN);
    loop {
        // First the group, then the shards: those may only have got further since.
        let state = state_of(trial, group).await?;
        let shards = trial.cluster.admin.index(INDEX).await?.shards;
        let in_sync = |shard: &v1::ShardRoute| {
            let mut copies = shard.replicas.iter().filter(|copy| copy.group == group);
            copies.any(|copy| copy.state() == ReplicaState::InSync)
        };
        let behind = shards.iter().filter(|shard| !in_sync(shard)).count();
        match state.as_str() {
            "initialising" => early += 1,
            "searchable" => {
                ensure!(behind == 0, "it is searched and lacks {behind} shards");
                return Ok(early);
            }
            other => anyhow::bail!("the group is {other}"),
        }
        ensure!(
            Instant::now() < deadline,
            "the group still lacks {behind} shards"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn state_of(trial: &Trial, group: u32) -> anyhow::Result<String> {
    let groups = trial.cluster.admin.topology().await?.groups;
    let found = groups.into_iter().find(|one| one.id == group);
    Ok(found.context("there is no such group")?.state)
}
