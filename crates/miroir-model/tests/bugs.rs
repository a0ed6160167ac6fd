//! Each mistake that the protocol avoids is made in the model, and must be found.

use miroir_core::migration::Kind;
use miroir_model::properties::{ACKNOWLEDGED, CLEANED, DONE, EQUAL, ONE_WRITER, READS};
use miroir_model::{Bound, Bugs, MoveModel};
use stateright::{Checker, HasDiscoveries, Model};

/// One write, and nothing goes wrong but what a test adds.
const QUIET: Bound = Bound {
    kind: Kind::Move,
    docs: 1,
    writes: 1,
    faults: 1,
    losses: 0,
    leaders: 0,
    misses: 0,
    orders: 0,
};

/// Searches until `property` is broken. Answers in how many steps, if it is.
fn steps_to_break(bound: Bound, bugs: Bugs, property: &'static str) -> Option<usize> {
    let until = HasDiscoveries::AnyOf([property].into());
    let builder = MoveModel { bound, bugs }
        .checker()
        .threads(2)
        .finish_when(until);
    let path = builder.spawn_bfs().join().discovery(property)?;
    let steps = path.into_actions().len();
    println!("{bugs:?}: `{property}` is broken in {steps} steps");
    Some(steps)
}

fn assert_breaks(bound: Bound, bugs: Bugs, property: &'static str) {
    let steps = steps_to_break(bound, bugs, property);
    assert!(
        steps.is_some(),
        "{bugs:?} does not break `{property}` within {bound:?}"
    );
}

fn assert_keeps(bound: Bound, bugs: Bugs) {
    let checker = MoveModel { bound, bugs }
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    for property in [ACKNOWLEDGED, EQUAL, READS, CLEANED, ONE_WRITER, DONE] {
        let steps = checker.discovery(property).map(miroir_model::steps);
        assert_eq!(steps, None, "{bugs:?}: {property}");
    }
}

#[test]
fn cleaning_without_the_read_barrier() {
    let bugs = Bugs {
        skip_read_barrier: true,
        ..Bugs::default()
    };
    assert_breaks(QUIET, bugs, CLEANED);
    assert_breaks(QUIET, bugs, READS);
}

#[test]
fn starting_without_the_write_barrier() {
    let bugs = Bugs {
        start_without_write_barrier: true,
        ..Bugs::default()
    };
    assert_breaks(QUIET, bugs, ACKNOWLEDGED);
    assert_breaks(QUIET, bugs, DONE);
}

#[test]
fn copying_before_the_source_is_drained() {
    let bugs = Bugs {
        copy_before_drain: true,
        ..Bugs::default()
    };
    assert_breaks(QUIET, bugs, ACKNOWLEDGED);
}

#[test]
fn acknowledging_before_a_miss_is_committed() {
    let bugs = Bugs {
        ack_before_eject: true,
        ..Bugs::default()
    };
    assert_breaks(Bound { misses: 1, ..QUIET }, bugs, ACKNOWLEDGED);
}

/// The comparison would notice; without it the write is lost.
#[test]
fn forgetting_what_a_lost_writer_recorded() {
    let bugs = Bugs {
        forget_dirty_on_writer_change: true,
        ..Bugs::default()
    };
    let bound = Bound { losses: 1, ..QUIET };
    let unverified = Bugs {
        skip_verification: true,
        ..bugs
    };
    assert_breaks(bound, unverified, ACKNOWLEDGED);
    assert_keeps(bound, bugs);
}

/// The comparison would notice; without it the write is lost.
#[test]
fn forgetting_what_a_lost_leader_knew() {
    let bugs = Bugs {
        forget_dirty_on_leader_change: true,
        ..Bugs::default()
    };
    let bound = Bound {
        leaders: 1,
        ..QUIET
    };
    let unverified = Bugs {
        skip_verification: true,
        ..bugs
    };
    assert_breaks(bound, unverified, ACKNOWLEDGED);
    assert_keeps(bound, bugs);
}

#[test]
fn taking_over_while_the_old_leader_still_sends() {
    let bugs = Bugs {
        skip_takeover_wait: true,
        ..Bugs::default()
    };
    assert_breaks(
        Bound {
            leaders: 1,
            ..QUIET
        },
        bugs,
        ACKNOWLEDGED,
    );
}

#[test]
fn writing_past_the_lease() {
    let bugs = Bugs {
        write_past_lease: true,
        ..Bugs::default()
    };
    assert_breaks(Bound { losses: 1, ..QUIET }, bugs, ONE_WRITER);
}

/// A write that C missed and A may have is under way while the copies are found equal.
#[test]
fn trusting_that_a_copy_will_be_compared_later() {
    let bugs = Bugs {
        trust_later_comparison: true,
        ..Bugs::default()
    };
    let bound = Bound {
        kind: Kind::Build,
        faults: 2,
        misses: 2,
        ..QUIET
    };
    assert_breaks(bound, bugs, EQUAL);
}

/// The comparison would notice; without it the write is lost.
#[test]
fn forgetting_that_the_target_missed_a_write() {
    let bugs = Bugs {
        keep_trust_after_miss: true,
        ..Bugs::default()
    };
    let bound = Bound { misses: 1, ..QUIET };
    let unverified = Bugs {
        skip_verification: true,
        ..bugs
    };
    assert_breaks(bound, unverified, ACKNOWLEDGED);
    assert_keeps(bound, bugs);
}

/// Barriers and recorded ids suffice: the comparison is a second line.
#[test]
fn moving_without_comparing() {
    let bugs = Bugs {
        skip_verification: true,
        ..Bugs::default()
    };
    let bound = Bound {
        losses: 1,
        leaders: 1,
        misses: 1,
        ..QUIET
    };
    assert_keeps(bound, bugs);
}
