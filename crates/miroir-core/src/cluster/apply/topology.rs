//! Initialisation, nodes and proxies.

use super::{Applied, At, next_id};
use crate::cluster::{
    Admission, ClusterState, Group, GroupState, Node, NodeSpec, Operation, OperationKind,
    OperationState, Outcome, Policy, Proxy, Rejection, ReplicaState, ShardPlacement,
};
use crate::id::{GroupId, IndexUid, MigrationId, NodeId, OperationId, ProxyId};
use crate::migration::{Event, Phase, Record};

impl ClusterState {
    pub(super) fn bootstrap(&mut self, at: At, cluster_id: &str, policy: &Policy) -> Applied {
        if let Some(cluster_id) = self.cluster_id.clone() {
            return Err(Rejection::AlreadyInitialised { cluster_id });
        }
        policy
            .validate()
            .map_err(|error| Rejection::Invalid(error.to_string()))?;
        self.cluster_id = Some(cluster_id.to_owned());
        self.policy = policy.clone();
        self.groups = (1..=policy.groups)
            .map(GroupId)
            .map(|id| {
                (
                    id,
                    Group {
                        id,
                        state: GroupState::Searchable,
                    },
                )
            })
            .collect();
        self.touch(at);
        Ok(Outcome::Done)
    }

    pub(super) fn add_node(&mut self, at: At, spec: &NodeSpec) -> Applied {
        if let Some(node) = self.nodes.values().find(|node| node.url == spec.url) {
            return Err(Rejection::NodeExists {
                url: node.url.clone(),
                node: node.id,
            });
        }
        if !self.groups.contains_key(&spec.group) {
            let known: Vec<_> = self.groups.keys().map(ToString::to_string).collect();
            return Err(Rejection::UnknownGroup {
                group: spec.group,
                known: known.join(", "),
            });
        }
        if spec.weight == 0 {
            return Err(Rejection::Invalid(
                "a node's weight must be at least 1".to_owned(),
            ));
        }
        let id = NodeId(next_id(&mut self.next.node));
        let node = Node {
            id,
            url: spec.url.clone(),
            group: spec.group,
            zone: spec.zone.clone(),
            weight: spec.weight,
            version: spec.version.clone(),
            admission: Admission::Active,
            added_at_ms: at.ms,
        };
        self.nodes.insert(id, node);
        let operation = self.accept_operation(
            at,
            OperationKind::AddNode { node: id },
            OperationState::Accepted,
        );
        self.touch(at);
        Ok(Outcome::NodeAdded {
            node: id,
            operation,
        })
    }

    pub(super) fn accept_operation(
        &mut self,
        at: At,
        kind: OperationKind,
        state: OperationState,
    ) -> OperationId {
        let id = OperationId(next_id(&mut self.next.operation));
        let operation = Operation {
            id,
            kind,
            state,
            migrations: Vec::new(),
            created_at_ms: at.ms,
            finished_at_ms: None,
        };
        self.operations.insert(id, operation);
        id
    }

    pub(super) fn register_proxy(
        &mut self,
        at: At,
        instance: &str,
        name: &str,
        url: &str,
    ) -> Applied {
        if let Some(known) = self
            .proxies
            .values()
            .find(|proxy| proxy.instance == instance && !proxy.lost)
        {
            return Ok(Outcome::ProxyRegistered(known.id));
        }
        let id = ProxyId(next_id(&mut self.next.proxy));
        let proxy = Proxy {
            id,
            instance: instance.to_owned(),
            name: name.to_owned(),
            url: url.to_owned(),
            lost: false,
            registered_at_ms: at.ms,
        };
        self.proxies.insert(id, proxy);
        self.touch(at);
        Ok(Outcome::ProxyRegistered(id))
    }

    /// A proxy's lease has run out: it may have died in the middle of a write, which is then on some copies
    /// only and was never acknowledged. Everything that could tell is distrusted in the same command, before
    /// any other proxy can write.
    pub(super) fn lose_proxy(&mut self, at: At, id: ProxyId) -> Applied {
        let proxy = self
            .proxies
            .get_mut(&id)
            .ok_or(Rejection::UnknownProxy(id))?;
        if proxy.lost {
            return Ok(Outcome::Done);
        }
        proxy.lost = true;
        for uid in self.written_by(id) {
            self.distrust_copies(at, &uid);
        }
        self.touch(at);
        Ok(Outcome::Done)
    }

    pub(super) fn forget_proxy(&mut self, at: At, id: ProxyId) -> Applied {
        let proxy = self
            .proxies
            .remove(&id)
            .ok_or(Rejection::UnknownProxy(id))?;
        if !proxy.lost {
            // It left of its own will, with its lanes drained: its copies are equal.
            for uid in self.written_by(id) {
                if let Some(index) = self.indexes.get_mut(&uid) {
                    index.writer = None;
                }
            }
        }
        self.touch(at);
        Ok(Outcome::Done)
    }

    fn written_by(&self, proxy: ProxyId) -> Vec<IndexUid> {
        self.indexes
            .values()
            .filter(|index| index.writer == Some(proxy))
            .map(|index| index.uid.clone())
            .collect()
    }

    /// Takes an index from a writer that may have left a write on some copies only.
    fn distrust_copies(&mut self, at: At, uid: &IndexUid) {
        let behind = self.to_compare_again(uid);
        let Some(index) = self.indexes.get_mut(uid) else {
            return;
        };
        index.writer = None;
        for shard in &mut index.placement {
            let going_back = shard
                .moving
                .filter(|id| behind.iter().any(|(other, _)| other == id));
            let moving = going_back.and_then(|id| self.migrations.get(&id));
            trust_one(shard, moving);
        }
        for (id, event) in behind {
            self.go_back(at, id, event);
        }
    }

    /// Migrations whose two copies are to be compared again, by going back to catching up.
    fn to_compare_again(&self, uid: &IndexUid) -> Vec<(MigrationId, Event)> {
        let of_index = self.unfinished_migrations().filter(|m| m.index == *uid);
        of_index
            .filter_map(|m| match m.phase {
                Phase::Fenced => Some((m.id, Event::FenceOverrun)),
                Phase::Mirroring => Some((m.id, Event::TargetBehind)),
                // Reads can go back only to a copy that was written to all along.
                Phase::CutOver | Phase::Holding => self
                    .can_read_again(m)
                    .then_some((m.id, Event::TargetBehind)),
                Phase::Planned
                | Phase::Preparing
                | Phase::Copying
                | Phase::CatchingUp
                | Phase::Cleaning
                | Phase::Done
                | Phase::Cancelled => None,
            })
            .collect()
    }

    /// Whether reads that have moved to a target can go back: to a copy that was written to all along.
    fn can_read_again(&self, migration: &Record) -> bool {
        let shard = self
            .indexes
            .get(&migration.index)
            .and_then(|index| index.shard(migration.shard));
        shard.is_some_and(|shard| shard.writable().any(|r| r.node != migration.target))
    }
}

/// Takes every copy of a shard out of use but one: they may differ, and which of them is right does not matter,
/// for the write in question was not acknowledged. The target of a migration that goes back is compared with the
/// copy that is kept, so it needs no verdict here.
fn trust_one(shard: &mut ShardPlacement, going_back: Option<&Record>) {
    let target = going_back.map(|m| m.target);
    let back_to = going_back.and_then(|m| m.replaces);
    let kept = shard
        .writable()
        .find(|r| Some(r.node) == back_to)
        .or_else(|| shard.readable().find(|r| Some(r.node) != target))
        .map(|r| r.node);
    for replica in &mut shard.replicas {
        let compared = Some(replica.node) == kept || Some(replica.node) == target;
        if replica.state.takes_writes() && !compared {
            replica.state = ReplicaState::Stale;
        }
    }
}
