//! The randomised drill, and the proof that it notices: with a mistake in the protocol it fails.
//!
//! `MIROIR_DRILL_ROUNDS` and `MIROIR_DRILL_SEED` say how many rounds and which. Without a number there are at most fifty,
//! fewer on a machine that does not get through them in four minutes. Without a seed it is the same every time, so that
//! a change is not judged by dice; the program `random-drill` plays others.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use miroir_tests::random::{Bias, Plan, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// Rounds of the whole drill, if nobody asks for another number.
const ROUNDS: u32 = 50;

/// The seed of the whole drill, if nobody names another.
const SEED: u64 = 2;

/// The seed of rounds with a mistake.
const SEED_OF_MISTAKES: u64 = 1;

/// How long these may take.
const WITHIN: Duration = Duration::from_secs(240);

/// Within so many rounds a mistake must be noticed.
const NOTICED_WITHIN: u32 = 20;

/// One cluster at a time: two at once would starve each other on a small machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn number(variable: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    let number = text.parse();
    Ok(Some(
        number.with_context(|| format!("{variable} is `{text}`"))?,
    ))
}

fn plan(bias: Bias, (rounds, seed): (u32, u64), failpoints: &str) -> anyhow::Result<Plan> {
    let seed = number("MIROIR_DRILL_SEED")?.unwrap_or(seed);
    println!("seed {seed}");
    Ok(Plan {
        program: PathBuf::from(PROGRAM),
        rounds,
        within: Duration::MAX,
        seed,
        bias,
        failpoints: failpoints.to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whatever_happens() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut plan = plan(Bias::Anything, (ROUNDS, SEED), "")?;
    match number("MIROIR_DRILL_ROUNDS")? {
        Some(rounds) => plan.rounds = u32::try_from(rounds)?,
        None => plan.within = WITHIN,
    }
    let report = run(&plan).await?;
    match report.wrong {
        Some(wrong) => anyhow::bail!(wrong),
        None => Ok(()),
    }
}

/// Plays rounds with a mistake in the protocol, until the drill notices that something is wrong.
async fn is_noticed(bias: Bias, failpoints: &str) -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let plan = plan(bias, (NOTICED_WITHIN, SEED_OF_MISTAKES), failpoints)?;
    let report = run(&plan).await?;
    let wrong = report.wrong.with_context(|| {
        format!("{failpoints} was not noticed in {NOTICED_WITHIN} rounds: the drill is blind to it")
    })?;
    let first: Vec<&str> = wrong.lines().take(3).collect();
    println!(
        "{failpoints} was noticed in round {}: {}",
        report.rounds,
        first.join(" ")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_the_read_barrier_is_noticed() -> anyhow::Result<()> {
    is_noticed(Bias::ReadBarrier, "bug-skip-read-barrier=return").await
}

/// Verification would mend what is forgotten before anybody reads it, so it is switched off as well.
#[tokio::test(flavor = "multi_thread")]
async fn forgetting_dirty_ids_is_noticed() -> anyhow::Result<()> {
    let failpoints =
        "bug-forget-dirty=return;bug-skip-verification=return;migration-CatchingUp=sleep(1500)";
    is_noticed(Bias::DirtyIds, failpoints).await
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_before_ejecting_is_noticed() -> anyhow::Result<()> {
    is_noticed(Bias::Ejection, "bug-ack-before-eject=return").await
}
