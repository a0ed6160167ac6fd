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
        (health(&nodes, args.node) != Some("up")).then_some(())
    });
    if missed.await.is_none() {
        report.complain(format!("node {} still answers", args.node));
        return Ok(report);
    }
    report.mark("the node is missed");
    let lost = Instant::now();
    let deadline = lost + args.within.duration();
    if let Some(load) = load {
        match load.write_since(lost, deadline).await {
            Some(at) => report.mark_at("a write passes", at),
            None => report.complain("no write passed in time"),
        }
    }
    eprintln!("start the node again, or wait for its copies to be built on others");
    recover(args.node, coordinators, deadline, &mut report).await;
    Ok(report)
}

/// Waits until the node answers again or holds nothing any more, and every copy is in sync.
async fn recover(node: u64, coordinators: &Coordinators, deadline: Instant, report: &mut Report) {
    let back = until(deadline, async || {
        let nodes = nodes(coordinators).await.ok()?;
        if health(&nodes, node) == Some("up") {
            return Some("the node answers again");
        }
        let copies = copies(coordinators).await.ok()?;
        let empty = !copies.iter().any(|copy| copy.node == node);
        empty.then_some("the node is replaced")
    });
    match back.await {
        Some(step) => report.mark(step),
        None => report.complain(format!("node {node} was neither back nor replaced in time")),
    }
    let whole = until(deadline, async || {
        let copies = copies(coordinators).await.ok()?;
        let odd = |copy: &&v1::ShardCopy| copy.state != "InSync" || copy.moving.is_some();
        (copies.iter().filter(odd).count() == 0).then_some(())
    });
    match whole.await {
        Some(()) => report.mark("every copy is in sync"),
        None => {
            let left = copies(coordinators).await.unwrap_or_default();
            let odd = left.iter().filter(|copy| copy.state != "InSync").count();
            report.complain(format!("{odd} copies are not in sync in time"));
        }
    }
}

/// What the leader last saw of a node; nothing when it left the cluster. Another coordinator knows
/// nothing, which counts as before.
fn health(nodes: &[v1::Node], node: u64) -> Option<&str> {
    let found = nodes.iter().find(|known| known.id == node)?;
    match found.health.as_str() {
        "down" => Some("down"),
        _ => Some("up"),
    }
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
