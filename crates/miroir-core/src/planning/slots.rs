//! Which migrations may start.

use std::collections::BTreeMap;

use crate::cluster::ClusterState;
use crate::id::{MigrationId, NodeId};
use crate::migration::{Kind, Phase, Record};

/// The planned migrations that the caps leave room for, oldest first.
#[must_use]
pub fn grantable(state: &ClusterState) -> Vec<MigrationId> {
    let mut working = 0_u32;
    let mut by_source: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut by_target: BTreeMap<NodeId, u32> = BTreeMap::new();
    for record in state
        .unfinished_migrations()
        .filter(|record| record.phase.takes_slot())
    {
        working += 1;
        *by_source.entry(record.source).or_default() += 1;
        *by_target.entry(record.target).or_default() += 1;
    }
    let policy = &state.policy;
    let mut granted = Vec::new();
    for record in state
        .unfinished_migrations()
        .filter(|record| record.phase == Phase::Planned && !state.is_paused(record))
        .filter(|record| may_begin(state, record))
    {
        let source = by_source.entry(record.source).or_default();
        let target = by_target.entry(record.target).or_default();
        let room = working < policy.max_concurrent_migrations
            && *source < policy.max_migrations_per_source
            && *target < policy.max_migrations_per_target;
        if room {
            working += 1;
            *source += 1;
            *target += 1;
            granted.push(record.id);
        }
    }
    granted
}

/// The last copy in sync is never dropped.
fn may_begin(state: &ClusterState, record: &Record) -> bool {
    let shard = state
        .indexes
        .get(&record.index)
        .and_then(|index| index.shard(record.shard));
    match record.kind {
        Kind::Drop => shard.is_some_and(|shard| {
            shard
                .readable()
                .any(|replica| Some(replica.node) != record.replaces)
        }),
        Kind::Move | Kind::Build | Kind::Sweep => true,
    }
}
