//! The loop of one migration: look at the record, do what it asks, propose what was seen, look again.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use miroir_core::cluster::{Command, MigrationReport, Outcome};
use miroir_core::id::{MigrationId, NodeId, ProxyId, ShardId};
use miroir_core::migration::{Comparison, Event, Phase, Progress, Record};
use miroir_meili::MeiliError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::node::{Copy, Shape};
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
            | Self::NotCleared { .. }
            | Self::NoId(_)
            | Self::Propose(_)
            | Self::Leadership(_) => true,
            Self::Internal(_) => false,
        }
    }

    /// The node that may still carry out a request which was given up.
    fn unsettled(&self) -> Option<NodeId> {
        match self {
            Self::Node { node, error } if error.outcome_unknown() => Some(*node),
            Self::Node { .. }
            | Self::MovedOn
            | Self::NoNode(_)
            | Self::NoSource
            | Self::NotCleared { .. }
            | Self::NoId(_)
            | Self::Propose(_)
            | Self::Leadership(_)
            | Self::Internal(_) => None,
        }
    }
}

/// Longest wait between two attempts at a step.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

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
    /// The last comparison of the two copies.
    pub(super) comparison: Option<Comparison>,
}

impl<C: Cluster, N: Nodes> Actor<C, N> {
    pub(super) fn new(mover: Mover<C, N>, id: MigrationId) -> Self {
        let barriers = Barriers::new(mover.cluster.clone(), mover.sessions.clone());
        Self {
            mover,
            barriers,
            id,
            trusted: None,
            rounds: 0,
            pending: BTreeSet::new(),
            progress: Progress::default(),
            comparison: None,
        }
    }

    /// Works until the migration is final or leadership ends.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let Some(first) = self.record() else { return };
        let _at_work = self.mover.underway.begin(&first.index, first.incarnation);
        let mut attempts = 0_u32;
        let mut last_step = None;
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
            Ok(other) => info!(migration = %self.id, %event, ?other, "not advanced"),
            Err(error) => {
                warn!(migration = %self.id, %event, %error, "could not commit; looking again");
                tokio::time::sleep(Duration::from_millis(100)).await;
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

    /// Waits before the next attempt. Where a request to a node was given up, waits until it can no longer
    /// arrive: whatever it was, it must not land behind what is sent next.
    async fn back_off(
        &mut self,
        record: &Record,
        attempts: u32,
        error: &MoveError,
        cancel: &CancellationToken,
    ) {
        if let Some(node) = error.unsettled() {
            self.trusted = None;
            let settle = async {
                if let Ok(copy) = self.copy_on(record, node) {
                    copy.wait_until_up().await;
                }
                tokio::time::sleep(self.mover.options.late_request).await;
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = settle => {}
            }
        }
        let pause = Duration::from_millis(100 << attempts.min(6)).min(BACKOFF_MAX);
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
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
            &self.shape(record),
            ShardId(record.shard.0),
        ))
    }

    fn shape(&self, record: &Record) -> Shape {
        self.mover.cluster.read(|state| {
            let index = state.indexes.get(&record.index);
            Shape {
                uid: record.index.to_string(),
                primary_key: index.and_then(|index| index.primary_key.clone()),
                with_vectors: index.is_some_and(|index| has_embedders(&index.settings.desired)),
            }
        })
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

    fn is_current(&self, record: &Record) -> bool {
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

    /// Makes another copy the source when the present one missed a write: what is copied from it would lack that.
    async fn ensure_source(&self, record: &Record) -> Result<(), MoveError> {
        if !reads_source(record.phase) {
            return Ok(());
        }
        let readable: Vec<NodeId> = self.mover.cluster.read(|state| {
            let index = state.indexes.get(&record.index);
            let shard = index.and_then(|index| index.shard(record.shard));
            shard
                .into_iter()
                .flat_map(|shard| shard.readable().map(|replica| replica.node))
                .collect()
        });
        if readable.contains(&record.source) {
            return Ok(());
        }
        let source = readable
            .into_iter()
            .find(|node| *node != record.target)
            .ok_or(MoveError::NoSource)?;
        let command = Command::ChangeSource {
            id: self.id,
            step: record.step,
            source,
        };
        self.mover.cluster.propose(command).await?;
        Err(MoveError::MovedOn)
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
            super::failpoint::enter(record.phase).await;
            self.ensure_source(record).await?;
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

/// Whether the work of a phase is worth something only while the source is in sync.
fn reads_source(phase: Phase) -> bool {
    match phase {
        Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring => true,
        Phase::Planned
        | Phase::CutOver
        | Phase::Holding
        | Phase::Cleaning
        | Phase::Done
        | Phase::Reversing
        | Phase::Dropping
        | Phase::Cancelled => false,
    }
}

/// Whether Meilisearch keeps vectors for the documents of an index.
fn has_embedders(settings: &serde_json::Value) -> bool {
    settings
        .get("embedders")
        .and_then(serde_json::Value::as_object)
        .is_some_and(|embedders| !embedders.is_empty())
}
