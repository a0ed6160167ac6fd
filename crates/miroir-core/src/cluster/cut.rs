//! Dumps of the whole cluster: a cut through all that is written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dump::ManifestIndex;
use crate::id::{Epoch, Incarnation, NodeId, TaskUid};

/// How far a dump of the whole cluster has got before every node has been asked for its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// What is being done.
    pub stage: CutStage,
    /// How often it was tried in vain.
    pub attempts: u32,
}

/// The stages of a cut. Writes are held in all but the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CutStage {
    /// Nothing is held. It is its turn once no older dump is unsent.
    #[default]
    Waiting,
    /// Writers hold what they have not sent; what they sent is being carried out.
    Holding {
        /// The epoch from which they do.
        since: Epoch,
    },
    /// Nodes have carried out all that was sent; they are asked for their dumps.
    Reached {
        /// Every index, with the copies that the dumps will hold.
        indexes: Vec<CutIndex>,
    },
}

/// What takes a cut further.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CutStep {
    /// Has writers hold what they have not sent yet.
    Hold,
    /// Nothing is being written: what copies nodes have now that have carried out what was, their dumps will hold.
    Reached {
        /// Those nodes; others do not answer, or were not there.
        drained: Vec<NodeId>,
    },
    /// Ends the hold without a dump.
    Release {
        /// The error object that ends the task, when there is to be no other attempt.
        failure: Option<Value>,
    },
    /// Nodes have enqueued their dumps; this ends the hold.
    Sent {
        /// The nodes, with their own tasks.
        asked: Vec<(NodeId, u32)>,
    },
}

/// An index in a cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutIndex {
    /// Which life of its uid: another one is not in the dumps.
    pub incarnation: Incarnation,
    /// What is told of it.
    pub told: ManifestIndex,
}

/// What a dump of the whole cluster holds, for as long as it is among the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDump {
    /// The task that asked for it.
    pub task: TaskUid,
    /// The routing epoch of the cut.
    pub epoch: Epoch,
    /// The nodes that enqueued their dumps, with their own tasks.
    pub asked: Vec<(NodeId, u32)>,
    /// Every index.
    pub indexes: Vec<ManifestIndex>,
}

impl KeptDump {
    /// How many are kept.
    pub const MAX: usize = 16;
}

impl Cut {
    /// How often a cut is tried before its task fails.
    pub const ATTEMPTS_MAX: u32 = 4;

    /// Whether writers hold what they have not sent.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self.stage {
            CutStage::Waiting => false,
            CutStage::Holding { .. } | CutStage::Reached { .. } => true,
        }
    }
}
