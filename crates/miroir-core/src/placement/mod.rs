//! Which nodes hold which shards of one index in one replica group.
//!
//! Rendezvous hashing with a bounded load. Every (shard, node) pair has a [`Score`]; among all
//! placements that satisfy the rules below the one with the greatest total score is chosen, so a
//! placement is a function of its inputs alone: not of the order of candidates, not of who asks.
//!
//! The rules, strongest first. A weaker rule never gives up a stronger one:
//!
//! 1. **Distinct**: the copies of a shard are on different nodes.
//! 2. **Balance**: a node holds its ideal number of copies, rounded down or up. The ideal is
//!    `shards * rf * weight / total weight`; a node whose ideal would be more than every shard
//!    holds every shard, and the others share the rest.
//! 3. **Fewest moves** ([`rebalance`] only): no placement that satisfies 1 and 2 is reached by
//!    moving fewer copies.
//! 4. **Zones**: the copies of a shard are spread over as many zones, and as evenly, as 1 to 3
//!    allow. A node without a zone counts as a zone of its own. Zones come after moves on
//!    purpose: growing a group must cost the copies the new node needs and no others.
//! 5. **Score**: the shards that move are those whose scores prefer the new node most.
//!
//! Weights set how many copies a node holds and do not enter the score, which keeps floating
//! point, and with it differences between machines, out of a decision that is replicated.
//!
//! All five rules are one minimum-cost flow from shards to nodes (`flow`), so the optimum is
//! exact, and a placement that already satisfies them is its own answer: rebalancing twice
//! moves nothing the second time.

mod error;
mod flow;
mod quota;
mod score;
mod solve;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use error::PlacementError;
pub use score::Score;

use crate::id::{GroupId, NodeId, ShardId};

/// The most shards an index can have: [`ShardId`] is 16 bits.
const SHARDS_MAX: usize = 1 << 16;

/// A node that may hold copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its share of the copies, relative to the other candidates; at least 1.
    pub weight: u32,
    /// Where it can fail together with others, such as a rack; `None` if it is not known.
    pub zone: Option<String>,
}

/// What is placed: each index is placed in each replica group on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The index's uid.
    pub index: &'a str,
    /// The replica group the candidates belong to.
    pub group: GroupId,
}

/// One copy that changes its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// The shard whose copy moves.
    pub shard: ShardId,
    /// The node that gives the copy up; it need not be a candidate any more.
    pub from: NodeId,
    /// The node that gets it; it held no copy of the shard before.
    pub to: NodeId,
}

/// What becomes of one copy: it moves, it goes, or it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The shard.
    pub shard: ShardId,
    /// The node that gives a copy up; `None` when one is added.
    pub from: Option<NodeId>,
    /// The node that gets a copy; `None` when one goes.
    pub to: Option<NodeId>,
}

/// A node that holds a copy now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// Whether the copy is to stay: it moves only if nothing else makes a balanced placement.
    pub pinned: bool,
}

/// Places an index anew: for each shard `rf` distinct nodes, best score first.
///
/// # Errors
/// No candidate, `rf` of zero, more copies than candidates, or a candidate that is listed twice
/// or has weight zero. See [`PlacementError`].
pub fn propose(
    scope: &Scope<'_>,
    shards: u16,
    rf: u8,
    candidates: &[Candidate],
) -> Result<Vec<Vec<NodeId>>, PlacementError> {
    let candidates = checked_candidates(scope, rf, candidates)?;
    let unplaced = vec![Vec::<Holder>::new(); usize::from(shards)];
    Ok(solve::best_placement(scope, rf, &unplaced, &candidates))
}

/// The fewest changes that give every shard `rf` copies, placed by the rules of this module.
///
/// Unlike for [`rebalance`], a shard of `current` may have any number of holders: fewer than `rf` and copies are
/// added, more and copies go.
///
/// # Errors
/// What [`propose`] refuses, and a node that holds a shard twice.
pub fn changes(
    scope: &Scope<'_>,
    rf: u8,
    current: &[Vec<Holder>],
    candidates: &[Candidate],
) -> Result<Vec<Change>, PlacementError> {
    let candidates = checked_candidates(scope, rf, candidates)?;
    let nodes: Vec<Vec<NodeId>> = current
        .iter()
        .map(|holders| holders.iter().map(|holder| holder.node).collect())
        .collect();
    check_distinct(&nodes)?;
    let target = solve::best_placement(scope, rf, current, &candidates);
    let pairs = nodes.iter().zip(&target).enumerate();
    Ok(pairs
        .flat_map(|(shard, (now, next))| shard_changes(scope, shard_id(shard), now, next))
        .collect())
}

/// The fewest moves that make a placement satisfy the rules of this module for these candidates.
///
/// `current` has one entry per shard, in shard order, each naming the `rf` nodes that hold it in
/// any order. A node in `current` that is not a candidate is left: all its copies move. Moves
/// come in shard order.
///
/// # Errors
/// What [`propose`] refuses, and a `current` whose shards do not have `rf` distinct nodes each.
pub fn rebalance(
    scope: &Scope<'_>,
    rf: u8,
    current: &[Vec<NodeId>],
    candidates: &[Candidate],
) -> Result<Vec<Move>, PlacementError> {
    checked_candidates(scope, rf, candidates)?;
    check_current(rf, current)?;
    let holders = current.iter().map(|nodes| {
        let free = |node: &NodeId| Holder {
            node: *node,
            pinned: false,
        };
        nodes.iter().map(free).collect()
    });
    let holders: Vec<Vec<Holder>> = holders.collect();
    let planned = changes(scope, rf, &holders, candidates)?;
    let as_move = |change: Change| {
        Some(Move {
            shard: change.shard,
            from: change.from?,
            to: change.to?,
        })
    };
    Ok(planned.into_iter().filter_map(as_move).collect())
}

/// Pairs the nodes that a shard leaves with those it goes to, both in score order, so that the
/// pairing does not depend on the order in which `now` was written down.
fn shard_changes(
    scope: &Scope<'_>,
    shard: ShardId,
    now: &[NodeId],
    next: &[NodeId],
) -> Vec<Change> {
    let mut left: Vec<NodeId> = now.iter().copied().filter(|n| !next.contains(n)).collect();
    Score::sort_best_first(scope, shard, &mut left);
    let entered: Vec<NodeId> = next.iter().copied().filter(|n| !now.contains(n)).collect();
    (0..left.len().max(entered.len()))
        .map(|n| Change {
            shard,
            from: left.get(n).copied(),
            to: entered.get(n).copied(),
        })
        .collect()
}

/// The candidates in id order, which is what makes the outcome independent of the caller's order.
fn checked_candidates<'a>(
    scope: &Scope<'_>,
    rf: u8,
    candidates: &'a [Candidate],
) -> Result<Vec<&'a Candidate>, PlacementError> {
    if rf == 0 {
        return Err(PlacementError::NoCopies);
    }
    if candidates.is_empty() {
        return Err(PlacementError::NoCandidates {
            index: scope.index.to_owned(),
            group: scope.group,
        });
    }
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| candidate.node);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(PlacementError::DuplicateCandidate { node: pair[0].node });
    }
    if let Some(idle) = sorted.iter().find(|candidate| candidate.weight == 0) {
        return Err(PlacementError::ZeroWeight { node: idle.node });
    }
    if usize::from(rf) > sorted.len() {
        return Err(PlacementError::TooFewNodes {
            rf,
            nodes: sorted.len(),
        });
    }
    Ok(sorted)
}

fn check_current(rf: u8, current: &[Vec<NodeId>]) -> Result<(), PlacementError> {
    check_distinct(current)?;
    for (shard, nodes) in current.iter().enumerate() {
        let shard = shard_id(shard);
        if nodes.len() != usize::from(rf) {
            return Err(PlacementError::WrongCopies {
                shard,
                copies: nodes.len(),
                rf,
            });
        }
    }
    Ok(())
}

fn check_distinct(current: &[Vec<NodeId>]) -> Result<(), PlacementError> {
    if current.len() > SHARDS_MAX {
        return Err(PlacementError::TooManyShards {
            shards: current.len(),
        });
    }
    for (shard, nodes) in current.iter().enumerate() {
        let mut seen = BTreeSet::new();
        if let Some(&node) = nodes.iter().find(|node| !seen.insert(**node)) {
            return Err(PlacementError::DuplicateCopy {
                shard: shard_id(shard),
                node,
            });
        }
    }
    Ok(())
}

fn shard_id(position: usize) -> ShardId {
    ShardId(u16::try_from(position).expect("both entry points bound the number of shards"))
}
