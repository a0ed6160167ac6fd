//! What is where, and what an operator says about it.

use std::sync::Arc;

use anyhow::{Context, ensure};
use miroir_core::id::{GroupId, NodeId};
use miroir_core::placement::{Candidate, Scope, propose};
use miroir_dev::cluster::Options;
use miroir_dev::demo::INDEX;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::{Load, Stage, Trial, seed};

use super::support::{a_move, change, copies_by_node, drill, placement, refused, with_nodes};
use super::{SHARDS, STAGE, options};

/// A fourth node gets a fourth of the shards, rounded down or up, and no other shard moves. After that there is nothing to
/// move.
#[test]
fn rebalance_optimal_movement() -> anyhow::Result<()> {
    drill("rebalance_optimal_movement", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 3).await?;
        let before = placement(&trial.cluster.admin, INDEX).await?;
        let load = Load::start(&trial, seed);
        let (_, operation) = trial.cluster.add_node(1).await?;
        trial.wait_until_moved(operation).await?;
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        let after = placement(&trial.cluster.admin, INDEX).await?;
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let moves = trial.cluster.admin.migrations(operation).await?.total;
        println!("  {moved} of {SHARDS} shards moved");
        let fair = usize::from(SHARDS) / 4;
        ensure!((fair..=fair + 1).contains(&moved), "{moved} shards moved");
        ensure!(moves as usize == moved, "{moves} moves for {moved} shards");
        let copies = copies_by_node(&trial.cluster.admin).await?;
        let even = |copies: &usize| (fair..=fair + 1).contains(copies);
        ensure!(copies.values().all(even), "{copies:?}");
        nothing_to_move(&trial).await?;
        trial.heal_and_check().await
    })
}

async fn nothing_to_move(trial: &Trial) -> anyhow::Result<()> {
    let rebalance = || Change::Rebalance(v1::Rebalance { index: None });
    let plan = trial.cluster.admin.dry_run(rebalance()).await?.plan;
    let plan = plan.context("a dry run answers a plan")?;
    ensure!(plan.moves.is_empty() && !plan.more, "{plan:?}");
    let done = change(trial, rebalance()).await?;
    if let Some(operation) = done.operation {
        let moves = trial.cluster.admin.migrations(operation).await?.total;
        ensure!(moves == 0, "{moves} shards moved again");
    }
    Ok(())
}

/// Two clusters that know nothing of each other, and the function itself in any order of its inputs, place an index alike.
#[test]
fn rendezvous_determinism() -> anyhow::Result<()> {
    seed("rendezvous_determinism")?;
    let pure = |order: [u64; 3]| {
        let candidates = order.map(|node| Candidate {
            node: NodeId(node),
            weight: 1,
            zone: None,
        });
        let scope = Scope {
            index: "determined",
            group: GroupId(1),
        };
        let placed = propose(&scope, SHARDS, 2, &candidates)?;
        let sorted = placed.into_iter().map(|shard| {
            let mut nodes: Vec<u64> = shard.into_iter().map(|node| node.0).collect();
            nodes.sort_unstable();
            nodes
        });
        anyhow::Ok(sorted.collect::<Vec<_>>())
    };
    let expected = pure([1, 2, 3])?;
    ensure!(pure([3, 1, 2])? == expected && pure([2, 3, 1])? == expected);
    STAGE.play_alone(async move {
        for cluster in 1..=2 {
            let placed = fresh_placement().await?;
            ensure!(
                placed == expected,
                "cluster {cluster} placed it as {placed:?} and not as {expected:?}"
            );
        }
        Ok(())
    })
}

/// Where a fresh cluster puts an index.
async fn fresh_placement() -> anyhow::Result<Vec<Vec<u64>>> {
    let stage = Stage::start(Options {
        nodes: 3,
        coordinators: 1,
        proxies: 1,
        replication_factor: 2,
        ..options()
    });
    let stage = Arc::new(stage.await?);
    let placed = async {
        let trial = stage.trial().await;
        let settings = serde_json::json!({});
        trial.client.settings("determined", &settings).await?;
        placement(&trial.cluster.admin, "determined").await
    };
    let placed = placed.await;
    let outcome = placed
        .as_ref()
        .map(|_| ())
        .map_err(|error| anyhow::anyhow!("{error:#}"));
    Stage::end_shared(stage, outcome).await?;
    placed
}

/// A shard is moved by hand and pinned there: nothing moves it away until it is let go.
#[test]
fn move_and_pin() -> anyhow::Result<()> {
    drill("move_and_pin", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 3).await?;
        let load = Load::start(&trial, seed);
        let order = a_move(&trial, 0).await?;
        change(&trial, Change::MoveShard(order.clone())).await?;
        let placed = placement(&trial.cluster.admin, INDEX).await?;
        ensure!(placed[0] == [order.to], "{placed:?}");
        let pin = |pinned| {
            Change::Pin(v1::Pin {
                index: INDEX.to_owned(),
                shard: 0,
                node: None,
                pinned,
            })
        };
        change(&trial, pin(true)).await?;
        let back = v1::MoveShard {
            from: order.to,
            to: order.from,
            ..order.clone()
        };
        let node = order.to;
        let pinned = ["shard 0", "pinned"];
        refused(&trial, Change::MoveShard(back), &pinned).await?;
        refused(&trial, Change::DrainNode(v1::DrainNode { node }), &pinned).await?;
        change(&trial, Change::Rebalance(v1::Rebalance { index: None })).await?;
        let placed = placement(&trial.cluster.admin, INDEX).await?;
        ensure!(placed[0] == [order.to], "it was moved: {placed:?}");
        change(&trial, pin(false)).await?;
        let seen = load.stop().await?;
        seen.every_read_succeeded()?;
        seen.every_write_succeeded()?;
        trial.heal_and_check().await
    })
}
