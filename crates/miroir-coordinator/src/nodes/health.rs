//! Which nodes answer, how long their queues are, how much they hold.
//!
//! The leader looks at every node once an interval. What it sees lives in its memory only: a new
//! leader starts with "unknown", and nothing that must be agreed upon follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::cluster::Node;
use miroir_core::id::NodeId;
use miroir_meili::{MeiliError, NodeClient};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::actor::Context;
use crate::cluster::Cluster;

/// Whether a node answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Nobody has looked yet, or too few looks have failed to call it down.
    #[default]
    Unknown,
    /// It answered the last look, or missed fewer than make it count as down.
    Up,
    /// It missed several looks in a row.
    Down,
}

impl Reachability {
    /// The word operators see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Whether it answers.
    pub reachability: Reachability,
    /// Tasks that it has not finished, as it last said.
    pub queue: Option<u64>,
    /// Documents that it holds, as it last said.
    pub documents: Option<u64>,
    /// How long the first call of the last look that succeeded took, in milliseconds, rounded to a power of two so
    /// that it does not change with every look.
    pub latency_ms: Option<u64>,
    /// Why the last look failed; empty when it did not.
    pub last_error: String,
    /// Failed looks in a row.
    pub(crate) misses: u32,
}

/// What one look at a node showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    queue: u64,
    documents: u64,
    latency_ms: u64,
}

impl NodeHealth {
    /// The same after one more look. One missed answer is no outage.
    fn after(&self, look: Result<Seen, String>, down_after: u32) -> Self {
        match look {
            Ok(seen) => Self {
                reachability: Reachability::Up,
                queue: Some(seen.queue),
                documents: Some(seen.documents),
                latency_ms: Some(seen.latency_ms),
                last_error: String::new(),
                misses: 0,
            },
            Err(last_error) => {
                let misses = self.misses.saturating_add(1);
                let down = misses >= down_after;
                let reachability = if down {
                    Reachability::Down
                } else {
                    self.reachability
                };
                Self {
                    reachability,
                    last_error,
                    misses,
                    ..self.clone()
                }
            }
        }
    }
}

/// The latest look at every node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HealthBoard {
    nodes: Arc<watch::Sender<Arc<BTreeMap<NodeId, NodeHealth>>>>,
}

impl Default for HealthBoard {
    fn default() -> Self {
        Self {
            nodes: Arc::new(watch::Sender::new(Arc::default())),
        }
    }
}

impl HealthBoard {
    /// What is known of every node now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<BTreeMap<NodeId, NodeHealth>> {
        Arc::clone(&self.nodes.borrow())
    }

    /// Changes whenever what is known changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, NodeHealth>>> {
        self.nodes.subscribe()
    }

    /// Whether a node answers.
    #[must_use]
    pub fn reachability(&self, node: NodeId) -> Reachability {
        self.nodes
            .borrow()
            .get(&node)
            .map_or(Reachability::Unknown, |health| health.reachability)
    }

    /// Whether a node answers.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.reachability(node) == Reachability::Up
    }

    fn update(&self, next: BTreeMap<NodeId, NodeHealth>) {
        self.nodes.send_if_modified(|known| {
            let changed = **known != next;
            if changed {
                *known = Arc::new(next);
            }
            changed
        });
    }
}

/// Looks at all nodes once an interval, until `cancel`. Forgets everything at its end, so that a
/// coordinator that does not lead shows nothing out of date.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(ctx.config.nodes.health_interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ctx.health.update(BTreeMap::new());
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        if cancel
            .run_until_cancelled(look_at_all(&ctx))
            .await
            .is_none()
        {
            break;
        }
    }
    ctx.health.update(BTreeMap::new());
}

async fn look_at_all<C: Cluster>(ctx: &Context<C>) {
    let nodes: Vec<Node> = ctx.read(|state| state.nodes.values().cloned().collect());
    let looks = nodes.iter().map(|node| look_at(ctx, node));
    let seen = join_all(looks).await;
    let known = ctx.health.snapshot();
    let next = nodes.iter().zip(seen).map(|(node, look)| {
        let before = known.get(&node.id).cloned().unwrap_or_default();
        let after = before.after(look, ctx.config.nodes.down_after);
        tell(node, &before, &after);
        (node.id, after)
    });
    ctx.health.update(next.collect());
}

fn tell(node: &Node, before: &NodeHealth, after: &NodeHealth) {
    if before.reachability == after.reachability {
        return;
    }
    match after.reachability {
        Reachability::Up => tracing::info!(node = %node.id, url = node.url, "node is up"),
        Reachability::Down => {
            tracing::warn!(node = %node.id, url = node.url, error = after.last_error, "node is down");
        }
        Reachability::Unknown => {}
    }
}

async fn look_at<C>(ctx: &Context<C>, node: &Node) -> Result<Seen, String> {
    let timeout = Duration::from_millis(ctx.config.nodes.health_timeout_ms);
    let look = async { ask(&ctx.nodes.client(node)?.with_timeout(timeout)).await };
    look.await.map_err(|error: MeiliError| error.to_string())
}

/// Two authorised calls rather than `/health` alone: a node that refuses the master key, or is
/// another server by now, is of no use although it is healthy.
async fn ask(client: &NodeClient) -> Result<Seen, MeiliError> {
    let began = Instant::now();
    let stats = client.stats().await?;
    let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let queue = client.queue_depth().await?;
    let documents = stats
        .indexes
        .values()
        .map(|index| index.number_of_documents)
        .sum();
    Ok(Seen {
        queue,
        documents,
        latency_ms: latency_ms.checked_next_power_of_two().unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_down_only_after_several_misses_and_up_at_once() {
        let seen = Ok(Seen {
            queue: 2,
            documents: 7,
            latency_ms: 4,
        });
        let missed = || Err("refused".to_owned());
        // A look, and how the node counts after it.
        let table = [
            (missed(), Reachability::Unknown),
            (seen.clone(), Reachability::Up),
            (missed(), Reachability::Up),
            (missed(), Reachability::Up),
            (missed(), Reachability::Down),
            (missed(), Reachability::Down),
            (seen, Reachability::Up),
            (missed(), Reachability::Up),
        ];
        let mut health = NodeHealth::default();
        for (at, (look, expected)) in table.into_iter().enumerate() {
            let failed = look.is_err();
            health = health.after(look, 3);
            assert_eq!(health.reachability, expected, "look {at}");
            assert_eq!(health.last_error.is_empty(), !failed, "look {at}");
        }
        // What it last said is kept while it is silent.
        assert_eq!((health.queue, health.documents), (Some(2), Some(7)));
    }
}
