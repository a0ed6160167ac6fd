//! What an actor does in each phase, once the phase's barrier has been passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use miroir_core::id::NodeId;
use miroir_core::migration::{Action, Comparison, Event, Record};
use tokio::time::Instant;
use tracing::warn;

use super::looks::Found;
use super::node::Copy;
use super::retry::changed_node;
use super::{MoveError, Nodes};
use crate::bug::{self, Bug};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// Recorded ids that may be left for the fence: what is copied in one short request while clients wait.
const FEW: usize = 500;

/// Between two looks at what only a writer or a clock can change.
const LOOK: Duration = Duration::from_millis(50);

impl<C: Cluster, N: Nodes> Actor<C, N> {
    pub(super) async fn work(&mut self, record: &Record) -> Result<Event, MoveError> {
        match record.next_action() {
            Action::AwaitSlot | Action::Nothing => {
                // The planner moves it on; there is nothing to observe.
                self.unless_moved_on(record, std::future::pending()).await
            }
            Action::Prepare => self.prepare(record).await,
            Action::Copy => self.copy(record).await,
            Action::CatchUp => self.catch_up(record).await,
            Action::DrainFence => self.drain_fence(record).await,
            Action::Verify => self.verify_mirror(record).await,
            // The barrier was all there was to wait for.
            Action::AwaitReaders => Ok(Event::ReadsMoved),
            Action::Hold => self.hold(record).await,
            Action::Clean => self.clean(record).await,
            Action::Drop => self.drop_built(record).await,
        }
    }

    fn source(&self, record: &Record) -> Result<Copy, MoveError> {
        self.copy_on(record, record.source)
    }

    fn target(&self, record: &Record) -> Result<Copy, MoveError> {
        self.copy_on(record, record.target)
    }

    /// The writer's lanes bring index and settings to C; leftovers of the shard on it are removed.
    async fn prepare(&mut self, record: &Record) -> Result<Event, MoveError> {
        self.trusted = None;
        self.pending.clear();
        self.unless_moved_on(record, self.settings_enqueued(record))
            .await?;
        let c = self.target(record)?;
        self.unless_moved_on(record, c.drain()).await?;
        if self.was_left_behind(record) {
            // The node did not answer the deletion of an earlier copy; now that it answers, that may still come.
            self.unless_moved_on(record, self.settled(record, c.node))
                .await?;
        }
        if !self.unless_moved_on(record, c.has_index()).await? {
            return self.lost_index(record);
        }
        self.clear(record, &c).await?;
        Ok(Event::TargetClean)
    }

    /// The target does not have the index that it had enqueued. Where it is known that it had it, it was wiped, and
    /// whoever watches for that puts everything on it out of use first.
    fn lost_index(&self, record: &Record) -> Result<Event, MoveError> {
        let node = record.target;
        let was_seen = self.mover.cluster.read(|state| {
            let index = state.indexes.get(&record.index);
            let known = index.and_then(|index| index.nodes.get(&node));
            known.is_some_and(|known| known.created_at.is_some())
        });
        if was_seen {
            return Err(MoveError::IndexGone(node));
        }
        warn!(migration = %self.id, %node, "the target lost the index that it had enqueued");
        Ok(Event::TargetLost)
    }

    /// Whether the deletion of an earlier copy on the target was given up because its node did not answer.
    fn was_left_behind(&self, record: &Record) -> bool {
        self.mover.cluster.read(|state| {
            state.migrations.values().any(|other| {
                let left = other
                    .history
                    .last()
                    .is_some_and(|change| change.event == Event::LeftBehind);
                left && other.index == record.index
                    && other.incarnation == record.incarnation
                    && other.shard == record.shard
                    && changed_node(other) == record.target
            })
        })
    }

    /// Waits until the writer has sent the newest settings to source and target.
    async fn settings_enqueued(&self, record: &Record) -> Result<(), MoveError> {
        loop {
            let enqueued = self.mover.cluster.read(|state| {
                let index = state.indexes.get(&record.index)?;
                let current = |node| {
                    index
                        .nodes
                        .get(node)
                        .is_some_and(|known| known.settings_version >= index.settings.version)
                };
                Some(current(&record.source) && current(&record.target))
            });
            match enqueued {
                Some(true) => return Ok(()),
                Some(false) => tokio::time::sleep(LOOK).await,
                None => return Err(MoveError::MovedOn),
            }
        }
    }

    async fn copy(&mut self, record: &Record) -> Result<Event, MoveError> {
        let (a, c) = (self.source(record)?, self.target(record)?);
        // From this session on nothing recorded is lost. What an earlier one recorded was answered before now, so
        // draining A makes it part of what is copied. Where something was copied before, that is not so: a document
        // that was deleted meanwhile would stay on C. Then all is compared.
        let session = self.writer_session(record);
        self.pending.clear();
        self.unless_moved_on(record, c.drain()).await?;
        let is_first = self.unless_moved_on(record, c.count()).await? == 0;
        self.trusted = session.filter(|_| is_first);
        self.unless_moved_on(record, a.drain()).await?;
        self.copy_all(record, &a, &c).await?;
        Ok(Event::Copied)
    }

    /// Copies what changed, round by round, until so little is left that a short fence will do.
    async fn catch_up(&mut self, record: &Record) -> Result<Event, MoveError> {
        let (a, c) = (self.source(record)?, self.target(record)?);
        self.proven.clear();
        let came_by = record.history.last().map(|change| change.event);
        if came_by == Some(Event::TargetBehind) {
            // What the target missed was written while nobody recorded: only a comparison finds it.
            self.trusted = None;
        }
        if record
            .history
            .last()
            .is_some_and(|change| change.event == Event::FenceOverrun)
        {
            // Clients have just waited behind a fence in vain; they get a breath before the next one.
            let breath = tokio::time::sleep(self.mover.options.fence_budget / 4);
            self.unless_moved_on(record, async {
                breath.await;
                Ok(())
            })
            .await?;
        }
        loop {
            self.unless_paused(record).await?;
            self.collect(record);
            if self.trusted.is_none() {
                self.compare_whole(record, (&a, &c)).await?;
                continue;
            }
            let began = Instant::now();
            self.unless_moved_on(record, a.drain()).await?;
            let queue_is_short = began.elapsed() <= self.patience();
            self.rounds += 1;
            let few = self.pending.len() <= FEW;
            self.copy_pending(record, (&a, &c)).await?;
            // A target that does not answer is noticed here, where nobody waits for it.
            if !self.unless_moved_on(record, c.has_index()).await? {
                return self.lost_index(record);
            }
            if few && queue_is_short {
                return Ok(Event::CaughtUp);
            }
        }
    }

    /// Takes what the writer recorded, and notices when some of it may have been lost.
    fn collect(&mut self, record: &Record) {
        let dirty = self.mover.sessions.take_dirty(self.id);
        self.pending.extend(dirty.ids);
        let session = self.writer_session(record);
        if dirty.whole_shard || session.is_none() || session != self.trusted {
            // What a proxy says on meeting a new leader, that ids are lost, is forgotten with them.
            let forgets = session != self.trusted || !dirty.whole_shard;
            let trusts_anyone = bug::is_on(Bug::ForgetDirty) && forgets;
            self.trusted = session.filter(|_| trusts_anyone);
        }
    }

    /// Makes C equal to A without knowing what changed. Ids recorded from here on count again.
    async fn compare_whole(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
    ) -> Result<(), MoveError> {
        let session = self
            .unless_moved_on(record, self.some_writer_session(record))
            .await?;
        self.pending.clear();
        let (_, found) = self.whole_difference(record, a, c).await?;
        self.repair(record, (a, c), &found).await?;
        self.trusted = Some(session);
        Ok(())
    }

    /// The writer's session, waiting for one: without a writer there is nobody to record, and nobody to fence.
    async fn some_writer_session(
        &self,
        record: &Record,
    ) -> Result<(miroir_core::id::ProxyId, crate::session::Connection), MoveError> {
        loop {
            match self.writer_session(record) {
                Some(session) => return Ok(session),
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Copies the recorded ids. A has processed the writes that were recorded, because it was drained after.
    async fn copy_pending(
        &mut self,
        record: &Record,
        (a, c): (&Copy, &Copy),
    ) -> Result<(), MoveError> {
        let ids: Vec<String> = self.pending.iter().cloned().collect();
        self.copy_present(record, (a, c), &ids).await?;
        for id in &ids {
            self.pending.remove(id);
        }
        Ok(())
    }

    /// Behind the fence: client writes to the shard are held, so this is the last of it.
    async fn drain_fence(&mut self, record: &Record) -> Result<Event, MoveError> {
        let budget = self.patience();
        let (a, c) = (
            self.source(record)?.hurried(budget),
            self.target(record)?.hurried(budget),
        );
        self.collect(record);
        if self.trusted.is_none() {
            // What was recorded may be lost, and comparing everything takes longer than clients should wait.
            return Ok(Event::FenceOverrun);
        }
        let drained = tokio::time::timeout(budget, self.unless_moved_on(record, a.drain()));
        match drained.await {
            Ok(drained) => drained?,
            Err(_) => return Ok(Event::FenceOverrun),
        }
        self.copy_pending(record, (&a, &c)).await?;
        if !self.restless.is_empty() {
            let proven = tokio::time::timeout(budget, self.prove_restless(record, (&a, &c)));
            match proven.await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    self.trusted = None;
                    return Ok(Event::FenceOverrun);
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(Event::FenceOverrun),
            }
        }
        // A writer that was lost meanwhile has taken what it had not reported with it.
        self.collect(record);
        if self.trusted.is_none() || !self.pending.is_empty() {
            return Ok(Event::FenceOverrun);
        }
        self.rounds = 0;
        Ok(Event::FenceDrained)
    }

    async fn verify_mirror(&mut self, record: &Record) -> Result<Event, MoveError> {
        let (a, c) = (self.source(record)?, self.target(record)?);
        let (documents, found) = self.verify(record, &a, &c).await?;
        if bug::is_on(Bug::SkipVerification) {
            return Ok(Event::Verified);
        }
        self.keep_comparison(record, documents, &found).await;
        if found.still.is_empty() && found.restless.is_empty() {
            return Ok(Event::Verified);
        }
        if !found.still.is_empty() {
            self.trusted = None;
            let failure = c.failures_since(None).await?.unwrap_or_default();
            let some: Vec<_> = found.still.keys().take(10).collect();
            warn!(migration = %self.id, differing = found.still.len(), ?some, failure, "the copies differ; copying again");
        }
        // What is written without pause is compared behind the next fence. Only so much: clients wait there.
        if found.restless.len() <= FEW {
            self.restless = found.restless;
        }
        Ok(Event::Mismatch)
    }

    /// Puts what a comparison showed into the log, where it stays with the record.
    async fn keep_comparison(&mut self, record: &Record, documents: usize, found: &Found) {
        let ids = found.still.keys().chain(&found.restless);
        let differing = found.still.len() + found.restless.len();
        self.comparison = Some(Comparison {
            at_ms: now_ms(),
            documents: u64::try_from(documents).unwrap_or(u64::MAX),
            differing: u64::try_from(differing).unwrap_or(u64::MAX),
            ids: ids.take(Comparison::IDS_MAX).cloned().collect(),
        });
        self.report(record).await;
    }

    async fn hold(&mut self, record: &Record) -> Result<Event, MoveError> {
        let window_ms = self
            .mover
            .cluster
            .read(|state| state.policy.reverse_window_ms);
        self.unless_moved_on(record, async {
            while now_ms().saturating_sub(record.phase_since_ms()) < window_ms
                || self.is_paused(record)
            {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        })
        .await?;
        Ok(Event::WindowOver)
    }

    /// Every proxy reads C, and none writes to A any more.
    async fn clean(&mut self, record: &Record) -> Result<Event, MoveError> {
        let Some(replaced) = record.replaces else {
            return Ok(Event::Cleaned);
        };
        self.delete_on(record, replaced).await
    }

    /// The migration was given up: nobody reads C nor writes to it any more.
    async fn drop_built(&mut self, record: &Record) -> Result<Event, MoveError> {
        self.delete_on(record, record.target).await
    }

    /// Deletes the shard on a node that has no use for it. A node that does not answer keeps it, as leftovers that
    /// are swept when it is back: nothing else may wait for that.
    async fn delete_on(&self, record: &Record, node: NodeId) -> Result<Event, MoveError> {
        if self.mover.nodes.client(node).is_none() {
            return Ok(Event::Cleaned);
        }
        let copy = self.copy_on(record, node)?;
        let deleted = async {
            if self.unsettled == Some(node) {
                self.unless_moved_on(record, self.settled(record, node))
                    .await?;
            }
            self.unless_moved_on(record, copy.drain()).await?;
            self.clear(record, &copy).await
        };
        tokio::select! {
            deleted = deleted => deleted.map(|()| Event::Cleaned),
            () = self.mover.nodes.down(node) => {
                warn!(migration = %self.id, %node, "its documents stay on a node that does not answer; they are swept when it does");
                Ok(Event::LeftBehind)
            }
        }
    }

    /// Removes what a copy holds of the shard, if anything.
    async fn clear(&self, record: &Record, copy: &Copy) -> Result<(), MoveError> {
        if self.unless_moved_on(record, copy.count()).await? == 0 {
            return Ok(());
        }
        // Asked right before the deletion: a leader that was stopped in between would delete its successor's work.
        self.before_effect(record).await?;
        copy.clear().await
    }
}

/// This coordinator's clock, in milliseconds since the Unix epoch: for the reverse window only, which nothing
/// safe depends on.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
