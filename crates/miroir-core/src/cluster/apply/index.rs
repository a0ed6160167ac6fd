//! Indexes: creation, settings, deletion, and who writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Applied, At};
use crate::cluster::{
    AppliedSettings, ClusterState, DepartedIndex, Index, NewIndex, NewTask, NodeIndex, Outcome,
    Policy, Rejection, Replica, ReplicaState, Settings, ShardPlacement, TaskPart,
};
use crate::id::{GroupId, Incarnation, IndexUid, NodeId, ProxyId, TaskUid};
use crate::migration::Event;
use crate::placement::{self, Candidate, Scope};

impl ClusterState {
    pub(super) fn create_index(&mut self, at: At, new: &NewIndex) -> Applied {
        if self.is_taken(&new.uid) {
            return Err(Rejection::IndexExists(new.uid.clone()));
        }
        let name = self.free_name(at, &new.uid);
        let shards = new.shards.unwrap_or(self.policy.default_shards);
        if !(1..=Policy::SHARDS_MAX).contains(&shards) {
            return Err(Rejection::Invalid(format!(
                "shards must be from 1 to {}, not {shards}",
                Policy::SHARDS_MAX
            )));
        }
        let replication_factor = new
            .replication_factor
            .unwrap_or(self.policy.default_replication_factor);
        let placement = self.place(&name, shards, replication_factor)?;
        let nodes = placement
            .iter()
            .flat_map(|shard| shard.replicas.iter().map(|r| r.node));
        let index = Index {
            uid: new.uid.clone(),
            other_name: (name != new.uid).then(|| name.clone()),
            incarnation: Incarnation(at.index),
            primary_key: new.primary_key.clone(),
            replication_factor,
            settings: Settings {
                version: 1,
                desired: Value::Object(serde_json::Map::new()),
                unproven: Vec::new(),
            },
            writer: new.writer.filter(|proxy| self.may_write(*proxy)),
            nodes: nodes.map(|node| (node, NodeIndex::default())).collect(),
            placement,
            leftovers: BTreeSet::new(),
            pins: BTreeSet::new(),
            created_at_ms: at.ms,
            updated_at_ms: at.ms,
        };
        self.indexes.insert(name, index);
        let task = new
            .task
            .as_ref()
            .map(|task| self.new_task(at, Some(new.uid.clone()), task, Vec::new()));
        self.touch(at);
        Ok(Outcome::IndexCreated {
            incarnation: Incarnation(at.index),
            task,
        })
    }

    /// What nodes are to call a new index: its uid, or what begins with it where some node may hold another index of
    /// that name. It is the same wherever the log is applied.
    fn free_name(&self, at: At, uid: &IndexUid) -> IndexUid {
        let free = |name: &IndexUid| {
            let mut departing = self.departed.iter();
            !self.indexes.contains_key(name) && !departing.any(|departed| departed.uid == *name)
        };
        if free(uid) {
            return uid.clone();
        }
        let mut others = (at.index..).map(|number| uid.numbered(number));
        others
            .find(free)
            .expect("fewer names are taken than there are numbers")
    }

    /// Every group holds every shard, each placed on its own.
    fn place(
        &self,
        name: &IndexUid,
        shards: u16,
        replication_factor: u8,
    ) -> Result<Vec<ShardPlacement>, Rejection> {
        let mut placement = vec![ShardPlacement::default(); usize::from(shards)];
        let staying = self.groups.values().filter(|group| group.state.stays());
        for group in staying.map(|group| group.id) {
            let candidates = self.candidates(group);
            let scope = Scope {
                index: name.as_str(),
                group,
            };
            let too_few = |_| Rejection::TooFewNodes {
                group,
                nodes: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
                replication_factor,
            };
            let chosen = placement::propose(&scope, shards, replication_factor, &candidates)
                .map_err(too_few)?;
            for (shard, nodes) in placement.iter_mut().zip(chosen) {
                let copies = nodes.into_iter().map(|node| Replica {
                    node,
                    group,
                    state: ReplicaState::InSync,
                });
                shard.replicas.extend(copies);
            }
        }
        Ok(placement)
    }

    /// The nodes of a group that placement may choose from.
    #[must_use]
    pub fn candidates(&self, group: GroupId) -> Vec<Candidate> {
        self.members(group)
            .map(|node| Candidate {
                node: node.id,
                weight: node.weight,
                zone: node.zone.clone(),
            })
            .collect()
    }

    fn may_write(&self, proxy: ProxyId) -> bool {
        self.proxies.get(&proxy).is_some_and(|proxy| !proxy.lost)
    }

    /// The index, if it is still the one meant.
    pub(super) fn index_of(
        &mut self,
        uid: &IndexUid,
        incarnation: Incarnation,
    ) -> Result<&mut Index, Rejection> {
        let index = self
            .indexes
            .get_mut(uid)
            .ok_or_else(|| Rejection::UnknownIndex(uid.clone()))?;
        if index.incarnation != incarnation {
            return Err(Rejection::OtherIncarnation(uid.clone()));
        }
        Ok(index)
    }

    /// The index, if it is still the one meant and `proxy` still orders its writes. This is the fence against
    /// a writer that was replaced: nothing it sends afterwards is ever acknowledged.
    pub(super) fn index_written_by(
        &mut self,
        (uid, incarnation, proxy): (&IndexUid, Incarnation, ProxyId),
    ) -> Result<&mut Index, Rejection> {
        let index = self.index_of(uid, incarnation)?;
        if index.writer != Some(proxy) {
            return Err(Rejection::NotWriter {
                proxy,
                uid: uid.clone(),
            });
        }
        Ok(index)
    }

    pub(super) fn set_primary_key(
        &mut self,
        at: At,
        (uid, incarnation): (&IndexUid, Incarnation),
        primary_key: &str,
        task: Option<&NewTask>,
    ) -> Applied {
        let index = self.index_of(uid, incarnation)?;
        let called = index.uid.clone();
        match &index.primary_key {
            Some(known) if known != primary_key => {
                return Err(Rejection::PrimaryKeyExists {
                    uid: uid.clone(),
                    primary_key: known.clone(),
                });
            }
            Some(_) => {}
            None => {
                index.primary_key = Some(primary_key.to_owned());
                index.updated_at_ms = at.ms;
                self.touch(at);
            }
        }
        Ok(match task {
            Some(task) => {
                Outcome::TaskRegistered(self.new_task(at, Some(called), task, Vec::new()))
            }
            None => Outcome::Done,
        })
    }

    pub(super) fn change_settings(
        &mut self,
        at: At,
        whose: (&IndexUid, Incarnation, ProxyId),
        desired: &Value,
        task: &NewTask,
    ) -> Applied {
        let called = self.index_written_by(whose)?.uid.clone();
        let task = self.new_task(at, Some(called), task, Vec::new());
        let index = self.index_written_by(whose)?;
        let version = index.settings.change(task, desired.clone());
        index.updated_at_ms = at.ms;
        self.touch(at);
        Ok(Outcome::SettingsChanged { version, task })
    }

    pub(super) fn settings_enqueued(
        &mut self,
        at: At,
        whose: (&IndexUid, Incarnation, ProxyId),
        applied: &[AppliedSettings],
        task: Option<TaskUid>,
    ) -> Applied {
        let known: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        let index = self.index_written_by(whose)?;
        // A late report on a node that is removed would have the index's deletion wait for it.
        for one in applied.iter().filter(|one| known.contains(&one.node)) {
            let known = index.nodes.entry(one.node).or_default();
            if one.version >= known.settings_version {
                known.settings_version = one.version;
                known.settings_task = Some(one.node_task);
            }
        }
        if let Some(task) = task {
            self.tasks.change(task, |task| {
                for one in applied {
                    let part = TaskPart {
                        node: one.node,
                        node_task: one.node_task,
                        counts: false,
                    };
                    if !task.parts.contains(&part) {
                        task.parts.push(part);
                    }
                }
            });
        }
        self.touch(at);
        Ok(Outcome::Done)
    }

    pub(super) fn delete_index(
        &mut self,
        at: At,
        whose: (&IndexUid, Incarnation, ProxyId),
        called: Option<&IndexUid>,
        task: &NewTask,
    ) -> Applied {
        let index = self.index_written_by(whose)?;
        // Another index has that uid by now: it is to be deleted, and this one stays.
        if called.is_some_and(|called| *called != index.uid) {
            return Err(Rejection::OtherIncarnation(index.uid.clone()));
        }
        let Some(index) = self.indexes.remove(whose.0) else {
            return Err(Rejection::UnknownIndex(whose.0.clone()));
        };
        let mut task = task.clone();
        if let Value::Object(details) = &mut task.details {
            // Every node counts what it holds; this tells how often a document is among that.
            let copies: usize = index
                .placement
                .iter()
                .map(|shard| shard.replicas.len())
                .sum();
            details.insert("_copies".to_owned(), copies.into());
            details.insert("_shards".to_owned(), index.shard_count().into());
        }
        let uid = self.new_task(at, Some(index.uid.clone()), &task, Vec::new());
        let moving: Vec<_> = index
            .placement
            .iter()
            .filter_map(|shard| shard.moving)
            .collect();
        for id in moving {
            self.end_abandoned(at, id, Event::Abandoned);
        }
        let waiting: BTreeSet<NodeId> = index.nodes.keys().copied().collect();
        self.departed.push(DepartedIndex {
            uid: index.name().clone(),
            incarnation: index.incarnation,
            task: uid,
            waiting,
        });
        self.touch(at);
        Ok(Outcome::TaskRegistered(uid))
    }

    pub(super) fn index_purged(
        &mut self,
        (uid, incarnation): (&IndexUid, Incarnation),
        node: NodeId,
        node_task: Option<u32>,
    ) -> Applied {
        let Some(departed) = self
            .departed
            .iter_mut()
            .find(|d| d.uid == *uid && d.incarnation == incarnation)
        else {
            return Ok(Outcome::Done);
        };
        if !departed.waiting.remove(&node) {
            return Ok(Outcome::Done);
        }
        let task = departed.task;
        if let Some(node_task) = node_task {
            self.tasks.change(task, |task| {
                task.parts.push(TaskPart {
                    node,
                    node_task,
                    counts: true,
                })
            });
        }
        self.departed
            .retain(|departed| !departed.waiting.is_empty());
        Ok(Outcome::Done)
    }

    pub(super) fn assign_writer(
        &mut self,
        at: At,
        (uid, incarnation): (&IndexUid, Incarnation),
        proxy: ProxyId,
    ) -> Applied {
        if !self.may_write(proxy) {
            return Err(Rejection::UnknownProxy(proxy));
        }
        let index = self.index_of(uid, incarnation)?;
        match index.writer {
            Some(writer) if writer == proxy => return Ok(Outcome::Done),
            // Only losing or forgetting the present writer frees an index; two never overlap.
            Some(_) => {
                return Err(Rejection::NotWriter {
                    proxy,
                    uid: uid.clone(),
                });
            }
            None => index.writer = Some(proxy),
        }
        self.touch(at);
        Ok(Outcome::Done)
    }

    /// What the nodes of an index have enqueued of its settings.
    #[must_use]
    pub fn settings_on_nodes(&self, uid: &IndexUid) -> BTreeMap<NodeId, u64> {
        let nodes = self.indexes.get(uid).map(|index| &index.nodes);
        nodes
            .into_iter()
            .flatten()
            .map(|(node, known)| (*node, known.settings_version))
            .collect()
    }
}
