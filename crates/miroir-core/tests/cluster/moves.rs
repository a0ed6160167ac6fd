//! Moves: what each phase does to the placement, and what is planned when.

use miroir_core::cluster::{Command, OperationState, Outcome, Policy, Rejection, ReplicaState};
use miroir_core::migration::{Event, Phase};
use miroir_core::planning::{grantable, plan_operation};

use crate::support;
use crate::support::{Log, register, uid};

#[test]
fn a_node_gets_its_share_and_every_phase_keeps_each_shard_readable_once() {
    let mut log = Log::with_books(3, 16, 1);
    let Outcome::NodeAdded { operation, .. } = log.apply(&Command::AddNode {
        node: support::node("http://new", 1, 1),
    }) else {
        panic!("refused")
    };
    // The operations that added the first three nodes found nothing to move.
    log.plan_everything();
    assert_eq!(
        log.state.operations[&operation].state,
        OperationState::Running
    );
    let moves = log.state.operations[&operation].migrations.len();
    assert_eq!(moves, 4, "a quarter of 16");
    let path = [
        Event::SlotGranted,
        Event::TargetClean,
        Event::Copied,
        Event::CaughtUp,
        Event::FenceDrained,
        Event::Verified,
        Event::ReadsMoved,
        Event::WindowOver,
        Event::Cleaned,
    ];
    for event in path {
        for id in log.state.operations[&operation].migrations.clone() {
            log.advance(id, event);
            log.check_every_shard_is_read_once();
        }
    }
    log.plan_everything();
    assert_eq!(log.state.operations[&operation].state, OperationState::Done);
    assert_eq!(log.copies_by_node(), [4, 4, 4, 4]);
    assert!(log.index("books").leftovers.is_empty());
}

#[test]
fn the_placement_says_what_the_phase_says() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    let record = log.state.migrations[&id].clone();
    let (a, c) = (record.source, record.target);
    use ReplicaState::{Building, InSync, Mirror};
    let steps = [
        (Event::SlotGranted, Some(InSync), Some(Building)),
        (Event::TargetClean, Some(InSync), Some(Building)),
        (Event::Copied, Some(InSync), Some(Building)),
        (Event::CaughtUp, Some(InSync), Some(Building)),
        (Event::FenceDrained, Some(InSync), Some(Mirror)),
        (Event::Verified, Some(Mirror), Some(InSync)),
        (Event::ReadsMoved, Some(Mirror), Some(InSync)),
        (Event::WindowOver, None, Some(InSync)),
        (Event::Cleaned, None, Some(InSync)),
    ];
    for (event, of_a, of_c) in steps {
        log.advance(id, event);
        let index = log.index("books");
        let shard = index.shard(record.shard).expect("there");
        assert_eq!(shard.on(a).map(|r| r.state), of_a, "A after {event}");
        assert_eq!(shard.on(c).map(|r| r.state), of_c, "C after {event}");
        let cleaning = log.state.migrations[&id].phase == Phase::Cleaning;
        assert_eq!(index.leftovers.contains(&(a, record.shard)), cleaning);
    }
    assert_eq!(
        log.state.active_migration(&uid("books"), record.shard),
        None
    );
}

#[test]
fn a_late_event_changes_nothing() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance(id, Event::SlotGranted);
    let late = Command::Advance {
        id,
        step: 0,
        event: Event::TargetClean,
    };
    let before = log.state.clone();
    assert!(matches!(
        log.apply(&late),
        Outcome::Rejected(Rejection::StaleStep { .. })
    ));
    assert_eq!(log.state, before);
}

#[test]
fn a_target_that_misses_a_write_goes_back_and_reads_with_it() {
    for steps_further in 0..=2 {
        let mut log = Log::with_books(2, 4, 1);
        let id = log.start_a_move();
        log.advance_to(id, Phase::Mirroring);
        for event in [Event::Verified, Event::ReadsMoved]
            .iter()
            .take(steps_further)
        {
            log.advance(id, *event);
        }
        let record = log.state.migrations[&id].clone();
        let missed = vec![(record.shard, record.target)];
        let write = missed;
        register(&mut log, support::WRITER, write).expect("the source took it");
        assert_eq!(
            log.state.migrations[&id].phase,
            Phase::CatchingUp,
            "from {}",
            record.phase
        );
        log.check_every_shard_is_read_once();
        let index = log.index("books");
        let shard = index.shard(record.shard).expect("there");
        assert_eq!(
            shard.on(record.source).map(|r| r.state),
            Some(ReplicaState::InSync)
        );
        assert_eq!(
            shard.on(record.target).map(|r| r.state),
            Some(ReplicaState::Building)
        );
        assert_eq!(
            log.state.migrations[&id].phase_epoch, log.state.epoch,
            "a new barrier is needed"
        );
    }
}

#[test]
fn a_source_that_misses_a_write_after_reads_left_it_is_given_up() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::CutOver);
    let record = log.state.migrations[&id].clone();
    let write = vec![(record.shard, record.source)];
    register(&mut log, support::WRITER, write).expect("the target took it");
    assert_eq!(log.state.migrations[&id].phase, Phase::CutOver);
    // From here on there is no way back to it: were the target to miss a write, no copy would have all.
    let both_ways = vec![(record.shard, record.target)];
    let refused = register(&mut log, support::WRITER, both_ways);
    assert!(
        matches!(refused, Err(Rejection::TooFewInSync { .. })),
        "{refused:?}"
    );
    for event in [Event::ReadsMoved, Event::WindowOver, Event::Cleaned] {
        log.advance(id, event);
    }
    log.check_every_shard_is_read_once();
}

#[test]
fn a_source_that_missed_a_write_is_never_copied_from() {
    let mut log = Log::with_books(3, 4, 2);
    let id = log.start_a_move();
    log.advance_to(id, Phase::Mirroring);
    let record = log.state.migrations[&id].clone();
    register(
        &mut log,
        support::WRITER,
        vec![(record.shard, record.source)],
    )
    .expect("others took it");
    let verified = Command::Advance {
        id,
        step: record.step,
        event: Event::Verified,
    };
    let before = log.state.clone();
    let refused = log.apply(&verified);
    assert!(
        matches!(&refused, Outcome::Rejected(Rejection::Invalid(why)) if why.contains("not in sync any more")),
        "{refused:?}"
    );
    assert_eq!(log.state, before);
    let index = log.index("books");
    let shard = index.shard(record.shard).expect("there");
    let other = shard.readable().next().expect("one is left").node;
    log.apply(&Command::ChangeSource {
        id,
        step: record.step,
        source: other,
    });
    let changed = &log.state.migrations[&id];
    assert_eq!((changed.phase, changed.source), (Phase::CatchingUp, other));
    assert_eq!(
        changed.replaces, record.replaces,
        "what goes is what was to go"
    );
    log.advance_to(id, Phase::Done);
    let gone = record.replaces.expect("a move");
    let left = log
        .index("books")
        .shard(record.shard)
        .and_then(|shard| shard.on(gone).cloned());
    assert_eq!(left, None);
}

#[test]
fn a_target_that_misses_a_write_while_another_copy_is_compared_goes_back() {
    let mut log = Log::with_books(3, 4, 2);
    let id = log.start_a_move();
    log.advance_to(id, Phase::Mirroring);
    let record = log.state.migrations[&id].clone();
    register(
        &mut log,
        support::WRITER,
        vec![(record.shard, record.source)],
    )
    .expect("others took it");
    let step = log.state.migrations[&id].step;
    register(
        &mut log,
        support::WRITER,
        vec![(record.shard, record.target)],
    )
    .expect("another took it");
    assert_eq!(log.state.migrations[&id].phase, Phase::CatchingUp);
    let verified = Command::Advance {
        id,
        step,
        event: Event::Verified,
    };
    assert!(matches!(log.apply(&verified), Outcome::Rejected(_)));
}

#[test]
fn slots_are_granted_within_every_cap() {
    let policy = Policy {
        max_concurrent_migrations: 5,
        max_migrations_per_target: 3,
        max_migrations_per_source: 2,
        ..Policy::default()
    };
    let mut log = Log::with_policy_and_books(policy, 3, 64, 1);
    log.apply(&Command::AddNode {
        node: support::node("http://new", 1, 1),
    });
    log.plan_everything();
    let mut rounds = 0;
    while log.state.unfinished_migrations().next().is_some() {
        rounds += 1;
        assert!(rounds < 100, "it must come to an end");
        let granted = grantable(&log.state);
        for id in &granted {
            log.advance(*id, Event::SlotGranted);
        }
        let working: Vec<_> = log
            .state
            .unfinished_migrations()
            .filter(|m| m.phase.takes_slot())
            .cloned()
            .collect();
        assert!(
            !working.is_empty() && working.len() <= 3,
            "the target's cap is the tightest"
        );
        for record in &working {
            assert!(
                working
                    .iter()
                    .filter(|other| other.source == record.source)
                    .count()
                    <= 2
            );
            log.advance_to(record.id, Phase::Done);
        }
    }
    assert_eq!(log.copies_by_node(), [16, 16, 16, 16]);
}

#[test]
fn one_operation_is_planned_after_the_other() {
    let mut log = Log::with_books(2, 12, 1);
    log.apply(&Command::AddNode {
        node: support::node("http://a", 1, 1),
    });
    log.apply(&Command::AddNode {
        node: support::node("http://b", 1, 1),
    });
    log.plan_everything();
    let waiting = log
        .state
        .operations
        .values()
        .filter(|o| o.state == OperationState::Accepted)
        .count();
    assert_eq!((waiting, plan_operation(&log.state)), (1, None));
    while let Some(id) = log.first_unfinished() {
        log.advance_to(id, Phase::Done);
        log.plan_everything();
    }
    assert_eq!(log.copies_by_node(), [3, 3, 3, 3]);
    assert!(
        log.state
            .operations
            .values()
            .all(|o| o.state == OperationState::Done)
    );
}
