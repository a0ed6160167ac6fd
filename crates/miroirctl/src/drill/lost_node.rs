//! `drill node-loss`: what the loss of a node would mean, and with `--yes`, what it does mean.

use std::process::Stdio;
use std::time::Duration;

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::load::Load;
use super::loss::{Known, NodeLoss};
use super::report::Report;
use super::{failed, finish, interruptible, until};
use crate::args::{NodeDrillArgs, Sending};
use crate::commands::change::{self, Wish};
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::{Output, View};

/// Foresees a loss, or watches one.
pub async fn run(
    args: &NodeDrillArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let foreseen = foresee(args.node, coordinators).await?;
    if !args.yes {
        if args.load.proxy.is_some() {
            let what = "--proxy is for a node that is stopped; confirm that with --yes";
            return Err(Error::Usage(what.to_owned()));
        }
        output.print(&Foreseen {
            drill: "node-loss",
            foreseen: &foreseen,
        })?;
        return foreseen
            .complaint()
            .map_or(Ok(()), |what| Err(failed(what)));
    }
    let load = Load::begin(&args.load).await?;
    let drilled = interruptible(watch(args, foreseen, coordinators, load.as_ref())).await;
    finish(drilled, load, output).await
}

/// Only what is to be expected.
#[derive(Serialize)]
struct Foreseen<'a> {
    drill: &'static str,
    foreseen: &'a NodeLoss,
}

impl View for Foreseen<'_> {
    fn table(&self) -> String {
        self.foreseen.table()
    }
}

async fn foresee(node: u64, coordinators: &Coordinators) -> Result<NodeLoss, Error> {
    let nodes = nodes(coordinators).await?;
    let copies = copies(coordinators).await?;
    // Looked up first: a dry run on an unknown node is refused in other words.
    if !nodes.iter().any(|known| known.id == node) {
        return Err(failed(format!("there is no node {node}")));
    }
    let wish = Wish {
        what: format!("the drain of node {node}"),
        look: "miroirctl node list",
        change: Change::DrainNode(v1::DrainNode { node }),
    };
    let dry = Sending {
        dry_run: true,
        request_id: None,
    };
    let drain = match change::send(wish, &dry, coordinators).await {
        Ok(reply) => reply.plan.ok_or_else(|| "no plan was answered".to_owned()),
        Err(Error::Refused { what, .. }) => Err(what),
        Err(error) => return Err(error),
    };
    let known = Known {
        nodes: &nodes,
        copies: &copies,
        drain,
    };
    NodeLoss::of(node, &known).ok_or_else(|| failed(format!("there is no node {node}")))
}

async fn nodes(coordinators: &Coordinators) -> Result<Vec<v1::Node>, Error> {
    let ask = coordinators.read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await);
    Ok(ask.await?.nodes)
}

async fn copies(coordinators: &Coordinators) -> Result<Vec<v1::ShardCopy>, Error> {
    let all = v1::ListShardsRequest { index: None };
    let ask = coordinators.read(async |mut c| c.list_shards(all.clone()).await);
    Ok(ask.await?.copies)
}

/// The node stops; the drill waits until it is missed, and until it is back or replaced.
async fn watch(
    args: &NodeDrillArgs,
    foreseen: NodeLoss,
    coordinators: &Coordinators,
    load: Option<&Load>,
) -> Result<Report, Error> {
    let loss_by = Instant::now() + Duration::from_secs(args.wait_for_loss_s);
    let mut report = Report::begin("node-loss");
    report.fact("node", args.node);
    match &args.stop_command {
        Some(command) => {
            stop(command, loss_by).await?;
            report.mark("the command to stop it has ended");
        }
        None => eprintln!(
            "stop node {} at {} now, within {} s",
            args.node,
            foreseen.url(),
            args.wait_for_loss_s
        ),
    }
    report.foresee(foreseen);
    let missed = until(loss_by, async || {
        let nodes = nodes(coordinators).await.ok()?;
        matches!(health(&nodes, args.node), None | Some("down")).then_some(())
    });
    if missed.await.is_none() {
        report.complain(format!("node {} still answers", args.node));
        return Ok(report);
    }
    report.mark("the node is missed");
    let lost = Instant::now();
    let deadline = lost + args.within.duration();
    eprintln!("start the node again, or wait for its copies to be built on others");
    let written = async {
        match load {
            Some(load) => Some(load.write_since(lost, deadline).await),
            None => None,
        }
    };
    let (written, back) = tokio::join!(written, back(args.node, coordinators, deadline));
    match written {
        Some(Some(at)) => report.mark_at("a write passes", at),
        Some(None) => report.complain("no write passed in time"),
        None => {}
    }
    match back {
        Some((step, at)) => report.mark_at(step, at),
        None => {
            let node = args.node;
            report.complain(format!("node {node} was neither back nor replaced in time"));
        }
    }
    // Only now: the write that waited for the node may have taken its copy out of use.
    match whole(coordinators, deadline).await {
        0 => report.mark("every copy is in sync"),
        odd => report.complain(format!("{odd} copies are not in sync in time")),
    }
    Ok(report)
}

/// Waits until the node answers again, or holds nothing any more.
async fn back(
    node: u64,
    coordinators: &Coordinators,
    deadline: Instant,
) -> Option<(&'static str, Instant)> {
    let look = async || {
        let nodes = nodes(coordinators).await.ok()?;
        if health(&nodes, node) == Some("up") {
            return Some("the node answers again");
        }
        let copies = copies(coordinators).await.ok()?;
        let empty = !copies.iter().any(|copy| copy.node == node);
        empty.then_some("the node is replaced")
    };
    Some((until(deadline, look).await?, Instant::now()))
}

/// Waits until every copy is in sync; answers how many are not in the end.
async fn whole(coordinators: &Coordinators, deadline: Instant) -> usize {
    let mut odd = usize::MAX;
    let look = async || {
        let copies = copies(coordinators).await.ok()?;
        let is_odd = |copy: &&v1::ShardCopy| copy.state != "InSync" || copy.moving.is_some();
        odd = copies.iter().filter(is_odd).count();
        (odd == 0).then_some(())
    };
    let _ = until(deadline, look).await;
    odd
}

/// What the leader last saw of a node: `up`, `down`, or `unknown` to one that was elected just now;
/// nothing when the node left the cluster.
fn health(nodes: &[v1::Node], node: u64) -> Option<&str> {
    let found = nodes.iter().find(|known| known.id == node)?;
    Some(&found.health)
}

async fn stop(command: &str, deadline: Instant) -> Result<(), Error> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let wrong = |what: String| Error::Local(format!("`{command}` {what}; the drill ends"));
    match timeout_at(deadline, shell.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(wrong(format!("failed: {status}"))),
        Ok(Err(error)) => Err(wrong(format!("cannot be run: {error}"))),
        Err(_) => Err(wrong("did not end in time".to_owned())),
    }
}
