//! Takes dumps of the whole cluster: a cut through everything that is written.
//!
//! ```text
//! Waiting --hold--> Holding --nobody writes, queues are drained--> Reached --every node asked--> told
//!    ^                 |                                              |
//!    +---- released ---+------------ a copy moved meanwhile ----------+
//! ```
//!
//! Each stage is committed before anything is done in it, so that the next leader goes on with it. Clients' writes wait
//! in all but the first; every attempt has a bound, after which they go on.

mod nodes;

use std::collections::BTreeSet;
use std::time::Duration;

use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{ClusterState, Command, Cut, CutIndex, CutStage, CutStep, Index};
use miroir_core::id::{Epoch, Incarnation, IndexUid, NodeId, TaskUid};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::failpoint;
use crate::session::Barriers;
use nodes::Queue;

/// How long the first attempt may hold writes; each further one twice as long.
const HOLD: Duration = Duration::from_secs(3);
/// How long queues may take to become short before the next attempt.
const SHORT_WITHIN: Duration = Duration::from_secs(60);
/// Unfinished tasks of a node that are few enough for another attempt.
const SHORT: u64 = 8;
/// Pause between two looks at what changes without notice.
const LOOK: Duration = Duration::from_millis(20);
/// Pause after something failed.
const PAUSE: Duration = Duration::from_millis(500);

/// The dump whose turn it is.
#[derive(Debug, Clone)]
struct Turn {
    task: TaskUid,
    cut: Cut,
    nodes: Vec<NodeId>,
}

/// Takes dumps until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    match cancel.run_until_cancelled(take_for_ever(&ctx)).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

async fn take_for_ever<C: Cluster>(ctx: &Context<C>) -> anyhow::Result<()> {
    let mut applied = ctx.cluster.applied();
    loop {
        applied.mark_unchanged();
        let Some(turn) = ctx.read(turn) else {
            applied.changed().await?;
            continue;
        };
        if let Err(error) = step(ctx, &turn).await {
            tracing::warn!(task = %turn.task, "a dump of the cluster cannot go on, trying again: {error:#}");
            sleep(PAUSE).await;
        }
    }
}

fn turn(state: &ClusterState) -> Option<Turn> {
    let (task, cut) = state
        .broadcasts
        .iter()
        .find_map(|one| Some((one.task, one.cut.as_ref()?)))?;
    Some(Turn {
        task,
        cut: cut.clone(),
        nodes: state.nodes.keys().copied().collect(),
    })
}

/// Takes the dump one stage further.
async fn step<C: Cluster>(ctx: &Context<C>, turn: &Turn) -> anyhow::Result<()> {
    failpoint::enter_cut(match turn.cut.stage {
        CutStage::Waiting => "cut-Waiting",
        CutStage::Holding { .. } => "cut-Holding",
        CutStage::Reached { .. } => "cut-Reached",
    })
    .await;
    ctx.cluster.confirm_leadership().await?;
    let step = match &turn.cut.stage {
        CutStage::Waiting => {
            if turn.cut.attempts > 0 {
                let short = nodes::short(ctx, &turn.nodes, SHORT);
                // Too busy or not, the next attempt has its own bound.
                let _ = timeout(SHORT_WITHIN, short).await;
            }
            CutStep::Hold
        }
        CutStage::Holding { since } => {
            let bound = HOLD * 2_u32.saturating_pow(turn.cut.attempts);
            match timeout(bound, reach(ctx, turn, *since)).await {
                Ok(drained) => CutStep::Reached {
                    drained: drained.into_iter().collect(),
                },
                Err(_) => released(turn, too_busy(bound)),
            }
        }
        CutStage::Reached { indexes } => match nodes::ask(ctx, &needed(turn, indexes)).await {
            Ok(asked) => CutStep::Sent { asked },
            Err(error) => CutStep::Release {
                failure: Some(error),
            },
        },
    };
    let command = Command::Cut {
        task: turn.task,
        attempt: turn.cut.attempts,
        step,
    };
    ctx.cluster.propose(command).await?;
    Ok(())
}

/// The nodes whose dumps are needed; of a cluster without documents there are keys and features on all.
fn needed(turn: &Turn, indexes: &[CutIndex]) -> BTreeSet<NodeId> {
    let shards = indexes.iter().flat_map(|index| &index.told.shards);
    let needed: BTreeSet<NodeId> = shards.flatten().copied().collect();
    if needed.is_empty() {
        turn.nodes.iter().copied().collect()
    } else {
        needed
    }
}

/// Waits until nobody writes by a table of before the hold, every copy has its index's settings, and every node has
/// carried out what it was sent. Answers the nodes that did; others do not answer.
async fn reach<C: Cluster>(ctx: &Context<C>, turn: &Turn, since: Epoch) -> BTreeSet<NodeId> {
    let barriers = Barriers::new(ctx.cluster.clone(), ctx.sessions.clone());
    let indexes: Vec<(IndexUid, Incarnation)> = ctx.read(|state| {
        let all = state.indexes.iter();
        all.map(|(name, index)| (name.clone(), index.incarnation))
            .collect()
    });
    for (name, incarnation) in &indexes {
        barriers.writes(name, *incarnation, since).await;
    }
    let mut answering: BTreeSet<NodeId> = turn.nodes.iter().copied().collect();
    loop {
        let queues = nodes::queues(ctx, &answering).await;
        answering.retain(|node| !queues.contains(&(*node, Queue::Silent)));
        settings(ctx, &answering).await;
        // What carried the settings is in the queues by now.
        let before = brought(ctx);
        let queues = nodes::queues(ctx, &answering).await;
        answering = nodes::drained(ctx, queues).await;
        // An index that was made, or settings that were sent, after the queues were looked at may still be in them.
        if before == brought(ctx) && !nodes::have_unnoticed(ctx, &answering).await {
            return answering;
        }
        sleep(LOOK).await;
    }
}

/// The version of an index's settings, and those that its nodes have enqueued.
type Brought = (Incarnation, u64, Vec<(NodeId, u64)>);

/// Which settings of which indexes nodes have been sent. Making an index and changing settings is not held.
fn brought<C: Cluster>(ctx: &Context<C>) -> Vec<Brought> {
    let of_index = |index: &Index| {
        let known = index.nodes.iter();
        let known = known.map(|(node, known)| (*node, known.settings_version));
        (index.incarnation, index.settings.version, known.collect())
    };
    ctx.read(|state| state.indexes.values().map(of_index).collect())
}

/// Waits until every node that answers and has a copy in sync has enqueued its index's newest settings: they are
/// committed before they are sent.
async fn settings<C: Cluster>(ctx: &Context<C>, answering: &BTreeSet<NodeId>) {
    loop {
        let behind = ctx.read(|state| {
            state.indexes.values().any(|index| {
                let is_behind = |node: NodeId| {
                    let known = index.nodes.get(&node);
                    known.is_none_or(|known| known.settings_version < index.settings.version)
                };
                let on_nodes = index.nodes.values().any(|known| known.settings_version > 0);
                let mut copies = index.placement.iter().flat_map(|shard| shard.readable());
                on_nodes && copies.any(|r| answering.contains(&r.node) && is_behind(r.node))
            })
        });
        if !behind {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Ends a hold; after the last attempt it ends the task, too.
fn released(turn: &Turn, error: Value) -> CutStep {
    let last = turn.cut.attempts + 1 >= Cut::ATTEMPTS_MAX;
    CutStep::Release {
        failure: last.then_some(error),
    }
}

fn too_busy(bound: Duration) -> Value {
    let message = format!(
        "Writes were held for {} s, and nodes had not carried out by then what they had been sent; try again when less is written.",
        bound.as_secs()
    );
    json!(ApiError::new(Code::Internal, message))
}
