//! What of an index has not been carried out yet. Pure.

use std::collections::BTreeMap;

use miroir_core::cluster::{ClusterState, TaskKind};
use miroir_core::id::{IndexUid, TaskUid};
use miroir_proto::v1;

use crate::actor::tasks::parts_of;

/// The tasks of an index up to `up_to` that have not ended and change what is read of it: by node the first and the
/// last of its own.
pub(super) fn pending(
    state: &ClusterState,
    uid: &IndexUid,
    up_to: TaskUid,
) -> v1::PendingTasksReply {
    // Sessions name indexes as nodes do, tasks as clients do at the moment.
    let called = state.uid_of(uid);
    let unfinished = state.tasks.unfinished();
    let of_index = unfinished
        .take_while(|task| task.uid <= up_to)
        .filter(|task| task.index.as_ref() == Some(called) && changes_reads(task.kind));
    let mut nodes: BTreeMap<u64, v1::PendingOnNode> = BTreeMap::new();
    let mut open = false;
    for task in of_index {
        let (parts, complete) = parts_of(state, task);
        open |= !complete;
        for (node, node_task) in parts {
            let known = nodes.entry(node.0).or_insert(v1::PendingOnNode {
                node: node.0,
                first: node_task,
                last: node_task,
            });
            known.first = known.first.min(node_task);
            known.last = known.last.max(node_task);
        }
    }
    v1::PendingTasksReply {
        nodes: nodes.into_values().collect(),
        open,
        newest: state.tasks.newest().map(|task| task.0),
        epoch: state.epoch.0,
    }
}

fn changes_reads(kind: TaskKind) -> bool {
    match kind {
        TaskKind::DocumentAdditionOrUpdate
        | TaskKind::DocumentDeletion
        | TaskKind::SettingsUpdate
        | TaskKind::IndexCreation => true,
        // Done when they are committed, or not done through the lanes of an index.
        TaskKind::IndexUpdate
        | TaskKind::IndexDeletion
        | TaskKind::IndexSwap
        | TaskKind::DsrUpdate
        | TaskKind::DsrClear
        | TaskKind::IndexCompaction
        | TaskKind::TaskCancelation
        | TaskKind::TaskDeletion
        | TaskKind::DumpCreation
        | TaskKind::SnapshotCreation => false,
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{
        Command, IndexRename, NewIndex, NewTask, NodeSpec, Outcome, Policy, TaskPart, TaskStatus,
        TaskUpdate, Write,
    };
    use miroir_core::id::{GroupId, Incarnation, NodeId, ProxyId};
    use serde_json::json;

    use super::*;

    fn uid() -> IndexUid {
        IndexUid::parse("books").expect("a uid")
    }

    /// Two nodes, one proxy and an index; how often something happened.
    fn cluster() -> (ClusterState, u64) {
        let mut state = ClusterState::default();
        let node = |n: u32| Command::AddNode {
            node: NodeSpec {
                url: format!("http://127.0.0.1:{n}"),
                group: GroupId(1),
                zone: None,
                weight: 1,
                version: "1.15.0".to_owned(),
            },
        };
        let commands = [
            Command::Bootstrap {
                cluster_id: "c".to_owned(),
                policy: Policy::default(),
            },
            node(1),
            node(2),
            Command::RegisterProxy {
                instance: "i".to_owned(),
                name: "p".to_owned(),
                url: "http://127.0.0.1:3".to_owned(),
            },
            Command::CreateIndex(NewIndex {
                uid: uid(),
                primary_key: None,
                shards: Some(2),
                replication_factor: None,
                writer: Some(ProxyId(1)),
                task: None,
            }),
        ];
        for (at, command) in (1..).zip(&commands) {
            let outcome = state.apply(at, 0, command);
            assert!(!matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        }
        (state, 5)
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

    fn write(state: &ClusterState, parts: &[(u64, u32)]) -> Command {
        let part = |(node, node_task): &(u64, u32)| TaskPart {
            node: NodeId(*node),
            node_task: *node_task,
            counts: true,
        };
        Command::RegisterWrites {
            proxy: ProxyId(1),
            writes: vec![Write {
                uid: uid(),
                incarnation: state.indexes[&uid()].incarnation,
                task: new_task(TaskKind::DocumentAdditionOrUpdate),
                parts: parts.iter().map(part).collect(),
                missed: Vec::new(),
            }],
        }
    }

    fn shown(reply: &v1::PendingTasksReply) -> Vec<(u64, u32, u32)> {
        let nodes = reply.nodes.iter();
        nodes.map(|one| (one.node, one.first, one.last)).collect()
    }

    #[test]
    fn a_renamed_index_is_known_by_its_name_on_nodes() {
        let (mut state, at) = cluster();
        let command = write(&state, &[(1, 7)]);
        state.apply(at + 1, 0, &command);
        let films = IndexUid::parse("films").expect("a uid");
        let renamed = state.apply(
            at + 2,
            0,
            &Command::RenameIndex(IndexRename {
                uid: uid(),
                to: films.clone(),
                primary_key: None,
                idempotency: None,
            }),
        );
        assert!(matches!(renamed, Outcome::TaskRegistered(_)), "{renamed:?}");
        assert_eq!(
            state.index_called(&films).map(|index| index.name()),
            Some(&uid())
        );
        assert_eq!(shown(&pending(&state, &uid(), TaskUid(0))), [(1, 7, 7)]);
    }

    #[test]
    fn what_has_not_ended_up_to_a_task_is_pending() {
        let (mut state, mut at) = cluster();
        let mut apply = |state: &mut ClusterState, command: &Command| {
            at += 1;
            let outcome = state.apply(at, 0, command);
            assert!(!matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        };
        assert_eq!(pending(&state, &uid(), TaskUid(0)).newest, None);
        for parts in [&[(1, 7), (2, 3)][..], &[(1, 8)], &[(1, 9), (2, 4)]] {
            let command = write(&state, parts);
            apply(&mut state, &command);
        }
        apply(
            &mut state,
            &Command::RegisterTask {
                uid: Some(uid()),
                task: new_task(TaskKind::IndexUpdate),
            },
        );
        let reply = pending(&state, &uid(), TaskUid(1));
        assert_eq!(shown(&reply), [(1, 7, 8), (2, 3, 3)]);
        assert_eq!((reply.open, reply.newest), (false, Some(3)));
        assert_eq!(reply.epoch, state.epoch.0);
        let other = IndexUid::parse("other").expect("a uid");
        assert!(shown(&pending(&state, &other, TaskUid(3))).is_empty());
        let ended = TaskUpdate {
            uid: TaskUid(0),
            status: TaskStatus::Failed,
            details: None,
            error: None,
            started_at_ms: None,
            finished_at_ms: None,
        };
        apply(
            &mut state,
            &Command::UpdateTasks {
                updates: vec![ended],
            },
        );
        assert_eq!(
            shown(&pending(&state, &uid(), TaskUid(3))),
            [(1, 8, 9), (2, 4, 4)]
        );
        // Nobody has enqueued these settings yet.
        let incarnation: Incarnation = state.indexes[&uid()].incarnation;
        apply(
            &mut state,
            &Command::ChangeSettings {
                uid: uid(),
                incarnation,
                proxy: ProxyId(1),
                desired: json!({}),
                task: new_task(TaskKind::SettingsUpdate),
            },
        );
        assert!(pending(&state, &uid(), TaskUid(4)).open);
        assert!(!pending(&state, &uid(), TaskUid(3)).open);
    }
}
