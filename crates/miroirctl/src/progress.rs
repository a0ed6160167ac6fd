//! How far migrations are, how fast they go and when they will be done. Pure: the coordinator's
//! clock comes with every report.

use std::collections::{BTreeMap, VecDeque};

use miroir_proto::v1;

/// Speeds are averages over this time, in milliseconds: shards come in bursts.
const WINDOW_MS: u64 = 20_000;
/// A speed measured over less than this says nothing, in milliseconds.
const MEASURED_MS_MIN: u64 = 500;

/// Turns a stream of reports into progress.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Migrations that were done before and belong to nothing that goes on.
    done_before: u32,
    /// What each migration last said of itself; those that are no longer listed are done.
    seen: BTreeMap<u64, Documents>,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Documents {
    done: u64,
    total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: u64,
    documents: u64,
    shards: f64,
}

/// How far everything is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The coordinator's clock.
    pub at_ms: u64,
    /// Shards to move, finished ones included.
    pub shards_total: u32,
    /// Shards that have arrived.
    pub shards_done: u32,
    /// Documents copied, of the migrations that were watched.
    pub documents_done: u64,
    /// Documents to copy, as far as is known: a migration that has not begun does not know.
    pub documents_total: u64,
    /// Documents copied per second.
    pub documents_per_s: Option<f64>,
    /// Time until everything has arrived, in milliseconds.
    pub eta_ms: Option<u64>,
}

impl Tracker {
    /// Counts from the beginning of what is unfinished: `done_before` migrations belong to other,
    /// finished operations.
    #[must_use]
    pub fn new(done_before: u32) -> Self {
        Self {
            done_before,
            ..Self::default()
        }
    }

    /// Takes the next report in.
    pub fn update(&mut self, report: &v1::ListMigrationsReply) -> Progress {
        let unfinished = report
            .migrations
            .iter()
            .filter(|migration| !is_final(migration.phase()));
        let mut moving = 0.0;
        let mut listed = BTreeMap::new();
        for migration in unfinished {
            moving += fraction(migration);
            let documents = Documents {
                done: migration.documents_done,
                total: migration.documents_total,
            };
            listed.insert(migration.id, documents);
        }
        for (id, gone) in &mut self.seen {
            if !listed.contains_key(id) {
                gone.done = gone.done.max(gone.total);
                gone.total = gone.done;
            }
        }
        self.seen.extend(listed);
        let shards_done = report.done.saturating_sub(self.done_before);
        let sample = Sample {
            at_ms: report.at_ms,
            documents: self.seen.values().map(|documents| documents.done).sum(),
            shards: f64::from(shards_done) + moving,
        };
        self.remember(sample);
        let shards_total = report.total.saturating_sub(self.done_before);
        let (documents_per_s, shards_per_s) = self.speeds();
        Progress {
            at_ms: report.at_ms,
            shards_total,
            shards_done,
            documents_done: sample.documents,
            documents_total: self
                .seen
                .values()
                .map(|documents| documents.total.max(documents.done))
                .sum(),
            documents_per_s,
            eta_ms: eta_ms(f64::from(shards_total) - sample.shards, shards_per_s),
        }
    }

    fn remember(&mut self, sample: Sample) {
        // Another coordinator's clock may be behind: differences to the old one mean nothing.
        if self
            .samples
            .back()
            .is_some_and(|last| sample.at_ms < last.at_ms)
        {
            self.samples.clear();
        }
        self.samples.push_back(sample);
        // One sample older than the window stays, for the window to be measured whole.
        while self
            .samples
            .get(1)
            .is_some_and(|next| next.at_ms + WINDOW_MS <= sample.at_ms)
        {
            self.samples.pop_front();
        }
    }

    /// Documents and shards per second.
    fn speeds(&self) -> (Option<f64>, Option<f64>) {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return (None, None);
        };
        let elapsed_ms = last.at_ms.saturating_sub(first.at_ms);
        if elapsed_ms < MEASURED_MS_MIN {
            return (None, None);
        }
        let seconds = elapsed_ms as f64 / 1_000.0;
        // A migration that begins again gives back what it had: that is not a negative speed.
        let documents = last.documents.saturating_sub(first.documents) as f64 / seconds;
        (
            Some(documents),
            Some((last.shards - first.shards).max(0.0) / seconds),
        )
    }
}

fn eta_ms(left: f64, shards_per_s: Option<f64>) -> Option<u64> {
    if left <= f64::EPSILON {
        return Some(0);
    }
    let speed = shards_per_s.filter(|speed| *speed > 0.0)?;
    let ms = left / speed * 1_000.0;
    // More than a year is no estimate.
    (ms < 3.2e10).then_some(ms as u64)
}

fn is_final(phase: v1::Phase) -> bool {
    matches!(phase, v1::Phase::Done | v1::Phase::Cancelled)
}

/// About how much of a move is behind it. Copying takes most of the time of a shard of any size.
#[must_use]
pub fn fraction(migration: &v1::Migration) -> f64 {
    let copied = match migration.documents_total {
        0 => 0.0,
        total => (migration.documents_done as f64 / total as f64).min(1.0),
    };
    match migration.phase() {
        v1::Phase::Unspecified | v1::Phase::Planned => 0.0,
        v1::Phase::Preparing => 0.05,
        v1::Phase::Copying => 0.1 + 0.6 * copied,
        v1::Phase::CatchingUp => 0.75,
        v1::Phase::Fenced => 0.8,
        v1::Phase::Mirroring => 0.85,
        v1::Phase::CutOver => 0.9,
        v1::Phase::Holding | v1::Phase::Cleaning | v1::Phase::Reversing | v1::Phase::Dropping => {
            0.95
        }
        v1::Phase::Done | v1::Phase::Cancelled => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn migration(id: u64, phase: v1::Phase, done: u64, total: u64) -> v1::Migration {
        v1::Migration {
            id,
            phase: phase.into(),
            documents_done: done,
            documents_total: total,
            ..Default::default()
        }
    }

    fn report(
        at_ms: u64,
        done: u32,
        total: u32,
        migrations: Vec<v1::Migration>,
    ) -> v1::ListMigrationsReply {
        v1::ListMigrationsReply {
            migrations,
            total,
            done,
            at_ms,
        }
    }

    #[test]
    fn speed_and_eta_follow_from_two_reports() {
        let mut tracker = Tracker::new(0);
        let first = tracker.update(&report(
            1_000,
            0,
            4,
            vec![migration(1, v1::Phase::Planned, 0, 0)],
        ));
        assert_eq!((first.documents_per_s, first.eta_ms), (None, None));
        // One of four shards in ten seconds: three more take thirty.
        let gone = report(11_000, 1, 4, vec![migration(2, v1::Phase::Planned, 0, 0)]);
        assert_eq!(tracker.update(&gone).eta_ms, Some(30_000));
    }

    #[test]
    fn documents_of_a_shard_that_arrived_stay_counted() {
        let mut tracker = Tracker::new(0);
        tracker.update(&report(
            0,
            0,
            2,
            vec![migration(1, v1::Phase::Copying, 500, 1_000)],
        ));
        let now = tracker.update(&report(
            2_000,
            1,
            2,
            vec![migration(2, v1::Phase::Copying, 100, 800)],
        ));
        assert_eq!((now.documents_done, now.documents_total), (1_100, 1_800));
        assert_eq!(now.documents_per_s, Some(300.0));
    }

    #[test]
    fn what_other_operations_did_is_not_counted() {
        let mut tracker = Tracker::new(16);
        let now = tracker.update(&report(0, 20, 28, Vec::new()));
        assert_eq!((now.shards_done, now.shards_total), (4, 12));
    }

    #[test]
    fn another_clock_begins_a_new_measurement() {
        let mut tracker = Tracker::new(0);
        tracker.update(&report(50_000, 0, 4, Vec::new()));
        tracker.update(&report(60_000, 2, 4, Vec::new()));
        assert_eq!(
            tracker.update(&report(40_000, 2, 4, Vec::new())).eta_ms,
            None
        );
        assert_eq!(
            tracker.update(&report(41_000, 3, 4, Vec::new())).eta_ms,
            Some(1_000)
        );
    }

    #[test]
    fn old_speed_is_forgotten() {
        let mut tracker = Tracker::new(0);
        for at in 0..=40_u64 {
            // A shard a second at first, then one in two seconds.
            let done = if at <= 10 { at } else { 10 + (at - 10) / 2 };
            tracker.update(&report(at * 1_000, done as u32, 100, Vec::new()));
        }
        let speed = tracker.speeds().1.expect("measured");
        assert!((0.45..=0.55).contains(&speed), "{speed}");
    }

    #[test]
    fn nothing_left_takes_no_time_and_no_speed_is_no_estimate() {
        for (left, speed, eta) in [
            (0.0, None, Some(0)),
            (3.0, None, None),
            (3.0, Some(0.0), None),
            (3.0, Some(1.5), Some(2_000)),
        ] {
            assert_eq!(eta_ms(left, speed), eta, "{left} {speed:?}");
        }
    }

    #[test]
    fn a_move_only_gets_further_from_phase_to_phase() {
        let order = [
            migration(1, v1::Phase::Planned, 0, 0),
            migration(1, v1::Phase::Preparing, 0, 0),
            migration(1, v1::Phase::Copying, 0, 10),
            migration(1, v1::Phase::Copying, 5, 10),
            migration(1, v1::Phase::Copying, 12, 10),
            migration(1, v1::Phase::CatchingUp, 12, 10),
            migration(1, v1::Phase::Fenced, 12, 10),
            migration(1, v1::Phase::Mirroring, 12, 10),
            migration(1, v1::Phase::CutOver, 12, 10),
            migration(1, v1::Phase::Cleaning, 12, 10),
            migration(1, v1::Phase::Done, 12, 10),
        ];
        let fractions: Vec<f64> = order.iter().map(fraction).collect();
        assert!(fractions.is_sorted_by(|a, b| a < b), "{fractions:?}");
    }

    proptest! {
        #[test]
        fn no_report_makes_nonsense(reports in prop::collection::vec(
            (0..100_000_u64, 0..50_u32, 0..50_u32, 0..12_i32, 0..1_000_u64, 0..1_000_u64), 1..40,
        )) {
            let mut tracker = Tracker::new(3);
            for (at_ms, done, more, phase, documents, total) in reports {
                let phase = v1::Phase::try_from(phase).expect("a phase");
                let now = tracker.update(&report(at_ms, done, done + more, vec![migration(1, phase, documents, total)]));
                prop_assert!(now.shards_done <= now.shards_total);
                prop_assert!(now.documents_done <= now.documents_total);
                prop_assert!(now.documents_per_s.is_none_or(|speed| speed.is_finite() && speed >= 0.0));
            }
        }
    }
}
