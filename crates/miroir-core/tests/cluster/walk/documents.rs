//! Which nodes hold documents of which shards, told from what the actors say they did.

use std::collections::BTreeSet;

use miroir_core::cluster::{ClusterState, Command, Outcome};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ShardId};
use miroir_core::migration::{Event, Phase};

/// Documents of a shard on a node.
#[derive(Debug, Clone, Default)]
pub struct Documents(BTreeSet<(IndexUid, Incarnation, NodeId, ShardId)>);

impl Documents {
    /// Copies that take writes get documents; what is deleted with its index or node is gone.
    pub fn look(&mut self, state: &ClusterState) {
        self.0.retain(|(uid, incarnation, node, _)| {
            let alive = |index: &miroir_core::cluster::Index| index.incarnation == *incarnation;
            state.indexes.get(uid).is_some_and(alive) && state.nodes.contains_key(node)
        });
        for index in state.indexes.values() {
            for (shard, placement) in index.shards() {
                for copy in placement.writable() {
                    let uid = index.name().clone();
                    self.0.insert((uid, index.incarnation, copy.node, shard));
                }
            }
        }
    }

    /// What a command says of documents deleted and copied.
    pub fn follow(
        &mut self,
        before: &ClusterState,
        command: &Command,
        outcome: &Outcome,
        after: &ClusterState,
    ) {
        if let (Command::Advance { id, event, .. }, Outcome::Advanced(phase)) = (command, outcome) {
            let record = &before.migrations[id];
            let on = |node| (record.index.clone(), record.incarnation, node, record.shard);
            match (record.phase, event) {
                (Phase::Cleaning, Event::Cleaned) => {
                    record.replaces.map(|node| self.0.remove(&on(node)));
                }
                (Phase::Dropping, Event::Cleaned) => {
                    self.0.remove(&on(record.target));
                }
                _ if *phase == Phase::Copying => {
                    self.0.insert(on(record.target));
                }
                _ => {}
            }
        }
        if let Command::IndexLost {
            uid,
            incarnation,
            node,
            ..
        } = command
        {
            let forgot = |s: &ClusterState| {
                let index = s.indexes.get(uid).filter(|i| i.incarnation == *incarnation);
                index
                    .and_then(|i| i.nodes.get(node))
                    .is_some_and(|n| n.created_at.is_none())
            };
            if !forgot(before) && forgot(after) {
                self.0
                    .retain(|(i, life, n, _)| (i, life, n) != (uid, incarnation, node));
            }
        }
        self.look(after);
    }

    /// Documents on a node that the state knows nothing of: a search without a filter would count them twice.
    pub fn astray(&self, state: &ClusterState) -> Option<String> {
        self.0.iter().find_map(|(uid, _, node, shard)| {
            let index = &state.indexes[uid];
            let held = index.shard(*shard).is_some_and(|s| s.on(*node).is_some());
            let known = held || index.leftovers.contains(&(*node, *shard));
            (!known).then(|| format!("node {node} holds shard {shard} of {uid} and nobody knows"))
        })
    }
}
