//! Asks nodes for their share of tasks that each carries out by itself: dumps, snapshots, compactions.
//!
//! A node that is down is asked when it is back. One that was asked and whose answer was lost is asked again: it then
//! does the same twice, which costs time and space and harms nothing.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{Command, TaskKind};
use miroir_core::id::{IndexUid, NodeId, TaskUid};
use miroir_meili::{EnqueuedTask, MeiliError, NodeClient};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// How long one request may take to be enqueued.
const CALL: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// One node that has to be asked for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    task: TaskUid,
    kind: TaskKind,
    index: Option<IndexUid>,
    node: NodeId,
}

/// When a node that did not answer is asked again, and the pause after that.
type Failing = HashMap<(TaskUid, NodeId), (Instant, Duration)>;

/// Asks until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    match cancel.run_until_cancelled(ask_for_ever(&ctx)).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

async fn ask_for_ever<C: Cluster>(ctx: &Context<C>) -> anyhow::Result<()> {
    let mut applied = ctx.cluster.applied();
    let mut failing = Failing::new();
    loop {
        applied.mark_unchanged();
        let due = due(ctx);
        failing.retain(|key, _| due.iter().any(|one| (one.task, one.node) == *key));
        let now = Instant::now();
        let is_ready = |one: &&Due| {
            let again = failing.get(&(one.task, one.node));
            again.is_none_or(|(again_at, _)| *again_at <= now)
        };
        let ready: Vec<&Due> = due.iter().filter(is_ready).collect();
        let asked = join_all(ready.iter().map(|one| ask(ctx, one))).await;
        for (one, result) in ready.into_iter().zip(asked) {
            if let Err(error) = result {
                again(&mut failing, one, &error);
            }
        }
        let again_at = failing.values().map(|(again_at, _)| *again_at).min();
        tokio::select! {
            changed = applied.changed() => changed?,
            () = until(again_at) => {}
        }
    }
}

fn due<C: Cluster>(ctx: &Context<C>) -> Vec<Due> {
    ctx.read(|state| {
        // A dump of the whole cluster has an actor of its own.
        let plain = state.broadcasts.iter().filter(|one| one.cut.is_none());
        let waiting = plain.flat_map(|broadcast| {
            broadcast.waiting.iter().map(|node| Due {
                task: broadcast.task,
                kind: broadcast.kind,
                index: broadcast.index.clone(),
                node: *node,
            })
        });
        waiting.collect()
    })
}

/// Asks one node, and commits what it answered. An error is worth another try.
async fn ask<C: Cluster>(ctx: &Context<C>, one: &Due) -> anyhow::Result<()> {
    ctx.cluster.confirm_leadership().await?;
    let answer = match ctx.fleet().client(one.node) {
        Some(client) => match send(&client.with_timeout(CALL), one).await {
            Ok(task) => Ok(task.task_uid.0),
            Err(error) if error.retryable() => return Err(error.into()),
            Err(error) => Err(refusal(one.node, &error)),
        },
        // It has just been removed; so has what it was to be asked for.
        None => return Ok(()),
    };
    let command = Command::BroadcastSent {
        task: one.task,
        node: one.node,
        answer,
    };
    ctx.cluster.propose(command).await?;
    Ok(())
}

async fn send(client: &NodeClient, one: &Due) -> Result<EnqueuedTask, MeiliError> {
    match (one.kind, &one.index) {
        (TaskKind::DumpCreation, _) => client.create_dump().await,
        (TaskKind::SnapshotCreation, _) => client.create_snapshot().await,
        (TaskKind::IndexCompaction, Some(index)) => client.compact_index(index.as_str()).await,
        (
            TaskKind::DocumentAdditionOrUpdate
            | TaskKind::DocumentDeletion
            | TaskKind::SettingsUpdate
            | TaskKind::IndexCreation
            | TaskKind::IndexUpdate
            | TaskKind::IndexSwap
            | TaskKind::IndexDeletion
            | TaskKind::IndexCompaction
            | TaskKind::TaskCancelation
            | TaskKind::TaskDeletion
            | TaskKind::DsrUpdate
            | TaskKind::DsrClear,
            _,
        ) => Err(MeiliError::Invalid {
            what: format!("no node is asked for a {} as a whole", one.kind.as_str()),
        }),
    }
}

/// The error of a task that a node does not take.
fn refusal(node: NodeId, error: &MeiliError) -> Value {
    match error {
        MeiliError::Api { error, .. } => json!({
            "message": error.message, "code": error.code, "type": error.kind, "link": error.link,
        }),
        MeiliError::Invalid { .. }
        | MeiliError::Connect { .. }
        | MeiliError::UnknownOutcome { .. }
        | MeiliError::Busy { .. }
        | MeiliError::Protocol { .. } => {
            let message = format!("Node {node} does not take the task: {error}");
            json!(ApiError::new(Code::Internal, message))
        }
    }
}

fn again(failing: &mut Failing, one: &Due, error: &anyhow::Error) {
    let (again_at, pause) = failing
        .entry((one.task, one.node))
        .or_insert((Instant::now(), PAUSE_MIN));
    if *pause == PAUSE_MIN {
        tracing::warn!(task = %one.task, node = %one.node, "a node cannot be asked for its share, trying again: {error:#}");
    }
    *again_at = Instant::now() + *pause;
    *pause = (*pause * 2).min(PAUSE_MAX);
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
