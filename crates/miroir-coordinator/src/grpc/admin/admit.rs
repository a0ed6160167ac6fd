//! Admitting nodes: everything is checked before anything is committed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use miroir_core::cluster::{Node, NodeSpec, Rejection};
use miroir_core::id::GroupId;
use miroir_meili::{MeiliError, NodeClient};
use miroir_proto::v1;
use tonic::Status;

use crate::actor::Context;
use crate::grpc::status;
use crate::nodes::url::{host_and_port, http_origin};

/// Largest weight of a node.
const WEIGHT_MAX: u32 = 1_000;

/// Most nodes that one change may name.
const NODES_MAX: usize = 256;

/// Checks a node that is to join a group that there is.
pub(super) async fn node(ctx: &Context, new: v1::NewNode) -> Result<NodeSpec, Status> {
    let (url, weight) = spelled(&new)?;
    let group = known_group(ctx, GroupId(new.group.unwrap_or(1)))?;
    let version = version(ctx, &url).await?;
    Ok(spec(new, url, weight, (group, version)))
}

/// Checks the nodes of a new group: each as if it came alone, and that none is named twice.
pub(super) async fn group(ctx: &Context, new: Vec<v1::NewNode>) -> Result<Vec<NodeSpec>, Status> {
    if ctx.read(|state| state.cluster_id.is_none()) {
        return Err(status::of_rejection(&Rejection::NotInitialised));
    }
    if new.len() > NODES_MAX {
        return Err(Status::invalid_argument(format!(
            "a change may name at most {NODES_MAX} nodes, not {}",
            new.len()
        )));
    }
    let spelled: Vec<(String, u32)> = new.iter().map(spelled).collect::<Result<_, _>>()?;
    refuse_twins(spelled.iter().map(|(url, _)| url.as_str())).await?;
    let looks = spelled.iter().map(|(url, _)| version(ctx, url));
    let versions = futures::future::try_join_all(looks).await?;
    let all = new.into_iter().zip(spelled).zip(versions);
    // The group has no number yet; the log gives it one.
    let specs =
        all.map(|((new, (url, weight)), version)| spec(new, url, weight, (GroupId(0), version)));
    Ok(specs.collect())
}

/// The node's address in its one spelling, and its weight.
fn spelled(new: &v1::NewNode) -> Result<(String, u32), Status> {
    let url = http_origin(&new.url).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let weight = new.weight.unwrap_or(1);
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(Status::invalid_argument(format!(
            "weight must be from 1 to {WEIGHT_MAX}, not {weight}"
        )));
    }
    Ok((url, weight))
}

fn spec(
    new: v1::NewNode,
    url: String,
    weight: u32,
    (group, version): (GroupId, String),
) -> NodeSpec {
    NodeSpec {
        url,
        group,
        zone: new.zone.filter(|zone| !zone.is_empty()),
        weight,
        version,
    }
}

/// The version that a node runs, once it has been found fit.
///
/// A call repeated after its answer was lost finds its own node. It is not looked at again: the log tells a
/// repetition, which gets the first answer, from a second node at the address, which is refused.
async fn version(ctx: &Context, url: &str) -> Result<String, Status> {
    let nodes: Vec<Node> = ctx.read(|state| state.nodes.values().cloned().collect());
    match nodes.iter().find(|node| node.url == url) {
        Some(known) => Ok(known.version.clone()),
        None => {
            refuse_alias(url, &nodes).await?;
            probe(ctx, url).await
        }
    }
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

/// Refuses two names of one address among nodes that come together.
async fn refuse_twins(urls: impl Iterator<Item = &str>) -> Result<(), Status> {
    let mut seen: Vec<(&str, BTreeSet<SocketAddr>)> = Vec::new();
    for url in urls {
        let addresses = resolve(url).await;
        let twin = seen
            .iter()
            .find(|(other, known)| *other == url || !known.is_disjoint(&addresses));
        if let Some((other, _)) = twin {
            return Err(Status::invalid_argument(if *other == url {
                format!("{url} is named twice")
            } else {
                format!("{url} is the same address as {other}")
            }));
        }
        seen.push((url, addresses));
    }
    Ok(())
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
