//! Writers that are lost and copies that miss a write.

use miroir_core::cluster::{Command, Outcome, Rejection, ReplicaState};
use miroir_core::id::{NodeId, ShardId};
use miroir_core::migration::{Event, Phase};
use miroir_core::planning::{assign_writers, plan_repair, plan_repair_among};
use miroir_core::routing::RoutingTable;

use crate::support;
use crate::support::{Log, register, uid};

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

/// A stale copy on a node that is down does not keep another of the same shard from being repaired, nor does a source
/// that is down.
#[test]
fn what_can_be_repaired_is_repaired_beside_what_cannot() {
    let mut log = Log::with_books(5, 4, 4);
    let shard = ShardId(2);
    let placed = &log.index("books").shard(shard).expect("there").replicas;
    let copies: Vec<NodeId> = placed.iter().map(|r| r.node).collect();
    let missed = vec![(shard, copies[0]), (shard, copies[1])];
    register(&mut log, support::WRITER, missed).expect("two copies are left");
    for down in [
        [copies[0], copies[2]],
        [copies[1], copies[2]],
        [copies[0], copies[3]],
    ] {
        let moves = plan_repair_among(&log.state, |node| !down.contains(&node));
        assert_eq!(moves.len(), 1, "{down:?}");
        for end in [moves[0].source, moves[0].target] {
            assert!(!down.contains(&end), "{down:?}: {moves:?}");
        }
    }
    let all_stale_down = plan_repair_among(&log.state, |node| !copies[..2].contains(&node));
    assert_eq!(all_stale_down, []);
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

/// A proxy that still takes a lost copy to be in sync must not find a new, empty index in its place.
#[test]
fn a_wiped_node_gets_its_index_anew_only_when_nothing_of_it_is_in_use() {
    let mut log = Log::with_books(2, 4, 2);
    let (uid, incarnation) = (
        log.index("books").uid.clone(),
        log.index("books").incarnation,
    );
    let node = *log
        .index("books")
        .nodes
        .keys()
        .next()
        .expect("it is on two");
    let created_at = "then".to_owned();
    let lost = Command::IndexLost {
        uid: uid.clone(),
        incarnation,
        node,
        created_at: created_at.clone(),
    };
    log.apply(&lost);
    let readable = |log: &Log| {
        let shards = log.index("books").placement.iter();
        shards
            .flat_map(|s| s.readable())
            .filter(|r| r.node == node)
            .count()
    };
    assert_eq!(readable(&log), 4, "nothing was seen that could be lost");
    log.apply(&Command::IndexSeen {
        uid: uid.clone(),
        incarnation,
        node,
        created_at: created_at.clone(),
    });
    log.apply(&lost);
    assert_eq!(readable(&log), 0);
    assert!(!log.state.uses_index_on(&uid, node));
    let known = |log: &Log| log.index("books").nodes[&node].created_at.clone();
    assert_eq!(known(&log), Some(created_at), "nothing is made anew yet");
    log.apply(&lost);
    assert_eq!(known(&log), None);
    assert_eq!(log.index("books").nodes[&node].settings_version, 0);
    // A report on what is not known any more changes nothing.
    let before = log.state.clone();
    log.apply(&lost);
    assert_eq!(log.state.indexes, before.indexes);
}
