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

fn of(state: &ClusterState, task: &Task) -> Work {
    let index = task.index.as_ref().and_then(|uid| state.indexes.get(uid));
    let own = task.parts.iter();
    let mut parts: Vec<Part> =
        own.map(|part| Part { node: part.node, node_task: part.node_task, counts: part.counts }).collect();
    let complete = match (task.kind, index) {
        (TaskKind::SettingsUpdate | TaskKind::IndexCreation, Some(index)) => add_settings(task.kind, index, &mut parts),
        (TaskKind::IndexDeletion, _) => !state.departed.iter().any(|departed| departed.task == task.uid),
        // Of an index that is gone nothing more will come.
        (TaskKind::SettingsUpdate | TaskKind::IndexCreation, None) => true,
        (TaskKind::DocumentAdditionOrUpdate | TaskKind::DocumentDeletion | TaskKind::IndexUpdate, _) => true,
    };
    let in_use = match index {
        Some(index) => users(index),
        None => parts.iter().map(|part| part.node).collect(),
    };
    Work { task: task.clone(), parts, complete, in_use }
}

/// Nodes with a copy that takes writes.
fn users(index: &Index) -> BTreeSet<NodeId> {
    index.placement.iter().flat_map(|shard| shard.writable().map(|replica| replica.node)).collect()
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
        | TaskKind::IndexDeletion => index.settings.version,
    };
    let mut complete = true;
    for node in users(index) {
        if parts.iter().any(|part| part.node == node) {
            continue;
        }
        let known = index.nodes.get(&node).filter(|known| known.settings_version >= needed);
        match known.and_then(|known| known.settings_task) {
            Some(node_task) => parts.push(Part { node, node_task, counts: false }),
            None => complete = false,
        }
    }
    complete
}
