//! Which copy the documents are taken from, when the one that was planned is of no use.

use miroir_core::cluster::Command;
use miroir_core::id::NodeId;
use miroir_core::migration::{Phase, Record};

use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

impl<C: Cluster, N: Nodes> Actor<C, N> {
    /// Makes another copy the source when the present one missed a write, for what is copied from it would lack
    /// that; or when its node does not answer and another's does.
    pub(super) async fn ensure_source(&self, record: &Record) -> Result<(), MoveError> {
        if !reads_source(record.phase) {
            return Ok(());
        }
        let readable = self.readable(record);
        let up = |node: NodeId| !self.mover.nodes.is_down(node);
        let Some(source) = choose(record, &readable, up)? else {
            return Ok(());
        };
        let command = Command::ChangeSource {
            id: self.id,
            step: record.step,
            source,
        };
        self.mover.cluster.propose(command).await?;
        Err(MoveError::MovedOn)
    }

    /// The nodes whose copy of the shard is in sync, in order of placement.
    fn readable(&self, record: &Record) -> Vec<NodeId> {
        self.mover.cluster.read(|state| {
            let index = state.indexes.get(&record.index);
            let shard = index.and_then(|index| index.shard(record.shard));
            shard
                .into_iter()
                .flat_map(|shard| shard.readable().map(|replica| replica.node))
                .collect()
        })
    }
}

/// The copy that takes the source's place; `None` where it stays.
fn choose(
    record: &Record,
    readable: &[NodeId],
    up: impl Fn(NodeId) -> bool,
) -> Result<Option<NodeId>, MoveError> {
    let in_sync = readable.contains(&record.source);
    if in_sync && up(record.source) {
        return Ok(None);
    }
    let others = || {
        let all = readable.iter().copied();
        all.filter(|node| *node != record.target && *node != record.source)
    };
    match others().find(|node| up(*node)) {
        Some(other) => Ok(Some(other)),
        // Nothing better: the step waits for it.
        None if in_sync => Ok(None),
        None => others().next().map(Some).ok_or(MoveError::NoSource),
    }
}

/// Whether the work of a phase is worth something only while the source is in sync.
fn reads_source(phase: Phase) -> bool {
    match phase {
        Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring => true,
        Phase::Planned
        | Phase::CutOver
        | Phase::Holding
        | Phase::Cleaning
        | Phase::Done
        | Phase::Reversing
        | Phase::Dropping
        | Phase::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::id::{
        Epoch, GroupId, Incarnation, IndexUid, MigrationId, OperationId, ShardId,
    };
    use miroir_core::migration::{Kind, Progress};

    use super::*;

    fn record() -> Record {
        Record {
            id: MigrationId(1),
            operation: OperationId(1),
            index: IndexUid::parse("books").expect("a uid"),
            incarnation: Incarnation(1),
            shard: ShardId(0),
            group: GroupId(1),
            kind: Kind::Move,
            source: NodeId(1),
            replaces: Some(NodeId(1)),
            target: NodeId(9),
            repairs: false,
            paused: false,
            phase: Phase::Copying,
            phase_epoch: Epoch(1),
            step: 1,
            throttle_docs_per_s: None,
            throttle_bytes_per_s: None,
            comparison: None,
            progress: Progress::default(),
            history: Vec::new(),
        }
    }

    #[test]
    fn a_source_stays_while_it_is_in_sync_and_up_or_nothing_is_better() {
        type Row<'a> = (&'a [u64], &'a [u64], Result<Option<u64>, ()>);
        // Copies in sync, nodes that are down, and what becomes of source 1 of a move to 9.
        let table: [Row<'_>; 8] = [
            (&[1, 2], &[], Ok(None)),
            (&[1, 2], &[1], Ok(Some(2))),
            (&[1, 2, 3], &[1, 2], Ok(Some(3))),
            (&[1, 2], &[1, 2], Ok(None)),
            (&[2], &[], Ok(Some(2))),
            (&[2], &[2], Ok(Some(2))),
            (&[9], &[], Err(())),
            (&[1], &[1], Ok(None)),
        ];
        for (at, (readable, down, expected)) in table.into_iter().enumerate() {
            let readable: Vec<NodeId> = readable.iter().copied().map(NodeId).collect();
            let chosen = choose(&record(), &readable, |node| !down.contains(&node.0));
            let chosen = chosen.map(|node| node.map(|node| node.0)).map_err(drop);
            assert_eq!(chosen, expected, "row {at}");
        }
    }
}
