//! Commands that a client has sent before.

use miroir_core::cluster::{
    Command, Digest, Idempotency, IndexRename, IndexSwap, NewIndex, NewTask, Outcome, Policy,
    Rejection, TaskKind, Write,
};
use miroir_core::id::TaskUid;
use serde_json::json;

use super::support::{self, Log, WRITER, uid};

fn task(key: u8, request: u8) -> NewTask {
    NewTask {
        kind: TaskKind::IndexCreation,
        details: json!({}),
        custom_metadata: None,
        failure: None,
        idempotency: Some(Idempotency {
            key: Digest([key; 16]),
            request: Digest([request; 16]),
        }),
    }
}

fn register(key: u8, request: u8) -> Command {
    Command::RegisterTask {
        uid: None,
        task: task(key, request),
    }
}

/// The task that a command became, or was before.
fn first(outcome: Outcome) -> TaskUid {
    let (Outcome::TaskRegistered(task)
    | Outcome::SettingsChanged { task, .. }
    | Outcome::IndexCreated {
        task: Some(task), ..
    }) = outcome
    else {
        panic!("{outcome:?}")
    };
    task
}

#[test]
fn every_command_with_a_key_is_carried_out_once() {
    let mut log = Log::with_books(3, 4, 1);
    let incarnation = log.index("books").incarnation;
    let commands = [
        Command::CreateIndex(NewIndex {
            uid: uid("new"),
            primary_key: None,
            shards: None,
            replication_factor: None,
            writer: None,
            task: Some(task(1, 1)),
        }),
        Command::SetPrimaryKey {
            uid: uid("books"),
            incarnation,
            primary_key: "id".to_owned(),
            task: Some(task(2, 1)),
        },
        Command::ChangeSettings {
            uid: uid("books"),
            incarnation,
            proxy: WRITER,
            desired: json!({ "stopWords": ["a"] }),
            task: task(3, 1),
        },
        Command::Broadcast {
            uid: None,
            task: task(4, 1),
        },
        register(5, 1),
        Command::SwapIndexes {
            swaps: vec![IndexSwap {
                indexes: (uid("books"), uid("new")),
                rename: false,
            }],
            idempotency: task(7, 1).idempotency,
        },
        Command::RenameIndex(IndexRename {
            uid: uid("new"),
            to: uid("newer"),
            primary_key: None,
            idempotency: task(8, 1).idempotency,
        }),
        Command::DeleteIndex {
            uid: uid("books"),
            incarnation,
            proxy: WRITER,
            called: None,
            task: task(6, 1),
        },
    ];
    for command in commands {
        let task = first(log.apply(&command));
        let before = log.state.clone();
        let again = log.apply(&command);
        let Outcome::Rejected(Rejection::Repeated { task: known, at_ms }) = again else {
            panic!("{again:?}")
        };
        let registered = log.state.tasks.get(task).expect("a task");
        assert_eq!((known, at_ms), (task, registered.enqueued_at_ms));
        assert_eq!(log.state, before, "{command:?}");
    }
    let reused = log.apply(&register(5, 2));
    assert_eq!(reused, Outcome::Rejected(Rejection::KeyReused));
}

#[test]
fn a_write_that_reached_nodes_is_registered_in_any_case() {
    let mut log = Log::with_books(3, 4, 1);
    let incarnation = log.index("books").incarnation;
    let write = |parts: Vec<_>| Write {
        uid: uid("books"),
        incarnation,
        task: task(1, 1),
        parts,
        missed: Vec::new(),
    };
    let part = miroir_core::cluster::TaskPart {
        node: miroir_core::id::NodeId(1),
        node_task: 7,
        counts: true,
    };
    let mut register = |write: Write| {
        let outcome = log.apply(&Command::RegisterWrites {
            proxy: WRITER,
            writes: vec![write],
        });
        let Outcome::WritesRegistered(mut results) = outcome else {
            panic!("{outcome:?}")
        };
        results.remove(0)
    };
    let known = register(write(vec![part.clone()])).expect("registered");
    let nowhere = register(write(Vec::new()));
    assert!(matches!(nowhere, Err(Rejection::Repeated { task, .. }) if task == known));
    let sent = register(write(vec![part])).expect("it is on nodes");
    assert_ne!(sent, known);
    let again = register(write(Vec::new()));
    assert!(matches!(again, Err(Rejection::Repeated { task, .. }) if task == known));
}

#[test]
fn keys_are_known_for_their_time_and_outlive_their_tasks() {
    let policy = Policy {
        finished_tasks_max: 100,
        idempotency_keys_max: 200,
        idempotency_ttl_ms: 1500,
        ..Policy::default()
    };
    let mut log = Log::with_policy_and_books(policy, 3, 4, 1);
    let failed = |key| {
        let Command::RegisterTask { uid, task } = register(key, 1) else {
            unreachable!("as above")
        };
        let failure = Some(json!({ "code": "index_not_found" }));
        Command::RegisterTask {
            uid,
            task: NewTask { failure, ..task },
        }
    };
    let oldest = first(log.apply(&failed(0)));
    for key in 1..=120 {
        log.apply(&failed(key));
    }
    assert!(log.state.tasks.get(oldest).is_none(), "forgotten");
    let again = log.apply(&failed(0));
    assert!(matches!(again, Outcome::Rejected(Rejection::Repeated { task, .. }) if task == oldest));
    // Ten milliseconds pass with every command.
    for _ in 0..50 {
        support::register(&mut log, WRITER, Vec::new()).expect("taken");
    }
    assert_ne!(first(log.apply(&failed(0))), oldest, "too old");
    assert!(log.state.known_writes.len() <= 121);
}
