//! Asks one copy of every shard, and another copy of those whose node fails, within one request.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use miroir_core::hidden_field;
use miroir_core::id::{GroupId, NodeId, ShardId};
use miroir_core::routing::{IndexRoute, NodeShare, RoutingTable, Unservable};
use tokio::time::Instant;

use super::choice;
use super::fault::Fault;
use super::sticky::Sticky;
use crate::error::HttpError;
use crate::upstream::{Standing, Upstream};

/// How long to wait before a node is asked again for an index that it does not have yet.
const ABSENT_PAUSE: Duration = Duration::from_millis(25);
/// How long to wait before a failed node is asked once more because there is no other copy.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
/// How long a node may lack an index that others have: it takes that long to create it.
const ABSENT_MAX: Duration = Duration::from_secs(3);

/// Why a node that lacks the index gives no answer.
const LACKS_INDEX: &str = "the node does not have the index";

/// What one node is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The node.
    pub node: NodeId,
    /// The shards it answers for.
    pub shards: BTreeSet<ShardId>,
    /// Whether the node holds nothing of the index but these, so that no filter is needed.
    pub holds_nothing_else: bool,
    /// Whether this piece is the whole index.
    pub sole: bool,
    /// Whether its node is asked for it once more, for want of another copy.
    pub again: bool,
    /// When its answer is no longer waited for.
    pub deadline: Instant,
}

impl Piece {
    /// The filter that keeps the node to the piece, if it needs one.
    #[must_use]
    pub fn filter(&self) -> Option<String> {
        let shards = self.shards.iter().map(|shard| shard.0).collect();
        (!self.holds_nothing_else).then(|| hidden_field::filter_for(&shards))
    }
}

/// One read of one index.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The table by which the read is routed; its guard is held by whoever made the scope.
    pub table: Arc<RoutingTable>,
    /// The index.
    pub route: Arc<IndexRoute>,
    /// The shards asked for; `None` for all.
    pub only: Option<BTreeSet<ShardId>>,
    /// Nodes that failed before in the same request, and how.
    pub failed: BTreeMap<NodeId, String>,
    /// Reads of one key use the same copies, so that pages fit together.
    pub key: u64,
    /// What reads of that key went by before.
    pub sticky: Arc<Sticky>,
    /// Whether the read goes on from an earlier one, whose choice is then kept.
    pub continues: bool,
    /// When the read is given up.
    pub deadline: Instant,
}

/// What the nodes answered: every shard of the index is in exactly one piece.
#[derive(Debug)]
pub struct Gathered<T> {
    /// Pieces and answers, ordered by node and shard so that ties are merged alike every time.
    pub answers: Vec<(Piece, T)>,
}

impl<T> Gathered<T> {
    /// Whether one node answered for everything.
    #[must_use]
    pub fn is_sole(&self) -> bool {
        matches!(self.answers.as_slice(), [(piece, _)] if piece.sole)
    }
}

/// The state of one gathering.
struct Attempt<'a> {
    scope: &'a Scope,
    upstream: &'a Upstream,
    group: GroupId,
    /// Nodes that failed in this request.
    failed: BTreeMap<NodeId, String>,
    /// Pieces whose node does not have the index yet.
    absent: Vec<Piece>,
    /// Whether the index is asked for in one piece.
    sole: bool,
}

impl Scope {
    /// Asks for every shard once. `ask` sends a piece to its node; a piece that failed is asked of
    /// other copies until none is left or the deadline has passed.
    ///
    /// # Errors
    /// The client's own fault as a node put it; `index_not_found` when no node has the index yet;
    /// `unavailable_shards`, naming shards and causes.
    pub async fn gather<T, F>(
        &self,
        upstream: &Upstream,
        ask: impl Fn(Piece) -> F,
    ) -> Result<Gathered<T>, HttpError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let group = choice::group(&self.table, self.key);
        let mut attempt = Attempt {
            scope: self,
            upstream,
            group,
            failed: self.failed.clone(),
            absent: Vec::new(),
            sole: false,
        };
        let first = match &self.only {
            Some(shards) => attempt.cover_of(shards)?,
            None => attempt.whole_cover()?,
        };
        attempt.sole = first.len() == 1;
        let mut pending = FuturesUnordered::new();
        let send = |piece: Piece| {
            let ask = &ask;
            async move {
                if piece.again {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                }
                let asked = ask(piece.clone()).await;
                (piece, asked)
            }
        };
        pending.extend(attempt.pieces(first).into_iter().map(send));
        let mut answers = Vec::new();
        let begun = Instant::now();
        loop {
            while let Some((piece, result)) = pending.next().await {
                match result {
                    Ok(answer) => answers.push((piece, answer)),
                    Err(Fault::Refused(error)) => {
                        return Err(error.about([self.route.as_ref()]));
                    }
                    Err(Fault::Failed(why)) => {
                        let again = attempt.replace(piece, why)?;
                        pending.extend(again.into_iter().map(send));
                    }
                    Err(Fault::Absent) => attempt.absent.push(piece),
                }
            }
            let again = attempt.ask_again(answers.is_empty(), begun)?;
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(ABSENT_PAUSE).await;
            pending.extend(again.into_iter().map(send));
        }
        answers.sort_by(|(a, _), (b, _)| (a.node, &a.shards).cmp(&(b.node, &b.shards)));
        Ok(Gathered { answers })
    }
}

impl Attempt<'_> {
    /// Healthy nodes first; if a shard has none, nodes that are down are tried too: that may be
    /// wrong by now, and there is nothing to lose.
    fn whole_cover(&self) -> Result<BTreeMap<NodeId, NodeShare>, HttpError> {
        let Scope {
            table, route, key, ..
        } = self.scope;
        let untried = |node: &NodeId| !self.failed.contains_key(node);
        let standing = |node| self.standing(node);
        let healthy = |node| choice::rank(standing(node), *key, node).filter(|_| untried(&node));
        let any = |node| untried(&node).then(|| choice::rank_or_last(standing(node), *key, node));
        route
            .covering_set_preferring(self.group, table, healthy)
            .or_else(|_| route.covering_set_preferring(self.group, table, any))
            .map_err(|Unservable { shards }| self.unavailable(&shards.into_iter().collect()))
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

    fn pieces(&self, cover: BTreeMap<NodeId, NodeShare>) -> Vec<Piece> {
        let piece = |(node, share): (NodeId, NodeShare)| Piece {
            node,
            deadline: self.patience(&share.shards, node),
            shards: share.shards,
            holds_nothing_else: share.holds_nothing_else,
            sole: self.sole,
            again: false,
        };
        cover.into_iter().map(piece).collect()
    }

    /// Half of what is left when another copy could be asked after this one, else all of it.
    fn patience(&self, shards: &BTreeSet<ShardId>, node: NodeId) -> Instant {
        let has_other = |shard: &ShardId| self.copies(*shard).any(|other| other != node);
        let now = Instant::now();
        let left = self.scope.deadline.saturating_duration_since(now);
        if shards.iter().all(has_other) {
            now + left / 2
        } else {
            now + left
        }
    }

    /// Nodes with a readable copy that have not failed, this group's first, in order of choice.
    fn copies(&self, shard: ShardId) -> impl Iterator<Item = NodeId> {
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

    /// The piece again, from other copies; from the same one if there is no other: a connection that
    /// broke may have been the accident of a moment.
    fn replace(&mut self, piece: Piece, why: String) -> Result<Vec<Piece>, HttpError> {
        tracing::debug!(node = %piece.node, %why, "read is tried again");
        self.failed.insert(piece.node, why);
        if Instant::now() >= self.scope.deadline {
            return Err(self.unavailable(&piece.shards));
        }
        match self.cover_of(&piece.shards) {
            Ok(chosen) => {
                self.sole = piece.sole && chosen.len() == 1;
                Ok(self.pieces(chosen))
            }
            Err(_) if !piece.again => Ok(vec![Piece {
                again: true,
                deadline: self.scope.deadline,
                ..piece
            }]),
            Err(unavailable) => Err(unavailable),
        }
    }

    /// The best copy of each of these shards.
    fn cover_of(
        &self,
        shards: &BTreeSet<ShardId>,
    ) -> Result<BTreeMap<NodeId, NodeShare>, HttpError> {
        let mut chosen: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for shard in shards {
            match self.copies(*shard).next() {
                Some(node) => {
                    chosen.entry(node).or_default().insert(*shard);
                }
                None => {
                    missing.insert(*shard);
                }
            }
        }
        if !missing.is_empty() {
            return Err(self.unavailable(&missing));
        }
        let share = |(node, shards)| {
            (
                node,
                NodeShare {
                    shards,
                    holds_nothing_else: false,
                },
            )
        };
        Ok(chosen.into_iter().map(share).collect())
    }

    /// What to ask, after all others have answered, in place of pieces whose node did not have the
    /// index: other copies at once, and where there are none, the same node again.
    ///
    /// A node gets an index a moment after others do. If it was never told of it, it holds no
    /// document of it: then there is nothing to ask. Otherwise it will have it soon, or it lost it.
    /// The index is not found when every copy has said so.
    fn ask_again(&mut self, nothing_yet: bool, begun: Instant) -> Result<Vec<Piece>, HttpError> {
        let others = self.elsewhere()?;
        if !others.is_empty() || self.absent.is_empty() {
            return Ok(others);
        }
        let route = &self.scope.route;
        let absent = std::mem::take(&mut self.absent);
        let shards = absent.iter().flat_map(|piece| piece.shards.clone());
        if nothing_yet {
            return Err(if self.failed.values().all(|why| why == LACKS_INDEX) {
                HttpError::index_not_found(route.uid.as_str())
            } else {
                self.unavailable(&shards.collect())
            });
        }
        let settings_of = |node: &NodeId| route.node_settings.get(node).copied().unwrap_or(0);
        let expected = absent.iter().filter(|piece| settings_of(&piece.node) > 0);
        let expected: Vec<Piece> = expected.cloned().collect();
        let now = Instant::now();
        if expected.is_empty() || (now - begun < ABSENT_MAX && now < self.scope.deadline) {
            Ok(expected)
        } else {
            Err(self.unavailable(&shards.collect()))
        }
    }

    /// The absent pieces again from copies that were not tried, as far as there are any; the rest
    /// stays absent.
    fn elsewhere(&mut self) -> Result<Vec<Piece>, HttpError> {
        let absent = std::mem::take(&mut self.absent);
        for piece in &absent {
            self.failed.insert(piece.node, LACKS_INDEX.to_owned());
        }
        let mut pieces = Vec::new();
        for mut piece in absent {
            let has_other = |shard: &ShardId| self.copies(*shard).next().is_some();
            let (others, only): (BTreeSet<_>, BTreeSet<_>) =
                piece.shards.iter().copied().partition(has_other);
            if !others.is_empty() {
                let chosen = self.cover_of(&others)?;
                self.sole = piece.sole && only.is_empty() && chosen.len() == 1;
                pieces.extend(self.pieces(chosen));
                piece.shards = only;
                (piece.holds_nothing_else, piece.sole) = (false, false);
            }
            if !piece.shards.is_empty() {
                self.absent.push(piece);
            }
        }
        Ok(pieces)
    }

    fn unavailable(&self, shards: &BTreeSet<ShardId>) -> HttpError {
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
