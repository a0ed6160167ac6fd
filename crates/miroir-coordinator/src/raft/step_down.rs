//! Giving leadership up on request, for a drill.
//!
//! openraft 0.9 cannot hand leadership over. A leader that falls silent is replaced as one that
//! died would be: the others hear nothing, and elect one of themselves when its lease is over.

use std::time::Duration;

use super::error::{ProposeError, StepDownError};
use super::handle::{Consensus, Inner};
use super::types::Machine;

/// Longest silence that may be asked for.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

impl<M: Machine> Consensus<M> {
    /// Has this leader be silent until the others have elected another, or until `patience` is
    /// over. It goes on by itself, whatever becomes of the caller:
    /// nothing of it is stored, so that a restart ends it, too.
    ///
    /// While it is silent it proposes nothing, sends no entries and does not campaign. It still
    /// votes: with two coordinators its vote is needed.
    ///
    /// # Errors
    /// [`StepDownError`]; then nothing was done.
    pub fn step_down(&self, term: u64, patience: Duration) -> Result<(), StepDownError> {
        let leadership = self.leadership().borrow().clone();
        if !leadership.is_leader() {
            return Err(StepDownError::NotLeader {
                leader: leadership.leader,
            });
        }
        if term != leadership.term {
            return Err(StepDownError::OtherTerm {
                asked: term,
                now: leadership.term,
            });
        }
        let voters = self.members().values().filter(|m| m.voter).count();
        if voters < 2 {
            return Err(StepDownError::Alone);
        }
        let silence = Silence::begin(self).ok_or(StepDownError::AlreadySilent)?;
        tracing::warn!(term, ?patience, "silent on request until another leads");
        let me = self.id();
        let mut metrics = self.inner.raft.metrics();
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            let another = metrics.wait_for(|m| m.current_leader.is_some_and(|id| id != me));
            tokio::select! {
                _ = another => {}
                () = tokio::time::sleep(patience) => {}
                () = stop.cancelled() => {}
            }
            drop(silence);
        });
        Ok(())
    }
}

impl<M: Machine> Inner<M> {
    /// Refuses what a silent leader would only keep waiting: certainly nothing was proposed.
    pub(super) fn refuse_while_silent(&self) -> Result<(), ProposeError> {
        if self.network.is_silent() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        Ok(())
    }
}

/// A leader's silence. It ends when this is dropped, also by a panic.
struct Silence<M: Machine>(Consensus<M>);

impl<M: Machine> Silence<M> {
    /// `None` when it is silent already.
    fn begin(consensus: &Consensus<M>) -> Option<Self> {
        if !consensus.inner.network.fall_silent() {
            return None;
        }
        consensus.inner.raft.runtime_config().elect(false);
        Some(Self(consensus.clone()))
    }
}

impl<M: Machine> Drop for Silence<M> {
    fn drop(&mut self) {
        let inner = &self.0.inner;
        inner.raft.runtime_config().elect(true);
        inner.network.end_silence();
        tracing::info!("no longer silent");
    }
}
