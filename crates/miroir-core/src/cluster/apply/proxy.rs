//! Proxies: known, lost, forgotten.

use super::{Applied, At, next_id};
use crate::cluster::{ClusterState, Outcome, Proxy, Rejection, ReplicaState, ShardPlacement};
use crate::id::{IndexUid, MigrationId, ProxyId};
use crate::migration::{Event, Phase, Record};

impl ClusterState {
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
            .map(|index| index.name().clone())
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
        let of_index = self
            .unfinished_migrations()
            .filter(|m| m.index == *uid && m.kind.builds());
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
                | Phase::Reversing
                | Phase::Dropping
                | Phase::Done
                | Phase::Cancelled => None,
            })
            .collect()
    }

    /// Whether reads that have moved to a target can go back: to a copy that was written to all along.
    pub(super) fn can_read_again(&self, migration: &Record) -> bool {
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
