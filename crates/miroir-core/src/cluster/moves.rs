//! What commands carry about migrations.

use serde::{Deserialize, Serialize};

use crate::id::{GroupId, Incarnation, IndexUid, MigrationId, NodeId, ShardId};
use crate::migration::{Comparison, Kind};

/// One step of moving data, as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// The index.
    pub uid: IndexUid,
    /// Which life of that uid.
    pub incarnation: Incarnation,
    /// The shard.
    pub shard: ShardId,
    /// The group the new copy serves in.
    pub group: GroupId,
    /// What is done to the copies.
    pub kind: Kind,
    /// The copy read from; of a drop, one that stays.
    pub source: NodeId,
    /// The copy built; of a drop, the source; of a sweep, the node swept.
    pub target: NodeId,
    /// The copy that goes.
    pub replaces: Option<NodeId>,
}

/// A report of a migration's progress. It changes no route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationReport {
    /// The migration.
    pub id: MigrationId,
    /// The step the reporter saw; a report on an older step is dropped.
    pub step: u32,
    /// How far it has got.
    pub progress: crate::migration::Progress,
    /// A comparison that has just ended.
    pub comparison: Option<Comparison>,
}
