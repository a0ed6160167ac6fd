//! The ends of a move die in the middle of it: its source, its target, both. They come back with their data.

use std::time::Duration;

use anyhow::ensure;
use miroir_dev::cluster::Role;
use miroir_proto::v1::Phase;
use miroir_tests::{Load, Trial, seed};

use super::{ALONE, options};

/// How long they stay away: long enough to be noticed as down.
const AWAY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
enum Victims {
    Source,
    Target,
    Both,
}

/// Who dies, and in which phase.
const DEATHS: [(Victims, Phase); 4] = [
    (Victims::Source, Phase::Copying),
    (Victims::Target, Phase::Mirroring),
    (Victims::Both, Phase::CatchingUp),
    (Victims::Target, Phase::Copying),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_a_move_are_killed() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let seed = seed("the_ends_of_a_move_are_killed")?;
    let mut trial = Trial::start(options()).await?;
    let outcome = kill_ends(&mut trial, seed).await;
    trial.end(outcome).await
}

async fn kill_ends(trial: &mut Trial, seed: u64) -> anyhow::Result<()> {
    for (round, (victims, phase)) in (0..).zip(DEATHS) {
        println!("  {victims:?} in {}", phase.as_str_name());
        let load = Load::start(trial, seed.wrapping_add(round));
        let (target, operation) = trial.cluster.add_node(1).await?;
        trial.wait_for_phase(operation, phase).await?;
        let (source, target) = (Role::Node(1), Role::Node(target));
        let victims = match victims {
            Victims::Source => vec![source],
            Victims::Target => vec![target],
            Victims::Both => vec![source, target],
        };
        for role in &victims {
            trial.cluster.kill(*role).await?;
        }
        tokio::time::sleep(AWAY).await;
        for role in &victims {
            trial.cluster.spawn(*role)?;
        }
        trial.wait_until_moved(operation).await?;
        let seen = load.stop().await?;
        ensure!(!seen.searched.latencies.is_empty(), "nothing was searched");
        trial.heal_and_check().await?;
        let mismatches = mismatches(trial, operation).await?;
        ensure!(
            mismatches == 0,
            "{mismatches} comparisons before reads moved found a difference"
        );
    }
    Ok(())
}

/// How often copies were found to differ that were to be equal. That is mended, at the cost of a second fence; but what a
/// target missed while it was away should have been copied before.
async fn mismatches(trial: &Trial, operation: u64) -> anyhow::Result<usize> {
    let migrations = trial.cluster.admin.migrations(operation).await?.migrations;
    let changes = migrations.iter().flat_map(|migration| &migration.history);
    Ok(changes.filter(|change| change.event == "Mismatch").count())
}
