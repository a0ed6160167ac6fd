//! The last copy that has every write is kept, whatever is lost while another takes its place.

use miroir_core::cluster::{Command, Control, Outcome, ReplicaState};
use miroir_core::id::{NodeId, ShardId};
use miroir_core::migration::{Event, Phase};

use crate::support::{self, Log, accepted, copies, refused, register, uid};

#[test]
fn reads_stay_with_what_was_built_when_the_copy_they_go_back_to_is_lost() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::Holding);
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Reverse,
    });
    let record = log.state.migrations[&id].clone();
    assert_eq!(record.phase, Phase::Reversing);
    log.forgets(record.source);
    assert_eq!(log.state.migrations[&id].phase, Phase::CutOver);
    assert_eq!(
        log.copy(record.shard, record.target),
        Some(ReplicaState::InSync),
        "the other shards of that node are lost, this one is read"
    );
    log.advance_to(id, Phase::Done);
    assert_eq!(
        log.copy(record.shard, record.target),
        Some(ReplicaState::InSync)
    );
}

#[test]
fn reads_do_not_stay_while_there_is_a_copy_to_go_back_to() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::CutOver);
    log.advance(id, Event::ReverseAsked);
    let step = log.state.migrations[&id].step;
    refused(
        &mut log,
        &Command::Advance {
            id,
            step,
            event: Event::SourceChanged,
        },
    );
}

#[test]
fn nothing_is_reversed_to_a_copy_that_missed_a_write() {
    for phase in [Phase::CutOver, Phase::Holding] {
        let mut log = Log::with_books(2, 4, 1);
        let id = log.start_a_move();
        log.advance_to(id, phase);
        let record = log.state.migrations[&id].clone();
        let missed = vec![(record.shard, record.source)];
        register(&mut log, support::WRITER, missed).expect("the target took it");
        let step = log.state.migrations[&id].step;
        refused(
            &mut log,
            &Command::ControlMigration {
                id,
                control: Control::Reverse,
            },
        );
        for event in [Event::ReverseAsked, Event::TargetBehind] {
            refused(&mut log, &Command::Advance { id, step, event });
        }
        log.check_every_shard_is_read_once();
    }
}

#[test]
fn a_copy_to_be_dropped_is_read_again_when_those_that_stay_are_lost() {
    for phase in [Phase::Planned, Phase::CutOver, Phase::Holding] {
        let mut log = Log::with_books(2, 4, 2);
        accepted(&mut log, &copies(1));
        log.plan_everything();
        let id = log.first_unfinished().expect("planned");
        log.advance_to(id, phase);
        let record = log.state.migrations[&id].clone();
        log.forgets(record.source);
        let goes = record.replaces.expect("a drop");
        assert_eq!(
            log.copy(record.shard, goes),
            Some(ReplicaState::InSync),
            "{phase}"
        );
        let now = &log.state.migrations[&id];
        if phase == Phase::Planned {
            let (step, event) = (now.step, Event::SlotGranted);
            refused(&mut log, &Command::Advance { id, step, event });
        } else {
            assert_eq!(now.phase, Phase::Cancelled, "{phase}");
        }
    }
}

/// Each phase of a move off a node that is forced out: done, begun again elsewhere or gone on with, but never a name
/// of a node that is not there.
#[test]
fn a_node_forced_out_takes_no_copy_with_it_in_any_phase() {
    for phase in Phase::ALL {
        if matches!(phase, Phase::Reversing | Phase::Dropping | Phase::Cancelled) {
            continue;
        }
        for target in [false, true] {
            let mut log = Log::with_books(3, 6, 2);
            let id = log.start_a_move();
            log.advance_to(id, phase);
            let record = log.state.migrations[&id].clone();
            let node = if target { record.target } else { record.source };
            let forced = accepted(&mut log, &Command::RemoveNode { node, force: true });
            let named = |node| {
                let index = log.index("books");
                let left = index.leftovers.iter().any(|(n, _)| *n == node);
                log.state.holders(index).contains(&node) || index.nodes.contains_key(&node) || left
            };
            assert!(!named(node), "{phase}");
            for record in log
                .state
                .unfinished_migrations()
                .cloned()
                .collect::<Vec<_>>()
            {
                if record.source == node && record.phase < Phase::CutOver {
                    let shard = log.index("books").shard(record.shard).expect("there");
                    let source = shard.readable().next().expect("one is left").node;
                    let (id, step) = (record.id, record.step);
                    log.apply(&Command::ChangeSource { id, step, source });
                }
            }
            log.finish_everything();
            let index = log.index("books");
            assert!(index.leftovers.is_empty(), "{phase}: {:?}", index.leftovers);
            assert!(
                index.placement.iter().all(|s| s.readable().count() == 2),
                "{phase}"
            );
            assert!(log.state.operations[&forced].state.is_final());
        }
    }
}

#[test]
fn a_node_whose_copy_is_the_last_in_sync_is_not_forced_out() {
    let mut log = Log::with_books(2, 4, 1);
    let node = log
        .index("books")
        .shard(ShardId(0))
        .expect("there")
        .replicas[0]
        .node;
    let why = refused(&mut log, &Command::RemoveNode { node, force: true });
    assert!(
        why.to_string()
            .contains("shard 0 of `books` has no other copy in sync"),
        "{why}"
    );
}

#[test]
fn a_late_report_on_a_removed_node_does_not_keep_its_index_from_being_deleted() {
    let mut log = Log::with_books(3, 4, 2);
    let node = NodeId(3);
    accepted(&mut log, &Command::RemoveNode { node, force: true });
    let incarnation = log.index("books").incarnation;
    let late = log.apply(&Command::SettingsEnqueued {
        uid: uid("books"),
        incarnation,
        proxy: support::WRITER,
        applied: vec![miroir_core::cluster::AppliedSettings {
            node,
            version: 1,
            node_task: 4,
        }],
        task: None,
    });
    assert_eq!(late, Outcome::Done);
    assert!(!log.index("books").nodes.contains_key(&node));
}
