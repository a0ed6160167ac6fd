//! The committed record of one migration: the migration log is made of these.

use serde::{Deserialize, Serialize};

use super::{Event, IllegalEvent, Phase};
use crate::id::{Epoch, GroupId, Incarnation, IndexUid, MigrationId, NodeId, OperationId, ShardId};

/// What a migration does to the copies of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The target replaces a copy, which is cleaned.
    Move,
    /// The target is one more copy, or a stale copy made good; every other stays.
    Build,
    /// A copy goes and none is built: the tail of a move, with source and target the copy that stays.
    Drop,
    /// Documents go that a node holds without having a copy: the end of a drop.
    Sweep,
}

impl Kind {
    /// Whether documents are copied to the target.
    #[must_use]
    pub fn builds(self) -> bool {
        match self {
            Self::Move | Self::Build => true,
            Self::Drop | Self::Sweep => false,
        }
    }
}

/// What a comparison of two copies showed, kept for whoever asks why a copy was trusted or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Documents compared, by id and content.
    pub documents: u64,
    /// Documents that differed to the end, on either side.
    pub differing: u64,
    /// Ids of some of them.
    pub ids: Vec<String>,
}

impl Comparison {
    /// Ids that are kept.
    pub const IDS_MAX: usize = 100;
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
    /// Failed attempts at the present phase, in a row.
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
    /// What it does to the copies.
    pub kind: Kind,
    /// The copy that the documents are taken from, A. Another in-sync copy may take its place.
    pub source: NodeId,
    /// The copy that goes when the new one is good: most often A itself.
    pub replaces: Option<NodeId>,
    /// The copy that is built, C.
    pub target: NodeId,
    /// Whether the target had a stale copy, which stays listed when the migration is given up.
    pub repairs: bool,
    /// Whether an operator has it wait where it is.
    pub paused: bool,
    /// Where it stands.
    pub phase: Phase,
    /// The epoch of its last change of phase: what a barrier waits for.
    pub phase_epoch: Epoch,
    /// Counts changes of phase; an event names the step it saw, so a late one changes nothing.
    pub step: u32,
    /// Documents a second the copying may send; `None` is no limit.
    pub throttle_docs_per_s: Option<u32>,
    /// Bytes of JSON a second the copying may send; `None` is no limit.
    pub throttle_bytes_per_s: Option<u64>,
    /// The last comparison of source and target.
    pub comparison: Option<Comparison>,
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
    /// Delete the shard on the copy that is replaced.
    Clean,
    /// Delete what was built on the target.
    Drop,
    /// Nothing, ever.
    Nothing,
}

/// Most changes of phase that a record keeps; a migration that goes back for ever must not fill the log.
const HISTORY_MAX: usize = 200;

impl Record {
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
        let phase = self.phase.after(event, self.kind)?;
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

    /// Whether a target that missed a write goes back to being built, rather than out of use.
    #[must_use]
    pub fn goes_back_when_behind(&self) -> bool {
        self.phase.after(Event::TargetBehind, self.kind).is_ok()
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
            Phase::CutOver | Phase::Reversing => Action::AwaitReaders,
            Phase::Holding => Action::Hold,
            Phase::Cleaning => Action::Clean,
            Phase::Dropping => Action::Drop,
            Phase::Done | Phase::Cancelled => Action::Nothing,
        }
    }

    /// When the present phase was entered, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn phase_since_ms(&self) -> u64 {
        self.history.last().map_or(0, |change| change.at_ms)
    }
}
