//! Nodes that die in the middle of a rebalance and come back.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_proto::v1::Phase;
use miroir_tests::{Load, Stage, Trial};
use tokio::time::Instant;

use super::support::{WITHIN, drill, role_of, with_nodes};

/// The new node, and then a node that gives shards up, is killed in the middle of a rebalance. The moves wait for it, go on
/// when it is back, and nothing is lost.
#[test]
fn restart_node_mid_rebalance() -> anyhow::Result<()> {
    drill("restart_node_mid_rebalance", |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        for who in ["target", "source"] {
            println!("  {who}");
            with_nodes(&mut trial, 2).await?;
            let load = Load::start(&trial, seed);
            let operation = half_way(&stage, &mut trial, who).await?;
            trial.wait_until_moved(operation).await?;
            let seen = load.stop().await?;
            // Nobody reads what is being built; the only copy of a shard is missed while its node is away.
            if who == "target" {
                seen.every_read_succeeded()?;
                seen.every_write_succeeded()?;
            }
            trial.heal_and_check().await?;
        }
        Ok(())
    })
}

/// Begins a rebalance, and kills and restarts a node in the middle of it; answers the operation.
async fn half_way(stage: &Stage, trial: &mut Trial, who: &str) -> anyhow::Result<u64> {
    let point = format!("migration-Copying-{INDEX}");
    stage.points.set(&point, "pause").await?;
    let (number, operation) = trial.cluster.add_node(1).await?;
    trial.wait_for_phase(operation, Phase::Copying).await?;
    let role = match who {
        "target" => Role::Node(number),
        _ => {
            let moves = trial.cluster.admin.migrations(operation).await?.migrations;
            let copying = moves.iter().find(|m| m.phase() == Phase::Copying);
            let source = copying.context("no move is copying")?.source;
            let nodes = trial.cluster.admin.nodes().await?;
            let node = nodes.iter().find(|node| node.id == source);
            role_of(trial, node.context("a move from nowhere")?)?
        }
    };
    trial.cluster.kill(role).await?;
    stage.points.lift(&point)?;
    failing(trial, operation).await?;
    trial.cluster.spawn(role)?;
    Ok(operation)
}

/// Waits until some move says that it cannot go on, and checks that the operation is not done.
async fn failing(trial: &Trial, operation: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let moves = trial.cluster.admin.migrations(operation).await?.migrations;
        let ended = |phase| matches!(phase, Phase::Done | Phase::Cancelled);
        let under_way = moves.iter().filter(|m| !ended(m.phase()));
        if let Some(failing) = under_way.clone().find(|m| !m.last_error.is_empty()) {
            println!(
                "  {}: {}",
                failing.phase().as_str_name(),
                failing.last_error
            );
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{} moves are under way and none says that a node is gone",
            under_way.count()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let operations = trial.cluster.admin.operations().await?;
    let now = operations.iter().find(|one| one.id == operation);
    ensure!(now.is_some_and(|one| one.state == "running"), "{now:?}");
    Ok(())
}
