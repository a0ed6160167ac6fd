//! Dumps of the whole cluster: the hold of writes, and which copies the dumps hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Applied, At};
use crate::api_error::{ApiError, Code};
use crate::cluster::{
    ClusterState, Cut, CutIndex, CutStage, CutStep, Index, KeptDump, Outcome, Rejection, TaskPart,
    TaskStatus,
};
use crate::dump::{ManifestIndex, Uncovered};
use crate::id::{IndexUid, NodeId, ShardId, TaskUid};

/// A dump's task, and which attempt at its cut.
type Attempt = (TaskUid, u32);

impl ClusterState {
    pub(super) fn cut(&mut self, at: At, attempt: Attempt, step: &CutStep) -> Applied {
        match step {
            CutStep::Hold => self.hold_writes(at, attempt)?,
            CutStep::Reached { drained } => self.cut_reached(at, attempt, drained),
            CutStep::Release { failure } => self.cut_released(at, attempt, failure.as_ref()),
            CutStep::Sent { asked } => self.cut_sent(at, attempt, asked),
        }
        Ok(Outcome::Done)
    }

    /// Dumps take turns: only the oldest that is not sent may hold writes.
    fn hold_writes(&mut self, at: At, attempt: Attempt) -> Result<(), Rejection> {
        let oldest = self.broadcasts.iter().find(|one| one.cut.is_some());
        if oldest.is_none_or(|one| one.task != attempt.0) {
            return Err(Rejection::Invalid(format!(
                "task {} is no dump whose turn it is",
                attempt.0
            )));
        }
        if let Some(cut) = self.cut_of(attempt)
            && cut.stage == CutStage::Waiting
        {
            cut.stage = CutStage::Holding { since: at.epoch() };
            self.settle_hold(at);
        }
        Ok(())
    }

    fn cut_reached(&mut self, at: At, attempt: Attempt, drained: &[NodeId]) {
        let holding = |cut: &&mut Cut| matches!(cut.stage, CutStage::Holding { .. });
        if self.cut_of(attempt).filter(holding).is_none() {
            return;
        }
        let indexes: Vec<CutIndex> = self
            .indexes
            .values()
            .map(|index| seen_now(index, drained))
            .collect();
        let uncovered = self.uncovered(indexes.iter().map(|index| &index.told));
        if !uncovered.0.is_empty() {
            self.fail_dump(at, attempt.0, &not_in_sync(&uncovered));
        } else if let Some(cut) = self.cut_of(attempt) {
            cut.stage = CutStage::Reached { indexes };
        }
    }

    fn cut_released(&mut self, at: At, attempt: Attempt, failure: Option<&Value>) {
        let Some(cut) = self.cut_of(attempt) else {
            return;
        };
        match failure {
            Some(error) => self.fail_dump(at, attempt.0, error),
            None => {
                cut.stage = CutStage::Waiting;
                cut.attempts += 1;
                self.settle_hold(at);
            }
        }
    }

    /// A copy is in the manifest when it was in sync before its node was asked for a dump, and still is afterwards: no
    /// migration and no loss came in between.
    fn cut_sent(&mut self, at: At, attempt: Attempt, asked: &[(NodeId, u32)]) {
        let Some(CutStage::Reached { indexes }) = self.cut_of(attempt).map(|cut| cut.stage.clone())
        else {
            return;
        };
        let asked: BTreeMap<NodeId, u32> = asked.iter().copied().collect();
        let indexes: Vec<ManifestIndex> = indexes
            .into_iter()
            .filter_map(|index| self.still_so(index, &asked))
            .collect();
        let uncovered = self.uncovered(indexes.iter());
        if !uncovered.0.is_empty() || asked.is_empty() {
            let last = attempt.1 + 1 >= Cut::ATTEMPTS_MAX;
            let error = last.then(|| not_in_sync(&uncovered));
            return self.cut_released(at, attempt, error.as_ref());
        }
        self.tasks.change(attempt.0, |task| {
            let part = |(node, node_task): (&NodeId, &u32)| TaskPart {
                node: *node,
                node_task: *node_task,
                counts: true,
            };
            task.parts = asked.iter().map(part).collect();
        });
        self.dumps.push(KeptDump {
            task: attempt.0,
            epoch: self.epoch,
            asked: asked.into_iter().collect(),
            indexes,
        });
        let excess = self.dumps.len().saturating_sub(KeptDump::MAX);
        self.dumps.drain(..excess);
        self.broadcasts.retain(|one| one.task != attempt.0);
        self.settle_hold(at);
    }

    fn cut_of(&mut self, (task, attempt): Attempt) -> Option<&mut Cut> {
        let broadcast = self.broadcasts.iter_mut().find(|one| one.task == task)?;
        broadcast.cut.as_mut().filter(|cut| cut.attempts == attempt)
    }

    /// What is left of an index in a cut; nothing when it was deleted since.
    fn still_so(
        &self,
        mut index: CutIndex,
        asked: &BTreeMap<NodeId, u32>,
    ) -> Option<ManifestIndex> {
        let now = self.indexes.get(&index.told.name)?;
        if now.incarnation != index.incarnation {
            return None;
        }
        for (nodes, shard) in index.told.shards.iter_mut().zip(&now.placement) {
            nodes.retain(|node| {
                asked.contains_key(node) && shard.readable().any(|r| r.node == *node)
            });
        }
        Some(index.told)
    }

    /// Shards that no copy in the manifest stands for, with the nodes that have one now.
    fn uncovered<'a>(&self, indexes: impl Iterator<Item = &'a ManifestIndex>) -> Uncovered {
        let mut uncovered = Vec::new();
        for index in indexes.filter(|index| index.on_nodes) {
            let bare = (0..)
                .map(ShardId)
                .zip(&index.shards)
                .filter(|(_, nodes)| nodes.is_empty());
            for (shard, _) in bare {
                uncovered.push((index.uid.clone(), shard, self.in_sync(&index.name, shard)));
            }
        }
        Uncovered(uncovered)
    }

    fn in_sync(&self, name: &IndexUid, shard: ShardId) -> BTreeSet<NodeId> {
        let placement = self.indexes.get(name).and_then(|index| index.shard(shard));
        let readable = placement.into_iter().flat_map(|shard| shard.readable());
        readable.map(|replica| replica.node).collect()
    }

    fn fail_dump(&mut self, at: At, task: TaskUid, error: &Value) {
        self.broadcasts.retain(|one| one.task != task);
        self.tasks.change(task, |task| {
            task.status = TaskStatus::Failed;
            task.error = Some(error.clone());
            task.started_at_ms = task.started_at_ms.or(Some(at.ms));
            task.finished_at_ms = Some(at.ms);
        });
        self.settle_hold(at);
        self.settle_deletions(at);
    }

    /// Writes are held for as long as some cut holds them. To be called whenever one has got on.
    fn settle_hold(&mut self, at: At) {
        let cuts = self.broadcasts.iter().filter_map(|one| one.cut.as_ref());
        let held = cuts.into_iter().any(Cut::holds);
        if held != self.writes_held {
            self.writes_held = held;
            self.touch(at);
        }
    }
}

/// The index with the copies that have all of it now, settings included.
fn seen_now(index: &Index, drained: &[NodeId]) -> CutIndex {
    let has_settings = |node: &NodeId| {
        let known = index.nodes.get(node);
        known.is_some_and(|known| known.settings_version >= index.settings.version)
    };
    let shards = index.placement.iter().map(|shard| {
        let nodes = shard.readable().map(|replica| replica.node);
        nodes
            .filter(|node| drained.contains(node) && has_settings(node))
            .collect()
    });
    CutIndex {
        incarnation: index.incarnation,
        told: ManifestIndex {
            uid: index.uid.clone(),
            name: index.name().clone(),
            primary_key: index.primary_key.clone(),
            max_values_per_facet: index
                .settings
                .desired
                .pointer("/faceting/maxValuesPerFacet")
                .and_then(Value::as_u64),
            on_nodes: index.nodes.values().any(|known| known.settings_version > 0),
            shards: shards.collect(),
        },
    }
}

fn not_in_sync(uncovered: &Uncovered) -> Value {
    let message = if uncovered.0.is_empty() {
        "No node answers.".to_owned()
    } else {
        format!("No node that answers holds {uncovered} in sync with all settings.")
    };
    json!(ApiError::new(Code::Internal, message))
}
