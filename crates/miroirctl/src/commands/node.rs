//! `node add`: a node joins, and gets its share.

use miroir_core::cluster::Rejection;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;

use super::change::{self, Wish};
use crate::args::AddArgs;
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use crate::view::Added;

/// Adds a node; with `--wait`, until it has its share.
pub async fn add(
    args: &AddArgs,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    if args.waiting.sending.dry_run {
        return change::run(wish(args), &args.waiting, coordinators, output).await;
    }
    let mut added = send(args, coordinators).await?;
    if !args.waiting.wait {
        return output.print(&added);
    }
    if output.is_table() {
        output.line(&crate::output::View::table(&added))?;
    }
    let operation = match added.operation {
        Some(operation) => Some(operation),
        None => unfinished(added.node, coordinators).await?,
    };
    let waited = match operation {
        Some(operation) => change::done(operation, coordinators, output).await,
        None => Ok(()),
    };
    // The ids are told whatever becomes of the waiting: the node is part of the cluster.
    added.done = Some(waited.is_ok());
    if !output.is_table() {
        output.print(&added)?;
    }
    waited
}

fn wish(args: &AddArgs) -> Wish {
    Wish {
        what: format!("the addition of node {}", args.url),
        look: "miroirctl node list",
        change: Change::AddNode(v1::NewNode {
            url: args.url.clone(),
            group: args.group,
            zone: args.zone.clone(),
            weight: args.weight,
        }),
    }
}

async fn send(args: &AddArgs, coordinators: &Coordinators) -> Result<Added, Error> {
    match change::send(wish(args), &args.waiting.sending, coordinators).await {
        Ok(reply) => Ok(Added {
            node: reply.node.unwrap_or_default(),
            operation: reply.operation,
            added: true,
            done: None,
        }),
        Err(Error::Refused {
            what,
            rejection: Some(Rejection::NodeExists { url, node }),
        }) => {
            if !args.if_needed {
                let what = format!("{what}; --if-needed accepts that");
                return Err(Error::Refused {
                    what,
                    rejection: Some(Rejection::NodeExists { url, node }),
                });
            }
            same(args, node.0, coordinators).await?;
            Ok(Added {
                node: node.0,
                operation: None,
                added: false,
                done: None,
            })
        }
        Err(error) => Err(error),
    }
}

/// Refuses when the node that is there is not as asked for: a script would go on believing it.
async fn same(args: &AddArgs, id: u64, coordinators: &Coordinators) -> Result<(), Error> {
    let reply = coordinators
        .read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await)
        .await?;
    let Some(node) = reply.nodes.iter().find(|node| node.id == id) else {
        return Ok(());
    };
    let differs = [
        ("group", args.group.is_some_and(|group| group != node.group)),
        ("zone", args.zone.is_some() && args.zone != node.zone),
        (
            "weight",
            args.weight.is_some_and(|weight| weight != node.weight),
        ),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((what, _)) => Err(Error::Refused {
            what: format!(
                "{} is already in the cluster as node {id}, with another {what}; `miroirctl node list` shows it",
                node.url
            ),
            rejection: None,
        }),
    }
}

/// The unfinished operation that gives a node its share.
async fn unfinished(node: u64, coordinators: &Coordinators) -> Result<Option<u64>, Error> {
    let reply = coordinators
        .read(async |mut c| c.list_operations(v1::ListOperationsRequest {}).await)
        .await?;
    let mut of_node = reply
        .operations
        .iter()
        .filter(|operation| operation.node == Some(node));
    Ok(of_node
        .find(|operation| !matches!(operation.state.as_str(), "done" | "cancelled"))
        .map(|operation| operation.id))
}
