//! Replica groups: added, removed, and kept after all.

use miroir_core::cluster::{Command, Control, GroupState, OperationState, Outcome, Rejection};
use miroir_core::id::{GroupId, OperationId};
use miroir_core::migration::Phase;
use miroir_core::planning::{Step, next_step};
use miroir_core::routing::RoutingTable;

use crate::support::{self, Log, accepted, refused};

fn add_group(log: &mut Log, nodes: u32) -> (GroupId, OperationId) {
    let spec = |n| support::node(&format!("http://group-{n}"), 9, 1);
    let outcome = log.apply(&Command::AddGroup {
        nodes: (0..nodes).map(spec).collect(),
    });
    let Outcome::GroupAdded {
        group, operation, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    (group, operation)
}

fn searched(log: &Log, group: GroupId) -> bool {
    let table = RoutingTable::build(&log.state).expect("initialised");
    table.groups.contains(&group)
}

#[test]
fn a_group_is_searched_only_when_every_shard_is_in_sync_there() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, operation) = add_group(&mut log, 2);
    log.plan_everything();
    let migrations = log.state.operations[&operation].migrations.clone();
    assert_eq!(migrations.len(), 4);
    for id in migrations {
        assert!(!searched(&log, group));
        log.advance_to(id, Phase::Done);
    }
    assert!(!searched(&log, group), "not before its operation ends");
    log.plan_everything();
    assert!(searched(&log, group));
    assert_eq!(log.state.operations[&operation].state, OperationState::Done);
    assert_eq!(log.copies_by_node(), [2, 2, 2, 2]);
}

/// One shard was given up: the group is not searched, its operation waits, and others go on.
#[test]
fn a_group_that_cannot_be_completed_holds_nothing_else_up() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, operation) = add_group(&mut log, 2);
    log.plan_everything();
    let id = log.first_unfinished().expect("planned");
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    log.finish_everything();
    assert_eq!(next_step(&log.state), Some((operation, Step::Wait)));
    assert!(!searched(&log, group));
    let other = accepted(&mut log, &support::copies(2));
    log.finish_everything();
    assert_eq!(log.state.operations[&other].state, OperationState::Done);
    log.finish_everything();
    assert!(
        searched(&log, group),
        "the other operation built what was missing"
    );
}

#[test]
fn a_group_is_removed_once_every_proxy_has_left_it() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, _) = add_group(&mut log, 2);
    log.finish_everything();
    let operation = accepted(&mut log, &Command::RemoveGroup { group: GroupId(1) });
    assert!(!searched(&log, GroupId(1)), "at once");
    let epoch = log.state.groups[&GroupId(1)].state_epoch;
    assert_eq!(
        next_step(&log.state),
        Some((operation, Step::CompleteAfterReads(epoch)))
    );
    let twice = refused(&mut log, &Command::RemoveGroup { group: GroupId(1) });
    assert!(matches!(twice, Rejection::Conflict { .. }), "{twice}");
    let last = refused(&mut log, &Command::RemoveGroup { group });
    assert!(matches!(last, Rejection::LastGroup(_)), "{last}");
    log.apply(&Command::Plan {
        operation: Some(operation),
        moves: Vec::new(),
    });
    assert_eq!(log.state.groups.len(), 1);
    assert_eq!(log.copies_by_node(), [2, 2]);
    assert_eq!(log.state.operations[&operation].state, OperationState::Done);
}

#[test]
fn removing_a_group_that_is_being_built_gives_its_building_up() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, adding) = add_group(&mut log, 2);
    log.plan_everything();
    let id = log.first_unfinished().expect("planned");
    log.advance_to(id, Phase::Copying);
    let operation = accepted(&mut log, &Command::RemoveGroup { group });
    assert_eq!(log.state.migrations[&id].phase, Phase::Dropping);
    log.apply(&Command::Plan {
        operation: Some(operation),
        moves: Vec::new(),
    });
    assert_eq!(log.first_unfinished(), None);
    assert_eq!(
        log.state.operations[&adding].state,
        OperationState::Cancelled
    );
    assert_eq!(log.copies_by_node(), [2, 2]);
    log.check_every_shard_is_read_once();
}

/// An index created while a group was to go has no copies there.
#[test]
fn a_group_that_is_kept_after_all_is_not_searched_before_it_holds_everything() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, _) = add_group(&mut log, 2);
    log.finish_everything();
    let removing = accepted(&mut log, &Command::RemoveGroup { group });
    let kept = log.clone();
    let cancel = Command::ControlOperation {
        id: removing,
        control: Control::Cancel,
    };
    let mut log = kept.clone();
    log.apply(&cancel);
    assert_eq!(
        log.state.groups[&group].state,
        GroupState::Searchable,
        "it has everything"
    );
    let mut log = kept;
    log.create("films");
    log.apply(&cancel);
    assert_eq!(log.state.groups[&group].state, GroupState::Initialising);
    log.finish_everything();
    assert!(searched(&log, group));
    assert!(
        log.index("films")
            .placement
            .iter()
            .all(|s| s.readable().count() == 2)
    );
}

/// What the others lost since is repaired from a group that is to go, before it goes.
#[test]
fn a_group_that_the_others_need_again_stays_until_they_are_repaired() {
    let mut log = Log::with_books(1, 2, 1);
    let (group, _) = add_group(&mut log, 1);
    log.finish_everything();
    let operation = accepted(&mut log, &Command::RemoveGroup { group });
    log.forgets(miroir_core::id::NodeId(1));
    assert_eq!(next_step(&log.state), Some((operation, Step::Wait)));
    log.plan_repairs();
    log.finish_everything();
    assert!(matches!(
        next_step(&log.state),
        Some((_, Step::CompleteAfterReads(_)))
    ));
}

#[test]
fn nothing_is_begun_in_a_group_that_is_being_removed() {
    let mut log = Log::with_books(2, 4, 1);
    let (group, _) = add_group(&mut log, 2);
    log.finish_everything();
    accepted(&mut log, &Command::RemoveGroup { group });
    let node = log.state.members(group).next().expect("there").id;
    let commands = [
        Command::AddNode {
            node: support::node("http://late", group.0, 1),
        },
        Command::DrainNode { node },
        Command::RemoveNode { node, force: false },
        Command::ReplaceLost { node },
    ];
    for command in commands {
        let why = refused(&mut log, &command);
        assert!(why.to_string().contains("is being removed"), "{why}");
    }
}

/// An operation that balances and cannot end, and one that empties a node, must not undo each other for ever.
#[test]
fn a_lost_node_is_emptied_while_its_group_waits_to_be_completed() {
    let mut log = Log::with_books(2, 6, 1);
    let (_, adding) = add_group(&mut log, 2);
    log.plan_everything();
    let id = log.first_unfinished().expect("planned");
    log.apply(&Command::ControlMigration {
        id,
        control: Control::Cancel,
    });
    log.finish_everything();
    assert_eq!(next_step(&log.state), Some((adding, Step::Wait)));
    let lost = miroir_core::id::NodeId(3);
    let operation = accepted(&mut log, &Command::ReplaceLost { node: lost });
    log.plan_everything();
    let mut moves = 0;
    while !log.state.operations[&operation].state.is_final() {
        let id = log.first_unfinished().expect("planned");
        log.advance_to(id, Phase::Done);
        log.plan_everything();
        moves += 1;
        assert!(moves < 50, "to and fro");
    }
}
