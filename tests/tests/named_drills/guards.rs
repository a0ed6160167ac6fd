//! What would end a cluster is refused, and changes nothing.

use std::sync::Arc;

use miroir_dev::cluster::Options;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::{Stage, seed};

use super::support::refused;
use super::{STAGE, options};

fn smallest() -> Options {
    Options {
        nodes: 1,
        coordinators: 1,
        proxies: 1,
        ..options()
    }
}

/// A cluster of one node with documents refuses every one of these changes.
fn refuses(name: &str, changes: fn(u64) -> Vec<Change>, words: &'static str) -> anyhow::Result<()> {
    seed(name)?;
    STAGE.play_alone(async move {
        let stage = Arc::new(Stage::start(smallest()).await?);
        let outcome = async {
            let trial = stage.trial().await;
            trial.load().await?;
            let node = trial.cluster.admin.nodes().await?.first().map(|n| n.id);
            for change in changes(node.unwrap_or_default()) {
                refused(&trial, change, &[words]).await?;
            }
            trial.heal_and_check().await
        };
        let outcome = outcome.await;
        Stage::end_shared(stage, outcome).await
    })
}

#[test]
fn cannot_remove_last_node() -> anyhow::Result<()> {
    let changes = |node| {
        let remove = |force| Change::RemoveNode(v1::RemoveNode { node, force });
        vec![
            Change::DrainNode(v1::DrainNode { node }),
            remove(false),
            remove(true),
        ]
    };
    refuses(
        "cannot_remove_last_node",
        changes,
        "is the last active node of replica group 1",
    )
}

#[test]
fn cannot_remove_last_group() -> anyhow::Result<()> {
    let changes = |_| vec![Change::RemoveGroup(v1::RemoveGroup { group: 1 })];
    refuses(
        "cannot_remove_last_group",
        changes,
        "replica group 1 is the last that can be searched",
    )
}
