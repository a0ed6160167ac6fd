//! Which copies of which indexes have to change, and how each change is made.

use crate::cluster::{ClusterState, Index, OperationKind, PlannedMove, Replica, ShardPlacement};
use crate::id::{GroupId, NodeId, ShardId};
use crate::migration::Kind;
use crate::placement::{self, Candidate, Change, Scope};

use super::future::{future_holders, is_pinned};

/// What an index is placed on in one group.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// The group.
    pub(super) group: GroupId,
    /// The nodes that may hold copies.
    pub(super) candidates: Vec<Candidate>,
}

impl Goal {
    /// The active nodes of a group.
    pub(super) fn of(state: &ClusterState, group: GroupId) -> Self {
        Self {
            group,
            candidates: state.candidates(group),
        }
    }

    /// The same without one node.
    pub(super) fn without(mut self, node: NodeId) -> Self {
        self.candidates.retain(|candidate| candidate.node != node);
        self
    }

    /// Copies that each shard of an index can have: its factor, or as many as there are nodes.
    pub(super) fn copies(&self, index: &Index) -> u8 {
        let room = u8::try_from(self.candidates.len()).unwrap_or(u8::MAX);
        index.replication_factor.min(room)
    }
}

/// The changes of interest among those that bring an index to its goal, for shards that are not moving; `None` when
/// there is no room at all.
pub(super) fn changes_of(
    state: &ClusterState,
    index: &Index,
    goal: &Goal,
    of_interest: impl Fn(&Change) -> bool,
) -> Option<Vec<Change>> {
    let scope = Scope {
        index: index.name().as_str(),
        group: goal.group,
    };
    let current = future_holders(state, index, goal.group);
    let planned =
        placement::changes(&scope, goal.copies(index), &current, &goal.candidates).ok()?;
    let resting = |shard| index.shard(shard).is_some_and(|s| s.moving.is_none());
    let stays = |change: &Change| {
        change
            .from
            .is_some_and(|node| is_pinned(index, node, change.shard))
    };
    // Another operation takes everything off such a node; the two would move copies to and fro for ever.
    let arrives = |change: &Change| change.to.is_none_or(|node| !is_replaced(state, node));
    let mut changes: Vec<Change> = planned
        .into_iter()
        .filter(|change| resting(change.shard) && !stays(change) && arrives(change))
        .filter(|change| of_interest(change))
        .collect();
    // A shard has one migration at a time; its next one is planned when this one is done.
    changes.dedup_by_key(|change| change.shard);
    Some(changes)
}

/// Whether what a node holds is being built elsewhere, because the node is lost.
fn is_replaced(state: &ClusterState, node: NodeId) -> bool {
    let replacing = OperationKind::ReplaceLost { node };
    let mut operations = state.operations.values();
    operations.any(|o| !o.state.is_final() && o.kind == replacing)
}

/// The move that makes a change; `None` while there is no copy to take the documents from.
pub(super) fn as_move(index: &Index, group: GroupId, change: Change) -> Option<PlannedMove> {
    let shard = index.shard(change.shard)?;
    let (kind, source, target) = match (change.from, change.to) {
        (Some(from), Some(to)) => (
            Kind::Move,
            source_of(shard, change.shard, Some(from), group)?,
            to,
        ),
        (None, Some(to)) => (
            Kind::Build,
            source_of(shard, change.shard, None, group)?,
            to,
        ),
        (Some(from), None) => {
            let mut others = shard.readable().filter(|r| r.node != from);
            let stays = others.next()?.node;
            (Kind::Drop, stays, stays)
        }
        (None, None) => return None,
    };
    Some(PlannedMove {
        uid: index.name().clone(),
        incarnation: index.incarnation,
        shard: change.shard,
        group,
        kind,
        source,
        target,
        replaces: change.from,
    })
}

/// The copy that documents are taken from: the one that goes, else one of the group, else any. Where there are
/// several they take turns, so that no node is read for every shard.
fn source_of(
    shard: &ShardPlacement,
    id: ShardId,
    preferred: Option<NodeId>,
    group: GroupId,
) -> Option<NodeId> {
    let keeps = shard.readable().find(|r| Some(r.node) == preferred);
    match keeps {
        Some(copy) => Some(copy.node),
        None => turn(shard.readable().collect(), id, group),
    }
}

/// A copy to take documents from, on a node that may be used.
pub(super) fn source_among(
    shard: &ShardPlacement,
    id: ShardId,
    may_be_used: impl Fn(NodeId) -> bool,
    group: GroupId,
) -> Option<NodeId> {
    let usable = shard.readable().filter(|r| may_be_used(r.node));
    turn(usable.collect(), id, group)
}

fn turn(usable: Vec<&Replica>, id: ShardId, group: GroupId) -> Option<NodeId> {
    let near: Vec<_> = usable.iter().filter(|r| r.group == group).collect();
    let turn = usize::from(id.0);
    match (near.len(), usable.len()) {
        (0, 0) => None,
        (0, all) => usable.get(turn % all).map(|r| r.node),
        (some, _) => near.get(turn % some).map(|r| r.node),
    }
}
