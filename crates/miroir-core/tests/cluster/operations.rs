//! Each operation on nodes and indexes, from being asked for to its end.

use miroir_core::cluster::{Admission, Command, Control, OperationState, Outcome, Policy};
use miroir_core::id::{NodeId, OperationId, ShardId};
use miroir_core::migration::{Event, Kind, Phase};
use miroir_core::planning::{Step, explain_shard, next_step, plan_repair};

use crate::support::{self, Log, accepted, copies, refused, register, uid};

fn state_of(log: &Log, operation: OperationId) -> OperationState {
    log.state.operations[&operation].state
}

#[test]
fn a_drained_node_is_emptied_and_stays_and_is_removed_without_another_move() {
    let mut log = Log::with_books(3, 9, 1);
    let drain = accepted(&mut log, &Command::DrainNode { node: NodeId(2) });
    log.finish_everything();
    assert_eq!(state_of(&log, drain), OperationState::Done);
    assert_eq!(log.copies_by_node()[1], 0);
    assert_eq!(log.state.nodes[&NodeId(2)].admission, Admission::Draining);
    let moves = log.state.migrations.len();
    let remove = accepted(
        &mut log,
        &Command::RemoveNode {
            node: NodeId(2),
            force: false,
        },
    );
    log.finish_everything();
    assert_eq!(state_of(&log, remove), OperationState::Done);
    assert!(!log.state.nodes.contains_key(&NodeId(2)));
    assert_eq!(log.state.migrations.len(), moves);
}

#[test]
fn a_node_is_removed_when_everything_is_off_it() {
    let mut log = Log::with_books(3, 6, 2);
    let remove = accepted(
        &mut log,
        &Command::RemoveNode {
            node: NodeId(1),
            force: false,
        },
    );
    log.plan_everything();
    assert!(
        log.state.nodes.contains_key(&NodeId(1)),
        "it is read until then"
    );
    log.finish_everything();
    assert_eq!(state_of(&log, remove), OperationState::Done);
    assert_eq!(log.copies_by_node(), [6, 6]);
}

/// A shard with two changes: the one that takes a copy off the drained node must not hide behind the other.
#[test]
fn a_drain_is_not_hidden_behind_another_change_of_the_same_shard() {
    for nodes in 3..=5 {
        for shards in [1, 3, 8] {
            let mut log = Log::with_books(nodes, shards, 2);
            log.apply(&Command::AddNode {
                node: support::node("http://heavy", 1, 9),
            });
            let adding = log
                .state
                .operations
                .keys()
                .next_back()
                .copied()
                .expect("there");
            log.apply(&Command::ControlOperation {
                id: adding,
                control: Control::Cancel,
            });
            let drain = accepted(&mut log, &Command::DrainNode { node: NodeId(1) });
            log.finish_everything();
            assert_eq!(
                state_of(&log, drain),
                OperationState::Done,
                "{nodes} nodes, {shards} shards"
            );
            assert_eq!(log.copies_by_node()[0], 0);
        }
    }
}

#[test]
fn an_undrained_node_keeps_what_has_not_moved_and_may_be_drained_again() {
    let mut log = Log::with_books(3, 9, 1);
    let drain = accepted(&mut log, &Command::DrainNode { node: NodeId(2) });
    log.plan_everything();
    let first = log.first_unfinished().expect("planned");
    log.advance_to(first, Phase::CutOver);
    let undrained = log.apply(&Command::UndrainNode { node: NodeId(2) });
    let Outcome::Controlled { left, .. } = undrained else {
        panic!("{undrained:?}")
    };
    assert_eq!(left, [first], "reads have moved; it goes on to its end");
    assert_eq!(log.state.nodes[&NodeId(2)].admission, Admission::Active);
    let again = accepted(&mut log, &Command::DrainNode { node: NodeId(2) });
    log.apply(&Command::ControlOperation {
        id: drain,
        control: Control::Reverse,
    });
    assert_eq!(
        log.state.nodes[&NodeId(2)].admission,
        Admission::Draining,
        "asked for since"
    );
    log.finish_everything();
    assert_eq!(state_of(&log, drain), OperationState::Cancelled);
    assert_eq!(state_of(&log, again), OperationState::Done);
    assert_eq!(log.copies_by_node()[1], 0);
}

#[test]
fn a_node_forced_out_is_forgotten_at_once_and_its_copies_are_built_elsewhere() {
    let mut log = Log::with_books(3, 6, 2);
    let remove = accepted(
        &mut log,
        &Command::RemoveNode {
            node: NodeId(3),
            force: true,
        },
    );
    assert!(!log.state.nodes.contains_key(&NodeId(3)));
    log.finish_everything();
    assert_eq!(state_of(&log, remove), OperationState::Done);
    assert_eq!(log.copies_by_node(), [6, 6]);
    assert!(
        log.index("books")
            .placement
            .iter()
            .all(|s| s.readable().count() == 2)
    );
}

#[test]
fn a_deleted_index_does_not_wait_for_a_node_forced_out() {
    let mut log = Log::with_books(2, 2, 1);
    let incarnation = log.index("books").incarnation;
    log.apply(&Command::DeleteIndex {
        uid: uid("books"),
        incarnation,
        proxy: support::WRITER,
        called: None,
        task: crate::walk::task(miroir_core::cluster::TaskKind::IndexDeletion),
    });
    accepted(
        &mut log,
        &Command::RemoveNode {
            node: NodeId(1),
            force: true,
        },
    );
    assert!(!log.state.departed[0].waiting.contains(&NodeId(1)));
}

#[test]
fn a_replication_factor_is_raised_by_building_and_lowered_by_dropping() {
    let mut log = Log::with_books(3, 6, 1);
    for (factor, kind) in [(3, Kind::Build), (2, Kind::Drop), (1, Kind::Drop)] {
        let operation = accepted(&mut log, &copies(factor));
        log.finish_everything();
        let known = &log.state.operations[&operation];
        assert_eq!(known.state, OperationState::Done);
        let kinds = known
            .migrations
            .iter()
            .map(|m| log.state.migrations[m].kind);
        let others = kinds.filter(|k| *k != kind).count();
        assert_eq!(others, 0, "to {factor}");
        let wanted = usize::from(factor);
        assert!(
            log.index("books")
                .placement
                .iter()
                .all(|s| s.readable().count() == wanted)
        );
        assert_eq!(log.copies_by_node(), [wanted * 2; 3]);
        assert!(log.index("books").leftovers.is_empty());
    }
}

#[test]
fn a_cancelled_change_of_the_factor_is_taken_back_once() {
    let mut log = Log::with_books(3, 6, 2);
    let operation = accepted(&mut log, &copies(1));
    log.plan_everything();
    let first = log.first_unfinished().expect("planned");
    log.advance_to(first, Phase::Cleaning);
    log.apply(&Command::ControlOperation {
        id: operation,
        control: Control::Cancel,
    });
    assert_eq!(log.index("books").replication_factor, 2);
    assert_eq!(state_of(&log, operation), OperationState::Cancelling);
    let newer = accepted(&mut log, &copies(3));
    log.apply(&Command::ControlOperation {
        id: operation,
        control: Control::Reverse,
    });
    assert_eq!(log.index("books").replication_factor, 3, "asked for since");
    log.finish_everything();
    assert_eq!(state_of(&log, newer), OperationState::Done);
    assert_eq!(log.copies_by_node(), [6, 6, 6]);
}

#[test]
fn a_rebalance_moves_what_it_must_and_respects_pins() {
    let mut log = Log::with_books(2, 8, 1);
    let shard = ShardId(0);
    let home = log.index("books").shard(shard).expect("there").replicas[0].node;
    log.apply(&Command::Pin {
        uid: uid("books"),
        shard,
        node: None,
        pinned: true,
    });
    log.apply(&Command::AddNode {
        node: support::node("http://new", 1, 1),
    });
    let adding = log
        .state
        .operations
        .keys()
        .next_back()
        .copied()
        .expect("there");
    log.apply(&Command::ControlOperation {
        id: adding,
        control: Control::Cancel,
    });
    let operation = accepted(&mut log, &Command::Rebalance { uid: None });
    let twice = refused(&mut log, &Command::Rebalance { uid: None });
    assert!(twice.to_string().contains("is not finished"), "{twice}");
    log.finish_everything();
    assert_eq!(state_of(&log, operation), OperationState::Done);
    assert!((2..=3).contains(&log.copies_by_node()[2]));
    assert!(log.copy(shard, home).is_some(), "pinned");
}

#[test]
fn a_pin_keeps_a_copy_from_being_drained_moved_or_replaced_by_an_older_plan() {
    let mut log = Log::with_books(3, 6, 1);
    let shard = ShardId(0);
    let from = log.index("books").shard(shard).expect("there").replicas[0].node;
    let to = log
        .state
        .nodes
        .keys()
        .copied()
        .find(|n| *n != from)
        .expect("three");
    let older = accepted(&mut log.clone(), &Command::DrainNode { node: from });
    let mut other = log.clone();
    other.apply(&Command::DrainNode { node: from });
    let Some((_, Step::Move(moves))) = next_step(&other.state) else {
        panic!("operation {older} moves")
    };
    let pin = |pinned| Command::Pin {
        uid: uid("books"),
        shard,
        node: Some(from),
        pinned,
    };
    let late = refused(&mut other, &pin(true));
    assert!(late.to_string().contains("is draining"), "{late}");
    refused(&mut log, &pin(false));
    log.apply(&pin(true));
    refused(&mut log, &pin(true));
    let stale = refused(
        &mut log,
        &Command::Plan {
            operation: None,
            moves,
        },
    );
    assert!(stale.to_string().contains("is pinned"), "{stale}");
    let drain = refused(&mut log, &Command::DrainNode { node: from });
    assert!(
        drain
            .to_string()
            .contains("shard 0 of `books` is pinned to it"),
        "{drain}"
    );
    let by_hand = Command::MoveShard {
        uid: uid("books"),
        shard,
        from,
        to,
    };
    assert!(
        refused(&mut log, &by_hand)
            .to_string()
            .contains("unpin it first")
    );
    log.apply(&pin(false));
    let operation = accepted(&mut log, &by_hand);
    let moving = refused(&mut log, &by_hand);
    assert!(moving.to_string().contains("is moving already"), "{moving}");
    log.finish_everything();
    assert_eq!(state_of(&log, operation), OperationState::Done);
    assert!(log.copy(shard, to).is_some() && log.copy(shard, from).is_none());
}

/// A plan made before its target began to drain.
#[test]
fn a_plan_onto_a_node_that_drains_by_now_is_out_of_date() {
    let mut log = Log::with_books(2, 4, 1);
    log.apply(&Command::AddNode {
        node: support::node("http://new", 1, 1),
    });
    let Some((operation, Step::Move(moves))) = next_step(&log.state) else {
        panic!("a new node gets its share")
    };
    accepted(&mut log, &Command::DrainNode { node: NodeId(3) });
    let stale = refused(
        &mut log,
        &Command::Plan {
            operation: Some(operation),
            moves,
        },
    );
    assert!(stale.to_string().contains("is draining"), "{stale}");
    log.finish_everything();
    assert_eq!(log.copies_by_node(), [2, 2, 0]);
}

#[test]
fn what_a_lost_node_holds_is_built_elsewhere_from_copies_that_answer() {
    let mut log = Log::with_books(3, 6, 2);
    let lost = NodeId(2);
    let held = log.copies_by_node()[1];
    let operation = accepted(&mut log, &Command::ReplaceLost { node: lost });
    refused(&mut log, &Command::ReplaceLost { node: lost });
    log.plan_everything();
    let migrations = log.state.operations[&operation].migrations.clone();
    assert_eq!(migrations.len(), held);
    for id in migrations {
        let record = &log.state.migrations[&id];
        assert_ne!(record.source, lost, "it does not answer");
        assert_eq!(record.replaces, Some(lost));
        log.advance_to(id, Phase::Cleaning);
        log.advance(id, Event::LeftBehind);
    }
    log.plan_everything();
    assert_eq!(state_of(&log, operation), OperationState::Done);
    assert_eq!(log.copies_by_node(), [6, 0, 6]);
    let sweeps = plan_repair(&log.state);
    assert_eq!(
        sweeps.len(),
        held,
        "what it still has is swept when it is back"
    );
    assert!(
        sweeps
            .iter()
            .all(|one| one.kind == Kind::Sweep && one.target == lost)
    );
}

/// With one copy each, and that on the lost node, there is nothing to build from: the operation ends.
#[test]
fn what_only_a_lost_node_holds_is_left_to_it() {
    let mut log = Log::with_books(2, 4, 1);
    let operation = accepted(&mut log, &Command::ReplaceLost { node: NodeId(1) });
    log.plan_everything();
    assert_eq!(state_of(&log, operation), OperationState::Done);
    assert_eq!(log.first_unfinished(), None);
}

#[test]
fn gaps_and_stale_copies_are_repaired_and_a_stale_one_goes_first() {
    let mut log = Log::with_books(3, 2, 2);
    let shard = ShardId(0);
    let copy = log.index("books").shard(shard).expect("there").replicas[1].node;
    register(&mut log, support::WRITER, vec![(shard, copy)]).expect("the other took it");
    let id = log.plan_repairs();
    assert!(log.state.migrations[&id].repairs);
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    assert_eq!(
        log.copy(shard, copy),
        Some(miroir_core::cluster::ReplicaState::Stale)
    );
    log.plan_repairs();
    log.finish_everything();
    let forced = accepted(
        &mut log,
        &Command::RemoveNode {
            node: copy,
            force: true,
        },
    );
    log.apply(&Command::ControlOperation {
        id: forced,
        control: Control::Cancel,
    });
    log.plan_repairs();
    log.finish_everything();
    assert!(
        log.index("books")
            .placement
            .iter()
            .all(|s| s.readable().count() == 2)
    );
    assert_eq!(plan_repair(&log.state), []);
}

#[test]
fn finished_operations_are_forgotten_oldest_first() {
    let policy = Policy {
        finished_migrations_max: 100,
        ..Policy::default()
    };
    let mut log = Log::with_policy_and_books(policy, 2, 1, 1);
    let paused = accepted(&mut log, &Command::Rebalance { uid: None });
    log.apply(&Command::ControlOperation {
        id: paused,
        control: Control::Pause,
    });
    for _ in 0..150 {
        let replace = accepted(&mut log, &Command::ReplaceLost { node: NodeId(1) });
        log.plan_everything();
        assert_eq!(state_of(&log, replace), OperationState::Done);
    }
    assert!(log.state.operations.len() <= 101);
    assert!(
        log.state.operations.contains_key(&paused),
        "it is not finished"
    );
}

#[test]
fn a_shard_is_explained_at_rest_moving_and_held() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    let shard = log.state.migrations[&id].shard;
    let explained = |log: &Log| {
        explain_shard(&log.state, &uid("books"), shard)
            .expect("there")
            .join("\n")
    };
    assert!(
        explained(&log).contains("it begins now"),
        "{}",
        explained(&log)
    );
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Pause,
    });
    assert!(explained(&log).contains("it is paused"));
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    log.apply(&Command::SetHold {
        reason: Some("a fair".to_owned()),
    });
    let text = explained(&log);
    assert!(text.contains("held: a fair"), "{text}");
    assert_eq!(explain_shard(&log.state, &uid("books"), ShardId(9)), None);
}
