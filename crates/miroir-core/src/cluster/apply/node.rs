//! Nodes: added, drained, removed, lost.

use super::{Applied, At, next_id};
use crate::cluster::{
    Admission, ClusterState, Node, NodeSpec, OperationKind, OperationState, Outcome, Rejection,
    ReplicaState, ShardPlacement,
};
use crate::id::{GroupId, IndexUid, NodeId, OperationId};
use crate::migration::Event;
use crate::planning;

/// Blocking shards that an answer names.
const BLOCKING_MAX: usize = 10;

impl ClusterState {
    pub(super) fn add_node(&mut self, at: At, spec: &NodeSpec) -> Applied {
        self.check_spec(spec)?;
        if !self.groups.contains_key(&spec.group) {
            return Err(self.unknown_group(spec.group));
        }
        self.check_stays(spec.group)?;
        let node = self.admit(at, spec);
        let operation = self.accept_operation(at, OperationKind::AddNode { node });
        self.touch(at);
        Ok(Outcome::NodeAdded { node, operation })
    }

    pub(super) fn unknown_group(&self, group: GroupId) -> Rejection {
        let known: Vec<_> = self.groups.keys().map(ToString::to_string).collect();
        Rejection::UnknownGroup {
            group,
            known: known.join(", "),
        }
    }

    /// Nothing is done for a group that is being removed.
    pub(super) fn check_stays(&self, group: GroupId) -> Result<(), Rejection> {
        if self.groups.get(&group).is_some_and(|g| !g.state.stays()) {
            return Err(Rejection::Invalid(format!(
                "replica group {group} is being removed, and its nodes with it"
            )));
        }
        Ok(())
    }

    /// What is wrong with a node whatever group it is for.
    pub(super) fn check_spec(&self, spec: &NodeSpec) -> Result<(), Rejection> {
        if let Some(node) = self.nodes.values().find(|node| node.url == spec.url) {
            return Err(Rejection::NodeExists {
                url: node.url.clone(),
                node: node.id,
            });
        }
        if spec.weight == 0 {
            return Err(Rejection::Invalid(
                "a node's weight must be at least 1".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, at: At, spec: &NodeSpec) -> NodeId {
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
        id
    }

    pub(super) fn drain_node(&mut self, at: At, id: NodeId) -> Applied {
        self.begin_drain(id)?;
        let operation = self.accept_operation(at, OperationKind::DrainNode { node: id });
        self.touch(at);
        Ok(Outcome::Accepted(operation))
    }

    /// Checks that everything on a node can go elsewhere, before anything moves.
    fn begin_drain(&mut self, id: NodeId) -> Result<(), Rejection> {
        let node = self.nodes.get(&id).ok_or(Rejection::UnknownNode(id))?;
        let group = node.group;
        if let Some(operation) = self.draining_by(id) {
            return Err(Rejection::Draining {
                node: id,
                operation,
            });
        }
        self.check_stays(group)?;
        if !self.members(group).any(|other| other.id != id) {
            return Err(Rejection::LastNode { node: id, group });
        }
        let blocking = planning::blocking_drain(self, id);
        if !blocking.is_empty() {
            return Err(blocked(id, blocking));
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.admission = Admission::Draining;
        }
        Ok(())
    }

    /// The operation that takes a node's copies away, if any. One that is given up takes no more.
    fn draining_by(&self, id: NodeId) -> Option<OperationId> {
        let mut under_way = self
            .operations
            .values()
            .filter(|o| !o.state.is_final() && o.state != OperationState::Cancelling);
        under_way
            .find(|operation| match operation.kind {
                OperationKind::DrainNode { node } | OperationKind::RemoveNode { node, .. } => {
                    node == id
                }
                OperationKind::AddNode { .. }
                | OperationKind::AddGroup { .. }
                | OperationKind::RemoveGroup { .. }
                | OperationKind::ChangeReplicationFactor { .. }
                | OperationKind::Rebalance { .. }
                | OperationKind::MoveShard
                | OperationKind::Repair
                | OperationKind::ReplaceLost { .. } => false,
            })
            .map(|operation| operation.id)
    }

    pub(super) fn undrain_node(&mut self, at: At, id: NodeId) -> Applied {
        let node = self.nodes.get_mut(&id).ok_or(Rejection::UnknownNode(id))?;
        if node.admission != Admission::Draining {
            return Err(Rejection::NotDraining(id));
        }
        node.admission = Admission::Active;
        let outcome = match self.draining_by(id) {
            Some(operation) => self.cancel_operation(at, operation),
            None => Outcome::Done,
        };
        self.touch(at);
        Ok(outcome)
    }

    pub(super) fn remove_node(&mut self, at: At, id: NodeId, force: bool) -> Applied {
        let node = self.nodes.get(&id).ok_or(Rejection::UnknownNode(id))?;
        let group = node.group;
        if force {
            self.check_survivors(id, group)?;
            self.forget_node(at, id);
        } else if self.is_drained(id) {
            // Nothing is left to move; only the last step remains.
        } else {
            self.begin_drain(id)?;
        }
        let kind = OperationKind::RemoveNode {
            node: id,
            group,
            forced: force,
        };
        let operation = self.accept_operation(at, kind);
        self.touch(at);
        Ok(Outcome::Accepted(operation))
    }

    /// Whether a drain of the node has ended, and nothing has come to it since.
    fn is_drained(&self, id: NodeId) -> bool {
        let draining = self
            .nodes
            .get(&id)
            .is_some_and(|node| node.admission == Admission::Draining);
        draining && self.draining_by(id).is_none() && planning::is_empty(self, id)
    }

    /// A node may be forgotten while every shard it holds can be read, or at least written, elsewhere.
    fn check_survivors(&self, id: NodeId, group: GroupId) -> Result<(), Rejection> {
        let retiring = self.groups.get(&group).is_some_and(|g| !g.state.stays());
        if !retiring && !self.members(group).any(|other| other.id != id) {
            return Err(Rejection::LastNode { node: id, group });
        }
        let mut blocking = Vec::new();
        for index in self.indexes.values() {
            for (shard, placement) in index.shards() {
                let held = placement.on(id).is_some_and(|r| r.state.takes_writes());
                let read_elsewhere = placement.readable().any(|r| r.node != id);
                if held && !read_elsewhere && !self.goes_back_without(placement, id) {
                    blocking.push(format!(
                        "shard {shard} of `{}` has no other copy in sync",
                        index.uid
                    ));
                }
            }
        }
        if blocking.is_empty() {
            Ok(())
        } else {
            Err(blocked(id, blocking))
        }
    }

    /// Whether a shard whose reads have moved to `id` is read elsewhere again when its migration is given up.
    fn goes_back_without(&self, placement: &ShardPlacement, id: NodeId) -> bool {
        let moving = placement.moving.and_then(|m| self.migrations.get(&m));
        moving.is_some_and(|m| {
            let left = m.replaces.and_then(|node| placement.on(node));
            m.target == id && left.is_some_and(|r| r.node != id && r.state == ReplicaState::Mirror)
        })
    }

    /// Takes a node out of everything that names it. What was being built on it is given up; what was being
    /// copied from it goes on from another copy.
    pub(super) fn forget_node(&mut self, at: At, id: NodeId) {
        let pointless: Vec<_> = self
            .unfinished_migrations()
            .filter(|m| m.target == id || (m.source == id && !m.kind.builds()))
            .map(|m| m.id)
            .collect();
        for migration in pointless {
            self.go_back(at, migration, Event::Abandoned);
        }
        for index in self.indexes.values_mut() {
            for shard in &mut index.placement {
                shard.remove(id);
            }
            index.nodes.remove(&id);
            index.leftovers.retain(|(node, _)| *node != id);
            index.pins.retain(|(node, _)| *node != id);
        }
        self.forget_broadcasts_to(id);
        for departed in &mut self.departed {
            departed.waiting.remove(&id);
        }
        self.departed
            .retain(|departed| !departed.waiting.is_empty());
        self.nodes.remove(&id);
        let about: Vec<OperationId> = self
            .operations
            .values()
            .filter(|o| !o.state.is_final() && o.kind.node() == Some(id))
            .map(|o| o.id)
            .collect();
        for operation in about {
            self.cancel_operation(at, operation);
        }
    }

    pub(super) fn replace_lost(&mut self, at: At, id: NodeId) -> Applied {
        let node = self.nodes.get(&id).ok_or(Rejection::UnknownNode(id))?;
        if node.admission != Admission::Active {
            return Err(Rejection::Invalid(format!("node {id} is draining already")));
        }
        self.check_stays(node.group)?;
        let already = self
            .operations
            .values()
            .find(|o| !o.state.is_final() && o.kind == OperationKind::ReplaceLost { node: id });
        if let Some(operation) = already {
            return Err(Rejection::Conflict {
                operation: operation.id,
                what: operation.kind.name().to_owned(),
            });
        }
        let operation = self.accept_operation(at, OperationKind::ReplaceLost { node: id });
        Ok(Outcome::Accepted(operation))
    }

    /// The last step of an operation that removes a node.
    pub(super) fn finish_removal(&mut self, at: At, id: NodeId) -> Result<(), Rejection> {
        if !self.nodes.contains_key(&id) {
            return Ok(());
        }
        if !planning::is_empty(self, id) {
            return Err(Rejection::StalePlan(format!("node {id} holds copies")));
        }
        self.forget_node(at, id);
        Ok(())
    }

    /// Operations that are not over and have not begun to be given up, about an index.
    pub(super) fn changing_copies_of(&self, uid: &IndexUid) -> Option<OperationId> {
        let of_index = |kind: &OperationKind| matches!(kind, OperationKind::ChangeReplicationFactor { uid: other, .. } if other == uid);
        self.operations
            .values()
            .find(|o| {
                matches!(o.state, OperationState::Accepted | OperationState::Running)
                    && of_index(&o.kind)
            })
            .map(|o| o.id)
    }
}

fn blocked(node: NodeId, mut blocking: Vec<String>) -> Rejection {
    let more = blocking.len().saturating_sub(BLOCKING_MAX);
    blocking.truncate(BLOCKING_MAX);
    Rejection::Blocked {
        node,
        blocking,
        more: u32::try_from(more).unwrap_or(u32::MAX),
    }
}
