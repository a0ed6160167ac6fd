//! Coordinators killed with SIGKILL in every phase of a migration, one by one and all at once, under a workload.
//!
//! Named failpoints hold the migrations of an added node in one phase. There, searches are compared with a single
//! node that holds the same documents; then the coordinators are killed. After their restart the move must come to
//! its end, and every document must be where it belongs.

use std::sync::Arc;

use anyhow::ensure;
use miroir_dev::cluster::Options;
use miroir_dev::demo::Workload;
use miroir_proto::v1::Phase;
use miroir_tests::{Reference, Trial, compare_searches};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// Every phase in which something happens, with the failpoint that holds it.
const PHASES: [(Phase, &str); 9] = [
    (Phase::Planned, "migration-Planned"),
    (Phase::Preparing, "migration-Preparing"),
    (Phase::Copying, "migration-Copying"),
    (Phase::CatchingUp, "migration-CatchingUp"),
    (Phase::Fenced, "migration-Fenced"),
    (Phase::Mirroring, "migration-Mirroring"),
    (Phase::CutOver, "migration-CutOver"),
    (Phase::Holding, "migration-Holding"),
    (Phase::Cleaning, "migration-Cleaning"),
];

/// One cluster at a time: two at once would starve each other on a small machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn options() -> Options {
    Options {
        nodes: 1,
        shards: 64,
        ..Trial::options(PROGRAM)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_in_every_phase() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options()).await?;
    let outcome = in_every_phase(&mut trial, Kill::Leaders).await;
    trial.end(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_coordinators_are_killed_in_every_phase() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options()).await?;
    let outcome = in_every_phase(&mut trial, Kill::All).await;
    trial.end(outcome).await
}

#[derive(Debug, Clone, Copy)]
enum Kill {
    /// Whoever leads, again and again.
    Leaders,
    /// All at once.
    All,
}

async fn in_every_phase(trial: &mut Trial, kill: Kill) -> anyhow::Result<()> {
    let reference = Reference::start(&trial.cluster.layout.options).await?;
    for (number, (phase, failpoint)) in (0..).zip(PHASES) {
        println!("{}", phase.as_str_name());
        trial
            .restart_coordinators(&format!("{failpoint}=pause"))
            .await?;
        let (_, operation) = trial.cluster.add_node(1).await?;
        let workload = Workload::start(
            &trial.client,
            Arc::clone(&trial.oracle),
            &trial.corpus,
            number,
        );
        trial.wait_for_phase(operation, phase).await?;
        // Behind a fence writes wait; everywhere else they go on while the migrations stand still.
        if phase != Phase::Fenced {
            trial
                .client
                .wait_for_tasks(std::time::Duration::from_secs(60))
                .await?;
        }
        match kill {
            Kill::Leaders => trial.kill_leaders_until_clean().await?,
            Kill::All => trial.restart_coordinators("").await?,
        }
        trial.wait_until_moved(operation).await?;
        let written = workload.stop().await;
        ensure!(
            written.failures.is_empty(),
            "{}: {:#?}",
            phase.as_str_name(),
            written.failures
        );
        ensure!(written.acknowledged > 0, "nothing was written");
        trial.check().await?;
        reference.hold(&trial.corpus, &trial.oracle).await?;
        compare_searches(&trial.client, &reference).await?;
    }
    Ok(())
}

/// At every phase totals and facets are those of one node, while nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn searches_are_exact_in_every_phase() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(Options {
        coordinators: 1,
        ..options()
    })
    .await?;
    let outcome = exact_in_every_phase(&mut trial).await;
    trial.end(outcome).await
}

async fn exact_in_every_phase(trial: &mut Trial) -> anyhow::Result<()> {
    let reference = Reference::start(&trial.cluster.layout.options).await?;
    reference.hold(&trial.corpus, &trial.oracle).await?;
    compare_searches(&trial.client, &reference).await?;
    for (phase, failpoint) in PHASES {
        println!("{}", phase.as_str_name());
        trial
            .restart_coordinators(&format!("{failpoint}=pause"))
            .await?;
        let (_, operation) = trial.cluster.add_node(1).await?;
        trial.wait_for_phase(operation, phase).await?;
        compare_searches(&trial.client, &reference).await?;
        trial.restart_coordinators("").await?;
        trial.wait_until_moved(operation).await?;
        compare_searches(&trial.client, &reference).await?;
    }
    trial.check().await
}
