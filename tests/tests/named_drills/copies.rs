//! More copies and fewer.

use anyhow::{Context, ensure};
use miroir_dev::demo::INDEX;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::{Load, Trial};

use super::support::{change, copies_by_node, drill, found_down, remove_node, role_of, with_nodes};

/// The replication factor is raised and lowered again while clients write and search.
#[test]
fn raise_and_lower_replication_factor_while_writing() -> anyhow::Result<()> {
    let name = "raise_and_lower_replication_factor_while_writing";
    drill(name, |stage, seed| async move {
        let mut trial = stage.trial.write().await;
        with_nodes(&mut trial, 2).await?;
        for (factor, each) in [(2, 18), (1, 9)] {
            let load = Load::start(&trial, seed);
            replicate(&mut trial, factor).await?;
            let seen = load.stop().await?;
            seen.every_read_succeeded()?;
            seen.every_write_succeeded()?;
            trial.heal_and_check().await?;
            let copies = copies_by_node(&trial.cluster.admin).await?;
            ensure!(copies.values().all(|n| *n == each), "{copies:?}");
        }
        Ok(())
    })
}

/// A node dies and is removed by force. What it held is copied again from what is left, and nothing is lost.
#[test]
fn forced_removal_of_a_killed_node() -> anyhow::Result<()> {
    drill(
        "forced_removal_of_a_killed_node",
        |stage, seed| async move {
            let mut trial = stage.trial.write().await;
            with_nodes(&mut trial, 3).await?;
            replicate(&mut trial, 2).await?;
            let nodes = trial.cluster.admin.nodes().await?;
            let dead = nodes.last().context("no node")?;
            let load = Load::start(&trial, seed);
            let role = role_of(&trial, dead)?;
            trial.cluster.kill(role).await?;
            found_down(&trial, dead.id).await?;
            remove_node(&mut trial, dead, true).await?;
            // Writes wait until it is found out that the node is gone. They are not refused.
            let seen = load.stop().await?;
            seen.every_read_succeeded()?;
            seen.every_write_succeeded()?;
            trial.heal_and_check().await?;
            let copies = copies_by_node(&trial.cluster.admin).await?;
            ensure!(
                copies.len() == 2 && copies.values().all(|n| *n == 18),
                "{copies:?}"
            );
            replicate(&mut trial, 1).await?;
            trial.heal_and_check().await
        },
    )
}

async fn replicate(trial: &mut Trial, factor: u8) -> anyhow::Result<()> {
    let order = v1::ChangeReplicationFactor {
        index: INDEX.to_owned(),
        replication_factor: factor.into(),
    };
    change(trial, Change::ChangeReplicationFactor(order)).await?;
    trial.cluster.layout.options.replication_factor = factor;
    Ok(())
}
