//! Turns what operators asked for into moves, and what broke into repairs.
//!
//! It decides nothing by itself: [`planning`] does, from the state alone. Whenever something changed, the planner
//! asks what should happen next and proposes it. A plan that the log has outrun is refused there and made again.

use std::time::Duration;

use miroir_core::cluster::{ClusterState, Command, Outcome};
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
    /// When a repair was last thought about. One that fails at once must not be planned again at once.
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
            let commands = self.next().await?;
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
    async fn next(&mut self) -> anyhow::Result<Vec<Command>> {
        let health = self.ctx.health.snapshot();
        self.lost.look(&health, Instant::now());
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
        urgent.extend(self.operation().await?);
        if urgent.is_empty() {
            urgent.extend(self.unasked().await?);
        }
        Ok(urgent)
    }

    /// What the operation whose turn it is needs next.
    async fn operation(&mut self) -> anyhow::Result<Option<Command>> {
        let waits = |since: Instant| since.elapsed() < TICK;
        if self.waiting_since.is_some_and(waits) || !self.ctx.read(planning::is_due) {
            return Ok(None);
        }
        let Some((id, step)) = self.think(planning::next_step).await? else {
            return Ok(None);
        };
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
        Ok(moves.map(|moves| Command::Plan {
            operation: Some(id),
            moves,
        }))
    }

    /// Thinks about a copy of the state beside everything else: a large placement takes a while, and neither the
    /// log nor a heartbeat may wait for that.
    async fn think<T: Send + 'static>(
        &self,
        about: impl FnOnce(&ClusterState) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let state = self.ctx.read(ClusterState::without_tasks);
        Ok(tokio::task::spawn_blocking(move || about(&state)).await?)
    }

    /// What nobody asked for: repairs, and copies of lost nodes. Held back while an operator wants that.
    async fn unasked(&mut self) -> anyhow::Result<Option<Command>> {
        let held = |state: &ClusterState| state.cluster_id.is_none() || state.hold.is_some();
        if self.ctx.read(held) {
            return Ok(None);
        }
        let lost = &mut self.lost;
        if let Some(replaced) = self.ctx.read(|state| lost.next(state)) {
            return Ok(Some(replaced));
        }
        self.repair().await
    }

    /// A repair, when there is something to repair between nodes that answer, and the last one is long enough ago.
    async fn repair(&mut self) -> anyhow::Result<Option<Command>> {
        let pause = Duration::from_millis(self.ctx.config.migration.repair_interval_ms);
        if self.last_repair.is_some_and(|last| last.elapsed() < pause) {
            return Ok(None);
        }
        let health = self.ctx.health.clone();
        let among = move |state: &ClusterState| {
            planning::plan_repair_among(state, |node| health.is_up(node))
        };
        let mut moves = self.think(among).await?;
        moves.truncate(REPAIR_MOVES_MAX);
        self.last_repair = Some(Instant::now());
        Ok((!moves.is_empty()).then_some(Command::Plan {
            operation: None,
            moves,
        }))
    }

    /// Proposes all at once, which makes one entry of the log.
    async fn carry_out(&mut self, commands: Vec<Command>) -> anyhow::Result<()> {
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
            self.waiting_since = Some(Instant::now());
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
