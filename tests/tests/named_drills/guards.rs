//! What would end a cluster is refused, and changes nothing.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use miroir_dev::cluster::Options;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::{Stage, seed};

use super::support::{found_down, refused, role_of};
use super::{STAGE, options};

fn smallest() -> Options {
    Options {
        nodes: 1,
        coordinators: 1,
        proxies: 1,
        ..options()
    }
}

/// Plays a drill on a cluster of one node with documents.
fn alone<F>(name: &str, run: impl FnOnce(Arc<Stage>) -> F + Send + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    seed(name)?;
    STAGE.play_alone(async move {
        let stage = Arc::new(Stage::start(smallest()).await?);
        stage.trial().await.load().await?;
        let outcome = run(Arc::clone(&stage)).await;
        Stage::end_shared(stage, outcome).await
    })
}

/// Not by draining it, not by removing it, and not by force when it is dead.
#[test]
fn cannot_remove_last_node() -> anyhow::Result<()> {
    alone("cannot_remove_last_node", |stage| async move {
        let mut trial = stage.trial.write().await;
        let nodes = trial.cluster.admin.nodes().await?;
        let last = nodes.first().context("a cluster without nodes")?;
        let node = last.id;
        let words = ["is the last active node of replica group 1"];
        let remove = |force| Change::RemoveNode(v1::RemoveNode { node, force });
        refused(&trial, Change::DrainNode(v1::DrainNode { node }), &words).await?;
        refused(&trial, remove(false), &words).await?;
        trial.heal_and_check().await?;
        let role = role_of(&trial, last)?;
        trial.cluster.kill(role).await?;
        found_down(&trial, node).await?;
        refused(&trial, remove(true), &words).await
    })
}

#[test]
fn cannot_remove_last_group() -> anyhow::Result<()> {
    alone("cannot_remove_last_group", |stage| async move {
        let trial = stage.trial().await;
        let change = Change::RemoveGroup(v1::RemoveGroup { group: 1 });
        let words = ["replica group 1 is the last that can be searched"];
        refused(&trial, change, &words).await?;
        trial.heal_and_check().await
    })
}
