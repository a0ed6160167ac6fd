//! Which copies of an index's shards one read may still ask, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::routing::{NodeShare, Unservable};
use tokio::time::Instant;

use super::choice;
use super::cover::{Piece, Scope};
use crate::error::HttpError;
use crate::upstream::{Standing, Upstream};

/// How long a node that is down is waited for when the answer can do without it: long enough for one that has just
/// come back and whose return was not noticed yet.
const DOWN_PATIENCE: Duration = Duration::from_millis(250);

/// What each node is to be asked for.
type Cover = BTreeMap<NodeId, NodeShare>;

/// The copies that a read may ask.
#[derive(Clone)]
pub(super) struct Copies<'a> {
    pub(super) scope: &'a Scope,
    pub(super) upstream: &'a Upstream,
    group: GroupId,
    /// Nodes that failed in this request, and how.
    pub(super) failed: BTreeMap<NodeId, String>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(scope: &'a Scope, upstream: &'a Upstream) -> Self {
        Self {
            scope,
            upstream,
            group: choice::group(&scope.table, scope.key),
            failed: scope.failed.clone(),
        }
    }

    /// What to ask first, and the shards that nobody can be asked for.
    pub(super) fn first(&self) -> (Cover, BTreeSet<ShardId>) {
        let (cover, missing) = match &self.scope.only {
            Some(shards) => self.cover(shards),
            None => self.whole_cover(),
        };
        (self.as_before(cover), missing)
    }

    /// The cover with those copies in it that answered earlier reads of the same key in place of late ones.
    fn as_before(&self, cover: Cover) -> Cover {
        let before = self.scope.sticky.instead_of(self.scope.key);
        if before.is_empty() {
            return cover;
        }
        let mut chosen: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for (node, share) in cover {
            for shard in share.shards {
                let earlier = before.get(&shard).copied();
                let earlier = earlier.filter(|earlier| self.of(shard).any(|n| n == *earlier));
                let earlier = earlier.filter(|n| self.upstream.standing(*n) != Standing::Down);
                chosen
                    .entry(earlier.unwrap_or(node))
                    .or_default()
                    .insert(shard);
            }
        }
        self.scope.route.shares(chosen)
    }

    /// Other copies for the whole of a piece whose node is late, on nodes that have room for it. Empty if
    /// some shard has none.
    pub(super) fn instead_of(&self, piece: &Piece) -> Vec<Piece> {
        let mut others = self.clone();
        let late = "it is late".to_owned();
        others.failed.insert(piece.node, late);
        for node in piece.shards.iter().flat_map(|shard| self.of(*shard)) {
            if !self.upstream.has_room(node) {
                let full = "it has no room".to_owned();
                others.failed.insert(node, full);
            }
        }
        let (cover, missing) = others.cover(&piece.shards);
        if !missing.is_empty() {
            return Vec::new();
        }
        let sole = piece.sole && cover.len() == 1;
        others.pieces(cover, sole)
    }

    /// Healthy nodes first; if a shard has none, nodes that are down are tried too: that may be
    /// wrong by now, and there is nothing to lose.
    fn whole_cover(&self) -> (Cover, BTreeSet<ShardId>) {
        let Scope {
            table, route, key, ..
        } = self.scope;
        let untried = |node: &NodeId| !self.failed.contains_key(node);
        let standing = |node| self.standing(node);
        let healthy = |node| choice::rank(standing(node), *key, node).filter(|_| untried(&node));
        let any = |node| untried(&node).then(|| choice::rank_or_last(standing(node), *key, node));
        let covered = route
            .covering_set_preferring(self.group, table, healthy)
            .or_else(|_| route.covering_set_preferring(self.group, table, any));
        match covered {
            Ok(cover) => (cover, BTreeSet::new()),
            Err(Unservable { shards }) => {
                let missing: BTreeSet<ShardId> = shards.into_iter().collect();
                let others = route.shards_by_id().map(|(shard, _)| shard);
                let others = others.filter(|shard| !missing.contains(shard)).collect();
                (self.cover(&others).0, missing)
            }
        }
    }

    /// The best copy of each of these shards, and those that have none.
    pub(super) fn cover(&self, shards: &BTreeSet<ShardId>) -> (Cover, BTreeSet<ShardId>) {
        let mut chosen: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for shard in shards {
            match self.of(*shard).next() {
                Some(node) => {
                    chosen.entry(node).or_default().insert(*shard);
                }
                None => {
                    missing.insert(*shard);
                }
            }
        }
        (self.scope.route.shares(chosen), missing)
    }

    /// Nodes with a readable copy that have not failed, this group's first, in order of choice.
    pub(super) fn of(&self, shard: ShardId) -> impl Iterator<Item = NodeId> {
        let Scope {
            table, route, key, ..
        } = self.scope;
        let replicas = route
            .shard(shard)
            .map(|shard| shard.replicas.as_slice())
            .unwrap_or_default();
        let mut copies: Vec<_> = replicas
            .iter()
            .filter(|r| r.state.is_readable() && table.groups.contains(&r.group))
            .filter(|r| !self.failed.contains_key(&r.node))
            .map(|r| {
                let rank = choice::rank_or_last(self.standing(r.node), *key, r.node);
                (r.group != self.group, rank, r.node)
            })
            .collect();
        copies.sort_unstable();
        copies.into_iter().map(|(_, _, node)| node)
    }

    fn standing(&self, node: NodeId) -> Standing {
        let now = self.upstream.standing(node);
        let Scope { key, sticky, .. } = self.scope;
        if self.scope.continues {
            sticky.standing(*key, node, now)
        } else {
            sticky.begin(*key, node, now)
        }
    }

    /// Whether the node is down, and the answer can do without what only that node has.
    pub(super) fn can_be_left_out(&self, node: NodeId) -> bool {
        self.scope.partial && self.upstream.standing(node) == Standing::Down
    }

    /// The pieces of a cover. `sole` is a single piece that is the whole index.
    pub(super) fn pieces(&self, cover: Cover, sole: bool) -> Vec<Piece> {
        let piece = |(node, share): (NodeId, NodeShare)| Piece {
            node,
            deadline: self.patience(&share.shards, node),
            shards: share.shards,
            holds_nothing_else: share.holds_nothing_else,
            sole,
            again: false,
        };
        cover.into_iter().map(piece).collect()
    }

    /// Half of what is left when another copy could be asked after this one, else all of it.
    fn patience(&self, shards: &BTreeSet<ShardId>, node: NodeId) -> Instant {
        let has_other = |shard: &ShardId| self.of(*shard).any(|other| other != node);
        let can_be_replaced = match self.scope.partial {
            // What has no other copy is left out then.
            true => shards.iter().any(has_other),
            false => shards.iter().all(has_other),
        };
        let now = Instant::now();
        let left = self.scope.deadline.saturating_duration_since(now);
        if self.can_be_left_out(node) {
            now + left.min(DOWN_PATIENCE)
        } else if can_be_replaced {
            now + left / 2
        } else {
            now + left
        }
    }

    /// The nodes that should have answered for a shard, and why they did not.
    pub(super) fn owe(&self, shard: ShardId) -> Vec<(NodeId, String)> {
        let replicas = self.scope.route.shard(shard);
        let replicas = replicas.map_or(&[][..], |shard| shard.replicas.as_slice());
        let why = |node: &NodeId| match self.failed.get(node) {
            Some(why) => why.clone(),
            None => "its copy is not in sync".to_owned(),
        };
        replicas.iter().map(|r| (r.node, why(&r.node))).collect()
    }

    /// The error that names shards which nobody answers for, and causes.
    pub(super) fn unavailable(&self, shards: &BTreeSet<ShardId>) -> HttpError {
        let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
        let noun = if names.len() == 1 { "shard" } else { "shards" };
        let why: Vec<String> = self
            .failed
            .iter()
            .map(|(node, why)| format!("node {node}: {why}"))
            .collect();
        let why = if why.is_empty() {
            "no copy is in sync".to_owned()
        } else {
            why.join("; ")
        };
        let what = format!("{noun} {}", names.join(", "));
        HttpError::unavailable_shards(self.scope.route.uid.as_str(), &what, &why)
    }
}
