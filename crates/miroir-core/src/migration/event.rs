//! What moves a migration from phase to phase: the legal pairs, in one match.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Kind, Phase};

/// Something an actor observed, or a command decided, that changes a migration's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The caps leave room.
    SlotGranted,
    /// The target has index and settings, and no document of the shard.
    TargetClean,
    /// Every document that the shard had is enqueued on the target.
    Copied,
    /// Few recorded ids are left and the source's queue is short.
    CaughtUp,
    /// Behind the fence, the last recorded ids are enqueued on the target.
    FenceDrained,
    /// Behind the fence, the source took longer than the hold budget.
    FenceOverrun,
    /// Ids and digests of both copies are equal.
    Verified,
    /// They are not.
    Mismatch,
    /// Every proxy reads the target.
    ReadsMoved,
    /// The reverse window is over.
    WindowOver,
    /// The source holds no document of the shard.
    Cleaned,
    /// The target may lack a write that the source has: it missed one, or the writer died in the middle of one.
    TargetBehind,
    /// The target lost what was copied to it.
    TargetLost,
    /// Another copy is read from now.
    SourceChanged,
    /// An operator gives the migration up, before reads have moved.
    CancelAsked,
    /// An operator puts reads back, after they have moved.
    ReverseAsked,
    /// The node of a copy that is to be deleted does not answer; its documents stay until it is swept.
    LeftBehind,
    /// The index was deleted, or the migration has become pointless.
    Abandoned,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 18] = [
        Self::SlotGranted,
        Self::TargetClean,
        Self::Copied,
        Self::CaughtUp,
        Self::FenceDrained,
        Self::FenceOverrun,
        Self::Verified,
        Self::Mismatch,
        Self::ReadsMoved,
        Self::WindowOver,
        Self::Cleaned,
        Self::TargetBehind,
        Self::TargetLost,
        Self::SourceChanged,
        Self::CancelAsked,
        Self::ReverseAsked,
        Self::LeftBehind,
        Self::Abandoned,
    ];
}

/// An event that means nothing in the phase it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{event:?} means nothing to a migration in phase {phase}")]
pub struct IllegalEvent {
    /// The phase the migration was in.
    pub phase: Phase,
    /// The event that came.
    pub event: Event,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Phase {
    /// The phase that follows when `event` meets a migration of `kind` in this phase.
    ///
    /// # Errors
    /// [`IllegalEvent`] where the pair is not part of the protocol; nothing may change then.
    pub fn after(self, event: Event, kind: Kind) -> Result<Self, IllegalEvent> {
        use Phase as P;
        let illegal = IllegalEvent { phase: self, event };
        match (self, event) {
            // Dropping a copy begins where a move has built one; sweeping, where a copy has been dropped.
            (P::Planned, Event::SlotGranted) => Ok(match kind {
                Kind::Move | Kind::Build => P::Preparing,
                Kind::Drop => P::CutOver,
                Kind::Sweep => P::Cleaning,
            }),
            (P::Preparing, Event::TargetClean) => Ok(P::Copying),
            (P::Copying, Event::Copied) => Ok(P::CatchingUp),
            (P::CatchingUp, Event::CaughtUp) => Ok(P::Fenced),
            (P::Fenced, Event::FenceDrained) => Ok(P::Mirroring),
            (P::Fenced, Event::FenceOverrun) => Ok(P::CatchingUp),
            (P::Mirroring, Event::Verified) => Ok(P::CutOver),
            (P::Mirroring, Event::Mismatch) => Ok(P::CatchingUp),
            // A replica that replaces none leaves nothing to hold or to clean.
            (P::CutOver, Event::ReadsMoved) => match kind {
                Kind::Move | Kind::Drop => Ok(P::Holding),
                Kind::Build => Ok(P::Done),
                Kind::Sweep => Err(illegal),
            },
            (P::Holding, Event::WindowOver) => Ok(P::Cleaning),
            (P::Cleaning, Event::Cleaned | Event::LeftBehind) => Ok(P::Done),
            (P::Mirroring | P::CutOver | P::Holding, Event::TargetBehind) if kind.builds() => {
                Ok(P::CatchingUp)
            }
            // Until reads move, a target that forgot everything costs only the copying.
            (
                P::Preparing | P::Copying | P::CatchingUp | P::Fenced | P::Mirroring,
                Event::TargetLost,
            ) => Ok(P::Preparing),
            (P::Planned | P::Preparing | P::Copying, Event::SourceChanged) => Ok(self),
            (P::CatchingUp | P::Fenced | P::Mirroring, Event::SourceChanged) => Ok(P::CatchingUp),
            (P::Planned, Event::CancelAsked) => Ok(P::Cancelled),
            (
                P::Preparing | P::Copying | P::CatchingUp | P::Fenced | P::Mirroring,
                Event::CancelAsked,
            ) => Ok(P::Dropping),
            (P::CutOver | P::Holding, Event::ReverseAsked) => Ok(match kind {
                Kind::Move | Kind::Build => P::Reversing,
                // The copy that was to go is still there and is read again; no other was built.
                Kind::Drop | Kind::Sweep => P::Cancelled,
            }),
            (P::Reversing, Event::ReadsMoved) => Ok(P::Dropping),
            // The copy that reads were to go back to is lost: they stay with what was built.
            (P::Reversing, Event::SourceChanged) if kind.builds() => Ok(P::CutOver),
            (P::Dropping, Event::Cleaned | Event::LeftBehind) => Ok(P::Cancelled),
            (phase, Event::Abandoned) if !phase.is_final() => Ok(P::Cancelled),
            _ => Err(illegal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_without_trouble_passes_every_phase_once() {
        let path = [
            (Event::SlotGranted, Phase::Preparing),
            (Event::TargetClean, Phase::Copying),
            (Event::Copied, Phase::CatchingUp),
            (Event::CaughtUp, Phase::Fenced),
            (Event::FenceDrained, Phase::Mirroring),
            (Event::Verified, Phase::CutOver),
            (Event::ReadsMoved, Phase::Holding),
            (Event::WindowOver, Phase::Cleaning),
            (Event::Cleaned, Phase::Done),
        ];
        let mut phase = Phase::Planned;
        for (event, expected) in path {
            phase = phase.after(event, Kind::Move).expect("a legal step");
            assert_eq!(phase, expected);
        }
    }

    #[test]
    fn the_source_is_never_cleaned_but_from_holding() {
        for phase in Phase::ALL {
            for event in Event::ALL {
                for kind in [Kind::Move, Kind::Drop] {
                    if phase.after(event, kind) == Ok(Phase::Cleaning) {
                        assert_eq!((phase, event), (Phase::Holding, Event::WindowOver));
                    }
                }
                assert_ne!(phase.after(event, Kind::Build), Ok(Phase::Holding));
            }
        }
    }

    #[test]
    fn reads_move_only_from_a_verified_mirror() {
        for phase in Phase::ALL {
            for event in Event::ALL {
                if phase.after(event, Kind::Move) == Ok(Phase::CutOver) {
                    let verified = (phase, event) == (Phase::Mirroring, Event::Verified);
                    let kept = (phase, event) == (Phase::Reversing, Event::SourceChanged);
                    assert!(verified || kept, "{phase} {event}");
                }
            }
        }
    }

    #[test]
    fn a_final_phase_takes_no_event() {
        for event in Event::ALL {
            for phase in [Phase::Done, Phase::Cancelled] {
                assert_eq!(
                    phase.after(event, Kind::Move),
                    Err(IllegalEvent { phase, event })
                );
            }
        }
    }

    /// What was built is deleted only after every proxy that could read it has moved on, or before any could.
    #[test]
    fn a_built_copy_is_dropped_only_before_reads_or_after_they_went_back() {
        for phase in Phase::ALL {
            for event in Event::ALL {
                if phase.after(event, Kind::Move) == Ok(Phase::Dropping) {
                    let before = matches!(event, Event::CancelAsked);
                    assert!(before || (phase, event) == (Phase::Reversing, Event::ReadsMoved));
                }
            }
        }
        assert!(Phase::Dropping.row().barrier.covers_reads());
        assert!(Phase::Dropping.row().barrier.covers_writes());
    }

    #[test]
    fn a_copy_is_dropped_by_the_tail_of_a_move() {
        let path = [
            (Event::SlotGranted, Phase::CutOver),
            (Event::ReadsMoved, Phase::Holding),
            (Event::WindowOver, Phase::Cleaning),
            (Event::Cleaned, Phase::Done),
        ];
        let mut phase = Phase::Planned;
        for (event, expected) in path {
            phase = phase.after(event, Kind::Drop).expect("a legal step");
            assert_eq!(phase, expected);
        }
        let back = Phase::Holding.after(Event::ReverseAsked, Kind::Drop);
        assert_eq!(back, Ok(Phase::Cancelled));
    }

    #[test]
    fn the_exact_number_of_legal_pairs_is_known() {
        let legal = |kind| {
            let all = Phase::ALL.iter().flat_map(|phase| {
                Event::ALL
                    .iter()
                    .map(move |event| phase.after(*event, kind))
            });
            all.filter(Result::is_ok).count()
        };
        // Forward, a copy left behind among it; back to CatchingUp by name; by a target behind; by a target lost;
        // another source; cancelled; reversed, kept after all, and dropped; abandoned.
        assert_eq!(legal(Kind::Move), 10 + 2 + 3 + 5 + 6 + 6 + (2 + 1 + 3) + 11);
        assert_eq!(legal(Kind::Drop), legal(Kind::Move) - 4);
    }
}
