//! What must hold of a shard's copies before a migration may move on: some copy keeps every acknowledged write.

use crate::cluster::{ClusterState, Rejection, ReplicaState, ShardPlacement};
use crate::migration::{Event, Kind, Phase, Record};

impl ClusterState {
    /// Refuses an event that would trust a copy which lacks a write, or give up the last that lacks none.
    pub(super) fn check_copies(
        &self,
        (record, from): (&Record, Phase),
        event: Event,
    ) -> Result<(), Rejection> {
        let index = self.indexes.get(&record.index);
        let Some(shard) = index.and_then(|index| index.shard(record.shard)) else {
            return Ok(());
        };
        match broken(shard, (record, from), event) {
            Some(why) => Err(Rejection::Invalid(format!("migration {} {why}", record.id))),
            None => Ok(()),
        }
    }
}

fn broken(
    shard: &ShardPlacement,
    (record, from): (&Record, Phase),
    event: Event,
) -> Option<String> {
    let state_on = |node| shard.on(node).map(|replica| replica.state);
    if relies_on_source(event) && state_on(record.source) != Some(ReplicaState::InSync) {
        return Some(format!(
            "copies from node {}, which is not in sync any more",
            record.source
        ));
    }
    if event == Event::Verified && state_on(record.target) != Some(ReplicaState::Mirror) {
        return Some(format!(
            "builds on node {}, which does not take writes any more",
            record.target
        ));
    }
    let replaced_is_last = || {
        let last = record.replaces.and_then(state_on);
        let others = shard.readable().any(|r| Some(r.node) != record.replaces);
        last.is_some_and(ReplicaState::takes_writes) && !others
    };
    let target_is_last = || {
        let last = state_on(record.target);
        let others = shard.writable().any(|r| r.node != record.target);
        last.is_some_and(ReplicaState::takes_writes) && !others
    };
    let drops_last = match (from, event) {
        (Phase::Planned, Event::SlotGranted) => record.kind == Kind::Drop && replaced_is_last(),
        (Phase::Holding, Event::WindowOver) => replaced_is_last(),
        (Phase::CutOver | Phase::Holding, Event::ReverseAsked | Event::TargetBehind) => {
            record.kind.builds() && target_is_last()
        }
        (Phase::Reversing, Event::ReadsMoved) => target_is_last(),
        (Phase::Reversing, Event::SourceChanged) => {
            return (!target_is_last()).then(|| "has a copy that reads go back to".to_owned());
        }
        _ => false,
    };
    drops_last.then(|| "would give up the last copy that has every write".to_owned())
}

/// Whether an event says that the target has what the source has: that is worth nothing when the source lacks a
/// write itself.
fn relies_on_source(event: Event) -> bool {
    match event {
        Event::Copied | Event::CaughtUp | Event::FenceDrained | Event::Verified => true,
        Event::SlotGranted
        | Event::TargetClean
        | Event::FenceOverrun
        | Event::Mismatch
        | Event::ReadsMoved
        | Event::WindowOver
        | Event::Cleaned
        | Event::TargetBehind
        | Event::TargetLost
        | Event::SourceChanged
        | Event::CancelAsked
        | Event::ReverseAsked
        | Event::LeftBehind
        | Event::Abandoned => false,
    }
}
