//! What every command must keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use miroir_core::cluster::{
    ClusterState, Command, CutStage, GroupState, Index, Outcome, ReplicaState, ShardPlacement,
};
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::migration::{Kind, Phase, Record};
use miroir_core::planning::not_in_sync;
use miroir_core::routing::RoutingTable;

/// One command and what it did.
pub struct Change<'a> {
    pub before: &'a ClusterState,
    pub command: &'a Command,
    pub outcome: &'a Outcome,
    pub after: &'a ClusterState,
    /// The place of the command in the log.
    pub at: u64,
}

impl Change<'_> {
    /// What does not hold, if anything.
    pub fn broken(&self) -> Option<String> {
        self.refused_in_vain()
            .or_else(|| self.routes_back())
            .or_else(|| self.finished_again())
            .or_else(|| self.searched_early())
            .or_else(|| self.lost_copy())
            .or_else(|| unknown_node(self.after))
            .or_else(|| {
                self.after
                    .indexes
                    .values()
                    .find_map(|i| odd_index(self.after, i))
            })
            .or_else(|| orphan(self.after))
            .or_else(|| held_for_nothing(self.after))
            .or_else(|| self.untrue_dump())
            .or_else(|| shared_uid(self.after))
            .or_else(|| self.swapped_more())
    }

    /// A swap changes what indexes are called, and nothing else of them.
    fn swapped_more(&self) -> Option<String> {
        let Command::SwapIndexes { .. } = self.command else {
            return None;
        };
        let all = |state: &ClusterState| -> Vec<(IndexUid, String)> {
            let table = RoutingTable::build(state);
            let routes = table.into_iter().flat_map(|table| table.indexes);
            let one = |(_, mut route): (IndexUid, Arc<miroir_core::routing::IndexRoute>)| {
                Arc::make_mut(&mut route).uid = route.name.clone();
                (route.name.clone(), format!("{route:?}"))
            };
            let mut all: Vec<_> = routes.map(one).collect();
            all.sort();
            all
        };
        (all(self.before) != all(self.after)).then(|| "a swap changed an index".to_owned())
    }

    fn refused_in_vain(&self) -> Option<String> {
        let refused = if let Outcome::WritesRegistered(results) = self.outcome {
            results.iter().all(Result::is_err)
        } else {
            matches!(self.outcome, Outcome::Rejected(_))
        };
        (refused && self.before != self.after).then(|| "a refused command changed the state".into())
    }

    fn routes_back(&self) -> Option<String> {
        if self.after.epoch < self.before.epoch {
            return Some("the epoch went back".to_owned());
        }
        let changed = routes(self.before) != routes(self.after);
        (changed && self.after.epoch.0 != self.at).then(|| "routes changed, not the epoch".into())
    }

    /// What a dump says is in sync was so before nodes were asked, and is so now.
    fn untrue_dump(&self) -> Option<String> {
        let Command::Cut { task, .. } = self.command else {
            return None;
        };
        let dump = self.after.dumps.iter().find(|dump| dump.task == *task)?;
        if self.before.dumps.contains(dump) {
            return None;
        }
        let cuts = self.before.broadcasts.iter();
        let reached =
            cuts.filter(|one| one.task == *task)
                .find_map(|one| match &one.cut.as_ref()?.stage {
                    CutStage::Reached { indexes } => Some(indexes),
                    CutStage::Waiting | CutStage::Holding { .. } => None,
                });
        let Some(reached) = reached else {
            return Some(format!("the dump of {task} was never reached"));
        };
        dump.indexes.iter().find_map(|told| {
            let was = reached.iter().find(|index| index.told.uid == told.uid)?;
            let now = self.after.indexes.get(&told.uid)?;
            let of_shards = told.shards.iter().zip(&was.told.shards).zip(&now.placement);
            let mut untrue = of_shards.filter(|((told, was), now)| {
                !told.is_subset(was)
                    || !told
                        .iter()
                        .all(|node| now.readable().any(|r| r.node == *node))
            });
            untrue
                .next()
                .map(|shard| format!("the dump of {task} says {shard:?}"))
        })
    }

    fn finished_again(&self) -> Option<String> {
        for (id, was) in self
            .before
            .operations
            .iter()
            .filter(|(_, o)| o.state.is_final())
        {
            if self.after.operations.get(id).is_some_and(|is| is != was) {
                return Some(format!("finished operation {id} changed"));
            }
        }
        for (id, was) in self
            .before
            .migrations
            .iter()
            .filter(|(_, m)| m.phase.is_final())
        {
            if self.after.migrations.get(id).is_some_and(|is| is != was) {
                return Some(format!("finished migration {id} changed"));
            }
        }
        let all = self.after.operations.values();
        let open = all.filter(|o| o.state.is_final()).find(|o| {
            let known = o
                .migrations
                .iter()
                .filter_map(|m| self.after.migrations.get(m));
            known.into_iter().any(|m| !m.phase.is_final())
        });
        open.map(|o| format!("operation {} is finished, its migrations are not", o.id))
    }

    fn searched_early(&self) -> Option<String> {
        for (id, group) in &self.after.groups {
            let was = self.before.groups.get(id).map(|g| g.state);
            if group.state != GroupState::Searchable || was == Some(GroupState::Searchable) {
                continue;
            }
            let behind = match was {
                Some(GroupState::Initialising) => not_in_sync(self.after, *id).is_some(),
                Some(GroupState::Retiring) => self.after.indexes.values().any(|index| {
                    let read_here = |s: &ShardPlacement| s.readable().any(|r| r.group == *id);
                    !index.placement.iter().all(read_here)
                }),
                Some(GroupState::Searchable) | None => false,
            };
            if behind {
                return Some(format!("group {id} is searched and lacks copies"));
            }
        }
        None
    }

    /// Only a node that forgot can take the last copy; what still has every write is read.
    fn lost_copy(&self) -> Option<String> {
        let forgot = matches!(self.command, Command::IndexLost { .. });
        for (uid, index) in &self.after.indexes {
            let was = self.before.indexes.get(uid);
            let Some(was) = was.filter(|was| was.incarnation == index.incarnation) else {
                continue;
            };
            for ((shard, now), before) in index.shards().zip(&was.placement) {
                let of = format!("shard {shard} of {uid}: {before:?} -> {now:?}");
                let kept = complete(self.after, now);
                if complete(self.before, before) && !kept && !forgot {
                    return Some(format!("the last copy is lost of {of}"));
                }
                if kept && now.readable().next().is_none() {
                    return Some(format!("a copy is there and not read of {of}"));
                }
            }
        }
        None
    }
}

/// Whether some copy has every acknowledged write and was compared.
fn complete(state: &ClusterState, shard: &ShardPlacement) -> bool {
    let phase = shard
        .moving
        .and_then(|m| state.migrations.get(&m))
        .map(|m| m.phase);
    let compared = matches!(
        phase,
        Some(Phase::CutOver | Phase::Holding | Phase::Reversing)
    );
    shard.readable().next().is_some() || (compared && shard.writable().next().is_some())
}

fn routes(state: &ClusterState) -> Option<RoutingTable> {
    let mut table = RoutingTable::build(state)?;
    table.epoch = Default::default();
    for index in table.indexes.values_mut() {
        Arc::make_mut(index).updated_at_ms = 0;
    }
    Some(table)
}

/// Writes are held by a cut, and by nothing else.
fn held_for_nothing(state: &ClusterState) -> Option<String> {
    let mut cuts = state.broadcasts.iter().filter_map(|one| one.cut.as_ref());
    let holding = cuts.any(miroir_core::cluster::Cut::holds);
    (holding != state.writes_held).then(|| format!("writes are held: {}", state.writes_held))
}

fn unknown_node(state: &ClusterState) -> Option<String> {
    let mut named: BTreeSet<(&str, NodeId)> = BTreeSet::new();
    for index in state.indexes.values() {
        let copies = index.placement.iter().flat_map(|shard| &shard.replicas);
        named.extend(copies.map(|r| ("copy", r.node)));
        named.extend(index.leftovers.iter().map(|(node, _)| ("leftover", *node)));
        named.extend(index.pins.iter().map(|(node, _)| ("pin", *node)));
        named.extend(index.nodes.keys().map(|node| ("settings", *node)));
    }
    let waiting = state.departed.iter().flat_map(|departed| &departed.waiting);
    named.extend(waiting.map(|node| ("departed", *node)));
    let targets = state.unfinished_migrations().filter(|m| m.kind.builds());
    named.extend(targets.map(|m| ("target", m.target)));
    let unknown = named
        .into_iter()
        .find(|(_, node)| !state.nodes.contains_key(node));
    unknown.map(|(what, node)| format!("a {what} names node {node}, which there is not"))
}

fn odd_index(state: &ClusterState, index: &Index) -> Option<String> {
    let uid = index.name();
    if state.indexes.get(uid) != Some(index) {
        return Some(format!("{uid} is kept under another name"));
    }
    for (shard, placement) in index.shards() {
        let mut nodes = BTreeSet::new();
        for copy in &placement.replicas {
            if !nodes.insert(copy.node) {
                return Some(format!(
                    "shard {shard} of {uid} is on node {} twice",
                    copy.node
                ));
            }
            if state.nodes[&copy.node].group != copy.group {
                return Some(format!("a copy on node {} is in another group", copy.node));
            }
        }
        if let Some((node, _)) = index
            .pins
            .iter()
            .find(|(n, s)| *s == shard && !nodes.contains(n))
        {
            return Some(format!(
                "shard {shard} of {uid} is pinned to node {node} and not there"
            ));
        }
        let moving = placement.moving.map(|id| state.migrations.get(&id));
        match moving {
            Some(Some(record)) if belongs(record, uid, shard, index) => {}
            Some(_) => {
                return Some(format!(
                    "shard {shard} of {uid} moves by nothing: {placement:?}"
                ));
            }
            None => {}
        }
        if let Some(why) = unexplained(placement, moving.flatten()) {
            return Some(format!("shard {shard} of {uid}: {why}: {placement:?}"));
        }
    }
    None
}

fn belongs(record: &Record, uid: &IndexUid, shard: ShardId, index: &Index) -> bool {
    record.index == *uid
        && record.shard == shard
        && record.incarnation == index.incarnation
        && !record.phase.is_final()
}

/// Copies that are neither good nor bad exist only while a migration makes them so.
fn unexplained(shard: &ShardPlacement, moving: Option<&Record>) -> Option<String> {
    let state_on = |node| shard.on(node).map(|r| r.state);
    for copy in &shard.replicas {
        let is_target = moving.is_some_and(|m| m.kind.builds() && m.target == copy.node);
        let is_replaced = moving.is_some_and(|m| m.replaces == Some(copy.node));
        let phase = moving.map(|m| m.phase);
        let explained = match copy.state {
            ReplicaState::Building => {
                is_target
                    && matches!(
                        phase,
                        Some(Phase::Preparing | Phase::Copying | Phase::CatchingUp | Phase::Fenced)
                    )
            }
            ReplicaState::Mirror => {
                (is_target && matches!(phase, Some(Phase::Mirroring | Phase::Reversing)))
                    || (is_replaced && matches!(phase, Some(Phase::CutOver | Phase::Holding)))
            }
            ReplicaState::InSync | ReplicaState::Stale => true,
        };
        if !explained {
            return Some(format!("nothing explains the copy on node {}", copy.node));
        }
    }
    let record = moving?;
    let target = state_on(record.target);
    let fits = match (record.phase, record.kind) {
        (Phase::Preparing | Phase::Copying | Phase::CatchingUp | Phase::Fenced, _) => {
            target == Some(ReplicaState::Building)
        }
        (Phase::Mirroring | Phase::Reversing, _) => {
            matches!(target, Some(ReplicaState::Mirror | ReplicaState::Stale))
        }
        (Phase::CutOver | Phase::Holding, Kind::Move | Kind::Build) => {
            matches!(target, Some(ReplicaState::InSync | ReplicaState::Stale))
        }
        (Phase::Cleaning, _) => record.replaces.and_then(state_on).is_none(),
        (Phase::Dropping, _) => target.is_none() || record.repairs,
        _ => true,
    };
    (!fits).then(|| format!("{} in {} does not fit", record.id, record.phase))
}

/// No two indexes have one uid, and no new one has a name that some node may hold another of.
fn shared_uid(state: &ClusterState) -> Option<String> {
    let mut uids = BTreeSet::new();
    for (name, index) in &state.indexes {
        if !uids.insert(&index.uid) {
            return Some(format!("two indexes are called {}", index.uid));
        }
        if state.departed.iter().any(|departed| departed.uid == *name) {
            return Some(format!("{name} is live and departing"));
        }
    }
    None
}

/// Every migration under way is named by its shard.
fn orphan(state: &ClusterState) -> Option<String> {
    state.unfinished_migrations().find_map(|m| {
        let named = state
            .indexes
            .get(&m.index)
            .and_then(|index| index.shard(m.shard))
            .is_some_and(|shard| shard.moving == Some(m.id));
        (!named).then(|| format!("migration {} is in {} and no shard names it", m.id, m.phase))
    })
}
