//! The committed record of one migration: the migration log is made of these.

use serde::{Deserialize, Serialize};

use super::{Event, IllegalEvent, Phase};
use crate::id::{Epoch, GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ShardId};

/// Whether some copy goes when the new one is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The target replaces a copy, which is cleaned.
    Move,
    /// The target is one more copy, or a stale copy made good; the source stays.
    Build,
}

/// One change of phase, kept for ever with the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseChange {
    /// The phase entered.
    pub phase: Phase,
    /// When, in milliseconds since the Unix epoch, by the proposing leader's clock.
    pub at_ms: u64,
    /// What caused it.
    pub event: Event,
}

/// How far the copying has got. Reported now and then; losing the last report costs nothing but accuracy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Documents the shard held when they were counted.
    pub documents_total: u64,
    /// Documents sent to the target.
    pub documents_done: u64,
    /// Bytes of JSON sent to the target.
    pub bytes_done: u64,
    /// Failed attempts at the present phase.
    pub attempts: u32,
    /// What failed last, empty when nothing has.
    pub last_error: String,
    /// Everything before this position of the sorted ids is on the target. Valid in Copying only.
    pub checkpoint: Option<String>,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: MigrationId,
    /// What asked for it.
    pub operation: OperationId,
    /// The index whose shard is copied.
    pub index: IndexUid,
    /// Which life of that index.
    pub incarnation: Incarnation,
    /// The shard copied.
    pub shard: ShardId,
    /// The group in which the new copy serves.
    pub group: GroupId,
    /// The copy that the documents are taken from, A. Another in-sync copy may take its place.
    pub source: NodeId,
    /// The copy that goes when the new one is good: A itself, at first.
    pub replaces: Option<NodeId>,
    /// The copy that is built, C.
    pub target: NodeId,
    /// Where it stands.
    pub phase: Phase,
    /// The epoch of its last change of phase: what a barrier waits for.
    pub phase_epoch: Epoch,
    /// Counts changes of phase; an event names the step it saw, so a late one changes nothing.
    pub step: u32,
    /// Documents a second the copying may send; `None` is no limit.
    pub throttle_docs_per_s: Option<u32>,
    /// How far the copying has got.
    pub progress: Progress,
    /// Every change of phase, oldest first.
    pub history: Vec<PhaseChange>,
}

/// What an actor has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Wait for the planner to grant a slot.
    AwaitSlot,
    /// Wait for index and settings on the target; remove what it holds of the shard.
    Prepare,
    /// Copy every document of the shard.
    Copy,
    /// Copy what changed since.
    CatchUp,
    /// Copy the last of it while writes are held.
    DrainFence,
    /// Compare the two copies.
    Verify,
    /// Wait until every proxy reads the target.
    AwaitReaders,
    /// Wait for the reverse window.
    Hold,
    /// Delete the shard on the source.
    Clean,
    /// Nothing, ever.
    Nothing,
}

/// Most changes of phase that a record keeps; a migration that goes back for ever must not fill the log.
const HISTORY_MAX: usize = 200;

impl Record {
    /// Whether some copy goes when the new one is good.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.replaces {
            Some(_) => Kind::Move,
            None => Kind::Build,
        }
    }

    /// Moves the record by `event`, at Raft index `epoch` and leader time `at_ms`.
    ///
    /// # Errors
    /// [`IllegalEvent`], leaving the record as it was.
    pub fn advance(
        &mut self,
        event: Event,
        epoch: Epoch,
        at_ms: u64,
    ) -> Result<Phase, IllegalEvent> {
        let phase = self.phase.after(event, self.kind())?;
        self.phase = phase;
        self.phase_epoch = epoch;
        self.step += 1;
        self.progress.attempts = 0;
        self.progress.last_error.clear();
        self.progress.checkpoint = None;
        if self.history.len() == HISTORY_MAX {
            self.history.remove(HISTORY_MAX / 2);
        }
        self.history.push(PhaseChange {
            phase,
            at_ms,
            event,
        });
        Ok(phase)
    }

    /// What an actor has to do now; the same answer however often it is asked.
    #[must_use]
    pub fn next_action(&self) -> Action {
        match self.phase {
            Phase::Planned => Action::AwaitSlot,
            Phase::Preparing => Action::Prepare,
            Phase::Copying => Action::Copy,
            Phase::CatchingUp => Action::CatchUp,
            Phase::Fenced => Action::DrainFence,
            Phase::Mirroring => Action::Verify,
            Phase::CutOver => Action::AwaitReaders,
            Phase::Holding => Action::Hold,
            Phase::Cleaning => Action::Clean,
            Phase::Done | Phase::Cancelled => Action::Nothing,
        }
    }

    /// When the present phase was entered, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn phase_since_ms(&self) -> u64 {
        self.history.last().map_or(0, |change| change.at_ms)
    }
}
