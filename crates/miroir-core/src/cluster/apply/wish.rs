//! What operators wish for an index or a shard: copies, places, pins; and the hold.

use super::{Applied, At};
use crate::cluster::{
    Admission, ClusterState, Hold, Index, OperationKind, Outcome, PlannedMove, Policy, Rejection,
    ShardPlacement,
};
use crate::id::{IndexUid, NodeId, ShardId};
use crate::migration::Kind;

impl ClusterState {
    fn known_index(&self, uid: &IndexUid) -> Result<&Index, Rejection> {
        self.index_called(uid)
            .ok_or_else(|| Rejection::UnknownIndex(uid.clone()))
    }

    fn known_shard(&self, uid: &IndexUid, shard: ShardId) -> Result<&ShardPlacement, Rejection> {
        let index = self.known_index(uid)?;
        index.shard(shard).ok_or_else(|| Rejection::UnknownShard {
            uid: uid.clone(),
            shard,
            last: index.shard_count().saturating_sub(1),
        })
    }

    pub(super) fn change_replication_factor(&mut self, at: At, uid: &IndexUid, to: u8) -> Applied {
        let index = self.known_index(uid)?;
        let (from, incarnation) = (index.replication_factor, index.incarnation);
        let name = index.name().clone();
        if !(1..=Policy::REPLICATION_FACTOR_MAX).contains(&to) {
            return Err(Rejection::Invalid(format!(
                "a replication factor must be from 1 to {}, not {to}",
                Policy::REPLICATION_FACTOR_MAX
            )));
        }
        if from == to {
            return Err(Rejection::Invalid(format!(
                "index `{uid}` has replication factor {to} already"
            )));
        }
        if let Some(operation) = self.changing_copies_of(&name) {
            return Err(Rejection::Conflict {
                operation,
                what: format!("changing the replication factor of `{uid}`"),
            });
        }
        for group in self.groups.values().filter(|group| group.state.stays()) {
            let nodes = self.members(group.id).count();
            if nodes < usize::from(to) {
                return Err(Rejection::TooFewNodes {
                    group: group.id,
                    nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
                    replication_factor: to,
                });
            }
        }
        if let Some(index) = self.indexes.get_mut(&name) {
            index.replication_factor = to;
        }
        let kind = OperationKind::ChangeReplicationFactor {
            uid: name,
            incarnation,
            from,
            to,
        };
        let operation = self.accept_operation(at, kind);
        self.touch(at);
        Ok(Outcome::Accepted(operation))
    }

    pub(super) fn rebalance(&mut self, at: At, uid: Option<&IndexUid>) -> Applied {
        let index = uid.map(|uid| self.known_index(uid)).transpose()?;
        let kind = OperationKind::Rebalance {
            uid: index.map(|index| index.name().clone()),
        };
        let same = self
            .operations
            .values()
            .find(|o| !o.state.is_final() && o.kind == kind);
        if let Some(operation) = same {
            return Err(Rejection::Conflict {
                operation: operation.id,
                what: kind.name().to_owned(),
            });
        }
        Ok(Outcome::Accepted(self.accept_operation(at, kind)))
    }

    pub(super) fn move_shard(
        &mut self,
        at: At,
        (uid, shard): (&IndexUid, ShardId),
        (from, to): (NodeId, NodeId),
    ) -> Applied {
        let placement = self.known_shard(uid, shard)?;
        if let Some(migration) = placement.moving {
            return Err(Rejection::Moving {
                uid: uid.clone(),
                shard,
                migration,
            });
        }
        let invalid = |why: String| Err(Rejection::Invalid(why));
        let Some(leaving) = placement.on(from) else {
            return invalid(format!(
                "node {from} has no copy of shard {shard} of `{uid}`"
            ));
        };
        let group = leaving.group;
        let target = self.nodes.get(&to).ok_or(Rejection::UnknownNode(to))?;
        if target.group != group {
            return invalid(format!(
                "node {to} is in replica group {}, the copy on node {from} in group {group}; a copy stays in its group",
                target.group
            ));
        }
        if !self.members(group).any(|node| node.id == to) {
            return invalid(format!("node {to} is draining and is given no copy"));
        }
        if placement.on(to).is_some() {
            return invalid(format!("node {to} has a copy of shard {shard} of `{uid}`"));
        }
        let index = self.known_index(uid)?;
        if index.pins.contains(&(from, shard)) {
            return invalid(format!(
                "shard {shard} of `{uid}` is pinned to node {from}; unpin it first"
            ));
        }
        let source = if leaving.state.is_readable() {
            Some(from)
        } else {
            placement.readable().map(|r| r.node).next()
        };
        let Some(source) = source else {
            return invalid(format!(
                "shard {shard} of `{uid}` has no copy in sync to copy from"
            ));
        };
        let one = PlannedMove {
            uid: index.name().clone(),
            incarnation: index.incarnation,
            shard,
            group,
            kind: Kind::Move,
            source,
            target: to,
            replaces: Some(from),
        };
        self.check_move(&one)?;
        let operation = self.accept_operation(at, OperationKind::MoveShard);
        self.plan(at, Some(operation), &[one])?;
        Ok(Outcome::Accepted(operation))
    }

    pub(super) fn pin(
        &mut self,
        at: At,
        (uid, shard): (&IndexUid, ShardId),
        node: Option<NodeId>,
        pinned: bool,
    ) -> Applied {
        let placement = self.known_shard(uid, shard)?;
        let copies: Vec<NodeId> = placement.replicas.iter().map(|r| r.node).collect();
        if let Some(node) = node
            && !copies.contains(&node)
        {
            return Err(Rejection::Invalid(format!(
                "node {node} has no copy of shard {shard} of `{uid}`"
            )));
        }
        if let (true, Some(migration)) = (pinned, placement.moving) {
            return Err(Rejection::Moving {
                uid: uid.clone(),
                shard,
                migration,
            });
        }
        let wanted = |copy: &NodeId| node.is_none_or(|node| node == *copy);
        let named: Vec<_> = copies
            .into_iter()
            .filter(wanted)
            .map(|n| (n, shard))
            .collect();
        let draining = |(node, _): &&(NodeId, ShardId)| {
            let node = self.nodes.get(node);
            node.is_some_and(|node| node.admission == Admission::Draining)
        };
        if let (true, Some((node, _))) = (pinned, named.iter().find(draining)) {
            return Err(Rejection::Invalid(format!(
                "node {node} is draining; undrain it before shard {shard} of `{uid}` is pinned to it"
            )));
        }
        let index = self.known_index(uid)?;
        if named.iter().all(|pin| index.pins.contains(pin) == pinned) {
            let word = if pinned {
                "pinned already"
            } else {
                "not pinned"
            };
            return Err(Rejection::Invalid(format!(
                "shard {shard} of `{uid}` is {word}"
            )));
        }
        let name = index.name().clone();
        if let Some(index) = self.indexes.get_mut(&name) {
            for pin in named {
                if pinned {
                    index.pins.insert(pin);
                } else {
                    index.pins.remove(&pin);
                }
            }
        }
        self.touch(at);
        Ok(Outcome::Done)
    }

    pub(super) fn set_hold(&mut self, at: At, reason: Option<&str>) -> Applied {
        match (reason, &self.hold) {
            (Some(_), Some(hold)) => Err(Rejection::Invalid(format!(
                "automatic moves are held already: {}",
                hold.reason
            ))),
            (None, None) => Err(Rejection::Invalid(
                "automatic moves are not held".to_owned(),
            )),
            (Some(reason), None) => {
                self.hold = Some(Hold {
                    reason: reason.to_owned(),
                    since_ms: at.ms,
                });
                Ok(Outcome::Done)
            }
            (None, Some(_)) => {
                self.hold = None;
                Ok(Outcome::Done)
            }
        }
    }
}
