//! Dumps of the whole cluster: writes are held while the cut is made, and the manifest names what the dumps hold.

use miroir_core::cluster::{
    AppliedSettings, Command, Cut, CutStep, IndexSwap, KeptDump, NewTask, Outcome, Task, TaskKind,
    TaskStatus,
};
use miroir_core::id::{NodeId, ShardId, TaskUid};
use miroir_core::migration::Phase;
use miroir_core::routing::RoutingTable;
use serde_json::{Value, json};

use crate::support::{Log, WRITER, uid};

/// Books on so many nodes, all of which have its settings.
fn with_books(nodes: u32, shards: u16, rf: u8) -> Log {
    let mut log = Log::with_books(nodes, shards, rf);
    for node in 1..=nodes {
        log.settings_on(u64::from(node));
    }
    log
}

impl Log {
    fn settings_on(&mut self, node: u64) {
        let index = self.index("books");
        let command = Command::SettingsEnqueued {
            uid: uid("books"),
            incarnation: index.incarnation,
            proxy: WRITER,
            applied: vec![AppliedSettings {
                node: NodeId(node),
                version: index.settings.version,
                node_task: 1,
            }],
            task: None,
        };
        assert_eq!(self.apply(&command), Outcome::Done);
    }

    fn dump(&mut self) -> TaskUid {
        let task = NewTask {
            kind: TaskKind::DumpCreation,
            details: json!({"dumpUid": null}),
            custom_metadata: None,
            failure: None,
            idempotency: None,
        };
        let outcome = self.apply(&Command::Broadcast { uid: None, task });
        let Outcome::TaskRegistered(task) = outcome else {
            panic!("{outcome:?}")
        };
        task
    }

    fn cut(&mut self, task: TaskUid, attempt: u32, step: CutStep) -> Outcome {
        self.apply(&Command::Cut {
            task,
            attempt,
            step,
        })
    }

    fn hold_for(&mut self, task: TaskUid, attempt: u32) {
        assert_eq!(self.cut(task, attempt, CutStep::Hold), Outcome::Done);
        assert!(self.held());
    }

    fn reach(&mut self, task: TaskUid, attempt: u32, silent: &[u64]) {
        let all = self.state.nodes.keys().copied();
        let drained = all.filter(|node| !silent.contains(&node.0)).collect();
        self.cut(task, attempt, CutStep::Reached { drained });
    }

    fn send(&mut self, task: TaskUid, attempt: u32, nodes: &[u32]) {
        let asked = nodes.iter().map(|n| (NodeId((*n).into()), n * 10));
        let asked = asked.collect();
        self.cut(task, attempt, CutStep::Sent { asked });
    }

    fn release(&mut self, task: TaskUid, attempt: u32, failure: Option<Value>) {
        self.cut(task, attempt, CutStep::Release { failure });
    }

    /// Whether writers are told to hold; the table, the state and the broadcasts say the same.
    fn held(&self) -> bool {
        let table = RoutingTable::build(&self.state).expect("initialised");
        assert_eq!(table.writes_held, self.state.writes_held);
        let mut cuts = self.state.broadcasts.iter().filter_map(|b| b.cut.as_ref());
        assert_eq!(table.writes_held, cuts.any(Cut::holds));
        table.writes_held
    }

    fn of(&self, task: TaskUid) -> &Task {
        self.state.tasks.get(task).expect("remembered")
    }

    fn message(&self, task: TaskUid) -> String {
        let error = self.of(task).error.as_ref().expect("failed");
        error["message"].as_str().expect("text").to_owned()
    }
}

fn shards(dump: &KeptDump) -> Vec<Vec<u64>> {
    let shards = dump.indexes[0].shards.iter();
    shards
        .map(|nodes| nodes.iter().map(|node| node.0).collect())
        .collect()
}

#[test]
fn writes_are_held_until_every_node_was_asked() {
    let mut log = with_books(2, 2, 2);
    let task = log.dump();
    assert!(!log.held(), "nothing is held before it begins");
    let before = RoutingTable::build(&log.state).expect("initialised");
    log.hold_for(task, 0);
    let held = RoutingTable::build(&log.state).expect("initialised");
    assert!(held.epoch > before.epoch, "proxies are told");
    let delta = held.delta_from(&before);
    assert_eq!(before.with(&delta).expect("fits"), held);
    log.reach(task, 0, &[]);
    assert!(log.held());
    log.send(task, 0, &[1, 2]);
    assert!(!log.held());
    let [dump] = log.state.dumps.as_slice() else {
        panic!("one dump");
    };
    assert_eq!((dump.task, shards(dump)), (task, vec![vec![1, 2]; 2]));
    let parts: Vec<u32> = log.of(task).parts.iter().map(|p| p.node_task).collect();
    assert_eq!(parts, [10, 20]);
    assert_eq!(log.of(task).status, TaskStatus::Enqueued);
    assert!(log.state.broadcasts.is_empty());
}

#[test]
fn dumps_take_turns_and_old_reports_are_dropped() {
    let mut log = with_books(2, 2, 1);
    let (first, second) = (log.dump(), log.dump());
    let refused = log.cut(second, 0, CutStep::Hold);
    assert!(matches!(refused, Outcome::Rejected(_)));
    log.hold_for(first, 0);
    log.release(first, 0, None);
    assert!(!log.held());
    for late in [0, 7] {
        log.reach(first, late, &[]);
        log.send(first, late, &[1, 2]);
        log.release(first, late, Some(json!({})));
    }
    log.hold_for(first, 1);
    log.send(first, 1, &[1, 2]);
    assert!(log.state.dumps.is_empty(), "it was not reached");
    log.reach(first, 1, &[]);
    log.send(first, 1, &[1, 2]);
    log.hold_for(second, 0);
    log.release(second, 0, Some(json!({"message": "too busy"})));
    assert!(!log.held());
    assert_eq!(log.message(second), "too busy");
    assert_eq!(log.state.dumps.len(), 1);
}

#[test]
fn a_silent_node_is_left_out_where_others_have_its_copies() {
    let mut log = with_books(2, 2, 2);
    let task = log.dump();
    log.hold_for(task, 0);
    log.reach(task, 0, &[2]);
    log.send(task, 0, &[1]);
    assert_eq!(shards(&log.state.dumps[0]), vec![vec![1]; 2]);
    let mut alone = with_books(2, 2, 1);
    let task = alone.dump();
    alone.hold_for(task, 0);
    alone.reach(task, 0, &[2]);
    assert!(!alone.held(), "the hold ends with the task");
    let shard = alone
        .index("books")
        .shards()
        .find(|(_, placement)| placement.on(NodeId(2)).is_some());
    let (shard, _) = shard.expect("one is there");
    let message = alone.message(task);
    assert!(
        message.contains(&format!("shard {shard} of `books` (node 2)")),
        "{message}"
    );
}

#[test]
fn a_copy_without_the_newest_settings_does_not_count() {
    let mut log = Log::with_books(2, 2, 2);
    log.settings_on(1);
    let task = log.dump();
    log.hold_for(task, 0);
    log.reach(task, 0, &[]);
    log.send(task, 0, &[1, 2]);
    assert_eq!(shards(&log.state.dumps[0]), vec![vec![1]; 2]);
    let mut unused = Log::with_books(2, 2, 2);
    let task = unused.dump();
    unused.hold_for(task, 0);
    unused.reach(task, 0, &[]);
    unused.send(task, 0, &[1, 2]);
    assert!(!unused.state.dumps[0].indexes[0].on_nodes);
}

#[test]
fn what_changes_while_nodes_are_asked_is_struck_out() {
    let mut log = with_books(2, 2, 2);
    let task = log.dump();
    log.hold_for(task, 0);
    log.reach(task, 0, &[]);
    let incarnation = log.index("books").incarnation;
    log.apply(&Command::EjectReplica {
        uid: uid("books"),
        incarnation,
        shard: ShardId(1),
        node: NodeId(2),
    });
    log.send(task, 0, &[1, 2]);
    assert_eq!(shards(&log.state.dumps[0]), [vec![1, 2], vec![1]]);
    let task = log.dump();
    log.hold_for(task, 0);
    log.reach(task, 0, &[]);
    let deletion = NewTask {
        kind: TaskKind::IndexDeletion,
        details: json!({}),
        custom_metadata: None,
        failure: None,
        idempotency: None,
    };
    log.apply(&Command::DeleteIndex {
        uid: uid("books"),
        incarnation,
        proxy: WRITER,
        called: None,
        task: deletion,
    });
    log.create("books");
    log.send(task, 0, &[1, 2]);
    assert!(log.state.dumps[1].indexes.is_empty(), "it is another index");
}

#[test]
fn a_cutover_in_between_is_another_attempt_and_at_last_a_failure() {
    let mut log = with_books(3, 1, 1);
    let task = log.dump();
    for attempt in 0..Cut::ATTEMPTS_MAX {
        log.hold_for(task, attempt);
        log.reach(task, attempt, &[]);
        // The node that has the only copy was not asked in time.
        log.send(task, attempt, &[]);
        assert!(!log.held());
    }
    assert_eq!(log.of(task).status, TaskStatus::Failed);
    assert!(log.state.broadcasts.is_empty() && log.state.dumps.is_empty());

    let mut log = with_books(1, 4, 1);
    let id = log.start_a_move();
    let record = log.state.migrations[&id].clone();
    log.settings_on(record.target.0);
    log.advance_to(id, Phase::Mirroring);
    let task = log.dump();
    log.hold_for(task, 0);
    log.reach(task, 0, &[]);
    log.advance_to(id, Phase::CutOver);
    log.send(task, 0, &[1, 2]);
    assert!(log.state.dumps.is_empty(), "no dump holds what is read now");
    log.hold_for(task, 1);
    log.reach(task, 1, &[]);
    log.send(task, 1, &[1, 2]);
    let dump = shards(&log.state.dumps[0]);
    assert_eq!(dump[usize::from(record.shard.0)], [record.target.0]);
}

#[test]
fn an_index_is_told_by_its_uid_of_that_moment_and_its_name_on_nodes() {
    let mut log = with_books(1, 1, 1);
    let rename = |log: &mut Log| {
        let swap = IndexSwap {
            indexes: (uid("books"), uid("films")),
            rename: true,
        };
        log.apply(&Command::SwapIndexes {
            swaps: vec![swap],
            idempotency: None,
        });
    };
    let told = |log: &Log, at: usize| {
        let index = &log.state.dumps[at].indexes[0];
        assert_eq!(index.shards, [[NodeId(1)].into()]);
        (index.uid.to_string(), index.name.to_string())
    };
    for (at, expected) in ["books", "films"].into_iter().enumerate() {
        let task = log.dump();
        log.hold_for(task, 0);
        log.reach(task, 0, &[]);
        rename(&mut log);
        log.send(task, 0, &[1]);
        assert_eq!(told(&log, at), (expected.to_owned(), "books".to_owned()));
    }
}

#[test]
fn the_newest_manifests_are_kept() {
    let mut log = with_books(1, 1, 1);
    let tasks: Vec<TaskUid> = (0..KeptDump::MAX + 3)
        .map(|_| {
            let task = log.dump();
            log.hold_for(task, 0);
            log.reach(task, 0, &[]);
            log.send(task, 0, &[1]);
            task
        })
        .collect();
    let kept: Vec<TaskUid> = log.state.dumps.iter().map(|dump| dump.task).collect();
    assert_eq!(kept, tasks[3..]);
}

#[test]
fn a_state_of_before_cuts_is_read() {
    let log = with_books(2, 2, 1);
    let mut json = serde_json::to_value(&log.state).expect("JSON");
    let fields = json.as_object_mut().expect("an object");
    fields.remove("writes_held");
    fields.remove("dumps");
    let read: miroir_core::cluster::ClusterState = serde_json::from_value(json).expect("read");
    assert_eq!(read, log.state);
}
