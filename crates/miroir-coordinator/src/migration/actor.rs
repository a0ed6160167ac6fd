//! The loop of one migration: look at the record, do what it asks, propose what was seen, look again.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use miroir_core::cluster::{Command, MigrationReport, Outcome};
use miroir_core::id::{MigrationId, NodeId, ProxyId};
use miroir_core::migration::{Comparison, Event, Pace, Progress, Record};
use miroir_meili::MeiliError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::node::{Copy, Shape};
use super::retry::deletes;
use super::{Mover, Nodes};
use crate::cluster::Cluster;
use crate::raft::error::{ProposeError, ReadError};
use crate::session::{Barriers, Connection};

/// Why a step of a migration did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The record has moved on meanwhile; what was being done is no longer asked for.
    #[error("the migration has moved on")]
    MovedOn,
    /// A node did not do what was asked.
    #[error("node {node}: {error}")]
    Node {
        /// The node.
        node: NodeId,
        /// What it answered.
        error: MeiliError,
    },
    /// A node is not in the cluster.
    #[error("node {0} is not in the cluster")]
    NoNode(NodeId),
    /// A node has lost the index; it gets it anew when nothing of it is in use any more.
    #[error("node {0} has lost the index")]
    IndexGone(NodeId),
    /// No copy in sync is left to copy from.
    #[error("no copy of the shard is in sync to copy from")]
    NoSource,
    /// Documents are left where none should be.
    #[error("node {node} still holds {left} documents of the shard after their deletion")]
    NotCleared {
        /// The node.
        node: NodeId,
        /// How many.
        left: usize,
    },
    /// A document cannot be told from others.
    #[error(transparent)]
    NoId(#[from] super::digest::NoId),
    /// The event could not be committed, or perhaps was.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// This coordinator may not lead any more.
    #[error(transparent)]
    Leadership(#[from] ReadError),
    /// Something that cannot be.
    #[error("{0}")]
    Internal(String),
}

impl MoveError {
    /// Whether doing the step again may succeed. Nearly always: nodes come back, and operators act.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::MovedOn
            | Self::Node { .. }
            | Self::NoNode(_)
            | Self::NoSource
            | Self::IndexGone(_)
            | Self::NotCleared { .. }
            | Self::NoId(_)
            | Self::Propose(_)
            | Self::Leadership(_) => true,
            Self::Internal(_) => false,
        }
    }

    /// The node that may still carry out a request which was given up.
    pub(super) fn unsettled(&self) -> Option<NodeId> {
        match self {
            Self::Node { node, error } if error.outcome_unknown() => Some(*node),
            Self::Node { .. }
            | Self::MovedOn
            | Self::NoNode(_)
            | Self::NoSource
            | Self::IndexGone(_)
            | Self::NotCleared { .. }
            | Self::NoId(_)
            | Self::Propose(_)
            | Self::Leadership(_)
            | Self::Internal(_) => None,
        }
    }
}

/// Pause after an event that was refused or has no outcome.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// The actor of one migration.
pub(super) struct Actor<C, N> {
    pub(super) mover: Mover<C, N>,
    pub(super) barriers: Barriers<C>,
    pub(super) id: MigrationId,
    /// The writer's session since which no recorded id can have been lost. Without it the whole shard is compared.
    pub(super) trusted: Option<(ProxyId, Connection)>,
    /// Rounds of catching up since a fence last did what it was for; they lengthen the next one.
    pub(super) rounds: u32,
    /// Recorded ids that are still to be copied.
    pub(super) pending: BTreeSet<String>,
    /// What was last reported of the present step.
    pub(super) progress: Progress,
    /// Documents that were written without pause while the copies were compared.
    pub(super) restless: BTreeSet<String>,
    /// Those of them that were equal behind the last fence.
    pub(super) proven: BTreeSet<String>,
    /// The last comparison of the two copies.
    pub(super) comparison: Option<Comparison>,
    /// The node that may still carry out a request which was given up: nothing is sent to it before that is over.
    pub(super) unsettled: Option<NodeId>,
    /// How fast the nodes let documents be copied.
    pub(super) pace: Pace,
}

impl<C: Cluster, N: Nodes> Actor<C, N> {
    pub(super) fn new(mover: Mover<C, N>, id: MigrationId) -> Self {
        let barriers = Barriers::new(mover.cluster.clone(), mover.sessions.clone());
        Self {
            pace: Pace::new(mover.options.pace),
            mover,
            barriers,
            id,
            trusted: None,
            rounds: 0,
            pending: BTreeSet::new(),
            progress: Progress::default(),
            restless: BTreeSet::new(),
            proven: BTreeSet::new(),
            comparison: None,
            unsettled: None,
        }
    }

    /// Works until the migration is final or leadership ends.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let Some(first) = self.record() else { return };
        let _at_work = self.mover.underway.begin(&first.index, first.incarnation);
        let _noted = self.mover.paces.begin(self.id);
        let mut attempts = 0_u32;
        let mut last_step = None;
        let mut failed_at = None;
        while let Some(record) = self.record() {
            if record.phase.is_final() || cancel.is_cancelled() {
                return;
            }
            if last_step != Some(record.step) {
                last_step = Some(record.step);
                attempts = 0;
                self.progress.clone_from(&record.progress);
            }
            match self.step(&record, &cancel).await {
                Ok(event) => self.conclude(&record, event).await,
                Err(MoveError::MovedOn) => {}
                Err(error) => {
                    // What got on since it last failed is not failing in a row.
                    if failed_at != self.progress.checkpoint {
                        failed_at.clone_from(&self.progress.checkpoint);
                        attempts = 0;
                    }
                    attempts += 1;
                    self.report_failure(&record, attempts, &error).await;
                    if record.phase.holds_writes() {
                        // Clients wait behind the fence. Whatever is wrong, they do not wait for it to be mended.
                        self.trusted = None;
                        self.conclude(&record, Event::FenceOverrun).await;
                    }
                    self.back_off(&record, attempts, &error, &cancel).await;
                }
            }
        }
    }

    /// The committed record.
    pub(super) fn record(&self) -> Option<Record> {
        self.mover
            .cluster
            .read(|state| state.migrations.get(&self.id).cloned())
    }

    /// Commits what was observed. A refusal means that the record moved on; it is looked at again.
    async fn conclude(&mut self, record: &Record, event: Event) {
        let command = Command::Advance {
            id: self.id,
            step: record.step,
            event,
        };
        match self.mover.cluster.propose(command).await {
            Ok(Outcome::Advanced(phase)) => {
                info!(migration = %self.id, index = %record.index, shard = %record.shard, %event, %phase, "advanced");
            }
            Ok(other) => {
                info!(migration = %self.id, %event, ?other, "not advanced");
                if self.is_current(record) {
                    // Refused where it stands: the same again at once would be refused as well, and every try is
                    // an entry of the log. Behind a fence clients wait.
                    let pauses = if record.phase.holds_writes() { 1 } else { 10 };
                    tokio::time::sleep(REFUSED_PAUSE * pauses).await;
                }
            }
            Err(error) => {
                warn!(migration = %self.id, %event, %error, "could not commit; looking again");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }

    async fn report_failure(&mut self, record: &Record, attempts: u32, error: &MoveError) {
        warn!(migration = %self.id, phase = %record.phase, attempts, %error, "a step failed; it will be repeated");
        self.progress.attempts = attempts;
        self.progress.last_error = error.to_string();
        self.report(record).await;
    }

    /// Tells the log how far the copying has got. Losing a report costs accuracy, nothing else.
    pub(super) async fn report(&self, record: &Record) {
        let report = MigrationReport {
            id: self.id,
            step: record.step,
            progress: self.progress.clone(),
            comparison: self.comparison.clone(),
        };
        let command = Command::ReportMigrations {
            reports: vec![report],
        };
        if let Err(error) = self.mover.cluster.propose(command).await {
            info!(migration = %self.id, %error, "progress not recorded");
        }
    }

    /// A copy of the migration's shard.
    pub(super) fn copy_on(&self, record: &Record, node: NodeId) -> Result<Copy, MoveError> {
        let client = self
            .mover
            .nodes
            .client(node)
            .ok_or(MoveError::NoNode(node))?;
        Ok(Copy::new(
            node,
            client,
            &self
                .mover
                .cluster
                .read(|state| Shape::of(state, &record.index)),
            record.shard,
        ))
    }

    /// How long clients may be held behind the next fence. It is short at first, and grows while a source that is
    /// written to without pause never gets through its queue in that time: up to three times the budget, so that
    /// the move comes to an end.
    pub(super) fn patience(&self) -> Duration {
        let budget = self.mover.options.fence_budget;
        (budget / 2 + budget / 4 * self.rounds).min(budget * 3)
    }

    /// Waits for the barrier of the record's phase. Behind a fence no longer than its budget: then it is `false`,
    /// and the way leads back.
    async fn barrier_passed(&self, record: &Record) -> Result<bool, MoveError> {
        if !record.phase.holds_writes() {
            return self.barrier(record).await.map(|()| true);
        }
        match tokio::time::timeout(self.patience(), self.barrier(record)).await {
            Ok(passed) => passed.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Waits for the barrier of the record's phase.
    pub(super) async fn barrier(&self, record: &Record) -> Result<(), MoveError> {
        let barrier = record.phase.row().barrier;
        self.unless_moved_on(record, async {
            if barrier.covers_writes() {
                self.barriers
                    .writes(&record.index, record.incarnation, record.phase_epoch)
                    .await;
            }
            if barrier.covers_reads() {
                self.barriers.reads(record.phase_epoch).await;
            }
            Ok(())
        })
        .await
    }

    /// Waits for something that changes nothing, and gives it up when the record moves on.
    ///
    /// Only for reading and waiting: a change of a node that is given up half-way may still happen.
    pub(super) async fn unless_moved_on<T>(
        &self,
        record: &Record,
        work: impl Future<Output = Result<T, MoveError>> + Send,
    ) -> Result<T, MoveError> {
        let mut applied = self.mover.cluster.applied();
        let moved_on = async {
            loop {
                applied.mark_unchanged();
                if !self.is_current(record) || applied.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = moved_on => Err(MoveError::MovedOn),
            done = work => done,
        }
    }

    pub(super) fn is_current(&self, record: &Record) -> bool {
        self.mover.cluster.read(|state| {
            state
                .migrations
                .get(&self.id)
                .is_some_and(|now| now.step == record.step)
        })
    }

    /// Makes sure that it is still right to change a node: this coordinator leads, and the record is where it was.
    ///
    /// A deposed leader fails here; what it sent just before has arrived by the time its successor begins.
    pub(super) async fn before_effect(&self, record: &Record) -> Result<(), MoveError> {
        self.mover.cluster.confirm_leadership().await?;
        if self.is_current(record) {
            Ok(())
        } else {
            Err(MoveError::MovedOn)
        }
    }

    /// The session through which the index's writer records ids now.
    pub(super) fn writer_session(&self, record: &Record) -> Option<(ProxyId, Connection)> {
        let writer = self.mover.cluster.read(|state| {
            state
                .indexes
                .get(&record.index)
                .and_then(|index| index.writer)
        })?;
        Some((writer, self.mover.sessions.connection(writer)?))
    }

    /// Whether an operator has the migration wait.
    pub(super) fn is_paused(&self, record: &Record) -> bool {
        self.mover.cluster.read(|state| {
            let now = state.migrations.get(&record.id);
            now.is_some_and(|now| state.is_paused(now))
        })
    }

    /// Waits while an operator has the migration wait.
    pub(super) async fn unless_paused(&self, record: &Record) -> Result<(), MoveError> {
        let mut applied = self.mover.cluster.applied();
        self.unless_moved_on(record, async {
            loop {
                applied.mark_unchanged();
                if !self.is_paused(record) {
                    return Ok(());
                }
                if applied.changed().await.is_err() {
                    return Err(MoveError::MovedOn);
                }
            }
        })
        .await
    }

    /// One attempt at what the record asks for. Deleting waits by itself for what is still on its way, because it
    /// must end also when the node never answers again.
    async fn step(
        &mut self,
        record: &Record,
        cancel: &CancellationToken,
    ) -> Result<Event, MoveError> {
        let work = async {
            if record.phase.holds_writes() {
                if self.is_paused(record) {
                    // Clients wait behind the fence; it is not the place to rest.
                    return Ok(Event::FenceOverrun);
                }
            } else {
                self.unless_paused(record).await?;
            }
            if !self.barrier_passed(record).await? {
                return Ok(Event::FenceOverrun);
            }
            super::failpoint::enter_of(record.phase, record.index.as_str()).await;
            self.ensure_source(record).await?;
            if !deletes(record.phase) {
                self.settle(record).await?;
            }
            self.work(record).await
        };
        // Cancelled means that leadership ended: the process that leads now starts this step from its beginning,
        // after it has waited for what is still on its way.
        tokio::select! {
            () = cancel.cancelled() => Err(MoveError::MovedOn),
            done = work => done,
        }
    }
}
