//! The randomised drill, for as many rounds as one likes. The cluster's processes are this program, too.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use miroir_tests::random::{Bias, Plan, run};

/// Play rounds of random changes and harm, and compare every document after each.
#[derive(Debug, Parser)]
struct Args {
    /// How many rounds
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// What all chance comes from; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// What the rounds are about
    #[arg(long, value_enum, default_value_t = Bias::Anything)]
    bias: Bias,
    /// Failpoints of coordinators and proxies, such as a mistake that is to be noticed
    #[arg(long, default_value = "")]
    failpoints: String,
}

/// Subcommands by which the cluster's processes are started.
const ROLES: [&str; 3] = ["coordinator", "proxy", "node"];

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|role| ROLES.contains(&role.as_str()))
    {
        let _failpoints = fail::FailScenario::setup();
        return miroir_dev::cli::main();
    }
    match drill(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn drill(args: &Args) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let plan = Plan {
        program: std::env::current_exe()?,
        rounds: args.rounds,
        within: Duration::MAX,
        seed: args.seed.unwrap_or(now.subsec_nanos().into()),
        bias: args.bias,
        failpoints: args.failpoints.clone(),
    };
    println!("seed {}", plan.seed);
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(run(&plan))?;
    match report.wrong {
        Some(wrong) => anyhow::bail!(wrong),
        None => Ok(()),
    }
}
