//! Turns what operators asked for into moves, and what broke into repairs.
//!
//! It decides nothing by itself: [`planning`] does, from the state alone. Whenever something changed, the planner
//! asks what should happen next and proposes it. A plan that the log has outrun is refused there and made again.

use std::time::Duration;

use miroir_core::cluster::{ClusterState, Command, Outcome, PlannedMove};
use miroir_core::id::NodeId;
use miroir_core::migration::{Event, Phase};
use miroir_core::planning::{self, Step};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::lost::LostNodes;
use crate::cluster::Cluster;
use crate::migration::failpoint;
use crate::raft::ProposeError;
use crate::session::Barriers;

/// How often the state is looked at although nothing was heard of a change: repairs wait for time to pass.
const TICK: Duration = Duration::from_secs(1);

/// Pause after a proposal that was refused or has no outcome, so that one which always is makes no busy loop.
const PAUSE: Duration = Duration::from_millis(250);

/// Moves of one repair: a stale node with thousands of shards must not make a command that is too large.
const REPAIR_MOVES_MAX: usize = 256;

/// Plans until cancelled. Leader-only.
///
/// # Errors
/// When consensus has ended; nothing can be planned then.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) -> anyhow::Result<()> {
    let grace = Duration::from_millis(ctx.config.migration.lost_after_ms);
    let mut planner = Planner {
        last_repair: None,
        waiting_since: None,
        lost: LostNodes::new(grace),
        barriers: Barriers::new(ctx.cluster.clone(), ctx.sessions.clone()),
        ctx,
    };
    match cancel.run_until_cancelled(planner.plan_for_ever()).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

struct Planner<C> {
    ctx: Context<C>,
    barriers: Barriers<C>,
    /// When the last repair was planned. One that fails at once must not be planned again at once.
    last_repair: Option<Instant>,
    /// When an operation was last found to wait for something; looking again takes the whole placement.
    waiting_since: Option<Instant>,
    /// Nodes that have been down for long.
    lost: LostNodes,
}

impl<C: Cluster> Planner<C> {
    async fn plan_for_ever(&mut self) -> anyhow::Result<()> {
        let mut applied = self.ctx.cluster.applied();
        let mut sessions = self.ctx.sessions.changes();
        let mut health = self.ctx.health.watch();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            applied.mark_unchanged();
            sessions.mark_unchanged();
            health.mark_unchanged();
            let commands = self.next();
            if !commands.is_empty() {
                if commands
                    .iter()
                    .any(|command| matches!(command, Command::Advance { .. }))
                {
                    failpoint::enter(Phase::Planned).await;
                }
                self.carry_out(commands).await?;
                continue;
            }
            tokio::select! {
                changed = applied.changed() => changed?,
                changed = sessions.changed() => changed?,
                changed = health.changed() => changed?,
                _ = tick.tick() => {}
            }
        }
    }

    /// What should be proposed now. The commands of one answer do not depend on each other.
    fn next(&mut self) -> Vec<Command> {
        let live = self.ctx.sessions.live();
        let mut urgent = self.ctx.read(|state| {
            if state.cluster_id.is_none() {
                return Vec::new();
            }
            let writers = planning::assign_writers(state, &live);
            let mut commands: Vec<Command> = writers
                .into_iter()
                .map(|(uid, incarnation, proxy)| Command::AssignWriter {
                    uid,
                    incarnation,
                    proxy,
                })
                .collect();
            commands.extend(grants(state));
            commands
        });
        urgent.extend(self.operation());
        if urgent.is_empty() {
            self.unasked().into_iter().collect()
        } else {
            urgent
        }
    }

    /// What the operation whose turn it is needs next.
    fn operation(&mut self) -> Option<Command> {
        if self
            .waiting_since
            .is_some_and(|since| since.elapsed() < TICK)
        {
            return None;
        }
        let (id, step) = self.ctx.read(planning::next_step)?;
        let moves = match step {
            Step::Move(moves) => Some(moves),
            Step::Complete => Some(Vec::new()),
            Step::CompleteAfterReads(epoch) => {
                let passed = |state: &ClusterState| self.barriers.reads_have_passed(state, epoch);
                self.ctx.read(passed).then(Vec::new)
            }
            Step::Wait => {
                self.waiting_since = Some(Instant::now());
                None
            }
        };
        Some(Command::Plan {
            operation: Some(id),
            moves: moves?,
        })
    }

    /// What nobody asked for: repairs, and copies of lost nodes. Held back while an operator wants that.
    fn unasked(&mut self) -> Option<Command> {
        let health = self.ctx.health.snapshot();
        self.lost.look(&health, Instant::now());
        if self.ctx.read(|state| state.hold.is_some()) {
            return None;
        }
        let lost = &mut self.lost;
        let replaced = self.ctx.read(|state| lost.next(state));
        replaced.or_else(|| self.repair())
    }

    /// A repair, when there is something to repair between nodes that answer, and the last one is long enough ago.
    fn repair(&mut self) -> Option<Command> {
        let pause = Duration::from_millis(self.ctx.config.migration.repair_interval_ms);
        if self.last_repair.is_some_and(|last| last.elapsed() < pause) {
            return None;
        }
        let planned = self.ctx.read(planning::plan_repair);
        let moves = possible(planned, |node| self.ctx.health.is_up(node));
        if moves.is_empty() {
            return None;
        }
        self.last_repair = Some(Instant::now());
        Some(Command::Plan {
            operation: None,
            moves,
        })
    }

    /// Proposes all at once, which makes one entry of the log.
    async fn carry_out(&self, commands: Vec<Command>) -> anyhow::Result<()> {
        let proposals = commands
            .into_iter()
            .map(|command| self.ctx.cluster.propose(command));
        let mut again = false;
        for outcome in futures::future::join_all(proposals).await {
            match outcome {
                Ok(Outcome::Rejected(rejection)) => {
                    tracing::debug!(%rejection, "a plan was out of date");
                    again = true;
                }
                Ok(Outcome::Planned {
                    operation,
                    migrations,
                }) => {
                    tracing::info!(%operation, migrations = migrations.len(), "planned");
                }
                Ok(_) => {}
                Err(error @ ProposeError::Stopped { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "a plan could not be committed; trying again");
                    again = true;
                }
            }
        }
        if again {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Slots for the migrations that the caps leave room for.
fn grants(state: &ClusterState) -> impl Iterator<Item = Command> {
    planning::grantable(state).into_iter().filter_map(|id| {
        let step = state.migrations.get(&id)?.step;
        Some(Command::Advance {
            id,
            step,
            event: Event::SlotGranted,
        })
    })
}

/// The moves whose both ends answer, as many as one repair may have.
fn possible(moves: Vec<PlannedMove>, is_up: impl Fn(NodeId) -> bool) -> Vec<PlannedMove> {
    let both_up = |one: &PlannedMove| is_up(one.source) && is_up(one.target);
    moves
        .into_iter()
        .filter(both_up)
        .take(REPAIR_MOVES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use miroir_core::id::{GroupId, Incarnation, IndexUid, ShardId};
    use miroir_core::migration::Kind;

    use super::*;

    #[test]
    fn only_moves_between_nodes_that_answer_are_repaired() {
        let one = |source: u64, target: u64| PlannedMove {
            uid: IndexUid::parse("books").expect("a uid"),
            incarnation: Incarnation(1),
            shard: ShardId(0),
            group: GroupId(1),
            kind: Kind::Build,
            source: NodeId(source),
            target: NodeId(target),
            replaces: None,
        };
        let up = |node: NodeId| node != NodeId(3);
        let moves = possible(vec![one(1, 2), one(1, 3), one(3, 2), one(2, 1)], up);
        assert_eq!(moves, [one(1, 2), one(2, 1)]);
        assert_eq!(possible(vec![one(1, 2); 1_000], up).len(), REPAIR_MOVES_MAX);
    }
}
