//! Sends finished tasks to the webhooks of the registry, as Meilisearch does: NDJSON, gzipped, one POST for those that
//! finished together.
//!
//! Which tasks were sent lives in memory. A new leader sends those that finish from then on: what finished as its
//! predecessor ended may be sent twice or not at all, so a webhook is a hint to look, not a record.

mod payload;
mod post;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use miroir_core::cluster::{ClusterState, Task};
use miroir_core::id::TaskUid;
use miroir_core::registry::{Collection, Registry};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use post::Poster;
pub(crate) use post::certificates;

/// Tasks that finish within this time go in one request.
const GATHER: Duration = Duration::from_millis(200);
/// The most tasks in one request.
const TASKS_MAX: usize = 1000;
/// How often a request is tried, with growing pauses.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// A webhook as the registry keeps it.
#[derive(Debug, Clone, Deserialize)]
struct Webhook {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Sends until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended, or the configured certificates cannot be read.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    let poster = Poster::new(&ctx.config.webhooks)?;
    match cancel
        .run_until_cancelled(send_for_ever(&ctx, &poster))
        .await
    {
        Some(ended) => ended,
        None => Ok(()),
    }
}

async fn send_for_ever<C: Cluster>(ctx: &Context<C>, poster: &Poster) -> anyhow::Result<()> {
    let mut applied = ctx.cluster.applied();
    let mut watch = None;
    loop {
        applied.mark_unchanged();
        let (webhooks, finished) = ctx.read(|state| {
            let webhooks = webhooks(&state.registry);
            if webhooks.is_empty() {
                watch = None;
                return (webhooks, Vec::new());
            }
            let watch = watch.get_or_insert_with(|| Watch::begin(state));
            (webhooks, watch.finished(state))
        });
        if finished.len() == TASKS_MAX {
            // There may be more.
            applied.mark_changed();
        }
        if !finished.is_empty() {
            let body = payload::of(&finished)?;
            join_all(webhooks.iter().map(|one| send(poster, one, &body))).await;
        }
        applied.changed().await?;
        tokio::time::sleep(GATHER).await;
    }
}

fn webhooks(registry: &Registry) -> Vec<Webhook> {
    let entries = registry.iter(Collection::Webhooks);
    let read = |(_, entry): (_, &std::sync::Arc<miroir_core::registry::Entry>)| {
        Webhook::deserialize(&entry.value).ok()
    };
    entries.filter_map(read).collect()
}

/// Which tasks have not been sent.
#[derive(Debug, PartialEq, Eq)]
struct Watch {
    /// Tasks that had not finished.
    pending: BTreeSet<TaskUid>,
    /// The first task that was not seen.
    next: TaskUid,
}

impl Watch {
    /// Sends nothing of what has finished by now.
    fn begin(state: &ClusterState) -> Self {
        let newest = state.tasks.iter().next_back();
        Self {
            pending: state.tasks.unfinished().map(|task| task.uid).collect(),
            next: TaskUid(newest.map_or(0, |task| task.uid.0 + 1)),
        }
    }

    /// Tasks that have finished since, oldest first, [`TASKS_MAX`] at most.
    fn finished(&mut self, state: &ClusterState) -> Vec<Task> {
        for task in state.tasks.iter().rev() {
            if task.uid < self.next {
                break;
            }
            self.pending.insert(task.uid);
        }
        self.next = Self::begin(state).next.max(self.next);
        let mut finished = Vec::new();
        self.pending.retain(|uid| match state.tasks.get(*uid) {
            Some(task) if !task.status.is_final() || finished.len() == TASKS_MAX => true,
            Some(task) => {
                finished.push(task.clone());
                false
            }
            None => false,
        });
        finished
    }
}

async fn send(poster: &Poster, webhook: &Webhook, body: &Bytes) {
    let mut pause = PAUSE;
    for attempt in 1..=ATTEMPTS {
        let Err(why) = poster.post(webhook, body.clone()).await else {
            return;
        };
        if attempt == ATTEMPTS {
            tracing::warn!(
                why,
                "a webhook does not take finished tasks; they are not sent again"
            );
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{Command, NewTask, Policy, TaskKind, TaskStatus, TaskUpdate};
    use serde_json::json;

    use super::*;

    fn register(state: &mut ClusterState, at: u64, fails: bool) {
        let task = NewTask {
            kind: TaskKind::IndexUpdate,
            details: json!({}),
            custom_metadata: None,
            failure: fails.then(|| json!({ "code": "index_not_found" })),
            idempotency: None,
        };
        state.apply(at, at, &Command::RegisterTask { uid: None, task });
    }

    fn finish(state: &mut ClusterState, at: u64, uid: u32) {
        let update = TaskUpdate {
            uid: TaskUid(uid),
            status: TaskStatus::Succeeded,
            details: None,
            error: None,
            started_at_ms: Some(at),
            finished_at_ms: Some(at),
        };
        let updates = vec![update];
        state.apply(at, at, &Command::UpdateTasks { updates });
    }

    #[test]
    fn every_task_that_finishes_is_sent_once() {
        let mut state = ClusterState::default();
        let bootstrap = Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy: Policy::default(),
        };
        state.apply(1, 0, &bootstrap);
        let uids = |tasks: Vec<Task>| tasks.iter().map(|task| task.uid.0).collect::<Vec<_>>();
        register(&mut state, 2, true);
        register(&mut state, 3, true);
        let mut watch = Watch::begin(&state);
        assert_eq!(
            uids(watch.finished(&state)),
            [0_u32; 0],
            "they had finished before"
        );
        register(&mut state, 4, true);
        register(&mut state, 5, false);
        assert_eq!(uids(watch.finished(&state)), [2]);
        assert_eq!(uids(watch.finished(&state)), [0_u32; 0]);
        finish(&mut state, 6, 3);
        assert_eq!(uids(watch.finished(&state)), [3]);
        assert_eq!(uids(watch.finished(&state)), [0_u32; 0]);
    }
}
