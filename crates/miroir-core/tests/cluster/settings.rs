//! Settings that nodes refuse, or whose tasks fail there, do not stay.

use miroir_core::cluster::{
    AppliedSettings, Command, NewTask, Outcome, TaskKind, TaskStatus, TaskUpdate,
};
use miroir_core::id::{NodeId, TaskUid};
use serde_json::{Value, json};

use crate::support::{Log, WRITER, uid};

const ERROR: &str = "invalid_settings_embedders";

impl Log {
    fn change(&mut self, desired: Value) -> TaskUid {
        let incarnation = self.index("books").incarnation;
        let outcome = self.apply(&Command::ChangeSettings {
            uid: uid("books"),
            incarnation,
            proxy: WRITER,
            desired,
            task: NewTask {
                kind: TaskKind::SettingsUpdate,
                details: json!({}),
                custom_metadata: None,
                failure: None,
                idempotency: None,
            },
        });
        let Outcome::SettingsChanged { task, .. } = outcome else {
            panic!("not changed: {outcome:?}");
        };
        task
    }

    /// One node takes the newest settings.
    fn taken(&mut self, task: TaskUid) {
        let index = self.index("books");
        let applied = AppliedSettings {
            node: NodeId(1),
            version: index.settings.version,
            node_task: 7,
        };
        let command = Command::SettingsEnqueued {
            uid: uid("books"),
            incarnation: index.incarnation,
            proxy: WRITER,
            applied: vec![applied],
            task: Some(task),
        };
        assert_eq!(self.apply(&command), Outcome::Done);
    }

    fn ends(&mut self, uid: TaskUid, status: TaskStatus) {
        let update = TaskUpdate {
            uid,
            status,
            details: None,
            error: None,
            started_at_ms: Some(1),
            finished_at_ms: Some(2),
        };
        self.apply(&Command::UpdateTasks {
            updates: vec![update],
        });
    }

    fn refuse(&mut self, version: u64) {
        let incarnation = self.index("books").incarnation;
        let outcome = self.apply(&Command::RefuseSettings {
            uid: uid("books"),
            incarnation,
            proxy: WRITER,
            version,
            error: json!({ "code": ERROR }),
        });
        assert_eq!(outcome, Outcome::Done);
    }

    /// The desired settings and their version.
    fn desired(&self) -> (Value, u64) {
        let settings = &self.index("books").settings;
        (settings.desired.clone(), settings.version)
    }
}

fn started() -> (Log, Value, u64) {
    let mut log = Log::with_books(2, 4, 2);
    let good = json!({"stopWords": ["the"]});
    let task = log.change(good.clone());
    log.taken(task);
    log.ends(task, TaskStatus::Succeeded);
    let (desired, version) = log.desired();
    assert_eq!(desired, good);
    (log, good, version)
}

#[test]
fn what_a_node_refuses_is_gone_back_on_under_a_new_version() {
    let (mut log, good, version) = started();
    let first = log.change(json!({"stopWords": ["the"], "embedders": {"e": {"x": 1}}}));
    let second = log.change(json!({"embedders": {"e": {"x": 1}}, "stopWords": []}));
    let epoch = log.state.epoch;
    log.refuse(version + 1);
    assert_eq!(
        log.desired().1,
        version + 2,
        "a report on older settings changes nothing"
    );
    log.refuse(version + 2);
    assert_eq!(log.desired(), (good, version + 3));
    assert!(log.state.epoch > epoch, "proxies have to hear of it");
    for task in [first, second] {
        let task = log.state.tasks.get(task).expect("kept");
        assert_eq!(task.status, TaskStatus::Failed);
        assert_eq!(
            task.error.as_ref().map(|error| &error["code"]),
            Some(&json!(ERROR))
        );
    }
    // The same report again, late.
    log.refuse(version + 2);
    assert_eq!(log.desired().1, version + 3);
}

#[test]
fn what_some_node_has_taken_waits_for_that_nodes_verdict() {
    let (mut log, good, version) = started();
    let task = log.change(json!({"distinctAttribute": "a"}));
    log.taken(task);
    log.refuse(version + 1);
    assert_eq!(log.desired().1, version + 1);
    log.ends(task, TaskStatus::Failed);
    assert_eq!(log.desired(), (good, version + 2));
}

/// Changes as the letters of a word, by how their tasks end in this order: `s`ucceeded, `f`ailed, `-` not yet. What is
/// desired then is what the change of that position made; 0 is what was there before.
#[test]
fn failed_changes_are_gone_back_on_unless_a_later_one_may_hold_them() {
    let table = [
        ("s", 1),
        ("f", 0),
        ("ff", 0),
        ("sf", 1),
        ("fs", 2),
        ("f-", 2),
        ("sff", 1),
        ("fsf", 2),
        ("ffs", 3),
        ("-f", 1),
    ];
    for (ends, expected) in table {
        let (mut log, good, _) = started();
        let made = |n: usize| match n {
            0 => good.clone(),
            n => json!({"n": n}),
        };
        let tasks: Vec<TaskUid> = (1..=ends.len())
            .map(|n| {
                let task = log.change(made(n));
                log.taken(task);
                task
            })
            .collect();
        for (task, end) in tasks.into_iter().zip(ends.chars()) {
            match end {
                's' => log.ends(task, TaskStatus::Succeeded),
                'f' => log.ends(task, TaskStatus::Failed),
                _ => {}
            }
        }
        assert_eq!(log.desired().0, made(expected), "{ends}");
    }
}

#[test]
fn settings_are_stated_anew_as_a_version_of_their_own() {
    let mut log = Log::with_books(2, 4, 1);
    log.change(json!({ "stopWords": ["a"] }));
    let version = log.index("books").settings.version;
    let incarnation = log.index("books").incarnation;
    let restate = |version| Command::RestateSettings {
        uid: uid("books"),
        incarnation,
        version,
    };
    let epoch = log.state.epoch;
    assert_eq!(log.apply(&restate(version)), Outcome::Done);
    let settings = &log.index("books").settings;
    assert_eq!(settings.version, version + 1);
    assert_eq!(settings.desired, json!({ "stopWords": ["a"] }));
    assert!(log.state.epoch > epoch, "the writer is told");
    // What was compared is not the newest any more: that is on its way.
    let before = log.state.clone();
    assert_eq!(log.apply(&restate(version)), Outcome::Done);
    assert_eq!(log.state, before);
}
