//! Topology operations, by chance: what is asked for may well be refused, and must then change nothing.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_proto::v1::control_migration::Action as OnMigration;
use miroir_proto::v1::control_operation::Action as OnOperation;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::INDEX;
use super::view::View;

/// What kind of thing is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node is added; its process was started.
    AddNode,
    /// A group is added; the processes of its nodes were started.
    AddGroup,
    /// A node is removed by force; its process was killed.
    ForceRemove,
    /// A node is removed after a drain.
    RemoveNode,
    /// A node is drained.
    Drain,
    /// A node that was drained may have copies again.
    Undrain,
    /// A group is removed.
    RemoveGroup,
    /// There are to be more copies, or fewer.
    Copies,
    /// Everything is put where it belongs.
    Rebalance,
    /// One copy moves.
    Move,
    /// A copy is pinned, or let go.
    Pin,
    /// Automatic moves are frozen, or let go.
    Hold,
    /// Limits change.
    Policy,
    /// What is under way is paused, resumed, cancelled, reversed or throttled.
    Control,
}

/// Kinds with how likely each is.
const KINDS: [(Kind, u32); 14] = [
    (Kind::AddNode, 12),
    (Kind::AddGroup, 5),
    (Kind::ForceRemove, 4),
    (Kind::RemoveNode, 10),
    (Kind::Drain, 6),
    (Kind::Undrain, 4),
    (Kind::RemoveGroup, 4),
    (Kind::Copies, 10),
    (Kind::Rebalance, 7),
    (Kind::Move, 14),
    (Kind::Pin, 5),
    (Kind::Hold, 3),
    (Kind::Policy, 4),
    (Kind::Control, 20),
];

impl Kind {
    /// One of them.
    pub fn any(rng: &mut StdRng) -> Self {
        let chosen = KINDS.choose_weighted(rng, |(_, weight)| *weight);
        chosen.map_or(Self::Control, |(kind, _)| *kind)
    }
}

/// A change of this kind that makes some sense in the present state; none where nothing does.
/// `urls` are the nodes whose processes were started or killed for it.
pub fn choose(kind: Kind, rng: &mut StdRng, view: &View, urls: &[String]) -> Option<Change> {
    match kind {
        Kind::AddNode => {
            let group = view.some_group(rng)?.id;
            Some(Change::AddNode(new_node(urls.first()?, Some(group))))
        }
        Kind::AddGroup => {
            let nodes = urls.iter().map(|url| new_node(url, None)).collect();
            Some(Change::AddGroup(v1::AddGroup { nodes }))
        }
        Kind::ForceRemove => {
            let mut nodes = view.topology.nodes.iter();
            let dead = nodes.find(|node| urls.contains(&node.url))?;
            Some(Change::RemoveNode(v1::RemoveNode {
                node: dead.id,
                force: true,
            }))
        }
        Kind::RemoveNode => Some(Change::RemoveNode(v1::RemoveNode {
            node: view.some_node(rng)?.id,
            force: false,
        })),
        Kind::Drain => Some(Change::DrainNode(v1::DrainNode {
            node: view.some_node(rng)?.id,
        })),
        Kind::Undrain => {
            let nodes = view.topology.nodes.iter();
            let draining: Vec<_> = nodes.filter(|n| n.admission == "draining").collect();
            let node = draining.choose(rng)?.id;
            Some(Change::UndrainNode(v1::UndrainNode { node }))
        }
        Kind::RemoveGroup => Some(Change::RemoveGroup(v1::RemoveGroup {
            group: view.some_group(rng)?.id,
        })),
        Kind::Copies => Some(Change::ChangeReplicationFactor(
            v1::ChangeReplicationFactor {
                index: INDEX.to_owned(),
                replication_factor: if view.replication_factor == 1 { 2 } else { 1 },
            },
        )),
        Kind::Rebalance => Some(Change::Rebalance(v1::Rebalance {
            index: rng.random_bool(0.5).then(|| INDEX.to_owned()),
        })),
        Kind::Move => move_shard(rng, view),
        Kind::Pin => pin(rng, view),
        Kind::Hold => Some(match view.topology.hold {
            Some(_) => Change::Release(v1::Release {}),
            None => Change::Hold(v1::Hold {
                reason: "the drill".to_owned(),
            }),
        }),
        Kind::Policy => Some(Change::Policy(v1::PolicyChange {
            max_concurrent_migrations: Some(rng.random_range(1..=8)),
            reverse_window_ms: Some(rng.random_range(0..=400)),
            ..v1::PolicyChange::default()
        })),
        Kind::Control => control(rng, view),
    }
}

fn new_node(url: &str, group: Option<u32>) -> v1::NewNode {
    v1::NewNode {
        url: url.to_owned(),
        group,
        zone: None,
        weight: None,
    }
}

/// A copy goes to a node of its group that has none.
pub fn move_shard(rng: &mut StdRng, view: &View) -> Option<Change> {
    let shard = rng.random_range(0..view.shards.len());
    let copies = &view.shards.get(shard)?.replicas;
    let from = copies.choose(rng)?;
    let mut others = view.members(from.group);
    others.retain(|node| copies.iter().all(|copy| copy.node != node.id));
    Some(Change::MoveShard(v1::MoveShard {
        index: INDEX.to_owned(),
        shard: u32::try_from(shard).ok()?,
        from: from.node,
        to: others.choose(rng)?.id,
    }))
}

fn pin(rng: &mut StdRng, view: &View) -> Option<Change> {
    let shard = rng.random_range(0..view.shards.len());
    let copies = &view.shards.get(shard)?.replicas;
    Some(Change::Pin(v1::Pin {
        index: INDEX.to_owned(),
        shard: u32::try_from(shard).ok()?,
        node: if rng.random_bool(0.5) {
            copies.choose(rng).map(|copy| copy.node)
        } else {
            None
        },
        pinned: rng.random_bool(0.5),
    }))
}

fn control(rng: &mut StdRng, view: &View) -> Option<Change> {
    if rng.random_bool(0.6) {
        let id = view.migrations.choose(rng)?.id;
        let action = Some(match rng.random_range(0..6) {
            0 => OnMigration::Pause(v1::Pause {}),
            1 => OnMigration::Resume(v1::Resume {}),
            2 => OnMigration::Cancel(v1::Cancel {}),
            3 | 4 => OnMigration::Reverse(v1::Reverse {}),
            _ => OnMigration::Throttle(throttle(rng)),
        });
        return Some(Change::ControlMigration(v1::ControlMigration {
            id,
            action,
        }));
    }
    let id = view.operations.choose(rng)?.id;
    let action = Some(match rng.random_range(0..6) {
        0 | 1 => OnOperation::Pause(v1::Pause {}),
        2 => OnOperation::Resume(v1::Resume {}),
        3 => OnOperation::Cancel(v1::Cancel {}),
        4 => OnOperation::Reverse(v1::Reverse {}),
        _ => OnOperation::Throttle(throttle(rng)),
    });
    Some(Change::ControlOperation(v1::ControlOperation {
        id,
        action,
    }))
}

fn throttle(rng: &mut StdRng) -> v1::Throttle {
    v1::Throttle {
        docs_per_s: Some(rng.random_range(50..500)),
        bytes_per_s: None,
    }
}
