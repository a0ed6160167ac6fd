//! What a cut asks of nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::id::{IndexUid, NodeId};
use miroir_meili::{MeiliError, NodeClient, NodeTaskUid};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::LOOK;
use crate::actor::{Context, Fleet};
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// How long one request may take.
const CALL: Duration = Duration::from_secs(2);
/// A node that has not answered for so long is left out.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Pause between two looks at queues that nobody waits for.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

/// What is known of a node's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// The node does not answer.
    Silent,
    /// It never had a task.
    Unused,
    /// Its newest task.
    UpTo(NodeTaskUid),
}

/// The newest task of every node.
pub(super) async fn queues<C: Cluster>(
    ctx: &Context<C>,
    nodes: &BTreeSet<NodeId>,
) -> Vec<(NodeId, Queue)> {
    join_all(nodes.iter().map(|node| queue(ctx, *node))).await
}

async fn queue<C: Cluster>(ctx: &Context<C>, node: NodeId) -> (NodeId, Queue) {
    let mut patience = Patience::with(ctx, node);
    while let Some(client) = patience.client() {
        match client.newest_task_uid().await {
            Ok(None) => return (node, Queue::Unused),
            Ok(Some(uid)) => return (node, Queue::UpTo(uid)),
            Err(_) => sleep(LOOK).await,
        }
    }
    (node, Queue::Silent)
}

/// Waits until every node that answers has finished everything up to what was its newest task; answers those nodes.
pub(super) async fn drained<C: Cluster>(
    ctx: &Context<C>,
    queues: Vec<(NodeId, Queue)>,
) -> BTreeSet<NodeId> {
    let each = queues
        .into_iter()
        .map(|(node, queue)| drained_one(ctx, node, queue));
    join_all(each).await.into_iter().flatten().collect()
}

async fn drained_one<C: Cluster>(ctx: &Context<C>, node: NodeId, queue: Queue) -> Option<NodeId> {
    let last = match queue {
        Queue::Silent => return None,
        Queue::Unused => return Some(node),
        Queue::UpTo(last) => last,
    };
    let mut patience = Patience::with(ctx, node);
    while let Some(client) = patience.client() {
        match client.drained_up_to(last).await {
            Ok(true) => return Some(node),
            Ok(false) => patience = Patience::with(ctx, node),
            Err(_) => {}
        }
        sleep(LOOK).await;
    }
    None
}

/// Whether a node has an index that no node is known to have: its writer was acknowledged before what it said of the
/// index's settings was committed, which it will be.
pub(super) async fn have_unnoticed<C: Cluster>(
    ctx: &Context<C>,
    answering: &BTreeSet<NodeId>,
) -> bool {
    let unknown: Vec<(NodeId, IndexUid)> = ctx.read(|state| {
        let unknown = state.indexes.values().filter(|index| {
            index
                .nodes
                .values()
                .all(|known| known.settings_version == 0)
        });
        unknown
            .flat_map(|index| {
                let holders = state.holders(index);
                holders.into_iter().map(|node| (node, index.name().clone()))
            })
            .filter(|(node, _)| answering.contains(node))
            .collect()
    });
    let each = unknown.iter().map(|(node, uid)| has(ctx, *node, uid));
    join_all(each).await.into_iter().any(|has| has)
}

async fn has<C: Cluster>(ctx: &Context<C>, node: NodeId, uid: &IndexUid) -> bool {
    let Some(client) = ctx.fleet().client(node) else {
        return false;
    };
    // One that does not answer now is asked again.
    !matches!(
        client.with_timeout(CALL).index(uid.as_str()).await,
        Ok(None)
    )
}

/// Waits until no node that answers has more than `few` unfinished tasks.
pub(super) async fn short<C: Cluster>(ctx: &Context<C>, nodes: &[NodeId], few: u64) {
    join_all(nodes.iter().map(|node| short_one(ctx, *node, few))).await;
}

async fn short_one<C: Cluster>(ctx: &Context<C>, node: NodeId, few: u64) {
    let mut patience = Patience::with(ctx, node);
    while let Some(client) = patience.client() {
        match client.queue_depth().await {
            Ok(depth) if depth <= few => return,
            Ok(_) => patience = Patience::with(ctx, node),
            Err(_) => {}
        }
        sleep(SHORT_PAUSE).await;
    }
}

/// Has nodes enqueue their dumps; answers those that did, with their tasks.
///
/// # Errors
/// The error object of a node that refuses.
pub(super) async fn ask<C: Cluster>(
    ctx: &Context<C>,
    nodes: &BTreeSet<NodeId>,
) -> Result<Vec<(NodeId, u32)>, Value> {
    let asked = join_all(nodes.iter().map(|node| ask_one(ctx, *node))).await;
    asked.into_iter().flatten().collect()
}

/// Asks one node; `None` when it does not answer. Asked again, it writes two dumps of the same.
async fn ask_one<C: Cluster>(
    ctx: &Context<C>,
    node: NodeId,
) -> Option<Result<(NodeId, u32), Value>> {
    let mut patience = Patience::with(ctx, node);
    while let Some(client) = patience.client() {
        match client.create_dump().await {
            Ok(task) => return Some(Ok((node, task.task_uid.0))),
            Err(error) if !error.retryable() => return Some(Err(refusal(node, &error))),
            Err(_) => sleep(LOOK).await,
        }
    }
    tracing::warn!(%node, "is left out of a dump, it does not answer");
    None
}

/// How long a node may be asked that does not answer.
struct Patience<C> {
    fleet: Fleet<C>,
    node: NodeId,
    until: Instant,
    asked: bool,
}

impl<C: Cluster> Patience<C> {
    fn with(ctx: &Context<C>, node: NodeId) -> Self {
        Self {
            fleet: ctx.fleet(),
            node,
            until: Instant::now() + SILENT_AFTER,
            asked: false,
        }
    }

    /// A client to ask, the first time in any case; `None` once the node is to be left out.
    fn client(&mut self) -> Option<NodeClient> {
        let over = Instant::now() >= self.until || self.fleet.is_down(self.node);
        if std::mem::replace(&mut self.asked, true) && over {
            return None;
        }
        Some(self.fleet.client(self.node)?.with_timeout(CALL))
    }
}

/// The error of a dump that a node does not take.
fn refusal(node: NodeId, error: &MeiliError) -> Value {
    if let MeiliError::Api { error, .. } = error {
        return json!({
            "message": error.message, "code": error.code, "type": error.kind, "link": error.link,
        });
    }
    let message = format!("Node {node} does not take the task: {error}");
    json!(ApiError::new(Code::Internal, message))
}
