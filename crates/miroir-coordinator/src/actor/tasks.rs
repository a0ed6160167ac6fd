//! Follows client-visible tasks on the nodes until they end.
//!
//! What it learns lives in memory; a new leader asks the nodes again. A report that changes what clients see is
//! committed, so every coordinator answers the same.

pub mod aggregate;
mod copies;
mod poll;
mod work;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use miroir_core::cluster::{Command, Outcome, TaskKind, TaskUpdate};
use miroir_core::id::{NodeId, TaskUid};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::aggregate::{End, Evidence, Known, Share, end_of, update};
use self::poll::Poller;
use self::work::Work;
pub use self::work::parts_of;
use super::Context;
use crate::cluster::Cluster;
use crate::nodes::Reachability;
use crate::raft::ProposeError;

/// Reports in one command: a command has a largest size.
const REPORTS_MAX: usize = 200;

/// Follows tasks until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    let mut tracker = Tracker {
        poller: Poller::new(&ctx),
        ctx,
    };
    match cancel.run_until_cancelled(tracker.follow_for_ever()).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    CarriedOut,
    Refused,
    Uncertain,
}

struct Tracker<C> {
    ctx: Context<C>,
    poller: Poller<C>,
}

impl<C: Cluster> Tracker<C> {
    /// Looks often while tasks are moving, and ever more seldom while they are not.
    async fn follow_for_ever(&mut self) -> anyhow::Result<()> {
        let shortest = Duration::from_millis(self.ctx.config.tasks.poll_min_ms);
        let longest = Duration::from_millis(self.ctx.config.tasks.poll_max_ms);
        let mut applied = self.ctx.cluster.applied();
        let mut pause = shortest;
        loop {
            applied.mark_unchanged();
            let newest = self.newest();
            if self
                .ctx
                .read(|state| state.tasks.unfinished().next().is_none())
            {
                applied.changed().await?;
                pause = shortest;
                continue;
            }
            let looked_at = Instant::now();
            let moved = self.look().await?;
            pause = if moved {
                shortest
            } else {
                (pause * 2).min(longest)
            };
            // A new task is looked at soon, however long the old ones have been standing still.
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(looked_at + pause) => break,
                    changed = applied.changed() => {
                        changed?;
                        if self.newest() != newest {
                            pause = shortest;
                        }
                    }
                }
            }
        }
    }

    fn newest(&self) -> Option<TaskUid> {
        self.ctx
            .read(|state| state.tasks.iter().next_back().map(|task| task.uid))
    }

    /// One look at all nodes concerned; answers whether anything moved.
    async fn look(&mut self) -> anyhow::Result<bool> {
        let work = self.ctx.read(work::unfinished);
        let learned = self.poller.poll(&work).await;
        let mut updates = Vec::new();
        for one in &work {
            if let Some(update) = self.judge(one).await? {
                updates.push(update);
            }
        }
        let moved = learned || !updates.is_empty();
        for updates in updates.chunks(REPORTS_MAX) {
            self.commit(Command::UpdateTasks {
                updates: updates.to_vec(),
            })
            .await?;
        }
        Ok(moved)
    }

    /// What to report of a task. Copies that did not take it leave the set in sync first: when clients are told
    /// that it succeeded, no copy without it may be read.
    async fn judge(&self, work: &Work) -> anyhow::Result<Option<TaskUpdate>> {
        let shares: Vec<Share> = work
            .parts
            .iter()
            .map(|part| Share {
                node: part.node,
                counts: part.counts,
                known: self.known(work, part),
            })
            .collect();
        let Some(failures_covered) = self.eject_odd(work, &shares).await? else {
            return Ok(None);
        };
        let evidence = Evidence {
            shares: &shares,
            complete: work.complete,
            failures_covered,
        };
        Ok(update(&work.task, evidence, self.ctx.clock.now_ms()))
    }

    fn known(&self, work: &Work, part: &work::Part) -> Known {
        let holder = Holder {
            gone: !self.ctx.read(|state| state.nodes.contains_key(&part.node)),
            unused: !work.in_use.contains(&part.node),
            down: self.ctx.health.reachability(part.node) == Reachability::Down,
        };
        weigh(self.poller.known(part.node, part.node_task), holder)
    }

    /// When the nodes of a write disagree, takes the copies that lack it out of use. Answers whether the write
    /// is on a good copy of everything that failed; `None` while that is not certain.
    async fn eject_odd(&self, work: &Work, shares: &[Share]) -> anyhow::Result<Option<bool>> {
        let (TaskKind::DocumentAdditionOrUpdate | TaskKind::DocumentDeletion, Some(_)) =
            (work.task.kind, &work.task.index)
        else {
            return Ok(Some(false));
        };
        let Some((failed, well)) = sides(work.task.kind, shares) else {
            return Ok(Some(false));
        };
        let found = self.ctx.read(|state| {
            // A swap may have given the task another uid, and that uid another index.
            let uid = state.tasks.get(work.task.uid)?.index.as_ref()?;
            let index = state.index_called(uid)?;
            let whose = (index.name().clone(), index.incarnation);
            Some((whose, copies::odd(index, &failed, &well)))
        });
        let Some(((index, incarnation), odd)) = found else {
            return Ok(Some(false));
        };
        // All at once: half of them would be repaired before the others are known.
        let ejections = odd.copies.into_iter().map(|(shard, node)| {
            tracing::error!(index = %index, %shard, %node, task = %work.task.uid,
                "a write failed on one copy and succeeded on another; the first is taken out of use");
            self.commit(Command::EjectReplica { uid: index.clone(), incarnation, shard, node })
        });
        let fates = try_join_all(ejections).await?;
        if fates.contains(&Fate::Uncertain) {
            return Ok(None);
        }
        Ok(Some(odd.covers_all && !fates.contains(&Fate::Refused)))
    }

    /// Commits what was found. If that fails, the next look finds the same again.
    async fn commit(&self, command: Command) -> anyhow::Result<Fate> {
        match self.ctx.cluster.propose(command).await {
            Ok(Outcome::Rejected(rejection)) => {
                tracing::warn!(%rejection, "a report on tasks was refused");
                Ok(Fate::Refused)
            }
            Ok(_) => Ok(Fate::CarriedOut),
            Err(error @ ProposeError::Stopped { .. }) => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a report on tasks could not be committed; trying again");
                Ok(Fate::Uncertain)
            }
        }
    }
}

/// What a node that has a share of a task is to the cluster now.
#[derive(Debug, Clone, Copy, Default)]
struct Holder {
    /// It has been removed.
    gone: bool,
    /// None of its copies of the index takes writes.
    unused: bool,
    /// It does not answer.
    down: bool,
}

/// What a share is worth: nothing more is heard of one on a node that is gone, or that lost it or is silent with
/// everything that it holds of the index out of use, and nothing depends on it.
fn weigh(known: Known, holder: Holder) -> Known {
    let has_ended = match &known {
        Known::Report(report) => report.status.is_final(),
        Known::Nothing | Known::Lost | Known::Excused => false,
    };
    let lost = known == Known::Lost;
    let silent = known == Known::Nothing && holder.down;
    if !has_ended && (holder.gone || (holder.unused && (lost || silent))) {
        Known::Excused
    } else {
        known
    }
}

/// The nodes where the task failed and those where it went well, once all have ended and both sides have some.
fn sides(kind: TaskKind, shares: &[Share]) -> Option<(BTreeSet<NodeId>, BTreeSet<NodeId>)> {
    let mut failed = BTreeSet::new();
    let mut well = BTreeSet::new();
    for share in shares {
        match end_of(kind, &share.known)? {
            End::Well => drop(well.insert(share.node)),
            End::Badly | End::Canceled => drop(failed.insert(share.node)),
            End::Excused => {}
        }
    }
    // A node has several shares of one task; it took the task only if it took all of them.
    well.retain(|node| !failed.contains(node));
    (!failed.is_empty() && !well.is_empty()).then_some((failed, well))
}

#[cfg(test)]
mod tests {
    use miroir_meili::TaskStatus;

    use super::aggregate::Report;
    use super::*;

    fn report(status: TaskStatus) -> Known {
        Known::Report(Box::new(Report {
            status,
            details: None,
            error: None,
            started_at_ms: None,
            finished_at_ms: None,
        }))
    }

    #[test]
    fn a_share_is_excused_only_when_nothing_depends_on_it() {
        let holder = |gone, unused, down| Holder { gone, unused, down };
        let enqueued = || report(TaskStatus::Enqueued);
        let table = [
            (Known::Nothing, holder(false, false, true), Known::Nothing),
            (Known::Nothing, holder(false, true, false), Known::Nothing),
            (Known::Nothing, holder(false, true, true), Known::Excused),
            (Known::Lost, holder(false, false, true), Known::Lost),
            (Known::Lost, holder(false, true, false), Known::Excused),
            (enqueued(), holder(false, true, true), enqueued()),
            // It was removed.
            (Known::Nothing, holder(true, true, false), Known::Excused),
            (Known::Lost, holder(true, true, false), Known::Excused),
            (enqueued(), holder(true, true, false), Known::Excused),
            (
                report(TaskStatus::Failed),
                holder(true, true, false),
                report(TaskStatus::Failed),
            ),
            (
                report(TaskStatus::Succeeded),
                holder(true, true, false),
                report(TaskStatus::Succeeded),
            ),
        ];
        for (at, (known, holder, expected)) in table.into_iter().enumerate() {
            assert_eq!(weigh(known, holder), expected, "row {at}");
        }
    }
}
