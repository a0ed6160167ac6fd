//! Initialisation, bad input, indexes and tasks.

use miroir_core::cluster::{
    ClusterState, Command, NewIndex, NewTask, Outcome, Policy, Rejection, TaskKind, TaskStatus,
    TaskUpdate,
};
use miroir_core::id::{GroupId, NodeId, ProxyId, TaskUid};
use miroir_core::migration::{Event, Phase};
use serde_json::json;

use crate::support;
use crate::support::{Log, register, uid};

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
fn deleting_an_index_ends_its_moves_and_keeps_its_name_on_nodes_until_it_is_gone() {
    let mut log = Log::with_books(2, 4, 1);
    let id = log.start_a_move();
    log.advance_to(id, Phase::Copying);
    let incarnation = log.index("books").incarnation;
    let task = NewTask {
        kind: TaskKind::IndexDeletion,
        details: json!({}),
        custom_metadata: None,
        failure: None,
        idempotency: None,
    };
    let delete = Command::DeleteIndex {
        uid: uid("books"),
        incarnation,
        proxy: support::WRITER,
        called: None,
        task,
    };
    let Outcome::TaskRegistered(task) = log.apply(&delete) else {
        panic!("refused")
    };
    assert_eq!(log.state.migrations[&id].phase, Phase::Cancelled);
    assert!(matches!(log.create("books"), Outcome::IndexCreated { .. }));
    let next = log.state.index_called(&uid("books")).expect("created");
    assert_eq!(next.name().as_str(), format!("books-{}", log.last()));
    assert_ne!(next.incarnation, incarnation);
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
    assert!(
        log.state.index_called(&uid("books")).is_some(),
        "what came after it stays"
    );
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
            idempotency: None,
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
