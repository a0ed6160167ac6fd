//! Nodes that come back without what they held.

use super::{Applied, At};
use crate::cluster::{ClusterState, NodeIndex, Outcome, ReplicaState};
use crate::id::{Incarnation, IndexUid, NodeId};
use crate::migration::{Event, Kind, Phase};

impl ClusterState {
    /// Remembers when a node created an index. The first answer counts; a later one is compared with it.
    pub(super) fn index_seen(
        &mut self,
        (uid, incarnation): (&IndexUid, Incarnation),
        node: NodeId,
        created_at: &str,
    ) -> Applied {
        let index = self.index_of(uid, incarnation)?;
        if let Some(known) = index.nodes.get_mut(&node)
            && known.created_at.is_none()
        {
            known.created_at = Some(created_at.to_owned());
        }
        Ok(Outcome::Done)
    }

    /// A node has lost the index. While anything there is in use, all of it is put out of use: every copy is stale,
    /// and what is being built begins from nothing. Once nothing is, the node gets index and settings anew; whoever
    /// reports a loss does so again then, when every proxy has moved on. Before, a proxy could search the new index,
    /// which is empty, for a copy that it still takes to be in sync.
    pub(super) fn index_lost(
        &mut self,
        at: At,
        (uid, incarnation): (&IndexUid, Incarnation),
        node: NodeId,
        created_at: &str,
    ) -> Applied {
        let index = self.index_of(uid, incarnation)?;
        let known = index.nodes.get(&node).and_then(|n| n.created_at.as_deref());
        if known != Some(created_at) {
            return Ok(Outcome::Done);
        }
        if self.uses_index_on(uid, node) {
            self.build_anew(at, uid, node);
            let index = self.index_of(uid, incarnation)?;
            let copies = index
                .placement
                .iter_mut()
                .flat_map(|shard| &mut shard.replicas);
            for replica in copies.filter(|r| r.node == node && r.state.takes_writes()) {
                replica.state = ReplicaState::Stale;
            }
        } else {
            let index = self.index_of(uid, incarnation)?;
            index.nodes.insert(node, NodeIndex::default());
            index.leftovers.retain(|(holder, _)| *holder != node);
        }
        self.read_what_is_left(at, uid);
        self.touch(at);
        Ok(Outcome::Done)
    }

    /// Where the copies are lost that reads were to stay with, or to go back to, they return to the one that was to
    /// go: until it is deleted it gets every write.
    fn read_what_is_left(&mut self, at: At, uid: &IndexUid) {
        let turned: Vec<_> = self
            .unfinished_migrations()
            .filter(|m| m.index == *uid)
            .filter_map(|m| {
                let shard = self.indexes.get(uid)?.shard(m.shard)?;
                let event = match (m.phase, m.kind) {
                    (Phase::CutOver | Phase::Holding, Kind::Drop) => Event::Abandoned,
                    (Phase::Reversing, _) => Event::SourceChanged,
                    _ => return None,
                };
                let unread = shard.readable().next().is_none();
                (unread && shard.writable().next().is_some()).then_some((m.id, event))
            })
            .collect();
        for (id, event) in turned {
            self.go_back(at, id, event);
        }
    }

    /// Whether a copy of the index on a node is read or written to, or something was copied to one that is built.
    #[must_use]
    pub fn uses_index_on(&self, uid: &IndexUid, node: NodeId) -> bool {
        let index = self.indexes.get(uid);
        let in_use = index.is_some_and(|index| {
            let mut copies = index.placement.iter().filter_map(|shard| shard.on(node));
            copies.any(|replica| replica.state.takes_writes())
        });
        let mut builds = self
            .unfinished_migrations()
            .filter(|m| m.index == *uid && m.target == node && m.kind.builds());
        in_use || builds.any(|m| is_copied_to(m.phase))
    }

    /// Migrations that were building a copy of the index on the node begin from nothing. Where reads have moved to
    /// that copy they go back, if the other got every write; else it is repaired when the migration is over.
    fn build_anew(&mut self, at: At, uid: &IndexUid, node: NodeId) {
        let built_there: Vec<_> = self
            .unfinished_migrations()
            .filter(|m| m.index == *uid && m.target == node && m.kind.builds())
            .map(|m| (m.id, m.phase, self.can_read_again(m)))
            .collect();
        for (id, phase, can_read_again) in built_there {
            match phase {
                Phase::Preparing
                | Phase::Copying
                | Phase::CatchingUp
                | Phase::Fenced
                | Phase::Mirroring => self.go_back(at, id, Event::TargetLost),
                Phase::CutOver | Phase::Holding if can_read_again => {
                    self.go_back(at, id, Event::TargetBehind);
                    self.go_back(at, id, Event::TargetLost);
                }
                Phase::CutOver
                | Phase::Holding
                | Phase::Planned
                | Phase::Cleaning
                | Phase::Done
                | Phase::Reversing
                | Phase::Dropping
                | Phase::Cancelled => {}
            }
        }
    }
}

/// Whether a target has been given documents, and may still become a copy in use.
fn is_copied_to(phase: Phase) -> bool {
    match phase {
        Phase::Copying | Phase::CatchingUp | Phase::Fenced | Phase::Mirroring => true,
        Phase::Planned
        | Phase::Preparing
        | Phase::CutOver
        | Phase::Holding
        | Phase::Cleaning
        | Phase::Done
        | Phase::Reversing
        | Phase::Dropping
        | Phase::Cancelled => false,
    }
}
