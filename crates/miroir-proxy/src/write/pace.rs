//! Back-pressure: while a copy of an index is being caught up with or compared on a node, its writer lets that node
//! get few tasks ahead.
//!
//! Without it an index that is written to faster than a node processes keeps its moves from ending: the last of a
//! shard is copied behind a fence, which is short only if the node's queue is, and two copies are compared only where
//! both have processed the same. What waits here is grouped into one request, so little is lost but latency.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use miroir_core::id::NodeId;
use miroir_core::migration::Phase;
use miroir_core::routing::IndexRoute;
use miroir_meili::NodeTaskUid;
use tokio::time::sleep;

use super::outcome::NodeLink;

/// Tasks of one index that a node may have before it.
const AHEAD: usize = 2;

/// The longest a request waits. A node that does not get on holds nobody up for longer.
const LONGEST: Duration = Duration::from_secs(2);

const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// What a lane has sent and the node has perhaps not processed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: VecDeque<u32>,
}

impl Pace {
    /// Takes note of a task that the node has enqueued.
    pub(super) fn note(&mut self, task: u32) {
        self.sent.push_back(task);
        while self.sent.len() > AHEAD {
            self.sent.pop_front();
        }
    }

    /// Waits until the node may get another request. Dropped, it forgets nothing.
    pub(super) async fn wait(&mut self, link: &NodeLink) {
        let began = Instant::now();
        let mut pause = LOOK_MIN;
        while self.sent.len() == AHEAD && began.elapsed() < LONGEST && is_watched(link) {
            if self.oldest_is_done(link).await {
                self.sent.pop_front();
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
        if pause > LOOK_MIN {
            link.context.paced.record(began.elapsed());
        }
    }

    /// Whether the node has processed the oldest task, or cannot be asked: then waiting is of no use.
    async fn oldest_is_done(&self, link: &NodeLink) -> bool {
        let Some(oldest) = self.sent.front() else {
            return true;
        };
        let Some(client) = link.context.control.nodes().get(link.node).cloned() else {
            return true;
        };
        let client = client.with_timeout(LOOK_MAX * 5);
        match client.task(NodeTaskUid(*oldest)).await {
            Ok(Some(task)) => task.status.is_final(),
            Ok(None) | Err(_) => true,
        }
    }
}

fn is_watched(link: &NodeLink) -> bool {
    let table = link.context.control.table();
    let index = table.named(&link.context.index);
    index.is_some_and(|index| wants_short_queue(index, link.node))
}

/// Whether a migration of the index does better with a short queue on the node. Behind a fence nothing is slowed:
/// what is under way has to arrive before the fence can do its work.
fn wants_short_queue(index: &IndexRoute, node: NodeId) -> bool {
    let mut wanted = false;
    for moving in index.shards.iter().filter_map(|shard| shard.moving) {
        let (source, target) = (moving.source == node, moving.target == node);
        match moving.phase {
            Phase::Fenced if source => return false,
            Phase::CatchingUp => wanted |= source,
            Phase::Mirroring => wanted |= source || target,
            Phase::Planned
            | Phase::Preparing
            | Phase::Copying
            | Phase::Fenced
            | Phase::CutOver
            | Phase::Holding
            | Phase::Cleaning
            | Phase::Done
            | Phase::Reversing
            | Phase::Dropping
            | Phase::Cancelled => {}
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use miroir_core::id::{Incarnation, IndexUid, MigrationId};
    use miroir_core::routing::{MoveRoute, ShardRoute};

    use super::*;

    fn index(moving: &[(Phase, u64, u64)]) -> IndexRoute {
        let shards = moving.iter().map(|(phase, source, target)| ShardRoute {
            replicas: Vec::new(),
            moving: Some(MoveRoute {
                migration: MigrationId(1),
                phase: *phase,
                source: NodeId(*source),
                target: NodeId(*target),
            }),
        });
        IndexRoute {
            uid: IndexUid::parse("books").expect("valid"),
            name: IndexUid::parse("books").expect("valid"),
            incarnation: Incarnation(1),
            primary_key: None,
            writer: None,
            settings_version: 1,
            settings: serde_json::json!({}),
            settings_before: None,
            node_settings: BTreeMap::new(),
            leftovers: BTreeSet::new(),
            shards: shards.collect(),
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    #[test]
    fn only_nodes_that_are_caught_up_with_or_compared_want_a_short_queue() {
        use Phase::{CatchingUp, Copying, CutOver, Fenced, Mirroring};
        // Migrations as (phase, source, target); whether nodes 1 and 2 want a short queue.
        type Row<'a> = (&'a [(Phase, u64, u64)], bool, bool);
        let table: [Row; 7] = [
            (&[], false, false),
            (&[(Copying, 1, 2)], false, false),
            (&[(CatchingUp, 1, 2)], true, false),
            (&[(Mirroring, 1, 2)], true, true),
            (&[(CutOver, 1, 2)], false, false),
            (&[(CatchingUp, 1, 2), (Fenced, 1, 3)], false, false),
            (&[(CatchingUp, 1, 3), (Mirroring, 3, 2)], true, true),
        ];
        for (moving, first, second) in table {
            let index = index(moving);
            let wants = |node| wants_short_queue(&index, NodeId(node));
            assert_eq!((wants(1), wants(2)), (first, second), "{moving:?}");
        }
    }

    #[test]
    fn a_lane_remembers_no_more_than_it_may_be_ahead() {
        let mut pace = Pace::default();
        (1..=9).for_each(|task| pace.note(task));
        assert_eq!(pace.sent, [8, 9]);
    }
}
