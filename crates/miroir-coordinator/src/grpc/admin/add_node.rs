//! Admitting a node: everything is checked before anything is committed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use miroir_core::cluster::{Command, Node, NodeSpec, Outcome, Rejection};
use miroir_core::id::GroupId;
use miroir_meili::{MeiliError, NodeClient};
use miroir_proto::v1;
use tonic::Status;

use crate::actor::Context;
use crate::grpc::commit::{commit, request_id};
use crate::grpc::status;
use crate::nodes::url::{host_and_port, http_origin};

/// Largest weight of a node.
const WEIGHT_MAX: u32 = 1_000;

/// Checks the node, then commits it together with the operation that gives it its share.
pub async fn add_node(
    ctx: &Context,
    request: v1::AddNodeRequest,
) -> Result<v1::AddNodeReply, Status> {
    request_id(&request.request_id)?;
    let url =
        http_origin(&request.url).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let weight = request.weight.unwrap_or(1);
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(Status::invalid_argument(format!(
            "weight must be from 1 to {WEIGHT_MAX}, not {weight}"
        )));
    }
    let group = known_group(ctx, GroupId(request.group.unwrap_or(1)))?;
    let nodes: Vec<Node> = ctx.read(|state| state.nodes.values().cloned().collect());
    // A call repeated after its answer was lost finds its own node. It is not looked at again: the log tells a
    // repetition, which gets the first answer, from a second node at the address, which is refused.
    let version = match nodes.iter().find(|node| node.url == url) {
        Some(known) => known.version.clone(),
        None => {
            refuse_alias(&url, &nodes).await?;
            probe(ctx, &url).await?
        }
    };
    let node = NodeSpec {
        url,
        group,
        zone: request.zone.filter(|zone| !zone.is_empty()),
        weight,
        version,
    };
    let outcome = commit(
        &ctx.cluster,
        &request.request_id,
        &Command::AddNode { node },
    )
    .await?;
    let Outcome::NodeAdded { node, operation } = outcome else {
        return Err(status::of_unexpected(&outcome));
    };
    Ok(v1::AddNodeReply {
        node: node.0,
        operation: operation.0,
    })
}

fn known_group(ctx: &Context, group: GroupId) -> Result<GroupId, Status> {
    ctx.read(|state| {
        if state.cluster_id.is_none() {
            return Err(status::of_rejection(&Rejection::NotInitialised));
        }
        if state.groups.contains_key(&group) {
            return Ok(group);
        }
        let known: Vec<_> = state.groups.keys().map(ToString::to_string).collect();
        Err(status::of_rejection(&Rejection::UnknownGroup {
            group,
            known: known.join(", "),
        }))
    })
}

/// Refuses a node that is in the cluster under another name of the same address: it would hold two copies of a
/// shard that count as two.
async fn refuse_alias(url: &str, nodes: &[Node]) -> Result<(), Status> {
    let addresses = resolve(url).await;
    for node in nodes {
        if !addresses.is_disjoint(&resolve(&node.url).await) {
            return Err(Status::already_exists(format!(
                "{url} is the same address as {}, which is in the cluster as node {}",
                node.url, node.id
            )));
        }
    }
    Ok(())
}

/// What a URL's host stands for; nothing when it cannot be found out, which the call that follows will show.
async fn resolve(url: &str) -> BTreeSet<SocketAddr> {
    let Some((host, port)) = host_and_port(url) else {
        return BTreeSet::new();
    };
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Looks at the node itself; answers the version it runs.
async fn probe(ctx: &Context, url: &str) -> Result<String, Status> {
    let client = ctx
        .nodes
        .stranger(url)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let client = client.with_timeout(Duration::from_millis(ctx.config.nodes.health_timeout_ms));
    let version = reachable(&client, url).await?;
    let refused = |error: MeiliError| refusal(url, &error);
    let stats = client.stats().await.map_err(refused)?;
    if !stats.indexes.is_empty() {
        return Err(Status::failed_precondition(format!(
            "node {url} holds {} indexes; start it with an empty database",
            stats.indexes.len()
        )));
    }
    let queue = client.queue_depth().await.map_err(refused)?;
    if queue > 0 {
        return Err(Status::failed_precondition(format!(
            "node {url} has {queue} unfinished tasks; start it with an empty database"
        )));
    }
    Ok(version)
}

async fn reachable(client: &NodeClient, url: &str) -> Result<String, Status> {
    client
        .health()
        .await
        .map_err(|error| refusal(url, &error))?;
    let version = client
        .version()
        .await
        .map_err(|error| refusal(url, &error))?;
    if !version.is_supported() {
        return Err(Status::failed_precondition(format!(
            "node {url} runs Meilisearch {}; at least 1.15.0 is needed",
            version.pkg_version
        )));
    }
    Ok(version.pkg_version.to_string())
}

/// What a failed call says about a node that is to be added.
fn refusal(url: &str, error: &MeiliError) -> Status {
    if let Some("invalid_api_key" | "missing_authorization_header") = error.code() {
        return Status::permission_denied(format!(
            "node {url} refuses the master key; start it with the fleet's key, or correct `node_master_key`"
        ));
    }
    let text = match error {
        MeiliError::Invalid { what } => return Status::invalid_argument(what.clone()),
        MeiliError::Connect { .. } | MeiliError::UnknownOutcome { .. } => {
            format!("node {url} cannot be reached: {error}")
        }
        MeiliError::Busy { .. } => format!("node {url} is too busy to be added: {error}"),
        MeiliError::Api { .. } => format!("node {url} cannot be added: {error}"),
        MeiliError::Protocol { .. } => {
            format!("what answers at {url} is not a Meilisearch node: {error}")
        }
    };
    Status::failed_precondition(text)
}
