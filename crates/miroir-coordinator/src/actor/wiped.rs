//! Nodes that come back without what they held: wiped, or set back to an older state.
//!
//! A node says when it created an index. The first answer is kept in the replicated state; another answer later, or
//! none, means that the node has lost the index. It may be taken as the first answer only when the node has carried
//! out the settings of this life of the index: before, it could be an index of an earlier life of the same name.
//!
//! Numbers of a node's tasks only grow. A node whose newest task is older than one that it was given, or whose task
//! of that number is about something else, has therefore lost what it held as well, also when nothing was seen of it.
//!
//! A loss is reported twice: at once, which puts everything on the node out of use, and again when every proxy has
//! moved on, which has index and settings made anew. In between nobody searches the new index for the old one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use miroir_core::cluster::{Command, NodeIndex, Outcome};
use miroir_core::id::{Epoch, Incarnation, IndexUid, NodeId};
use miroir_meili::{MeiliError, NodeClient, NodeTask, NodeTaskUid, TaskStatus};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::Nodes;
use crate::session::Barriers;

/// What Meilisearch calls the task that carries settings.
const SETTINGS: &str = "settingsUpdate";

/// Looks at all nodes until cancelled, as often as their health is looked at. Leader-only.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) {
    let watch = Watch {
        barriers: Barriers::new(ctx.cluster.clone(), ctx.sessions.clone()),
        out_of_use: Mutex::default(),
        ctx: &ctx,
    };
    let mut ticks = interval(Duration::from_millis(ctx.config.nodes.health_interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let looked = cancel.run_until_cancelled(watch.look_at_all()).await;
        if looked.is_none() {
            return;
        }
    }
}

/// An index as the replicated state knows it on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    uid: IndexUid,
    incarnation: Incarnation,
    of_node: NodeIndex,
}

/// What a look at one index on one node showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Nothing new.
    Fine,
    /// Whether the node carried this task out decides.
    AskTask(u32),
    /// The node created the index of this life then.
    Seen(String),
    /// What was known of it is gone. With what was known of its creation, if anything.
    Lost(Option<String>),
}

/// An index on a node.
type Place = (IndexUid, Incarnation, NodeId);

struct Watch<'a, C> {
    ctx: &'a Context<C>,
    barriers: Barriers<C>,
    /// Lost indexes of which nothing is in use any more, with the epoch since which it is not.
    out_of_use: Mutex<BTreeMap<Place, Epoch>>,
}

impl<C: Cluster> Watch<'_, C> {
    async fn look_at_all(&self) {
        let nodes: Vec<NodeId> = self.ctx.read(|state| state.nodes.keys().copied().collect());
        let looks = nodes.iter().map(|node| self.look_at(*node));
        for (node, looked) in nodes.iter().zip(join_all(looks).await) {
            if let Err(error) = looked {
                // Whether a node answers is for the health look to tell; one that does not shows nothing here.
                tracing::debug!(%node, %error, "a node does not tell of its indexes");
            }
        }
    }

    async fn look_at(&self, node: NodeId) -> Result<(), MeiliError> {
        let known = known_on(self.ctx, node);
        let Some(client) = self.ctx.fleet().client(node).filter(|_| !known.is_empty()) else {
            return Ok(());
        };
        let timeout = Duration::from_millis(self.ctx.config.nodes.health_timeout_ms);
        let client = client.with_timeout(timeout);
        let newest = client.newest_task_uid().await?;
        let held = client.indexes().await?.into_iter();
        let held: BTreeMap<String, String> =
            held.map(|index| (index.uid, index.created_at)).collect();
        for one in known {
            let created = held.get(one.uid.as_str()).map(String::as_str);
            let verdict = match judge(&one.of_node, created, newest) {
                Verdict::AskTask(task) => {
                    let task = client.task(NodeTaskUid(task)).await?;
                    judge_task(one.uid.as_str(), created, task.as_ref())
                }
                Verdict::Lost(known) => confirmed(&client, &one, known, newest).await?,
                other @ (Verdict::Fine | Verdict::Seen(_)) => other,
            };
            self.tell(node, &one, verdict).await;
        }
        Ok(())
    }

    /// Commits what was found, unless the state has moved on since.
    async fn tell(&self, node: NodeId, one: &Known, verdict: Verdict) {
        let command = match verdict {
            Verdict::Fine | Verdict::AskTask(_) => return,
            Verdict::Seen(created_at) => seen(node, one, created_at),
            Verdict::Lost(Some(created_at)) if self.may_lose(node, one) => {
                tracing::error!(index = %one.uid, %node, "the node has lost the index; what it held is built anew");
                lost(node, one, created_at)
            }
            Verdict::Lost(Some(_)) => return,
            Verdict::Lost(None) => {
                // A loss is a change of what was known. Said now, it is found at the next look.
                let task = one.of_node.settings_task.unwrap_or_default();
                seen(
                    node,
                    one,
                    format!("lost with task {task}, before it was seen"),
                )
            }
        };
        if !known_on(self.ctx, node).contains(one) {
            return;
        }
        match self.ctx.cluster.propose(command).await {
            Ok(Outcome::Rejected(rejection)) => {
                tracing::debug!(index = %one.uid, %node, %rejection, "a report on a node's index was refused");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(index = %one.uid, %node, %error, "a report on a node's index was not committed; looking again");
            }
        }
    }

    /// Whether a loss may be reported now: at once while something is in use there, and then only when no proxy
    /// takes it to be in use any more. A new leader counts from when it first finds nothing in use.
    fn may_lose(&self, node: NodeId, one: &Known) -> bool {
        let place = (one.uid.clone(), one.incarnation, node);
        let mut out_of_use = self
            .out_of_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.ctx.read(|state| {
            if state.uses_index_on(&one.uid, node) {
                out_of_use.remove(&place);
                return true;
            }
            let since = *out_of_use.entry(place.clone()).or_insert(state.epoch);
            let passed = self.barriers.reads_have_passed(state, since);
            if passed {
                out_of_use.remove(&place);
            }
            passed
        })
    }
}

/// What the state knows of the indexes on a node, those of which nothing is to be expected left out.
fn known_on<C: Cluster>(ctx: &Context<C>, node: NodeId) -> Vec<Known> {
    ctx.read(|state| {
        let known = state.indexes.values().filter_map(|index| {
            let of_node = index.nodes.get(&node)?;
            let expected = of_node.created_at.is_some() || of_node.settings_task.is_some();
            expected.then(|| Known {
                uid: index.name().clone(),
                incarnation: index.incarnation,
                of_node: of_node.clone(),
            })
        });
        known.collect()
    })
}

/// What to make of an index of which the node says that it was `created` then, or that there is none. `newest` is
/// the node's newest task.
fn judge(known: &NodeIndex, created: Option<&str>, newest: Option<NodeTaskUid>) -> Verdict {
    let forgot = known
        .settings_task
        .is_some_and(|given| newest.is_none_or(|newest| newest.0 < given));
    match (&known.created_at, known.settings_task) {
        (Some(before), _) if forgot || created != Some(before) => {
            Verdict::Lost(Some(before.clone()))
        }
        (Some(_), _) | (None, None) => Verdict::Fine,
        (None, Some(_)) if forgot => Verdict::Lost(None),
        (None, Some(task)) => Verdict::AskTask(task),
    }
}

/// The same, of an index that was not seen yet, by the node's own word on the task that carried its settings.
fn judge_task(uid: &str, created: Option<&str>, task: Option<&NodeTask>) -> Verdict {
    // Deleted from its list by age: nothing can be said any more.
    let Some(task) = task else {
        return Verdict::Fine;
    };
    if task.index_uid.as_deref() != Some(uid) || task.kind != SETTINGS {
        return Verdict::Lost(None);
    }
    match (task.status, created) {
        (TaskStatus::Succeeded, Some(created)) => Verdict::Seen(created.to_owned()),
        (TaskStatus::Succeeded, None)
        | (
            TaskStatus::Enqueued
            | TaskStatus::Processing
            | TaskStatus::Failed
            | TaskStatus::Canceled,
            _,
        ) => Verdict::Fine,
    }
}

/// Asks again for the one index that seems lost: a list that was read in pages may leave one out.
async fn confirmed(
    client: &NodeClient,
    one: &Known,
    known: Option<String>,
    newest: Option<NodeTaskUid>,
) -> Result<Verdict, MeiliError> {
    let held = client.index(one.uid.as_str()).await?;
    let created = held.map(|index| index.created_at);
    Ok(match judge(&one.of_node, created.as_deref(), newest) {
        Verdict::Lost(_) => Verdict::Lost(known),
        Verdict::Fine | Verdict::AskTask(_) | Verdict::Seen(_) => Verdict::Fine,
    })
}

fn seen(node: NodeId, one: &Known, created_at: String) -> Command {
    Command::IndexSeen {
        uid: one.uid.clone(),
        incarnation: one.incarnation,
        node,
        created_at,
    }
}

fn lost(node: NodeId, one: &Known, created_at: String) -> Command {
    Command::IndexLost {
        uid: one.uid.clone(),
        incarnation: one.incarnation,
        node,
        created_at,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIRST: &str = "2026-01-01T00:00:00Z";
    const SECOND: &str = "2026-02-02T00:00:00Z";

    fn known(created_at: Option<&str>, settings_task: Option<u32>) -> NodeIndex {
        NodeIndex {
            settings_version: u64::from(settings_task.is_some()),
            settings_task,
            created_at: created_at.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn an_index_is_lost_when_its_creation_changes_or_the_node_forgot_its_tasks() {
        let lost = |at: &str| Verdict::Lost(Some(at.to_owned()));
        let table = [
            (
                known(Some(FIRST), Some(7)),
                Some(FIRST),
                Some(9),
                Verdict::Fine,
            ),
            (
                known(Some(FIRST), Some(7)),
                Some(FIRST),
                Some(7),
                Verdict::Fine,
            ),
            (
                known(Some(FIRST), Some(7)),
                Some(SECOND),
                Some(9),
                lost(FIRST),
            ),
            (known(Some(FIRST), Some(7)), None, Some(9), lost(FIRST)),
            // Set back to a snapshot of its disk: the index is the same, what came after is gone.
            (
                known(Some(FIRST), Some(7)),
                Some(FIRST),
                Some(6),
                lost(FIRST),
            ),
            (known(Some(FIRST), Some(7)), Some(FIRST), None, lost(FIRST)),
            // Its settings are on their way again.
            (known(Some(FIRST), None), Some(SECOND), Some(1), lost(FIRST)),
            (known(None, None), Some(SECOND), Some(1), Verdict::Fine),
            // Never seen.
            (
                known(None, Some(7)),
                Some(SECOND),
                Some(7),
                Verdict::AskTask(7),
            ),
            (known(None, Some(7)), None, Some(9), Verdict::AskTask(7)),
            (
                known(None, Some(7)),
                Some(SECOND),
                Some(6),
                Verdict::Lost(None),
            ),
            (known(None, Some(0)), None, None, Verdict::Lost(None)),
            (known(None, Some(0)), None, Some(0), Verdict::AskTask(0)),
        ];
        for (known, created, newest, expected) in table {
            let found = judge(&known, created, newest.map(NodeTaskUid));
            assert_eq!(found, expected, "{known:?} {created:?} {newest:?}");
        }
    }

    fn task(index: &str, kind: &str, status: &str) -> NodeTask {
        serde_json::from_value(json!({
            "uid": 7, "indexUid": index, "status": status, "type": kind,
            "enqueuedAt": FIRST, "startedAt": null, "finishedAt": null,
        }))
        .expect("a task")
    }

    #[test]
    fn an_index_is_first_seen_only_behind_its_settings() {
        let table = [
            (
                Some(task("books", SETTINGS, "succeeded")),
                Some(FIRST),
                Verdict::Seen(FIRST.to_owned()),
            ),
            (
                Some(task("books", SETTINGS, "succeeded")),
                None,
                Verdict::Fine,
            ),
            // An index of an earlier life, perhaps.
            (
                Some(task("books", SETTINGS, "enqueued")),
                Some(FIRST),
                Verdict::Fine,
            ),
            (
                Some(task("books", SETTINGS, "processing")),
                Some(FIRST),
                Verdict::Fine,
            ),
            (
                Some(task("books", SETTINGS, "failed")),
                Some(FIRST),
                Verdict::Fine,
            ),
            (
                Some(task("books", SETTINGS, "canceled")),
                None,
                Verdict::Fine,
            ),
            (None, Some(FIRST), Verdict::Fine),
            // The number was given again, so the node forgot the first.
            (
                Some(task("films", SETTINGS, "succeeded")),
                Some(FIRST),
                Verdict::Lost(None),
            ),
            (
                Some(task("books", "documentAdditionOrUpdate", "succeeded")),
                Some(FIRST),
                Verdict::Lost(None),
            ),
        ];
        for (task, created, expected) in table {
            let found = judge_task("books", created, task.as_ref());
            assert_eq!(found, expected, "{task:?} {created:?}");
        }
    }
}
