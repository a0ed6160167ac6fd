//! The replicated state under commands: by story, and under random sequences.

mod support;

use miroir_core::cluster::{
    ClusterState, Command, NewIndex, NewTask, OperationState, Outcome, Policy, Rejection,
    ReplicaState, TaskKind, TaskPart, TaskStatus, TaskUpdate, Write,
};
use miroir_core::id::{GroupId, NodeId, ProxyId, ShardId, TaskUid};
use miroir_core::migration::{Event, Phase};
use miroir_core::planning::{assign_writers, grantable, plan_operation, plan_repair};
use miroir_core::routing::RoutingTable;
use serde_json::json;
use support::{Log, uid};

fn document_write(log: &Log, missed: Vec<(ShardId, NodeId)>) -> Write {
    Write {
        uid: uid("books"),
        incarnation: log.index("books").incarnation,
        task: NewTask {
            kind: TaskKind::DocumentAdditionOrUpdate,
            details: json!({"receivedDocuments": 1}),
            custom_metadata: None,
            failure: None,
        },
        parts: vec![TaskPart {
            node: NodeId(1),
            node_task: 7,
            counts: true,
        }],
        missed,
    }
}

fn register(
    log: &mut Log,
    proxy: ProxyId,
    missed: Vec<(ShardId, NodeId)>,
) -> Result<TaskUid, Rejection> {
    let write = document_write(log, missed);
    let outcome = log.apply(&Command::RegisterWrites {
        proxy,
        writes: vec![write],
    });
    let Outcome::WritesRegistered(mut results) = outcome else {
        panic!("{outcome:?}")
    };
    results.remove(0)
}

#[test]
fn nothing_happens_before_the_cluster_is_initialised() {
    let mut state = ClusterState::default();
    let before = state.clone();
    let command = Command::LoseProxy { proxy: ProxyId(1) };
    assert_eq!(
        state.apply(1, 0, &command),
        Outcome::Rejected(Rejection::NotInitialised)
    );
    assert_eq!(state, before);
}

#[test]
fn a_cluster_is_initialised_once() {
    let mut log = Log::initialised(Policy::default());
    let again = Command::Bootstrap {
        cluster_id: "other".to_owned(),
        policy: Policy::default(),
    };
    let refused = log.apply(&again);
    assert!(
        matches!(
            refused,
            Outcome::Rejected(Rejection::AlreadyInitialised { .. })
        ),
        "{refused:?}"
    );
}

#[test]
fn bad_input_changes_nothing_and_says_what_is_wrong() {
    let mut log = Log::with_books(3, 8, 1);
    let spec = |url: &str, group: u32, weight: u32| Command::AddNode {
        node: support::node(url, group, weight),
    };
    let new = |uid_: &str, shards, rf| {
        Command::CreateIndex(NewIndex {
            uid: uid(uid_),
            primary_key: None,
            shards,
            replication_factor: rf,
            writer: None,
            task: None,
        })
    };
    let cases = [
        (
            spec("http://node-1", 1, 1),
            "already in the cluster as node 1",
        ),
        (
            spec("http://fresh", 9, 1),
            "no replica group 9; the cluster has groups 1",
        ),
        (spec("http://fresh", 1, 0), "weight must be at least 1"),
        (new("books", None, None), "Index `books` already exists."),
        (new("other", Some(0), None), "shards must be from 1 to 4096"),
        (
            new("other", Some(5000), None),
            "shards must be from 1 to 4096",
        ),
        (
            new("other", None, Some(4)),
            "group 1 has 3 nodes and cannot hold 4 copies",
        ),
        (
            Command::LoseProxy { proxy: ProxyId(99) },
            "proxy 99 is not registered",
        ),
        (
            Command::Advance {
                id: miroir_core::id::MigrationId(5),
                step: 0,
                event: Event::Copied,
            },
            "no migration 5",
        ),
        (
            Command::Plan {
                operation: None,
                moves: Vec::new(),
            },
            "at least one move",
        ),
    ];
    for (command, words) in cases {
        let before = log.state.clone();
        let outcome = log.apply(&command);
        let Outcome::Rejected(rejection) = outcome else {
            panic!("{command:?} answered {outcome:?}")
        };
        assert!(rejection.to_string().contains(words), "{rejection}");
        assert_eq!(log.state, before, "{command:?} changed the state");
    }
}

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
fn a_missed_write_makes_a_copy_stale_in_the_command_that_acknowledges_it() {
    let mut log = Log::with_books(3, 4, 2);
    let shard = ShardId(0);
    let copies: Vec<NodeId> = log
        .index("books")
        .shard(shard)
        .expect("there")
        .readable()
        .map(|r| r.node)
        .collect();
    let write = vec![(shard, copies[1])];
    register(&mut log, support::WRITER, write).expect("one copy took it");
    let state_of = |log: &Log, node| {
        log.index("books")
            .shard(shard)
            .and_then(|s| s.on(node).map(|r| r.state))
    };
    assert_eq!(state_of(&log, copies[1]), Some(ReplicaState::Stale));
    let table = RoutingTable::build(&log.state).expect("initialised");
    let route = &table.index("books").expect("there").shards[0];
    assert_eq!(route.write_targets().collect::<Vec<_>>(), [copies[0]]);

    let before = log.state.clone();
    let last = vec![(shard, copies[0])];
    assert!(matches!(
        register(&mut log, support::WRITER, last),
        Err(Rejection::TooFewInSync { .. })
    ));
    assert_eq!(
        log.state, before,
        "a refused write leaves the last copy in use"
    );

    let repair = plan_repair(&log.state);
    assert_eq!(repair.len(), 1);
    assert_eq!((repair[0].source, repair[0].target), (copies[0], copies[1]));
    log.apply(&Command::Plan {
        operation: None,
        moves: repair,
    });
    let id = log
        .state
        .unfinished_migrations()
        .next()
        .expect("planned")
        .id;
    log.advance_to(id, Phase::CutOver);
    log.advance(id, Event::ReadsMoved);
    assert_eq!(log.state.migrations[&id].phase, Phase::Done);
    assert_eq!(state_of(&log, copies[1]), Some(ReplicaState::InSync));
}

#[test]
fn reads_do_not_go_back_to_a_copy_that_was_given_up() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::CutOver);
    let record = log.state.migrations[&id].clone();
    register(
        &mut log,
        support::WRITER,
        vec![(record.shard, record.source)],
    )
    .expect("the target took it");
    log.apply(&Command::LoseProxy {
        proxy: support::WRITER,
    });
    assert_eq!(log.state.migrations[&id].phase, Phase::CutOver);
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
fn only_the_writer_is_acknowledged_and_two_never_overlap() {
    let mut log = Log::with_books(3, 4, 1);
    let other = log.register_proxy("other");
    let refused = register(&mut log, other, Vec::new());
    assert!(matches!(refused, Err(Rejection::NotWriter { .. })));
    let assign = Command::AssignWriter {
        uid: uid("books"),
        incarnation: log.index("books").incarnation,
        proxy: other,
    };
    assert!(
        matches!(
            log.apply(&assign),
            Outcome::Rejected(Rejection::NotWriter { .. })
        ),
        "while one is assigned"
    );
    log.apply(&Command::LoseProxy {
        proxy: support::WRITER,
    });
    let refused = register(&mut log, support::WRITER, Vec::new());
    assert!(
        matches!(refused, Err(Rejection::NotWriter { .. })),
        "a lost writer is fenced off"
    );
    let live = [other].into();
    let assigned = assign_writers(&log.state, &live);
    assert_eq!(assigned.len(), 1);
    assert_eq!(log.apply(&assign), Outcome::Done);
    register(&mut log.clone(), other, Vec::new()).expect("it writes now");
    let back = Command::AssignWriter {
        uid: uid("books"),
        incarnation: log.index("books").incarnation,
        proxy: support::WRITER,
    };
    assert!(
        matches!(log.apply(&back), Outcome::Rejected(_)),
        "a lost proxy writes no more"
    );
}

#[test]
fn losing_the_writer_distrusts_what_it_may_have_left_on_some_copies_only() {
    let mut log = Log::with_books(3, 4, 2);
    log.apply(&Command::LoseProxy {
        proxy: support::WRITER,
    });
    for (shard, placement) in log.index("books").shards() {
        assert_eq!(placement.readable().count(), 1, "shard {shard}");
        assert_eq!(
            placement
                .replicas
                .iter()
                .filter(|r| r.state == ReplicaState::Stale)
                .count(),
            1
        );
    }
    let table = [
        (Phase::Preparing, Phase::Preparing),
        (Phase::Copying, Phase::Copying),
        (Phase::CatchingUp, Phase::CatchingUp),
        (Phase::Fenced, Phase::CatchingUp),
        (Phase::Mirroring, Phase::CatchingUp),
        (Phase::CutOver, Phase::CatchingUp),
        (Phase::Holding, Phase::CatchingUp),
        (Phase::Cleaning, Phase::Cleaning),
    ];
    for (before, after) in table {
        let mut log = Log::with_books(2, 4, 1);
        let id = log.start_a_move();
        log.advance_to(id, before);
        log.apply(&Command::LoseProxy {
            proxy: support::WRITER,
        });
        assert_eq!(log.state.migrations[&id].phase, after, "from {before}");
        log.check_every_shard_is_read_once();
    }
}

/// With two copies in sync beside the target, in every order: one copy stays readable, and any other that is read
/// or written is one that will be compared with it.
#[test]
fn losing_the_writer_keeps_one_copy_of_a_shard_that_moves() {
    let phases = [
        Phase::Copying,
        Phase::CatchingUp,
        Phase::Fenced,
        Phase::Mirroring,
        Phase::CutOver,
        Phase::Holding,
    ];
    for phase in phases {
        let moves = Log::with_books(3, 16, 2);
        let mut started = moves.clone();
        started.start_a_move();
        for id in started
            .state
            .unfinished_migrations()
            .map(|m| m.id)
            .collect::<Vec<_>>()
        {
            let mut log = started.clone();
            log.advance_to(id, phase);
            log.apply(&Command::LoseProxy {
                proxy: support::WRITER,
            });
            let record = &log.state.migrations[&id];
            let shard = log.index("books").shard(record.shard).expect("there");
            assert_eq!(shard.readable().count(), 1, "{phase}: {shard:?}");
            let apart = shard.writable().filter(|r| r.node != record.target).count();
            assert_eq!(apart, 1, "{phase}: {shard:?}");
        }
    }
}

/// A stale copy that comes first is being rebuilt, and reads have just reached it.
#[test]
fn losing_the_writer_keeps_the_copy_that_a_repair_was_made_from() {
    for phase in [Phase::Mirroring, Phase::CutOver] {
        let mut log = Log::with_books(2, 4, 2);
        let shard = ShardId(0);
        let first = log.index("books").shard(shard).expect("there").replicas[0].node;
        register(&mut log, support::WRITER, vec![(shard, first)]).expect("the other took it");
        let moves = plan_repair(&log.state);
        log.apply(&Command::Plan {
            operation: None,
            moves,
        });
        let id = log.first_unfinished().expect("planned");
        log.advance_to(id, phase);
        log.apply(&Command::LoseProxy {
            proxy: support::WRITER,
        });
        let placement = log.index("books").shard(shard).expect("there");
        let readable: Vec<NodeId> = placement.readable().map(|r| r.node).collect();
        assert_eq!(readable.len(), 1, "{phase}: {placement:?}");
        assert_ne!(readable[0], first, "it is to be compared first");
        log.advance_to(id, Phase::Done);
    }
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
fn a_proxy_that_leaves_in_order_leaves_no_doubt() {
    let mut log = Log::with_books(3, 4, 2);
    log.apply(&Command::ForgetProxy {
        proxy: support::WRITER,
    });
    assert_eq!(log.index("books").writer, None);
    assert!(
        log.index("books")
            .placement
            .iter()
            .all(|shard| shard.readable().count() == 2)
    );
}

#[test]
fn deleting_an_index_ends_its_moves_and_holds_its_name_until_it_is_gone() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::Copying);
    let incarnation = log.index("books").incarnation;
    let task = NewTask {
        kind: TaskKind::IndexDeletion,
        details: json!({}),
        custom_metadata: None,
        failure: None,
    };
    let delete = Command::DeleteIndex {
        uid: uid("books"),
        incarnation,
        proxy: support::WRITER,
        task,
    };
    let Outcome::TaskRegistered(task) = log.apply(&delete) else {
        panic!("refused")
    };
    assert_eq!(log.state.migrations[&id].phase, Phase::Cancelled);
    assert!(matches!(
        log.create("books"),
        Outcome::Rejected(Rejection::IndexDeparting(_))
    ));
    let nodes: Vec<NodeId> = log.state.departed[0].waiting.iter().copied().collect();
    assert_eq!(nodes.len(), 3, "the target had something too");
    for node in nodes {
        log.apply(&Command::IndexPurged {
            uid: uid("books"),
            incarnation,
            node,
            node_task: Some(3),
        });
    }
    assert_eq!(
        log.state.tasks.get(task).map(|task| task.parts.len()),
        Some(3)
    );
    assert!(matches!(log.create("books"), Outcome::IndexCreated { .. }));
    assert_ne!(log.index("books").incarnation, incarnation);
}

#[test]
fn task_uids_are_dense_and_outcomes_final() {
    let mut log = Log::with_books(3, 4, 1);
    let uids: Vec<u32> = (0..5)
        .map(|_| {
            register(&mut log, support::WRITER, Vec::new())
                .expect("taken")
                .0
        })
        .collect();
    let first = uids[0];
    assert_eq!(uids, [first, first + 1, first + 2, first + 3, first + 4]);
    let update = |status| TaskUpdate {
        uid: TaskUid(first),
        status,
        details: None,
        error: None,
        started_at_ms: Some(1),
        finished_at_ms: Some(2),
    };
    log.apply(&Command::UpdateTasks {
        updates: vec![update(TaskStatus::Succeeded)],
    });
    log.apply(&Command::UpdateTasks {
        updates: vec![update(TaskStatus::Failed)],
    });
    assert_eq!(
        log.state.tasks.get(TaskUid(first)).map(|task| task.status),
        Some(TaskStatus::Succeeded)
    );
    assert_eq!(log.state.tasks.unfinished().count(), 4);
}

#[test]
fn finished_tasks_are_forgotten_oldest_first_and_unfinished_ones_never() {
    let mut log = Log::with_policy_and_books(
        Policy {
            finished_tasks_max: 100,
            ..Policy::default()
        },
        3,
        4,
        1,
    );
    let kept = register(&mut log, support::WRITER, Vec::new()).expect("taken");
    for _ in 0..150 {
        let failing = NewTask {
            kind: TaskKind::DocumentDeletion,
            details: json!({}),
            custom_metadata: None,
            failure: Some(json!({"code": "index_not_found"})),
        };
        log.apply(&Command::RegisterTask {
            uid: None,
            task: failing,
        });
    }
    assert_eq!(log.state.tasks.len(), 101);
    assert!(log.state.tasks.get(kept).is_some(), "it is not finished");
    let next = register(&mut log, support::WRITER, Vec::new()).expect("taken");
    assert_eq!(next.0, kept.0 + 151, "uids go on");
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

#[test]
fn groups_each_hold_every_shard() {
    let policy = Policy {
        groups: 2,
        ..Policy::default()
    };
    let mut log = Log::initialised(policy);
    for n in 1..=4_u32 {
        log.apply(&Command::AddNode {
            node: support::node(&format!("http://node-{n}"), 1 + n % 2, 1),
        });
    }
    log.register_proxy("writer");
    log.create("books");
    for (_, shard) in log.index("books").shards() {
        let groups: Vec<GroupId> = shard.readable().map(|r| r.group).collect();
        assert_eq!(groups, [GroupId(1), GroupId(2)]);
    }
}
