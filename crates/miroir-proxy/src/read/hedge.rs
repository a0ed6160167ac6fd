//! Asks other copies when a node has not answered past what is usual for it, and takes what comes first.
//!
//! ```text
//! piece ---- usual time of its node ----+---- whichever is first ---- one answer for each shard
//!                                       +-> other copies of the same shards, together
//! ```
//!
//! The other copies answer for exactly the shards of the piece, or not at all: a part of theirs is never joined with a part
//! of the node's, so that no document counts twice.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::budget::Budget;
use super::copies::Copies;
use super::cover::Piece;
use super::fault::Fault;

/// How long to wait before a failed node is asked once more because there is no other copy.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);

/// A node that takes so many times as long as usual may have stopped altogether.
const VERY_LATE: u32 = 4;

/// What came of a piece: an answer for each part of it.
pub(super) type Asked<T> = Vec<(Piece, Result<T, Fault>)>;

/// When other copies are asked too, and how often that was.
#[derive(Debug)]
pub struct Hedging {
    /// However fast a node usually is, it gets this much time.
    least: Duration,
    budget: Budget,
    /// Requests to other copies.
    pub sent: AtomicU64,
    /// Pieces for which other copies answered first.
    pub won: AtomicU64,
    /// Pieces for which the budget did not allow any.
    pub refused: AtomicU64,
}

impl Hedging {
    /// At most `percent` requests more of a hundred, none before `least`.
    #[must_use]
    pub fn new(percent: u64, least: Duration) -> Self {
        Self {
            least,
            budget: Budget::new(percent),
            sent: AtomicU64::new(0),
            won: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether so many requests can be sent, which they are counted as then.
    fn may_send(&self, requests: usize, very_late: bool) -> bool {
        let allowed = self.budget.spend(requests, very_late);
        if allowed {
            let requests = u64::try_from(requests).unwrap_or(u64::MAX);
            self.sent.fetch_add(requests, Ordering::Relaxed);
        } else if very_late {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }
}

/// Asks a piece's node, and once it is late other copies of the same shards.
pub(super) async fn ask<T, F>(
    copies: Copies<'_>,
    piece: Piece,
    ask: &impl Fn(Piece) -> F,
) -> Asked<T>
where
    F: Future<Output = Result<T, Fault>>,
{
    if piece.again {
        tokio::time::sleep(AGAIN_PAUSE).await;
    }
    let hedging = &copies.scope.hedging;
    hedging.budget.earn();
    let begun = Instant::now();
    let mut first = pin!(ask(piece.clone()));
    let mut others = Vec::new();
    for (late, very) in late(&copies, &piece, begun) {
        if let Ok(result) = tokio::time::timeout_at(late, &mut first).await {
            return vec![(piece, result)];
        }
        others = copies.instead_of(&piece);
        if !others.is_empty() && hedging.may_send(others.len(), very) {
            break;
        }
        others.clear();
    }
    if others.is_empty() {
        return vec![(piece, first.await)];
    }
    let others = others.into_iter().map(async |other| {
        let answer = ask(other.clone()).await?;
        Ok::<_, Fault>((other, answer))
    });
    let mut second = pin!(try_join_all(others));
    let answers = tokio::select! {
        result = &mut first => match result {
            Err(fault @ (Fault::Failed(_) | Fault::Absent)) => match second.await {
                Ok(answers) => answers,
                Err(_) => return vec![(piece, Err(fault))],
            },
            result => return vec![(piece, result)],
        },
        result = &mut second => match result {
            Ok(answers) => {
                copies.upstream.overtaken(piece.node, begun.elapsed());
                answers
            }
            Err(_) => return vec![(piece, first.await)],
        },
    };
    hedging.won.fetch_add(1, Ordering::Relaxed);
    let scope = copies.scope;
    for (other, _) in &answers {
        scope.sticky.instead(scope.key, &other.shards, other.node);
    }
    let answered = |(other, answer)| (other, Ok(answer));
    answers.into_iter().map(answered).collect()
}

/// When the piece's node is late, and when it is very late. Never, where nobody else is to be asked: a later page stays
/// with the copies of the first one, and a node that was seldom asked has nothing usual.
fn late(copies: &Copies<'_>, piece: &Piece, begun: Instant) -> Vec<(Instant, bool)> {
    let hedging = &copies.scope.hedging;
    if copies.scope.continues || piece.again || hedging.budget.is_off() {
        return Vec::new();
    }
    let Some(usual) = copies.upstream.usual(piece.node) else {
        return Vec::new();
    };
    let late = usual.max(hedging.least);
    let times = [(begun + late, false), (begun + late * VERY_LATE, true)];
    let in_time = |(late, _): &(Instant, bool)| *late < piece.deadline;
    times.into_iter().filter(in_time).collect()
}
