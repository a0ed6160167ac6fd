//! The one place that spawns actors: which there are, when they run, and what happens when one fails.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::actor::{
    Context, broadcast, cut, planner, purge, scrub, settings, tasks, tend, webhooks, wiped,
};
use crate::{migration, nodes, session};

/// What an actor's run ends with.
pub type Ended = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// An actor, as data.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    /// Its name in logs.
    pub name: &'static str,
    /// Runs it until the token is cancelled. It must end soon after, whatever it was doing.
    pub run: fn(Context, CancellationToken) -> Ended,
}

/// The actors that run while this coordinator leads, and only then. Every one begins anew from the
/// replicated state, so it does not matter where its predecessor had got to.
pub const LEADER_ACTORS: &[Actor] = &[
    Actor {
        name: "leases",
        run: |ctx, cancel| {
            Box::pin(forever(session::watch_leases(
                ctx.cluster,
                ctx.sessions,
                cancel,
            )))
        },
    },
    Actor {
        name: "node health",
        run: |ctx, cancel| Box::pin(forever(nodes::health::run(ctx, cancel))),
    },
    Actor {
        name: "planner",
        run: |ctx, cancel| Box::pin(planner::run(ctx, cancel)),
    },
    Actor {
        name: "tasks",
        run: |ctx, cancel| Box::pin(tasks::run(ctx, cancel)),
    },
    Actor {
        name: "purge",
        run: |ctx, cancel| Box::pin(purge::run(ctx, cancel)),
    },
    Actor {
        name: "broadcast",
        run: |ctx, cancel| Box::pin(broadcast::run(ctx, cancel)),
    },
    Actor {
        name: "cut",
        run: |ctx, cancel| Box::pin(cut::run(ctx, cancel)),
    },
    Actor {
        name: "tend",
        run: |ctx, cancel| Box::pin(tend::run(ctx, cancel)),
    },
    Actor {
        name: "webhooks",
        run: |ctx, cancel| Box::pin(webhooks::run(ctx, cancel)),
    },
    Actor {
        name: "wiped nodes",
        run: |ctx, cancel| Box::pin(forever(wiped::run(ctx, cancel))),
    },
    Actor {
        name: "scrub",
        run: |ctx, cancel| Box::pin(forever(scrub::run(ctx, cancel))),
    },
    Actor {
        name: "settings",
        run: |ctx, cancel| Box::pin(forever(settings::run(ctx, cancel))),
    },
    Actor {
        name: "migrations",
        run: |ctx, cancel| Box::pin(forever(migration::supervise(ctx.mover(), cancel))),
    },
];

/// The run of an actor that knows no failure of its own; it may still panic.
async fn forever(run: impl Future<Output = ()>) -> anyhow::Result<()> {
    run.await;
    Ok(())
}

/// First pause before a failed actor starts again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// An actor that ran this long before it failed is not failing in a row.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Spawns `actors` into `set`; each runs until `cancel`.
pub fn spawn(
    actors: &'static [Actor],
    ctx: &Context,
    cancel: &CancellationToken,
    set: &mut JoinSet<()>,
) {
    for actor in actors {
        let (ctx, cancel) = (ctx.clone(), cancel.clone());
        let start = {
            let cancel = cancel.clone();
            move || (actor.run)(ctx.clone(), cancel.clone())
        };
        set.spawn(keep_running(actor.name, cancel, start));
    }
}

/// Runs an actor, and again after every failure, ever more slowly, until `cancel`.
async fn keep_running(name: &'static str, cancel: CancellationToken, start: impl Fn() -> Ended) {
    let mut pause = PAUSE_MIN;
    while !cancel.is_cancelled() {
        let began = Instant::now();
        let ended = AssertUnwindSafe(start()).catch_unwind().await;
        if cancel.is_cancelled() {
            return;
        }
        if began.elapsed() >= HEALTHY_AFTER {
            pause = PAUSE_MIN;
        }
        match ended {
            Ok(Ok(())) => {
                tracing::error!(actor = name, "an actor ended by itself; starting it again")
            }
            Ok(Err(error)) => tracing::error!(
                actor = name,
                "an actor failed, starting it again: {error:#}"
            ),
            Err(_) => tracing::error!(actor = name, "an actor panicked; starting it again"),
        }
        cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_actor_is_started_again_ever_more_slowly() {
        let runs = Arc::new(AtomicUsize::new(0));
        let cancel = CancellationToken::new();
        let counted = Arc::clone(&runs);
        let kept = tokio::spawn(keep_running("test", cancel.clone(), move || {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                assert!(run != 1, "the second run panics");
                anyhow::bail!("the others fail")
            })
        }));
        // Pauses of 0.1, 0.2, 0.4, 0.8 and 1.6 s: five restarts in 3.2 s, fewer than two more in the next 3 s.
        tokio::time::sleep(Duration::from_millis(3_200)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 6);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 6);
        cancel.cancel();
        kept.await.expect("it ends when cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_actor_is_not_started_again() {
        let cancel = CancellationToken::new();
        let seen = cancel.clone();
        let kept = keep_running("test", cancel.clone(), move || {
            let seen = seen.clone();
            Box::pin(async move {
                seen.cancelled().await;
                Ok(())
            })
        });
        let kept = tokio::spawn(kept);
        tokio::task::yield_now().await;
        cancel.cancel();
        kept.await.expect("it ends");
    }
}
