//! Nodes that have been down for so long that what they hold is built elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use miroir_core::cluster::{
    Admission, ClusterState, Command, Control, GroupState, Operation, OperationKind, OperationState,
};
use miroir_core::id::NodeId;
use miroir_core::migration::{Event, Record};
use miroir_core::planning;
use tokio::time::Instant;

use crate::nodes::{NodeHealth, Reachability};

/// Since when each node has been down, as this leader saw it. A new leader begins to count anew, which only makes
/// the grace period longer.
#[derive(Debug)]
pub struct LostNodes {
    grace: Duration,
    down: BTreeMap<NodeId, Instant>,
    /// Nodes for which an operation was asked for in this absence: one that could not place all asks once only.
    asked: BTreeMap<NodeId, Instant>,
    /// Nodes that answer; one that a new leader has not looked at yet is neither up nor down.
    up: BTreeSet<NodeId>,
}

impl LostNodes {
    /// Nodes count as lost after `grace`.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            down: BTreeMap::new(),
            asked: BTreeMap::new(),
            up: BTreeSet::new(),
        }
    }

    /// Takes note of the latest looks at the nodes.
    pub fn look(&mut self, health: &BTreeMap<NodeId, NodeHealth>, now: Instant) {
        let is_down = |node: &NodeId| {
            health
                .get(node)
                .is_some_and(|seen| seen.reachability == Reachability::Down)
        };
        let is_up = |seen: &NodeHealth| seen.reachability == Reachability::Up;
        self.up = health
            .iter()
            .filter(|(_, seen)| is_up(seen))
            .map(|(node, _)| *node)
            .collect();
        self.down.retain(|node, _| is_down(node));
        self.asked.retain(|node, _| is_down(node));
        for node in health.keys().filter(|node| is_down(node)) {
            self.down.entry(*node).or_insert(now);
        }
    }

    /// What should be done about lost nodes: build their copies elsewhere, or stop that when one has come back.
    pub fn next(&mut self, state: &ClusterState) -> Option<Command> {
        if let Some(back) = self.came_back(state) {
            return Some(Command::ControlOperation {
                id: back.id,
                control: Control::Cancel,
            });
        }
        let now = Instant::now();
        let lost = |node: &NodeId| {
            let since = self.down.get(node);
            since.is_some_and(|since| now.duration_since(*since) >= self.grace)
        };
        if let Some(id) = state
            .unfinished_migrations()
            .find(|m| lost(&m.target) && is_hopeless_repair(state, m))
            .map(|m| m.id)
        {
            return Some(Command::ControlMigration {
                id,
                control: Control::Cancel,
            });
        }
        let node = state
            .nodes
            .values()
            .filter(|node| node.admission == Admission::Active && lost(&node.id))
            .filter(|node| {
                let group = state.groups.get(&node.group);
                group.is_some_and(|group| group.state == GroupState::Searchable)
            })
            .map(|node| node.id)
            .find(|node| {
                let again = self
                    .asked
                    .get(node)
                    .is_none_or(|at| now.duration_since(*at) >= self.grace);
                again && !planning::is_empty(state, *node) && !is_replaced(state, *node)
            })?;
        self.asked.insert(node, now);
        Some(Command::ReplaceLost { node })
    }

    /// An operation about a node that answers again.
    fn came_back<'a>(&self, state: &'a ClusterState) -> Option<&'a Operation> {
        state.operations.values().find(|operation| {
            let under_way = matches!(
                operation.state,
                OperationState::Accepted | OperationState::Running
            );
            let OperationKind::ReplaceLost { node } = operation.kind else {
                return false;
            };
            under_way && self.up.contains(&node)
        })
    }
}

/// A repair of a copy on a lost node: while it waits for the node, the copy cannot be built elsewhere.
fn is_hopeless_repair(state: &ClusterState, record: &Record) -> bool {
    let operation = state.operations.get(&record.operation);
    operation.is_some_and(|operation| operation.kind == OperationKind::Repair)
        && record.phase.after(Event::CancelAsked, record.kind).is_ok()
}

fn is_replaced(state: &ClusterState, node: NodeId) -> bool {
    let kind = OperationKind::ReplaceLost { node };
    let mut under_way = state.operations.values().filter(|o| !o.state.is_final());
    under_way.any(|operation| operation.kind == kind)
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{NewIndex, NodeSpec, Outcome, Policy};
    use miroir_core::id::{GroupId, IndexUid, OperationId, ShardId};

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    /// Three nodes that share an index of two copies.
    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        let node = |n: u64| Command::AddNode {
            node: NodeSpec {
                url: format!("http://127.0.0.1:{n}"),
                group: GroupId(1),
                zone: None,
                weight: 1,
                version: "1.15.0".to_owned(),
            },
        };
        let policy = Policy {
            default_shards: 6,
            ..Policy::default()
        };
        let index = NewIndex {
            uid: IndexUid::parse("books").expect("a uid"),
            primary_key: None,
            shards: None,
            replication_factor: Some(2),
            writer: None,
            task: None,
        };
        let cluster_id = "c".to_owned();
        let commands = [
            Command::Bootstrap { cluster_id, policy },
            node(1),
            node(2),
            node(3),
            Command::CreateIndex(index),
        ];
        for (at, command) in (1..).zip(&commands) {
            state.apply(at, 0, command);
        }
        state
    }

    fn health(down: &[u64]) -> BTreeMap<NodeId, NodeHealth> {
        let seen = |n: u64| NodeHealth {
            reachability: if down.contains(&n) {
                Reachability::Down
            } else {
                Reachability::Up
            },
            ..NodeHealth::default()
        };
        (1..=3).map(|n| (NodeId(n), seen(n))).collect()
    }

    /// What is proposed when these nodes are down, `after` more time.
    async fn next(
        lost: &mut LostNodes,
        state: &ClusterState,
        down: &[u64],
        after: Duration,
    ) -> Option<Command> {
        tokio::time::advance(after).await;
        lost.look(&health(down), Instant::now());
        lost.next(state)
    }

    const BIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_node_is_replaced_once_it_has_been_down_for_the_grace_period_without_a_break() {
        let state = state();
        let mut lost = LostNodes::new(GRACE);
        assert_eq!(next(&mut lost, &state, &[2], BIT).await, None);
        assert_eq!(next(&mut lost, &state, &[2], GRACE - BIT).await, None);
        assert_eq!(next(&mut lost, &state, &[], BIT).await, None);
        assert_eq!(next(&mut lost, &state, &[2], BIT).await, None);
        assert_eq!(next(&mut lost, &state, &[2], GRACE - BIT).await, None);
        let node = NodeId(2);
        let replace = Some(Command::ReplaceLost { node });
        assert_eq!(next(&mut lost, &state, &[2], BIT).await, replace);
        // Not again at once, when it came to nothing.
        assert_eq!(next(&mut lost, &state, &[2], BIT).await, None);
        assert_eq!(next(&mut lost, &state, &[2], GRACE).await, replace);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_comes_back_ends_its_replacement() {
        let mut state = state();
        let mut lost = LostNodes::new(GRACE);
        next(&mut lost, &state, &[3], BIT).await;
        let asked = next(&mut lost, &state, &[3], GRACE)
            .await
            .expect("it is lost");
        let accepted = state.apply(50, 0, &asked);
        let Outcome::Accepted(id) = accepted else {
            panic!("{accepted:?}")
        };
        assert_eq!(next(&mut lost, &state, &[3], GRACE).await, None);
        let cancel = Some(Command::ControlOperation {
            id,
            control: Control::Cancel,
        });
        assert_eq!(next(&mut lost, &state, &[], BIT).await, cancel);
        // A new leader that has not looked at it yet knows nothing of it.
        let mut other = LostNodes::new(GRACE);
        assert_eq!(other.next(&state), None);
        assert_ne!(id, OperationId(0));
    }

    /// The copy waits for its node in vain; given up, it can be built elsewhere.
    #[tokio::test(start_paused = true)]
    async fn a_repair_of_a_copy_on_a_lost_node_is_given_up() {
        let mut state = state();
        let uid = IndexUid::parse("books").expect("a uid");
        let incarnation = state.indexes[&uid].incarnation;
        let shard = ShardId(0);
        let node = state.indexes[&uid].shard(shard).expect("there").replicas[0].node;
        let missed = Command::EjectReplica {
            uid,
            incarnation,
            shard,
            node,
        };
        state.apply(50, 0, &missed);
        let repair = Command::Plan {
            operation: None,
            moves: planning::plan_repair(&state),
        };
        let planned = state.apply(51, 0, &repair);
        let Outcome::Planned { migrations, .. } = planned else {
            panic!("{planned:?}")
        };
        let mut lost = LostNodes::new(GRACE);
        let down = [node.0];
        assert_eq!(next(&mut lost, &state, &down, BIT).await, None);
        let cancel = Command::ControlMigration {
            id: migrations[0],
            control: Control::Cancel,
        };
        assert_eq!(
            next(&mut lost, &state, &down, GRACE).await.as_ref(),
            Some(&cancel)
        );
        state.apply(52, 0, &cancel);
        let replace = Some(Command::ReplaceLost { node });
        assert_eq!(next(&mut lost, &state, &down, BIT).await, replace);
    }
}
