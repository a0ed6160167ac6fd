//! What keeps a group from being searched, and from being removed.

use crate::cluster::{ClusterState, GroupState, ShardPlacement};
use crate::id::{GroupId, IndexUid, ShardId};

/// The first shard that a group does not hold in sync as often as it should and can; `None` when it can be searched.
#[must_use]
pub fn not_in_sync(state: &ClusterState, group: GroupId) -> Option<(IndexUid, ShardId)> {
    let room = state.members(group).count();
    state.indexes.values().find_map(|index| {
        let wanted = usize::from(index.replication_factor).min(room).max(1);
        let here = |shard: &ShardPlacement| {
            let copies = shard.readable().filter(|r| r.group == group);
            copies.count()
        };
        let behind = index.shards().find(|(_, shard)| here(shard) < wanted);
        behind.map(|(shard, _)| (index.uid.clone(), shard))
    })
}

/// Whether another group than this can be searched.
#[must_use]
pub fn another_is_searched(state: &ClusterState, group: GroupId) -> bool {
    let mut groups = state.groups.values();
    groups.any(|other| other.id != group && other.state == GroupState::Searchable)
}

/// The first shard that would be read nowhere without a group; `None` when the others serve every one.
#[must_use]
pub fn only_read_in(state: &ClusterState, group: GroupId) -> Option<(IndexUid, ShardId)> {
    let serves = |id: GroupId| {
        let other = state.groups.get(&id).filter(|_| id != group);
        other.is_some_and(|other| other.state == GroupState::Searchable)
    };
    state.indexes.values().find_map(|index| {
        let elsewhere = |shard: &ShardPlacement| shard.readable().any(|r| serves(r.group));
        let alone = index.shards().find(|(_, shard)| !elsewhere(shard));
        alone.map(|(shard, _)| (index.uid.clone(), shard))
    })
}
