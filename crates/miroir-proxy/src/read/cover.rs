//! Asks one copy of every shard, and another copy of those whose node fails, within one request.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use miroir_core::hidden_field;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::routing::{IndexRoute, RoutingTable};
use miroir_core::search::Missing;
use tokio::time::Instant;

use super::copies::Copies;
use super::fault::Fault;
use super::hedge::{self, Hedging};
use super::sticky::Sticky;
use crate::error::HttpError;
use crate::upstream::Upstream;

/// How long to wait before a node is asked again for an index that it does not have yet.
const ABSENT_PAUSE: Duration = Duration::from_millis(25);
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
    /// When other copies are asked beside a late one.
    pub hedging: Arc<Hedging>,
    /// Whether the read goes on from an earlier one, whose choice is then kept.
    pub continues: bool,
    /// Whether an answer without shards that nobody answers for is better than none.
    pub partial: bool,
    /// When the read is given up.
    pub deadline: Instant,
}

/// What the nodes answered: every shard of the index is in exactly one piece, or missing.
#[derive(Debug)]
pub struct Gathered<T> {
    /// Pieces and answers, ordered by node and shard so that ties are merged alike every time.
    pub answers: Vec<(Piece, T)>,
    /// Shards that nobody answered for.
    pub missing: Missing,
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
    copies: Copies<'a>,
    /// Pieces whose node does not have the index yet.
    absent: Vec<Piece>,
    /// Shards that are given up, and who should have answered for them.
    lost: BTreeMap<ShardId, Vec<(NodeId, String)>>,
}

impl Scope {
    /// Makes the read one of `key`, which goes on from an earlier one or begins anew.
    pub fn is_of(&mut self, key: u64, continues: bool) {
        self.key = key;
        self.continues = continues;
        if !continues {
            self.sticky.forget_instead(key);
        }
    }

    /// Asks for every shard once. `ask` sends a piece to its node; a piece that failed is asked of
    /// other copies until none is left or the deadline has passed.
    ///
    /// # Errors
    /// The client's own fault as a node put it; `index_not_found` when no node has the index yet;
    /// `unavailable_shards`, naming shards and causes: when one is missing, or all if the answer may be
    /// partial.
    pub async fn gather<'a, T, F>(
        &'a self,
        upstream: &'a Upstream,
        ask: impl Fn(Piece) -> F,
    ) -> Result<Gathered<T>, HttpError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut attempt = Attempt {
            copies: Copies::new(self, upstream),
            absent: Vec::new(),
            lost: BTreeMap::new(),
        };
        let (first, missing) = attempt.copies.first();
        attempt.lose(&missing)?;
        let sole = first.len() == 1 && missing.is_empty();
        let mut pending = FuturesUnordered::new();
        let send = |copies: &Copies<'a>, pieces: Vec<Piece>| -> Vec<_> {
            let send = |piece| hedge::ask(copies.clone(), piece, &ask);
            pieces.into_iter().map(send).collect()
        };
        let pieces = attempt.copies.pieces(first, sole);
        pending.extend(send(&attempt.copies, pieces));
        let mut answers = Vec::new();
        let begun = Instant::now();
        loop {
            while let Some(asked) = pending.next().await {
                for (piece, result) in asked {
                    match result {
                        Ok(answer) => answers.push((piece, answer)),
                        Err(Fault::Refused(error)) => {
                            return Err(error.about([self.route.as_ref()]));
                        }
                        Err(Fault::Failed(why)) => {
                            let again = attempt.replace(piece, why)?;
                            pending.extend(send(&attempt.copies, again));
                        }
                        Err(Fault::Absent) => attempt.absent.push(piece),
                    }
                }
            }
            let again = attempt.ask_again(answers.is_empty(), begun)?;
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(ABSENT_PAUSE).await;
            pending.extend(send(&attempt.copies, again));
        }
        answers.sort_by(|(a, _), (b, _)| (a.node, &a.shards).cmp(&(b.node, &b.shards)));
        let missing = attempt.missing(answers.is_empty())?;
        Ok(Gathered { answers, missing })
    }
}

impl Attempt<'_> {
    /// Gives shards up, if an answer may be without them.
    fn lose(&mut self, shards: &BTreeSet<ShardId>) -> Result<(), HttpError> {
        if !shards.is_empty() && !self.copies.scope.partial {
            return Err(self.copies.unavailable(shards));
        }
        for shard in shards {
            self.lost.insert(*shard, self.copies.owe(*shard));
        }
        Ok(())
    }

    /// What was given up. Nothing but that is no answer.
    fn missing(self, nothing_else: bool) -> Result<Missing, HttpError> {
        if nothing_else && !self.lost.is_empty() {
            return Err(self.copies.unavailable(&self.lost.into_keys().collect()));
        }
        let route = &self.copies.scope.route;
        let mut missing = Missing::default();
        for (shard, holders) in self.lost {
            missing.insert((&route.uid, route.shard_count()), shard, holders);
        }
        Ok(missing)
    }

    /// The piece again, from other copies; from the same one as far as there is no other: a connection
    /// that broke may have been the accident of a moment.
    fn replace(&mut self, piece: Piece, why: String) -> Result<Vec<Piece>, HttpError> {
        tracing::debug!(node = %piece.node, %why, "read is tried again");
        self.copies.failed.insert(piece.node, why);
        if Instant::now() >= self.copies.scope.deadline {
            self.lose(&piece.shards)?;
            return Ok(Vec::new());
        }
        let (chosen, only) = self.copies.cover(&piece.shards);
        let sole = piece.sole && only.is_empty() && chosen.len() == 1;
        let mut pieces = self.copies.pieces(chosen, sole);
        if piece.again || self.copies.can_be_left_out(piece.node) {
            self.lose(&only)?;
        } else if !only.is_empty() {
            let is_whole = only.len() == piece.shards.len();
            pieces.push(Piece {
                again: true,
                sole: piece.sole && is_whole,
                holds_nothing_else: piece.holds_nothing_else && is_whole,
                shards: only,
                deadline: self.copies.scope.deadline,
                ..piece
            });
        }
        Ok(pieces)
    }

    /// What to ask, after all others have answered, in place of pieces whose node did not have the
    /// index: other copies at once, and where there are none, the same node again.
    ///
    /// A node gets an index a moment after others do. If it was never told of it, it holds no
    /// document of it: then there is nothing to ask. Otherwise it will have it soon, or it lost it.
    /// The index is not found when every copy has said so.
    fn ask_again(&mut self, nothing_yet: bool, begun: Instant) -> Result<Vec<Piece>, HttpError> {
        let others = self.elsewhere();
        if !others.is_empty() || self.absent.is_empty() {
            return Ok(others);
        }
        let scope = self.copies.scope;
        let absent = std::mem::take(&mut self.absent);
        let shards = absent.iter().flat_map(|piece| piece.shards.clone());
        if nothing_yet {
            let lacking = self.copies.failed.values().all(|why| why == LACKS_INDEX);
            return Err(if lacking {
                HttpError::index_not_found(scope.route.uid.as_str())
            } else {
                self.copies.unavailable(&shards.collect())
            });
        }
        let settings_of = |node: &NodeId| scope.route.node_settings.get(node).copied().unwrap_or(0);
        let expected = absent.iter().filter(|piece| settings_of(&piece.node) > 0);
        let expected: Vec<Piece> = expected.cloned().collect();
        let now = Instant::now();
        if expected.is_empty() || (now - begun < ABSENT_MAX && now < scope.deadline) {
            return Ok(expected);
        }
        self.lose(&shards.collect())?;
        Ok(Vec::new())
    }

    /// The absent pieces again from copies that were not tried, as far as there are any; the rest
    /// stays absent.
    fn elsewhere(&mut self) -> Vec<Piece> {
        let absent = std::mem::take(&mut self.absent);
        for piece in &absent {
            let why = LACKS_INDEX.to_owned();
            self.copies.failed.insert(piece.node, why);
        }
        let mut pieces = Vec::new();
        for mut piece in absent {
            let (chosen, only) = self.copies.cover(&piece.shards);
            if !chosen.is_empty() {
                let sole = piece.sole && only.is_empty() && chosen.len() == 1;
                pieces.extend(self.copies.pieces(chosen, sole));
                (piece.holds_nothing_else, piece.sole) = (false, false);
                piece.shards = only;
            }
            if !piece.shards.is_empty() {
                self.absent.push(piece);
            }
        }
        pieces
    }
}
