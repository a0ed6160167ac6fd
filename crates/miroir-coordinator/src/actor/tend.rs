//! Gives every node what the registry says that nodes are to have: API keys, experimental features and dynamic search
//! rules.
//!
//! Proxies judge keys by themselves, so only tasks about rules wait for this. It makes the nodes what one Meilisearch would be: whoever
//! asks a node directly is judged by the same keys, and a feature that is on is on everywhere. The registry is the truth;
//! a key that it has not, such as those that a node makes for itself, is deleted.
//!
//! Only the leader does it, and it may be done again at any time: a node is looked at when the registry changed, when it
//! was out of reach, and now and then, since it may have been wiped in between.

mod features;
mod keys;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::cluster::Command;
use miroir_core::id::NodeId;
use miroir_core::registry::{DefaultKey, Registry};
use miroir_meili::{MeiliError, NodeClient};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// How long one call to a node may take.
const CALL: Duration = Duration::from_secs(5);
/// How long a node may be without a look.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Tends nodes until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    match cancel.run_until_cancelled(tend_for_ever(&ctx)).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

async fn tend_for_ever<C: Cluster>(ctx: &Context<C>) -> anyhow::Result<()> {
    let mut applied = ctx.cluster.applied();
    let mut ticks = interval(Duration::from_millis(ctx.config.nodes.health_interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tended = BTreeMap::new();
    let mut names = rules::Names::new();
    loop {
        applied.mark_unchanged();
        seed(ctx).await?;
        let now_called = ctx.read(rules::names);
        if now_called != names {
            // Rules name indexes, and nodes know them by other names since.
            tended.clear();
            names = now_called;
        }
        let (version, waiting) = rules::waiting(ctx);
        tend_due(ctx, &mut tended, &names).await?;
        if !waiting.is_empty() && all_have(ctx, &tended, version) {
            rules::end(ctx, &waiting).await?;
        }
        tokio::select! {
            changed = applied.changed() => changed?,
            _ = ticks.tick() => {}
        }
    }
}

/// Whether every node that answers was given a registry that is at least this new.
fn all_have<C: Cluster>(ctx: &Context<C>, tended: &BTreeMap<NodeId, Tended>, version: u64) -> bool {
    let health = ctx.health.snapshot();
    let has = |node: &NodeId| {
        let given = tended.get(node).and_then(|known| known.version);
        let missed = health
            .get(node)
            .is_some_and(|seen| !seen.last_error.is_empty());
        missed || given.is_some_and(|given| given >= version)
    };
    ctx.read(|state| state.nodes.keys().all(has))
}

/// Makes the default keys, when nobody has. Without a master key there are no keys.
async fn seed<C: Cluster>(ctx: &Context<C>) -> anyhow::Result<()> {
    let seeded = ctx.read(|state| state.cluster_id.is_none() || state.registry.seeded);
    if seeded || ctx.config.node_master_key.is_none() {
        return Ok(());
    }
    let keys = DefaultKey::ALL.map(|key| (Uuid::new_v4().to_string(), key.to_key()));
    let command = Command::SeedKeys {
        keys: keys.to_vec(),
    };
    ctx.cluster.propose(command).await?;
    Ok(())
}

/// What was done to a node.
#[derive(Debug, Clone, Copy)]
struct Tended {
    /// The registry that it was given, unless that failed.
    version: Option<u64>,
    /// When it is looked at again, if the registry stays the same.
    again_at: Instant,
    /// The last pause after a failure.
    pause: Duration,
}

impl Tended {
    fn is_due(&self, version: u64, now: Instant) -> bool {
        now >= self.again_at || self.version.is_some_and(|given| given != version)
    }
}

/// Looks at every node that is due.
async fn tend_due<C: Cluster>(
    ctx: &Context<C>,
    tended: &mut BTreeMap<NodeId, Tended>,
    names: &rules::Names,
) -> anyhow::Result<()> {
    let (version, nodes) = ctx.read(|state| {
        let nodes: Vec<NodeId> = state.nodes.keys().copied().collect();
        (state.registry.version, nodes)
    });
    let health = ctx.health.snapshot();
    let missed = |node: &NodeId| {
        health
            .get(node)
            .is_some_and(|seen| !seen.last_error.is_empty())
    };
    // A node that was out of reach may come back without what it was given.
    tended.retain(|node, _| nodes.contains(node) && !missed(node));
    let now = Instant::now();
    let is_due = |node: &NodeId| {
        let known = tended.get(node);
        !missed(node) && known.is_none_or(|known| known.is_due(version, now))
    };
    let due: Vec<NodeId> = nodes.into_iter().filter(is_due).collect();
    if due.is_empty() || version == 0 {
        return Ok(());
    }
    // One that was cut off and does not know it must not undo what its successor did.
    if ctx.cluster.confirm_leadership().await.is_err() {
        return Ok(());
    }
    let registry = ctx.read(|state| Arc::clone(&state.registry));
    let done = join_all(due.iter().map(|node| tend(ctx, *node, &registry, names))).await;
    for (node, result) in due.into_iter().zip(done) {
        let before = tended
            .get(&node)
            .map_or(Duration::ZERO, |known| known.pause);
        tended.insert(node, outcome(node, &result, registry.version, before));
    }
    Ok(())
}

fn outcome(
    node: NodeId,
    result: &Result<(), MeiliError>,
    version: u64,
    before: Duration,
) -> Tended {
    let Err(error) = result else {
        return Tended {
            version: Some(version),
            again_at: Instant::now() + LOOK_EVERY,
            pause: Duration::ZERO,
        };
    };
    if before.is_zero() {
        tracing::warn!(%node, %error, "a node has not got its keys, features and rules, trying again");
    }
    let pause = (before * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    Tended {
        version: None,
        again_at: Instant::now() + pause,
        pause,
    }
}

async fn tend<C: Cluster>(
    ctx: &Context<C>,
    node: NodeId,
    registry: &Registry,
    names: &rules::Names,
) -> Result<(), MeiliError> {
    let Some(client) = ctx.fleet().client(node) else {
        return Ok(());
    };
    let client: NodeClient = client.with_timeout(CALL);
    if ctx.config.node_master_key.is_some() {
        keys::tend(node, &client, registry).await?;
    }
    features::tend(node, &client, registry).await?;
    rules::tend(node, &client, registry, names).await
}
