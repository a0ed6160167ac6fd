//! Drills against a running cluster: each does, or foresees, one thing that goes wrong, and reports
//! times and errors.
//!
//! A drill never destroys data. Those that clients or nodes may notice ask for `--yes`; what they
//! write is in an index of their own.

mod coordinators;
mod leader;
mod load;
mod loss;
mod lost_node;
mod moving;
mod report;
mod scratch;
mod tally;

use tokio::time::{Duration, Instant, sleep};

use crate::args::DrillCommand;
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use load::Load;
use report::Report;

/// Pause between two looks at what a drill waits for, which is how exact its times are.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How long the load goes on after the drill: what goes wrong late is seen, too.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Runs one drill.
pub async fn run(
    command: &DrillCommand,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    match command {
        DrillCommand::LeaderFailover(args) => leader::run(args, coordinators, output).await,
        DrillCommand::NodeLoss(args) => lost_node::run(args, coordinators, output).await,
        DrillCommand::CoordinatorLoss(args) => coordinators::run(args, coordinators, output).await,
        DrillCommand::Move(args) => moving::run(args, coordinators, output).await,
    }
}

/// Looks again and again until something is found; `None` when the time is over.
async fn until<T>(deadline: Instant, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Lets a drill run to its end, or until somebody interrupts it: then what it made is still put away.
async fn interruptible<T>(drill: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        done = drill => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Local("the drill was interrupted".to_owned())),
    }
}

/// Ends the load, puts what it made away, and prints the report; fails when the drill did.
async fn finish(
    drilled: Result<Report, Error>,
    load: Option<Load>,
    output: &mut Output,
) -> Result<(), Error> {
    let seen = match load {
        Some(load) => {
            if drilled.is_ok() {
                sleep(AFTERMATH).await;
            }
            Some(load.end().await)
        }
        None => None,
    };
    let mut report = drilled?;
    if let Some(seen) = seen {
        report.add_load(seen);
    }
    output.print(&report)?;
    match report.complaint() {
        Some(what) => Err(failed(what)),
        None => Ok(()),
    }
}

/// The error that a drill ends with that showed something to be wrong.
fn failed(what: String) -> Error {
    Error::Refused {
        what,
        rejection: None,
    }
}

/// Refuses what clients may notice unless it was confirmed.
fn confirmed(yes: bool, consequence: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    Err(Error::Usage(format!("{consequence}; confirm with --yes")))
}
