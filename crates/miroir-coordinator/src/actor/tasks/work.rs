//! Which tasks are followed, and which node tasks tell about them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use miroir_core::cluster::{ClusterState, Index, Task, TaskKind};
use miroir_core::id::{IndexUid, NodeId};

/// Tasks of one index that are looked at together, the oldest. A node takes the tasks of an index in their
/// order, so later ones cannot end before them.
const PER_INDEX_MAX: usize = 200;

/// A node task that belongs to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub node: NodeId,
    pub node_task: u32,
    pub counts: bool,
}

/// A task to follow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Work {
    pub task: Task,
    pub parts: Vec<Part>,
    /// Whether every node that has to have a part has one.
    pub complete: bool,
    /// Nodes that hold a copy of the index which is in use. Those of a deleted index are all in use.
    pub in_use: BTreeSet<NodeId>,
}

/// The tasks to follow now.
pub(super) fn unfinished(state: &ClusterState) -> Vec<Work> {
    let mut taken: BTreeMap<Option<&IndexUid>, usize> = BTreeMap::new();
    let mut work = Vec::new();
    for task in state.tasks.unfinished() {
        let count = taken.entry(task.index.as_ref()).or_default();
        if *count < PER_INDEX_MAX {
            *count += 1;
            work.push(of(state, task));
        }
    }
    work
}

/// The node tasks that a task is made of, and whether every node that has to have one has.
#[must_use]
pub fn parts_of(state: &ClusterState, task: &Task) -> (Vec<(NodeId, u32)>, bool) {
    let (parts, complete) = parts(state, task);
    let parts = parts.into_iter().map(|part| (part.node, part.node_task));
    (parts.collect(), complete)
}

fn of(state: &ClusterState, task: &Task) -> Work {
    let (parts, complete) = parts(state, task);
    let index = task.index.as_ref().and_then(|uid| state.index_called(uid));
    let in_use = match index {
        Some(index) => users(index),
        None => parts.iter().map(|part| part.node).collect(),
    };
    Work {
        task: task.clone(),
        parts,
        complete,
        in_use,
    }
}

fn parts(state: &ClusterState, task: &Task) -> (Vec<Part>, bool) {
    let index = task.index.as_ref().and_then(|uid| state.index_called(uid));
    let own = task.parts.iter();
    let mut parts: Vec<Part> = own
        .map(|part| Part {
            node: part.node,
            node_task: part.node_task,
            counts: part.counts,
        })
        .collect();
    let complete = match (task.kind, index) {
        (TaskKind::SettingsUpdate | TaskKind::IndexCreation, Some(index)) => {
            add_settings(task.kind, index, &mut parts)
        }
        (TaskKind::IndexDeletion, _) => !state
            .departed
            .iter()
            .any(|departed| departed.task == task.uid),
        // Of an index that is gone nothing more will come.
        (TaskKind::SettingsUpdate | TaskKind::IndexCreation, None) => true,
        (TaskKind::IndexCompaction | TaskKind::DumpCreation | TaskKind::SnapshotCreation, _) => {
            !state.broadcasts.iter().any(|one| one.task == task.uid)
        }
        (
            TaskKind::DocumentAdditionOrUpdate
            | TaskKind::DocumentDeletion
            | TaskKind::IndexUpdate
            | TaskKind::IndexSwap
            | TaskKind::TaskCancelation,
            _,
        ) => true,
        // Ended by the command that ends the last task that it waits for, and by who gives nodes the rules.
        (TaskKind::TaskDeletion | TaskKind::DsrUpdate | TaskKind::DsrClear, _) => false,
    };
    (parts, complete)
}

/// Nodes with a copy that takes writes.
fn users(index: &Index) -> BTreeSet<NodeId> {
    index
        .placement
        .iter()
        .flat_map(|shard| shard.writable().map(|replica| replica.node))
        .collect()
}

/// Adds, for every node that must have the settings and has no part of its own, the node task that carries them.
/// Answers whether every such node has them.
///
/// A settings task does not know its version. A node without a part of it joined later, or got the settings from
/// the successor of a writer that died; it has them when it has the newest. A created index is there when every
/// node has any settings, since these carry the rule of the hidden field.
fn add_settings(kind: TaskKind, index: &Index, parts: &mut Vec<Part>) -> bool {
    let needed = match kind {
        TaskKind::IndexCreation => 1,
        TaskKind::SettingsUpdate
        | TaskKind::DocumentAdditionOrUpdate
        | TaskKind::DocumentDeletion
        | TaskKind::IndexUpdate
        | TaskKind::IndexSwap
        | TaskKind::IndexDeletion
        | TaskKind::IndexCompaction
        | TaskKind::TaskCancelation
        | TaskKind::TaskDeletion
        | TaskKind::DumpCreation
        | TaskKind::SnapshotCreation
        | TaskKind::DsrUpdate
        | TaskKind::DsrClear => index.settings.version,
    };
    let mut complete = true;
    for node in users(index) {
        if parts.iter().any(|part| part.node == node) {
            continue;
        }
        let known = index
            .nodes
            .get(&node)
            .filter(|known| known.settings_version >= needed);
        match known.and_then(|known| known.settings_task) {
            Some(node_task) => parts.push(Part {
                node,
                node_task,
                counts: false,
            }),
            None => complete = false,
        }
    }
    complete
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{
        AppliedSettings, Command, NewIndex, NewTask, NodeSpec, Outcome, Policy,
    };
    use miroir_core::id::{GroupId, Incarnation, ProxyId, TaskUid};
    use serde_json::json;

    use super::*;

    /// A cluster of two nodes and one proxy, in which things happen one after the other.
    struct Story {
        state: ClusterState,
        at: u64,
        proxy: ProxyId,
    }

    fn books() -> IndexUid {
        IndexUid::parse("books").expect("a uid")
    }

    fn new_task(kind: TaskKind) -> NewTask {
        NewTask {
            kind,
            details: json!({}),
            custom_metadata: None,
            failure: None,
            idempotency: None,
        }
    }

    impl Story {
        fn begin() -> Self {
            let mut story = Self {
                state: ClusterState::default(),
                at: 0,
                proxy: ProxyId(1),
            };
            let policy = Policy {
                default_shards: 4,
                ..Policy::default()
            };
            story.apply(Command::Bootstrap {
                cluster_id: "c".to_owned(),
                policy,
            });
            story.add_node(1);
            story.add_node(2);
            let (instance, name, url) = ("i".to_owned(), "p".to_owned(), "http://p".to_owned());
            story.apply(Command::RegisterProxy {
                instance,
                name,
                url,
            });
            story
        }

        fn apply(&mut self, command: Command) -> Outcome {
            self.at += 1;
            let outcome = self.state.apply(self.at, self.at, &command);
            assert!(
                !matches!(outcome, Outcome::Rejected(_)),
                "{command:?}: {outcome:?}"
            );
            outcome
        }

        fn add_node(&mut self, n: u64) {
            let node = NodeSpec {
                url: format!("http://127.0.0.1:{n}"),
                group: GroupId(1),
                zone: None,
                weight: 1,
                version: "1.15.0".to_owned(),
            };
            self.apply(Command::AddNode { node });
        }

        fn create(&mut self) -> Incarnation {
            let index = NewIndex {
                uid: books(),
                primary_key: None,
                shards: None,
                replication_factor: None,
                writer: Some(self.proxy),
                task: Some(new_task(TaskKind::IndexCreation)),
            };
            self.apply(Command::CreateIndex(index));
            Incarnation(self.at)
        }

        fn change_settings(&mut self, incarnation: Incarnation) -> TaskUid {
            let task = new_task(TaskKind::SettingsUpdate);
            let (proxy, desired) = (self.proxy, json!({}));
            let changed = Command::ChangeSettings {
                uid: books(),
                incarnation,
                proxy,
                desired,
                task,
            };
            let outcome = self.apply(changed);
            let Outcome::SettingsChanged { task, .. } = outcome else {
                panic!("{outcome:?}")
            };
            task
        }

        fn enqueued(
            &mut self,
            incarnation: Incarnation,
            on: (u64, u64, u32),
            task: Option<TaskUid>,
        ) {
            let (node, version, node_task) = on;
            let applied = vec![AppliedSettings {
                node: NodeId(node),
                version,
                node_task,
            }];
            self.apply(Command::SettingsEnqueued {
                uid: books(),
                incarnation,
                proxy: self.proxy,
                applied,
                task,
            });
        }

        /// The node tasks followed for a task, and whether there will be no more.
        fn followed(&self, uid: TaskUid) -> (Vec<(u64, u32)>, bool) {
            let all = unfinished(&self.state);
            let work = all
                .iter()
                .find(|work| work.task.uid == uid)
                .expect("it is unfinished");
            let mut parts: Vec<_> = work
                .parts
                .iter()
                .map(|part| (part.node.0, part.node_task))
                .collect();
            parts.sort_unstable();
            (parts, work.complete)
        }
    }

    #[test]
    fn an_index_is_created_when_every_node_has_its_settings() {
        let mut story = Story::begin();
        let incarnation = story.create();
        let creation = TaskUid(0);
        assert_eq!(story.followed(creation), (vec![], false));
        story.enqueued(incarnation, (1, 1, 10), None);
        assert_eq!(story.followed(creation), (vec![(1, 10)], false));
        story.enqueued(incarnation, (2, 1, 20), None);
        assert_eq!(story.followed(creation), (vec![(1, 10), (2, 20)], true));
        // A later change does not take it back: the index is there.
        story.change_settings(incarnation);
        assert_eq!(story.followed(creation), (vec![(1, 10), (2, 20)], true));
    }

    #[test]
    fn settings_are_followed_on_every_node_also_when_a_successor_carries_them() {
        let mut story = Story::begin();
        let incarnation = story.create();
        story.enqueued(incarnation, (1, 1, 10), None);
        story.enqueued(incarnation, (2, 1, 20), None);
        let first = story.change_settings(incarnation);
        assert_eq!(
            story.followed(first),
            (vec![], false),
            "older settings do not count"
        );
        story.enqueued(incarnation, (1, 2, 11), Some(first));
        assert_eq!(story.followed(first), (vec![(1, 11)], false));
        // The writer dies here; its successor sends the newest settings and knows of no task.
        story.enqueued(incarnation, (2, 2, 21), None);
        assert_eq!(story.followed(first), (vec![(1, 11), (2, 21)], true));
        let second = story.change_settings(incarnation);
        assert_eq!(story.followed(first), (vec![(1, 11)], false));
        story.enqueued(incarnation, (1, 3, 12), Some(second));
        story.enqueued(incarnation, (2, 3, 22), Some(second));
        assert_eq!(story.followed(first), (vec![(1, 11), (2, 22)], true));
        assert_eq!(story.followed(second), (vec![(1, 12), (2, 22)], true));
    }

    #[test]
    fn a_deletion_is_complete_when_every_node_has_it_and_what_was_before_it_ends_too() {
        let mut story = Story::begin();
        let incarnation = story.create();
        let settings = story.change_settings(incarnation);
        let task = new_task(TaskKind::IndexDeletion);
        story.apply(Command::DeleteIndex {
            uid: books(),
            incarnation,
            proxy: story.proxy,
            called: None,
            task,
        });
        let deletion = TaskUid(2);
        assert_eq!(
            story.followed(settings),
            (vec![], true),
            "nothing more comes of an index that is gone"
        );
        assert_eq!(story.followed(deletion), (vec![], false));
        let purged = |node, node_task| Command::IndexPurged {
            uid: books(),
            incarnation,
            node: NodeId(node),
            node_task,
        };
        story.apply(purged(1, Some(15)));
        assert_eq!(story.followed(deletion), (vec![(1, 15)], false));
        story.apply(purged(2, None));
        assert_eq!(story.followed(deletion), (vec![(1, 15)], true));
    }

    #[test]
    fn one_index_cannot_crowd_out_the_others() {
        let mut story = Story::begin();
        for n in 0..PER_INDEX_MAX + 50 {
            let uid = IndexUid::parse(if n < PER_INDEX_MAX + 49 {
                "busy"
            } else {
                "quiet"
            })
            .ok();
            story.apply(Command::RegisterTask {
                uid,
                task: new_task(TaskKind::DocumentDeletion),
            });
        }
        let work = unfinished(&story.state);
        assert_eq!(work.len(), PER_INDEX_MAX + 1);
        assert_eq!(work.first().map(|work| work.task.uid), Some(TaskUid(0)));
        assert_eq!(
            work.last()
                .and_then(|work| work.task.index.clone())
                .map(|uid| uid.to_string()),
            Some("quiet".to_owned())
        );
    }
}
