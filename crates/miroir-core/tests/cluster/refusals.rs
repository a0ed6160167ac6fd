//! Every refusal of the operations, provoked: it names what is wrong and changes nothing.

use miroir_core::cluster::{Command, Control, Policy};
use miroir_core::id::{GroupId, MigrationId, NodeId, OperationId, ShardId};

use crate::support::{self, Log, copies, refused, uid};

#[test]
fn bad_input_to_an_operation_changes_nothing_and_says_what_is_wrong() {
    let mut log = Log::with_books(3, 8, 1);
    let shard = ShardId(0);
    let home = log.index("books").shard(shard).expect("there").replicas[0].node;
    let away = log
        .state
        .nodes
        .keys()
        .copied()
        .find(|n| *n != home)
        .expect("three");
    let gone = NodeId(77);
    let spec = |url: &str| support::node(url, 1, 1);
    let group = |urls: &[&str]| Command::AddGroup {
        nodes: urls.iter().map(|u| spec(u)).collect(),
    };
    let move_ = |name: &str, shard, from, to| Command::MoveShard {
        uid: uid(name),
        shard,
        from,
        to,
    };
    let pin = |name: &str, shard, node| Command::Pin {
        uid: uid(name),
        shard,
        node,
        pinned: true,
    };
    let rf = |name: &str, replication_factor| Command::ChangeReplicationFactor {
        uid: uid(name),
        replication_factor,
    };
    let policy = |change: fn(&mut Policy)| {
        let mut policy = Policy {
            default_shards: 8,
            ..Policy::default()
        };
        change(&mut policy);
        Command::ChangePolicy { policy }
    };
    let cases = [
        (Command::DrainNode { node: gone }, "no node 77"),
        (Command::UndrainNode { node: gone }, "no node 77"),
        (Command::UndrainNode { node: home }, "is not draining"),
        (
            Command::RemoveNode {
                node: gone,
                force: false,
            },
            "no node 77",
        ),
        (
            Command::RemoveNode {
                node: gone,
                force: true,
            },
            "no node 77",
        ),
        (Command::ReplaceLost { node: gone }, "no node 77"),
        (group(&[]), "has 0 nodes and cannot hold 1 copies"),
        (group(&["http://a", "http://a"]), "http://a is named twice"),
        (
            group(&["http://node-1"]),
            "already in the cluster as node 1",
        ),
        (
            Command::RemoveGroup { group: GroupId(5) },
            "no replica group 5",
        ),
        (
            Command::RemoveGroup { group: GroupId(1) },
            "group 1 is the last",
        ),
        (rf("films", 2), "Index `films` not found"),
        (rf("books", 0), "from 1 to 16, not 0"),
        (rf("books", 17), "from 1 to 16, not 17"),
        (rf("books", 1), "has replication factor 1 already"),
        (rf("books", 4), "has 3 nodes and cannot hold 4 copies"),
        (
            Command::Rebalance {
                uid: Some(uid("films")),
            },
            "Index `films` not found",
        ),
        (move_("films", shard, home, away), "Index `films` not found"),
        (
            move_("books", ShardId(8), home, away),
            "no shard 8; its shards are 0 to 7",
        ),
        (move_("books", shard, away, home), "has no copy of shard 0"),
        (move_("books", shard, home, gone), "no node 77"),
        (move_("books", shard, home, home), "has a copy of shard 0"),
        (pin("films", shard, None), "Index `films` not found"),
        (pin("books", ShardId(9), None), "no shard 9"),
        (pin("books", shard, Some(away)), "has no copy of shard 0"),
        (Command::SetHold { reason: None }, "not held"),
        (
            policy(|p| p.min_in_sync = 0),
            "`min_in_sync` must be at least 1",
        ),
        (policy(|p| p.groups = 2), "counts at initialisation only"),
        (
            Command::ControlMigration {
                id: MigrationId(9),
                control: Control::Pause,
            },
            "no migration 9",
        ),
        (
            Command::ControlOperation {
                id: OperationId(99),
                control: Control::Pause,
            },
            "no operation 99",
        ),
        (
            Command::ControlOperation {
                id: OperationId(1),
                control: Control::Cancel,
            },
            "operation 1 is finished",
        ),
        (
            Command::Plan {
                operation: Some(OperationId(99)),
                moves: Vec::new(),
            },
            "no operation 99",
        ),
        (
            Command::Plan {
                operation: Some(OperationId(1)),
                moves: Vec::new(),
            },
            "takes no more moves",
        ),
    ];
    for (command, words) in cases {
        let why = refused(&mut log, &command).to_string();
        assert!(why.contains(words), "{command:?}: {why}");
    }
}

#[test]
fn what_conflicts_with_something_under_way_is_refused_by_name() {
    let mut log = Log::with_books(3, 8, 1);
    let from = log
        .index("books")
        .shard(ShardId(0))
        .expect("there")
        .replicas[0]
        .node;
    log.apply(&copies(2));
    let why = refused(&mut log, &copies(3)).to_string();
    assert!(
        why.contains("changing the replication factor of `books`"),
        "{why}"
    );
    log.apply(&Command::DrainNode { node: from });
    for force in [
        Command::DrainNode { node: from },
        Command::RemoveNode {
            node: from,
            force: false,
        },
    ] {
        let why = refused(&mut log, &force).to_string();
        assert!(why.contains("is draining already, by operation"), "{why}");
    }
    let why = refused(&mut log, &Command::ReplaceLost { node: from }).to_string();
    assert!(why.contains("draining already"), "{why}");
    let other = log
        .state
        .nodes
        .keys()
        .copied()
        .find(|n| *n != from)
        .expect("three");
    let why = refused(&mut log, &Command::DrainNode { node: other }).to_string();
    assert!(
        why.contains("needs 2 nodes in group 1 and 1 would be left"),
        "{why}"
    );
    let to = from;
    let shard = ShardId(0);
    let held = |log: &Log, n| log.copy(shard, n).is_some();
    let source = log
        .state
        .nodes
        .keys()
        .copied()
        .find(|n| held(&log, *n))
        .expect("there");
    let onto = Command::MoveShard {
        uid: uid("books"),
        shard,
        from: source,
        to,
    };
    let why = refused(&mut log, &onto).to_string();
    assert!(
        why.contains("has a copy") || why.contains("is draining"),
        "{why}"
    );
    log.apply(&Command::SetHold {
        reason: Some("a fair".to_owned()),
    });
    let why = refused(
        &mut log,
        &Command::SetHold {
            reason: Some("again".to_owned()),
        },
    );
    assert!(why.to_string().contains("held already: a fair"), "{why}");
}

#[test]
fn the_last_node_is_neither_drained_nor_removed() {
    let mut log = Log::with_books(1, 2, 1);
    let node = NodeId(1);
    let commands = [
        Command::DrainNode { node },
        Command::RemoveNode { node, force: false },
        Command::RemoveNode { node, force: true },
    ];
    for command in commands {
        let why = refused(&mut log, &command).to_string();
        assert!(why.contains("last active node of replica group 1"), "{why}");
    }
}
