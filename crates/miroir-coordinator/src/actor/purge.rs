//! Deletes what is left of deleted indexes on the nodes.
//!
//! A node that is down gets its deletion when it is back. A new index of the same uid is refused until then, so
//! a deletion, however late, can never meet another index than its own.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use miroir_core::cluster::Command;
use miroir_core::id::{Incarnation, IndexUid, NodeId};
use miroir_meili::MeiliError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// How long one deletion may take to be enqueued. A new leader waits this long before its first one, because
/// the last leader's may be on their way: after them nothing of the old index may arrive any more.
const CALL: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// One node that has to delete one index.
type Due = (IndexUid, Incarnation, NodeId);

/// Purges until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    match cancel.run_until_cancelled(purge_for_ever(&ctx)).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

async fn purge_for_ever<C: Cluster>(ctx: &Context<C>) -> anyhow::Result<()> {
    let late = Duration::from_millis(ctx.config.late_request_ms);
    if !due(ctx).is_empty() {
        tokio::time::sleep(CALL + late).await;
    }
    let mut applied = ctx.cluster.applied();
    let mut failing: HashMap<Due, Failing> = HashMap::new();
    loop {
        applied.mark_unchanged();
        let due = due(ctx);
        failing.retain(|one, _| due.contains(one));
        let now = Instant::now();
        let ready = due
            .iter()
            .filter(|one| failing.get(one).is_none_or(|f| f.again_at <= now));
        let ready: Vec<Due> = ready.cloned().collect();
        let done = join_all(ready.iter().map(|one| purge(ctx, one, late))).await;
        for (one, result) in ready.into_iter().zip(done) {
            if let Err(error) = result {
                let failed = failing.entry(one.clone()).or_default();
                failed.again(&one, &error);
            }
        }
        let again_at = failing.values().map(|failed| failed.again_at).min();
        tokio::select! {
            changed = applied.changed() => changed?,
            () = until(again_at) => {}
            () = tokio::time::sleep(PAUSE_MIN), if !all_due(ctx).is_empty() => {}
        }
    }
}

/// What can be deleted now: nothing of an index whose documents an actor may be sending somewhere.
fn due<C: Cluster>(ctx: &Context<C>) -> Vec<Due> {
    let rests = |one: &Due| !ctx.underway.is_at_work(&one.0, one.1);
    all_due(ctx).into_iter().filter(rests).collect()
}

fn all_due<C: Cluster>(ctx: &Context<C>) -> Vec<Due> {
    ctx.read(|state| {
        let waiting = state.departed.iter().flat_map(|departed| {
            departed
                .waiting
                .iter()
                .map(|node| (departed.uid.clone(), departed.incarnation, *node))
        });
        waiting.collect()
    })
}

/// Has the node delete the index, then commits that it has.
async fn purge<C: Cluster>(
    ctx: &Context<C>,
    (uid, incarnation, node): &Due,
    late: Duration,
) -> anyhow::Result<()> {
    // One that was cut off and does not know it must not delete what its successor allowed to be created.
    ctx.cluster.confirm_leadership().await?;
    let node_task = match ctx.fleet().client(*node) {
        Some(client) => match client.with_timeout(CALL).delete_index(uid.as_str()).await {
            Ok(task) => Some(task.task_uid.0),
            Err(error) if error.is_index_not_found() => None,
            Err(error) => {
                if error.outcome_unknown() {
                    // Sent again it does no harm, but only once the first can no longer arrive.
                    tokio::time::sleep(late).await;
                }
                return Err(error.into());
            }
        },
        None => None,
    };
    let command = Command::IndexPurged {
        uid: uid.clone(),
        incarnation: *incarnation,
        node: *node,
        node_task,
    };
    ctx.cluster.propose(command).await?;
    Ok(())
}

/// A deletion that failed, and when it is tried again.
#[derive(Debug)]
struct Failing {
    again_at: Instant,
    pause: Duration,
}

impl Default for Failing {
    fn default() -> Self {
        Self {
            again_at: Instant::now(),
            pause: PAUSE_MIN,
        }
    }
}

impl Failing {
    fn again(&mut self, (uid, _, node): &Due, error: &anyhow::Error) {
        let refused = error
            .downcast_ref::<MeiliError>()
            .is_some_and(|error| !error.retryable());
        if self.pause == PAUSE_MIN || refused {
            tracing::warn!(index = %uid, %node, "a deleted index is still on a node, trying again: {error:#}");
        }
        self.again_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
