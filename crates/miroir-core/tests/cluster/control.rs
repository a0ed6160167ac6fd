//! What an operator can do to a migration, in every phase of every kind.

use miroir_core::cluster::{Command, Control, OperationState, Outcome, Rejection, ReplicaState};
use miroir_core::id::MigrationId;
use miroir_core::migration::{Event, Kind, Phase};

use crate::support::{Log, accepted, copies, refused};

/// A migration of a kind, not begun.
fn planned(kind: Kind) -> (Log, MigrationId) {
    match kind {
        Kind::Move => {
            let mut log = Log::with_books(2, 4, 1);
            let id = log.start_a_move();
            (log, id)
        }
        Kind::Build | Kind::Drop => {
            let (before, after) = if kind == Kind::Build { (1, 2) } else { (2, 1) };
            let mut log = Log::with_books(2, 4, before);
            accepted(&mut log, &copies(after));
            log.plan_everything();
            let id = log.first_unfinished().expect("planned");
            (log, id)
        }
        Kind::Sweep => {
            let (mut log, left) = planned(Kind::Move);
            log.advance_to(left, Phase::Cleaning);
            log.advance(left, Event::LeftBehind);
            let id = log.plan_repairs();
            (log, id)
        }
    }
}

fn in_phase(kind: Kind, phase: Phase) -> (Log, MigrationId) {
    let (mut log, id) = planned(kind);
    let by_way_of = [
        (Phase::Reversing, Phase::CutOver, Event::ReverseAsked),
        (Phase::Dropping, Phase::Copying, Event::CancelAsked),
        (Phase::Cancelled, Phase::Planned, Event::CancelAsked),
    ];
    match by_way_of.iter().find(|(to, _, _)| *to == phase) {
        Some((_, from, event)) => {
            log.advance_to(id, *from);
            log.advance(id, *event);
        }
        None => log.advance_to(id, phase),
    }
    (log, id)
}

fn phases(kind: Kind) -> Vec<Phase> {
    use Phase as P;
    let all: &[P] = match kind {
        Kind::Move => &P::ALL,
        Kind::Build => &[
            P::Planned,
            P::Preparing,
            P::Copying,
            P::CatchingUp,
            P::Fenced,
            P::Mirroring,
            P::CutOver,
            P::Done,
            P::Reversing,
            P::Dropping,
            P::Cancelled,
        ],
        Kind::Drop => &[
            P::Planned,
            P::CutOver,
            P::Holding,
            P::Cleaning,
            P::Done,
            P::Cancelled,
        ],
        Kind::Sweep => &[P::Planned, P::Cleaning, P::Done, P::Cancelled],
    };
    all.to_vec()
}

const KINDS: [Kind; 4] = [Kind::Move, Kind::Build, Kind::Drop, Kind::Sweep];

/// The phase that giving up leads to; `None` where it is refused.
fn given_up(kind: Kind, phase: Phase, control: Control) -> Option<Phase> {
    match (control, phase) {
        (Control::Cancel, Phase::Planned) => Some(Phase::Cancelled),
        (
            Control::Cancel,
            Phase::Preparing
            | Phase::Copying
            | Phase::CatchingUp
            | Phase::Fenced
            | Phase::Mirroring,
        ) => Some(Phase::Dropping),
        (Control::Reverse, Phase::CutOver | Phase::Holding) if kind.builds() => {
            Some(Phase::Reversing)
        }
        (Control::Reverse, Phase::CutOver | Phase::Holding) => Some(Phase::Cancelled),
        _ => None,
    }
}

#[test]
fn giving_up_puts_every_copy_back_from_every_phase_or_is_refused() {
    for kind in KINDS {
        for phase in phases(kind) {
            for control in [Control::Cancel, Control::Reverse] {
                let case = format!("{control:?} of a {kind:?} in {phase}");
                let (start, _) = planned(kind);
                let (mut log, id) = in_phase(kind, phase);
                let command = Command::ControlMigration { id, control };
                let Some(expected) = given_up(kind, phase, control) else {
                    let why = refused(&mut log, &command);
                    let finished = matches!(why, Rejection::Finished(_));
                    let late = matches!(why, Rejection::TooLate { .. });
                    assert_eq!(
                        (finished, late),
                        (phase.is_final(), !phase.is_final()),
                        "{case}"
                    );
                    continue;
                };
                log.apply(&command);
                let record = log.state.migrations[&id].clone();
                assert_eq!(record.phase, expected, "{case}");
                let shard = record.shard;
                for copy in start.index("books").shard(shard).expect("there").readable() {
                    let now = log.copy(shard, copy.node);
                    assert_eq!(now, Some(ReplicaState::InSync), "{case}: it is read again");
                }
                if expected == Phase::Reversing {
                    let built = log.copy(shard, record.target);
                    assert_eq!(built, Some(ReplicaState::Mirror), "{case}");
                }
                while let Some(event) = crate::walk::forward(log.state.migrations[&id].phase) {
                    log.advance(id, event);
                }
                assert_eq!(log.state.migrations[&id].phase, Phase::Cancelled, "{case}");
                let (was, is) = (start.index("books"), log.index("books"));
                let copies = |index: &miroir_core::cluster::Index| {
                    index.shard(shard).expect("there").replicas.clone()
                };
                assert_eq!(copies(is), copies(was), "{case}: as before");
                let swept = is.leftovers.iter().all(|left| was.leftovers.contains(left));
                assert!(swept, "{case}: nothing is left over");
            }
        }
    }
}

#[test]
fn what_was_dropped_on_a_node_that_is_down_stays_known_until_it_is_swept() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Dropping);
    log.advance(id, Event::LeftBehind);
    let record = log.state.migrations[&id].clone();
    assert_eq!(record.phase, Phase::Cancelled);
    let left = (record.target, record.shard);
    assert!(log.index("books").leftovers.contains(&left));
    let swept = log.plan_repairs();
    assert_eq!(log.state.migrations[&swept].kind, Kind::Sweep);
    log.advance_to(swept, Phase::Done);
    assert!(log.index("books").leftovers.is_empty());
}

#[test]
fn pausing_is_refused_twice_and_resuming_without_a_pause_in_every_phase() {
    for kind in KINDS {
        for phase in phases(kind) {
            let (mut log, id) = in_phase(kind, phase);
            let control = |control| Command::ControlMigration { id, control };
            if phase.is_final() {
                for one in [Control::Pause, Control::Resume] {
                    assert!(matches!(
                        refused(&mut log, &control(one)),
                        Rejection::Finished(_)
                    ));
                }
                continue;
            }
            let early = refused(&mut log, &control(Control::Resume));
            assert!(matches!(early, Rejection::NotPaused(_)), "{early}");
            log.apply(&control(Control::Pause));
            assert!(log.state.is_paused(&log.state.migrations[&id]));
            let twice = refused(&mut log, &control(Control::Pause));
            assert!(matches!(twice, Rejection::AlreadyPaused(_)), "{twice}");
            log.apply(&control(Control::Resume));
            assert!(!log.state.is_paused(&log.state.migrations[&id]));
        }
    }
}

#[test]
fn a_paused_migration_that_is_given_up_is_not_kept_from_undoing_it() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Copying);
    for control in [Control::Pause, Control::Cancel] {
        log.apply(&Command::ControlMigration { id, control });
    }
    assert!(!log.state.migrations[&id].paused);
}

/// The slot may have been proposed before the pause was committed.
#[test]
fn what_is_paused_does_not_begin() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Planned);
    let step = log.state.migrations[&id].step;
    let granted = Command::Advance {
        id,
        step,
        event: Event::SlotGranted,
    };
    let id = log.state.migrations[&id].operation;
    let control = |control| Command::ControlOperation { id, control };
    log.apply(&control(Control::Pause));
    let refusal = refused(&mut log, &granted);
    assert!(matches!(refusal, Rejection::AlreadyPaused(_)), "{refusal}");
    log.apply(&control(Control::Resume));
    assert_eq!(log.apply(&granted), Outcome::Advanced(Phase::Preparing));
}

#[test]
fn throttles_are_set_for_one_migration_or_all_of_an_operation() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Copying);
    let operation = log.state.migrations[&id].operation;
    let throttle = |docs| Control::Throttle {
        docs_per_s: docs,
        bytes_per_s: None,
    };
    for control in [
        throttle(Some(0)),
        Control::Throttle {
            docs_per_s: None,
            bytes_per_s: Some(0),
        },
    ] {
        refused(&mut log, &Command::ControlMigration { id, control });
        refused(
            &mut log,
            &Command::ControlOperation {
                id: operation,
                control,
            },
        );
    }
    log.apply(&Command::ControlMigration {
        id,
        control: throttle(Some(7)),
    });
    assert_eq!(log.state.migrations[&id].throttle_docs_per_s, Some(7));
    log.apply(&Command::ControlOperation {
        id: operation,
        control: throttle(None),
    });
    assert!(
        log.state
            .unfinished_migrations()
            .all(|m| m.throttle_docs_per_s.is_none())
    );
}

#[test]
fn an_operation_is_cancelled_when_the_last_of_its_migrations_is_undone() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Copying);
    let operation = log.state.migrations[&id].operation;
    let state = |log: &Log| log.state.operations[&operation].state;
    let control = |control| Command::ControlOperation {
        id: operation,
        control,
    };
    log.apply(&control(Control::Pause));
    assert!(matches!(
        refused(&mut log, &control(Control::Pause)),
        Rejection::AlreadyPaused(_)
    ));
    let Outcome::Controlled { migrations, left } = log.apply(&control(Control::Cancel)) else {
        panic!("refused")
    };
    assert_eq!((migrations.contains(&id), left.len()), (true, 0));
    assert_eq!(state(&log), OperationState::Cancelling);
    refused(&mut log, &control(Control::Cancel));
    log.finish_everything();
    assert_eq!(state(&log), OperationState::Cancelled);
    assert!(matches!(
        refused(&mut log, &control(Control::Cancel)),
        Rejection::Finished(_)
    ));
    assert_eq!(log.copies_by_node(), [2, 2, 0]);
}

#[test]
fn cancelling_an_operation_leaves_what_has_moved_reads_and_reversing_does_not() {
    for (control, moved) in [(Control::Cancel, 1), (Control::Reverse, 0)] {
        let (mut log, id) = in_phase(Kind::Move, Phase::CutOver);
        let operation = log.state.migrations[&id].operation;
        let Outcome::Controlled { left, .. } = log.apply(&Command::ControlOperation {
            id: operation,
            control,
        }) else {
            panic!("refused")
        };
        assert_eq!(left.len(), moved, "{control:?}");
        log.finish_everything();
        assert_eq!(
            log.state.operations[&operation].state,
            OperationState::Cancelled
        );
        assert_eq!(log.copies_by_node()[2], moved, "{control:?}");
    }
}

/// A move by hand of which nothing came is not done.
#[test]
fn an_operation_whose_every_migration_was_given_up_is_cancelled() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    let to = log.state.migrations[&id].target;
    log.apply(&Command::ControlOperation {
        id: log.state.migrations[&id].operation,
        control: Control::Cancel,
    });
    let shard = miroir_core::id::ShardId(0);
    let from = log.index("books").shard(shard).expect("there").replicas[0].node;
    let uid = crate::support::uid("books");
    let operation = accepted(
        &mut log,
        &Command::MoveShard {
            uid,
            shard,
            from,
            to,
        },
    );
    let id = log.first_unfinished().expect("planned");
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    assert_eq!(
        log.state.operations[&operation].state,
        OperationState::Cancelled
    );
}

#[test]
fn a_shard_that_was_given_up_is_not_planned_again_by_its_operation() {
    let (mut log, id) = in_phase(Kind::Move, Phase::Planned);
    let (operation, shard) = (
        log.state.migrations[&id].operation,
        log.state.migrations[&id].shard,
    );
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    log.finish_everything();
    let known = &log.state.operations[&operation];
    assert_eq!(known.state, OperationState::Done);
    let again = known
        .migrations
        .iter()
        .filter(|m| log.state.migrations[m].shard == shard);
    assert_eq!(again.count(), 1);
}
