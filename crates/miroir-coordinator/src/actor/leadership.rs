//! Starts the leader-only actors with leadership, and ends them with it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::raft::Leadership;
use crate::session::Seat;
use crate::supervise;

/// One uninterrupted leadership of this coordinator.
struct Reign {
    term: u64,
    cancel: CancellationToken,
    actors: JoinSet<()>,
}

/// Follows leadership until `cancel`; then ends it.
///
/// The order matters. At the beginning the memory of sessions is emptied before the seat says
/// that this coordinator leads, so no session of this leadership is forgotten. At the end the
/// seat goes first, so no session outlives it.
pub async fn run(ctx: Context, seat: watch::Sender<Seat>, cancel: CancellationToken) {
    let mut leadership = ctx.cluster.consensus().leadership();
    let mut reign: Option<Reign> = None;
    loop {
        let now = leadership.borrow_and_update().clone();
        let goes_on = reign
            .as_ref()
            .is_some_and(|reign| now.is_leader() && reign.term == now.term);
        if !goes_on {
            if !now.is_leader() {
                follow(&seat, &now);
            }
            if let Some(ended) = reign.take() {
                seat.send_if_modified(leave);
                ended.end(ctx.config.drain()).await;
            }
            if now.is_leader() {
                reign = Some(begin(&ctx, now.term));
                seat.send_replace(Seat::Leader);
            }
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = leadership.changed() => if changed.is_err() { break },
        }
    }
    seat.send_replace(Seat::Follower { leader: None });
    if let Some(ended) = reign {
        ended.end(ctx.config.drain()).await;
    }
}

fn follow(seat: &watch::Sender<Seat>, now: &Leadership) {
    let next = Seat::Follower {
        leader: now.leader.as_ref().map(|leader| leader.api_url.clone()),
    };
    seat.send_if_modified(|seat| {
        let changed = *seat != next;
        *seat = next;
        changed
    });
}

/// Sessions of the last leadership end even if this coordinator was elected again meanwhile.
fn leave(seat: &mut Seat) -> bool {
    let leading = *seat == Seat::Leader;
    if leading {
        *seat = Seat::Follower { leader: None };
    }
    leading
}

fn begin(ctx: &Context, term: u64) -> Reign {
    tracing::info!(term, "leading; starting the leader's actors");
    ctx.sessions.begin_leadership();
    let cancel = CancellationToken::new();
    let mut actors = JoinSet::new();
    supervise::spawn(supervise::LEADER_ACTORS, ctx, &cancel, &mut actors);
    Reign {
        term,
        cancel,
        actors,
    }
}

impl Reign {
    /// Ends the actors. One that has not ended in time is aborted, so that those of the next
    /// leadership never work beside it.
    async fn end(mut self, patience: Duration) {
        tracing::info!(
            term = self.term,
            "leading no more; ending the leader's actors"
        );
        self.cancel.cancel();
        let drained = async { while self.actors.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!(
                left = self.actors.len(),
                "actors did not end in time and are aborted"
            );
            self.actors.shutdown().await;
        }
    }
}
