//! How fast migrations copy, and how long the rest takes.

use miroir_core::migration::{Kind, Phase, Record};

/// What operators call it.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Move => "move",
        Kind::Build => "build",
        Kind::Drop => "drop",
        Kind::Sweep => "sweep",
    }
}

/// How fast a migration that is copying does that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Documents a second since the copying began.
    pub documents_per_s: Option<u64>,
    /// What is left at that speed, in milliseconds.
    pub eta_ms: Option<u64>,
}

/// The pace of a migration at `now_ms`; nothing while it does not copy.
pub fn pace(record: &Record, now_ms: u64) -> Pace {
    if record.phase != Phase::Copying {
        return Pace::default();
    }
    let progress = &record.progress;
    let took = now_ms.saturating_sub(record.phase_since_ms());
    let rate = progress
        .documents_done
        .saturating_mul(1_000)
        .checked_div(took)
        .filter(|rate| *rate > 0);
    let left = progress
        .documents_total
        .saturating_sub(progress.documents_done);
    Pace {
        documents_per_s: rate,
        eta_ms: rate.map(|rate| left.saturating_mul(1_000).div_ceil(rate)),
    }
}

/// Documents that a finished migration copied, and how long it took from its beginning to its end, in milliseconds.
pub fn copied(record: &Record) -> Option<(u64, u64)> {
    if record.phase != Phase::Done || !record.kind.builds() {
        return None;
    }
    let entered = |phase| {
        let mut changes = record.history.iter();
        changes
            .find(|change| change.phase == phase)
            .map(|change| change.at_ms)
    };
    // Comparing is part of the work; the reverse window, of which an operator decides, is not.
    let end = entered(Phase::CutOver).unwrap_or_else(|| record.phase_since_ms());
    let took = end.checked_sub(entered(Phase::Preparing)?)?;
    Some((record.progress.documents_done, took.max(1)))
}
