//! Asks nodes about their tasks, and remembers what they said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::future::join_all;
use miroir_core::id::NodeId;
use miroir_meili::{NodeTask, NodeTaskUid};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::aggregate::{Known, Report};
use super::work::Work;
use crate::actor::{Context, Fleet};
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// Pause before a node that did not answer is asked again; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A task of one node.
type Key = (NodeId, u32);

/// Remembers what nodes said of the tasks that are followed.
#[derive(Debug)]
pub(super) struct Poller<C> {
    fleet: Fleet<C>,
    timeout: Duration,
    lost_after: Duration,
    reports: HashMap<Key, Report>,
    /// Tasks that their node does not know, and since when it says so.
    missing: HashMap<Key, Instant>,
    /// Nodes that did not answer: when they are asked again, and the pause after that.
    silent: HashMap<NodeId, (Instant, Duration)>,
}

impl<C: Cluster> Poller<C> {
    pub(super) fn new(ctx: &Context<C>) -> Self {
        Self {
            fleet: ctx.fleet(),
            timeout: Duration::from_millis(ctx.config.nodes.health_timeout_ms),
            lost_after: Duration::from_millis(ctx.config.tasks.lost_after_ms),
            reports: HashMap::new(),
            missing: HashMap::new(),
            silent: HashMap::new(),
        }
    }

    /// What is known of a node's task.
    pub(super) fn known(&self, node: NodeId, node_task: u32) -> Known {
        let key = (node, node_task);
        match (self.reports.get(&key), self.missing.get(&key)) {
            (_, Some(since)) if since.elapsed() >= self.lost_after => Known::Lost,
            (Some(report), _) => Known::Report(Box::new(report.clone())),
            (None, _) => Known::Nothing,
        }
    }

    /// Asks every node about its tasks in `work` that have not ended; answers whether anything was learned.
    pub(super) async fn poll(&mut self, work: &[Work]) -> bool {
        let wanted: BTreeSet<Key> = work
            .iter()
            .flat_map(|one| &one.parts)
            .map(|part| (part.node, part.node_task))
            .collect();
        self.reports.retain(|key, _| wanted.contains(key));
        self.missing.retain(|key, _| wanted.contains(key));
        let mut by_node: BTreeMap<NodeId, Vec<NodeTaskUid>> = BTreeMap::new();
        let now = Instant::now();
        for (node, task) in wanted {
            let ended = self
                .reports
                .get(&(node, task))
                .is_some_and(|report| report.status.is_final());
            let silent = self
                .silent
                .get(&node)
                .is_some_and(|(again_at, _)| *again_at > now);
            if !ended && !silent {
                by_node.entry(node).or_default().push(NodeTaskUid(task));
            }
        }
        let answers = join_all(by_node.iter().map(|(node, uids)| self.ask(*node, uids))).await;
        let mut learned = false;
        for ((node, uids), answer) in by_node.into_iter().zip(answers) {
            learned |= self.take(node, &uids, answer);
        }
        learned
    }

    async fn ask(&self, node: NodeId, uids: &[NodeTaskUid]) -> Result<Vec<NodeTask>, String> {
        // A node that has left has no tasks.
        let Some(client) = self.fleet.client(node) else {
            return Ok(Vec::new());
        };
        client
            .with_timeout(self.timeout)
            .tasks_of(uids)
            .await
            .map_err(|error| error.to_string())
    }

    fn take(
        &mut self,
        node: NodeId,
        asked: &[NodeTaskUid],
        answer: Result<Vec<NodeTask>, String>,
    ) -> bool {
        let tasks = match answer {
            Ok(tasks) => tasks,
            Err(error) => {
                let pause = self
                    .silent
                    .get(&node)
                    .map_or(PAUSE_MIN, |(_, pause)| *pause);
                tracing::debug!(%node, error, "a node does not tell of its tasks");
                self.silent
                    .insert(node, (Instant::now() + pause, (pause * 2).min(PAUSE_MAX)));
                return false;
            }
        };
        self.silent.remove(&node);
        let mut learned = false;
        let mut found = BTreeSet::new();
        for task in tasks {
            found.insert(task.uid);
            let key = (node, task.uid.0);
            self.missing.remove(&key);
            let report = report(task);
            let before = self.reports.get(&key).map(|known| known.status);
            learned |= before != Some(report.status);
            self.reports.insert(key, report);
        }
        for uid in asked.iter().filter(|uid| !found.contains(uid)) {
            self.missing.entry((node, uid.0)).or_insert_with(|| {
                tracing::warn!(%node, task = %uid, "a node does not know a task it was given");
                Instant::now()
            });
        }
        learned
    }
}

fn report(task: NodeTask) -> Report {
    Report {
        status: task.status,
        details: task.details,
        error: task.error,
        started_at_ms: task.started_at.as_deref().and_then(millis),
        finished_at_ms: task.finished_at.as_deref().and_then(millis),
    }
}

/// RFC 3339 to milliseconds since the Unix epoch.
fn millis(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_times_are_read_to_the_millisecond() {
        let table = [
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("2026-11-22T07:48:04.123456789Z", Some(1_795_333_684_123)),
            ("2026-11-22T09:48:04.123+02:00", Some(1_795_333_684_123)),
            ("1969-12-31T00:00:00Z", None),
            ("yesterday", None),
        ];
        for (text, expected) in table {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
