//! `drill leader-failover`: how long the cluster is without a leader, and what clients see of it.

use std::collections::BTreeSet;

use miroir_proto::v1;
use tokio::time::Instant;

use super::load::Load;
use super::report::Report;
use super::{confirmed, finish, interruptible, until};
use crate::args::LeaderDrillArgs;
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;

/// Has the leader give leadership up and watches the next one take over.
pub async fn run(
    args: &LeaderDrillArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    confirmed(
        args.yes,
        "the leading coordinator gives leadership up: changes wait for some seconds",
    )?;
    let load = Load::begin(&args.load).await?;
    let drilled = interruptible(failover(args, coordinators, load.as_ref())).await;
    finish(drilled, load, output).await
}

async fn failover(
    args: &LeaderDrillArgs,
    coordinators: &Coordinators,
    load: Option<&Load>,
) -> Result<Report, Error> {
    let deadline = Instant::now() + args.within.duration();
    let leased = live_proxies(coordinators).await?;
    if let Some(load) = load
        && load.write_since(Instant::now(), deadline).await.is_none()
    {
        let what = "no write was acknowledged before the drill; nothing was done".to_owned();
        return Err(Error::Local(what));
    }
    let (old, _) = coordinators.step_down().await?;
    let mut report = Report::begin("leader-failover");
    let began = Instant::now();
    report.fact("old_leader", old.coordinator);
    report.fact("old_term", old.term);
    let Some(new) = next_leader(coordinators, old.term, deadline).await else {
        report.complain("no new leader in time");
        return Ok(report);
    };
    report.mark("a new leader is known");
    report.fact("new_leader", new.coordinator);
    report.fact("new_term", new.term);
    if new.coordinator == old.coordinator {
        report.complain(format!("coordinator {} leads again", old.coordinator));
    }
    let served = until(deadline, async || {
        let live = live_proxies(coordinators).await.ok()?;
        leased.is_subset(&live).then_some(())
    });
    report.fact("proxies", leased.len());
    match served.await {
        Some(()) => report.mark("every proxy has its lease again"),
        None => report.complain("a proxy did not get its lease back in time"),
    }
    if let Some(load) = load {
        match load.write_since(began, deadline).await {
            Some(at) => report.mark_at("a write passes", at),
            None => report.complain("no write passed in time"),
        }
    }
    Ok(report)
}

/// Whoever leads in a later term.
async fn next_leader(
    coordinators: &Coordinators,
    term: u64,
    deadline: Instant,
) -> Option<v1::StatusReply> {
    let look = async || {
        let survey = coordinators.survey(true).await;
        let leader = survey.leader()?;
        (leader.status.term > term).then(|| leader.status.clone())
    };
    until(deadline, look).await
}

/// The proxies that may write. Only the leader knows.
async fn live_proxies(coordinators: &Coordinators) -> Result<BTreeSet<u64>, Error> {
    let reply = coordinators
        .read(async |mut c| c.list_proxies(v1::ListProxiesRequest {}).await)
        .await?;
    let live = reply.proxies.iter().filter(|proxy| proxy.lease == "live");
    Ok(live.map(|proxy| proxy.id).collect())
}
