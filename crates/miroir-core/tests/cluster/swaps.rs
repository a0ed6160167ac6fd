//! Swaps and renames: indexes exchange uids, and nothing else.

use std::collections::BTreeMap;

use miroir_core::cluster::{
    Command, IndexRename, IndexSwap, NewIndex, NewTask, Outcome, Rejection, Task, TaskKind,
    TaskStatus, Write,
};
use miroir_core::id::{Incarnation, IndexUid, TaskUid};
use miroir_core::routing::RoutingTable;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Log, WRITER, uid};
use crate::walk::task;

fn swap(first: &str, second: &str, rename: bool) -> IndexSwap {
    IndexSwap {
        indexes: (uid(first), uid(second)),
        rename,
    }
}

fn swapped(log: &mut Log, swaps: &[IndexSwap]) -> Task {
    let swaps = swaps.to_vec();
    let outcome = log.apply(&Command::SwapIndexes {
        swaps,
        idempotency: None,
    });
    let Outcome::TaskRegistered(uid) = outcome else {
        panic!("{outcome:?}")
    };
    log.state.tasks.get(uid).expect("remembered").clone()
}

/// A document that is written to the index of that uid; its task.
fn write(log: &mut Log, name: &str) -> TaskUid {
    let index = log.state.index_called(&uid(name)).expect("it exists");
    let write = Write {
        uid: index.name().clone(),
        incarnation: index.incarnation,
        task: task(TaskKind::DocumentAdditionOrUpdate),
        parts: Vec::new(),
        missed: Vec::new(),
    };
    let outcome = log.apply(&Command::RegisterWrites {
        proxy: WRITER,
        writes: vec![write],
    });
    let Outcome::WritesRegistered(results) = outcome else {
        panic!("{outcome:?}")
    };
    *results[0].as_ref().expect("taken")
}

fn of(log: &Log, task: TaskUid) -> &str {
    let task = log.state.tasks.get(task).expect("remembered");
    task.index.as_ref().expect("of an index").as_str()
}

#[test]
fn tasks_go_with_their_indexes_and_so_do_earlier_swaps() {
    let mut log = Log::with_books(2, 4, 1);
    log.create("films");
    let (in_books, in_films) = (write(&mut log, "books"), write(&mut log, "films"));
    let first = swapped(&mut log, &[swap("books", "films", false)]);
    assert_eq!((first.status, &first.index), (TaskStatus::Succeeded, &None));
    assert_eq!(
        first.details,
        json!({ "swaps": [{ "indexes": ["books", "films"], "rename": false }] })
    );
    assert_eq!((of(&log, in_books), of(&log, in_films)), ("films", "books"));
    let later = write(&mut log, "books");
    swapped(&mut log, &[swap("films", "plays", true)]);
    assert_eq!((of(&log, in_books), of(&log, later)), ("plays", "books"));
    let first = log.state.tasks.get(first.uid).expect("remembered");
    assert_eq!(
        first.details["swaps"][0]["indexes"],
        json!(["books", "plays"])
    );
    assert_eq!(
        log.index("books").uid,
        uid("plays"),
        "its name on nodes stays"
    );
}

#[test]
fn what_cannot_be_swapped_fails_as_in_meilisearch_and_swaps_nothing() {
    let mut log = Log::with_books(2, 4, 1);
    log.create("films");
    log.create("plays");
    let cases = [
        (vec![swap("books", "a", false)], "Index `a` not found."),
        (vec![swap("b", "a", false)], "Indexes `a`, `b` not found."),
        (vec![swap("a", "b", true)], "Index `a` not found."),
        (
            vec![swap("books", "films", false), swap("plays", "a", false)],
            "Index `a` not found.",
        ),
        (
            vec![swap("books", "films", true)],
            "Cannot rename `books` to `films` as the index already exists. Hint: You can remove `films` first and then do your remove.",
        ),
    ];
    for (swaps, message) in cases {
        let before = (log.state.indexes.clone(), log.state.epoch);
        let task = swapped(&mut log, &swaps);
        assert_eq!(task.status, TaskStatus::Failed);
        let error = task.error.expect("it failed");
        assert_eq!(error["message"], message);
        assert_eq!((log.state.indexes.clone(), log.state.epoch), before);
    }
    let twice = log.apply(&Command::SwapIndexes {
        swaps: vec![swap("books", "films", false), swap("films", "plays", false)],
        idempotency: None,
    });
    assert!(matches!(twice, Outcome::Rejected(Rejection::Invalid(_))));
    assert_eq!(swapped(&mut log, &[]).status, TaskStatus::Succeeded);
}

fn renamed(log: &mut Log, from: &str, to: &str, key: Option<&str>) -> Task {
    let outcome = log.apply(&Command::RenameIndex(IndexRename {
        uid: uid(from),
        to: uid(to),
        primary_key: key.map(str::to_owned),
        idempotency: None,
    }));
    let Outcome::TaskRegistered(uid) = outcome else {
        panic!("{outcome:?}")
    };
    log.state.tasks.get(uid).expect("remembered").clone()
}

#[test]
fn a_rename_is_told_as_in_meilisearch() {
    let mut log = Log::with_books(2, 4, 1);
    log.create("films");
    let earlier = write(&mut log, "books");
    let cases = [
        ("a", "b", None, Some("Index `a` not found.")),
        ("a", "films", None, Some("Index `a` not found.")),
        (
            "books",
            "films",
            None,
            Some("Index `films` already exists."),
        ),
        ("books", "books", Some("id"), None),
        ("books", "plays", None, None),
        (
            "plays",
            "books",
            Some("other"),
            Some("Index `books`: Index already has a primary key: `id`."),
        ),
        ("plays", "books", None, Some("Index `plays` not found.")),
    ];
    for (from, to, key, message) in cases {
        let task = renamed(&mut log, from, to, key);
        let error = task.error.as_ref().map(|error| error["message"].clone());
        assert_eq!(error, message.map(Value::from));
        assert_eq!(task.index, Some(uid(from)), "it stays with the old uid");
        let details = json!({ "primaryKey": key, "oldIndexUid": from, "newIndexUid": to });
        assert_eq!((task.kind, task.details), (TaskKind::IndexUpdate, details));
    }
    assert_eq!(of(&log, earlier), "books");
    assert_eq!(log.index("books").uid, uid("books"));
}

#[test]
fn an_index_that_another_took_the_place_of_is_not_deleted_for_it() {
    let mut log = Log::with_books(2, 4, 1);
    log.create("films");
    let incarnation = log.index("books").incarnation;
    swapped(&mut log, &[swap("books", "films", false)]);
    let delete = |called: &str| Command::DeleteIndex {
        uid: uid("books"),
        incarnation,
        proxy: WRITER,
        called: Some(uid(called)),
        task: task(TaskKind::IndexDeletion),
    };
    let refused = log.apply(&delete("books"));
    let Outcome::Rejected(rejection) = refused else {
        panic!("{refused:?}")
    };
    assert!(rejection.retryable());
    let deleted = log.apply(&delete("films"));
    let Outcome::TaskRegistered(task) = deleted else {
        panic!("{deleted:?}")
    };
    assert_eq!(of(&log, task), "films");
    assert_eq!(log.state.departed[0].uid, uid("books"));
}

#[test]
fn a_state_of_before_there_were_swaps_is_read() {
    let log = Log::with_books(2, 4, 1);
    let mut old = serde_json::to_value(&log.state).expect("JSON");
    let index = &mut old["indexes"]["books"];
    index
        .as_object_mut()
        .expect("an object")
        .remove("other_name");
    let read: miroir_core::cluster::ClusterState = serde_json::from_value(old).expect("a state");
    assert_eq!(read, log.state);
}

#[derive(Debug, Clone)]
enum Act {
    Create(usize),
    Delete(usize),
    Purge,
    Swap(Vec<(usize, usize, bool)>),
    Write(usize),
}

const UIDS: [&str; 5] = ["a", "b", "c", "a-9", "b-12"];

fn act() -> impl Strategy<Value = Act> {
    let one = || 0..UIDS.len();
    let swap = (one(), one(), any::<bool>());
    prop_oneof![
        3 => one().prop_map(Act::Create),
        2 => one().prop_map(Act::Delete),
        1 => Just(Act::Purge),
        4 => prop::collection::vec(swap, 1..3).prop_map(Act::Swap),
        3 => one().prop_map(Act::Write),
    ]
}

/// What clients believe: which life of an index has a uid, and which life a task is of.
#[derive(Default)]
struct Belief {
    lives: BTreeMap<usize, Incarnation>,
    names: BTreeMap<Incarnation, IndexUid>,
    writes: BTreeMap<TaskUid, usize>,
}

impl Belief {
    fn act(&mut self, log: &mut Log, act: &Act) {
        match act {
            Act::Create(n) => self.create(log, *n),
            Act::Delete(n) => self.delete(log, *n),
            Act::Purge => purge(log),
            Act::Swap(swaps) => self.swap(log, swaps),
            Act::Write(n) if self.lives.contains_key(n) => {
                self.writes.insert(write(log, UIDS[*n]), *n);
            }
            Act::Write(_) => {}
        }
    }

    fn create(&mut self, log: &mut Log, n: usize) {
        let created = log.apply(&Command::CreateIndex(NewIndex {
            uid: uid(UIDS[n]),
            primary_key: None,
            shards: Some(1),
            replication_factor: None,
            writer: Some(WRITER),
            task: None,
        }));
        match (created, self.lives.contains_key(&n)) {
            (Outcome::IndexCreated { incarnation, .. }, false) => {
                self.lives.insert(n, incarnation);
                let index = log.state.index_called(&uid(UIDS[n])).expect("created");
                self.names.insert(incarnation, index.name().clone());
            }
            (Outcome::Rejected(Rejection::IndexExists(_)), true) => {}
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    fn delete(&mut self, log: &mut Log, n: usize) {
        let Some(incarnation) = self.lives.remove(&n) else {
            return;
        };
        let outcome = log.apply(&Command::DeleteIndex {
            uid: self.names[&incarnation].clone(),
            incarnation,
            proxy: WRITER,
            called: Some(uid(UIDS[n])),
            task: NewTask {
                details: Value::Null,
                ..task(TaskKind::IndexDeletion)
            },
        });
        assert!(matches!(outcome, Outcome::TaskRegistered(_)), "{outcome:?}");
    }

    fn swap(&mut self, log: &mut Log, swaps: &[(usize, usize, bool)]) {
        let mut named: Vec<usize> = swaps.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
        let all = named.len();
        named.sort_unstable();
        named.dedup();
        let wanted = swaps.iter().map(|(a, b, r)| swap(UIDS[*a], UIDS[*b], *r));
        let wanted: Vec<IndexSwap> = wanted.collect();
        if named.len() < all {
            let outcome = log.apply(&Command::SwapIndexes {
                swaps: wanted,
                idempotency: None,
            });
            assert!(matches!(outcome, Outcome::Rejected(_)));
            return;
        }
        let lives = |n: &usize| self.lives.contains_key(n);
        let can = swaps.iter().all(|(a, b, r)| lives(a) && lives(b) != *r);
        let task = swapped(log, &wanted);
        assert_eq!(
            task.status == TaskStatus::Succeeded,
            can,
            "{:?}",
            task.error
        );
        for (a, b, _) in swaps.iter().filter(|_| can) {
            let (was_a, was_b) = (self.lives.remove(a), self.lives.remove(b));
            was_a.map(|life| self.lives.insert(*b, life));
            was_b.map(|life| self.lives.insert(*a, life));
            for n in self.writes.values_mut() {
                *n = match *n {
                    n if n == *a => *b,
                    n if n == *b => *a,
                    n => n,
                };
            }
        }
    }

    fn check(&self, log: &Log) {
        let table = RoutingTable::build(&log.state).expect("initialised");
        for (n, text) in UIDS.iter().enumerate() {
            let index = log.state.index_called(&uid(text));
            let life = self.lives.get(&n);
            assert_eq!(index.map(|index| &index.incarnation), life, "{text}");
            let route = table.index(text);
            assert_eq!(route.map(|route| &route.incarnation), life, "{text}");
        }
        for (incarnation, name) in self.lives.values().map(|life| (life, &self.names[life])) {
            let index = &log.state.indexes[name];
            assert_eq!((&index.incarnation, index.name()), (incarnation, name));
            let route = table.named(name).expect("routed");
            assert_eq!((&route.name, &route.uid), (name, &index.uid));
        }
        for (task, n) in &self.writes {
            assert_eq!(of(log, *task), UIDS[*n]);
        }
    }
}

fn purge(log: &mut Log) {
    let Some(departed) = log.state.departed.first().cloned() else {
        return;
    };
    for node in departed.waiting {
        log.apply(&Command::IndexPurged {
            uid: departed.uid.clone(),
            incarnation: departed.incarnation,
            node,
            node_task: None,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_created_deleted_swapped_and_renamed_stays_itself(
        acts in prop::collection::vec(act(), 1..40)
    ) {
        let mut log = Log::with_books(2, 1, 1);
        let mut belief = Belief::default();
        for act in &acts {
            let before = RoutingTable::build(&log.state).expect("initialised");
            belief.act(&mut log, act);
            belief.check(&log);
            let after = RoutingTable::build(&log.state).expect("initialised");
            prop_assert_eq!(before.with(&after.delta_from(&before)), Ok(after));
            let shared = log.state.departed.iter().find(|d| log.state.indexes.contains_key(&d.uid));
            prop_assert!(shared.is_none(), "a name on nodes is given out twice: {shared:?}");
        }
    }
}
