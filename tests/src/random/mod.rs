//! The randomised drill: clients write and search while the cluster is changed and harmed at random; then it is healed,
//! and every document on every copy is compared with what the clients were promised.
//!
//! All chance comes from one seed. It decides what is done, when, and to whom; how the processes race is not in its
//! hands, so a seed that failed once may have to be repeated.

mod change;
mod check;
mod harm;
mod heal;
mod ledger;
mod round;
mod scratch;
mod script;
mod search;
mod stage;
mod tuner;
mod view;
mod workload;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::Instant;

use stage::Stage;

/// The index that most clients write to.
const INDEX: &str = "drill";

/// Documents that no client changes.
const STABLE: u32 = 60;

/// Rounds on one cluster.
const ROUNDS_PER_CLUSTER: u32 = 10;

/// What the rounds are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bias {
    /// Whatever comes.
    Anything,
    /// Moves while a proxy is out of touch.
    ReadBarrier,
    /// Moves while leaders and writers are killed.
    DirtyIds,
    /// Nodes that are killed while they are written to.
    Ejection,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program whose subcommands are the roles.
    pub program: PathBuf,
    /// How many rounds there are.
    pub rounds: u32,
    /// After this long no round is begun any more.
    pub within: Duration,
    /// What all chance comes from.
    pub seed: u64,
    /// What the rounds are about.
    pub bias: Bias,
    /// Failpoints of coordinators and proxies.
    pub failpoints: String,
}

/// What a run showed.
#[derive(Debug)]
pub struct Report {
    /// Rounds that were played; the last of them is the one in which something was wrong.
    pub rounds: u32,
    /// What was wrong: documents, searches or tasks that are not as the clients were promised.
    pub wrong: Option<String>,
}

/// Plays rounds until one shows that something is wrong.
///
/// # Errors
/// When a cluster does not come up or does not become whole again, or when clients were refused though nothing was
/// harmed. The text has what was done, and what repeats it.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut played = 0;
    while played < plan.rounds && began.elapsed() <= plan.within {
        let cluster = played / ROUNDS_PER_CLUSTER;
        let mut rng = StdRng::seed_from_u64(plan.seed.wrapping_add(cluster.into()));
        let rounds = (plan.rounds - played).min(ROUNDS_PER_CLUSTER);
        let mut stage = Stage::build(plan, &mut rng)
            .await
            .with_context(|| repeat(plan, played + 1))?;
        let mut outcome = Ok(None);
        for _ in 0..rounds {
            if began.elapsed() > plan.within {
                break;
            }
            played += 1;
            outcome = one_round(&mut stage, plan, &mut rng, played).await;
            if !matches!(outcome, Ok(None)) {
                break;
            }
        }
        let failed = !matches!(outcome, Ok(None));
        let trail = stage.trail.lines().join("\n");
        let logs = stage.end(failed && plan.failpoints.is_empty()).await;
        let told = || {
            format!(
                "{}\n{trail}\nlogs: {}",
                repeat(plan, played),
                logs.as_deref().unwrap_or("not kept")
            )
        };
        if let Some(wrong) = outcome.with_context(told)? {
            return Ok(Report {
                rounds: played,
                wrong: Some(format!("{wrong}\n{}", told())),
            });
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{played} of {} rounds in {seconds:.0} s", plan.rounds);
    Ok(Report {
        rounds: played,
        wrong: None,
    })
}

/// Plays a round; answers what was wrong, if anything was.
async fn one_round(
    stage: &mut Stage,
    plan: &Plan,
    rng: &mut StdRng,
    number: u32,
) -> anyhow::Result<Option<String>> {
    stage.trail.note(format_args!("round {number}"));
    let shown = round::play(stage, plan.bias, rng).await?;
    println!("  round {number}: {}", shown.summary);
    anyhow::ensure!(
        shown.refused.is_empty(),
        "{} requests were refused though nothing was harmed: {:#?}",
        shown.refused.len(),
        &shown.refused[..shown.refused.len().min(5)]
    );
    let findings = shown.findings;
    Ok((findings.count > 0).then(|| {
        format!(
            "round {number}: {} things are wrong: {:#?}",
            findings.count, findings.examples
        )
    }))
}

/// What repeats a run up to a round.
fn repeat(plan: &Plan, rounds: u32) -> String {
    let Plan {
        seed,
        bias,
        failpoints,
        ..
    } = plan;
    let name = bias.to_possible_value().map(|v| v.get_name().to_owned());
    format!(
        "round {rounds}; repeat with cargo run -p miroir-tests --bin random-drill -- --seed {seed} --rounds {rounds} \
         --bias {} --failpoints '{failpoints}'",
        name.unwrap_or_default()
    )
}

fn documents_of(index: &str) -> String {
    format!("/indexes/{index}/documents")
}

fn stable_id(number: u32) -> String {
    format!("stable-{number}")
}
