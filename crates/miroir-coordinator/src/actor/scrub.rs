//! Compares the copies of one shard after another, slowly, for ever.
//!
//! Copies that differ though every one of them took every write are damaged: by a disk, by a hand, by a fault of ours.
//! Nothing else would notice. What is odd by the rule of [`miroir_core::verdict`] is taken out of use and rebuilt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_core::cluster::ClusterState;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::{ShardReport, Verifier, VerifyOptions};

/// A shard of an index.
type Place = (IndexUid, ShardId);

/// The last comparison of every shard, as long as this coordinator leads. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ScrubBoard {
    reports: Arc<Mutex<BTreeMap<Place, ShardReport>>>,
}

impl ScrubBoard {
    /// The last comparison of a shard, if there was one.
    #[must_use]
    pub fn last(&self, uid: &IndexUid, shard: ShardId) -> Option<ShardReport> {
        self.lock().get(&(uid.clone(), shard)).cloned()
    }

    fn keep(&self, report: ShardReport) {
        self.lock()
            .insert((report.uid.clone(), report.shard), report);
    }

    fn retain(&self, is_there: impl Fn(&Place) -> bool) {
        self.lock().retain(|place, _| is_there(place));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, ShardReport>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares until cancelled. Leader-only. With an interval of 0 it does nothing.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) {
    let every = Duration::from_millis(ctx.config.scrub.interval_ms);
    if every.is_zero() {
        return cancel.cancelled().await;
    }
    ctx.scrub.retain(|_| false);
    let mut last = None;
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let next = ctx.read(|state| next(state, last.as_ref(), |node| ctx.health.is_up(node)));
        let Some(place) = next else { continue };
        if cancel
            .run_until_cancelled(look(&ctx, &place))
            .await
            .is_none()
        {
            return;
        }
        last = Some(place);
    }
}

async fn look<C: Cluster>(ctx: &Context<C>, (uid, shard): &Place) {
    let scrub = &ctx.config.scrub;
    let options = VerifyOptions {
        chunk_docs: usize::try_from(scrub.chunk_docs).unwrap_or(usize::MAX),
        pause: Duration::from_millis(scrub.pause_ms),
    };
    let verifier = Verifier::new(ctx.cluster.clone(), ctx.fleet(), options);
    let report = match verifier.verify(uid, *shard).await {
        Ok(report) => report,
        Err(error) => {
            tracing::info!(index = %uid, %shard, %error, "a shard could not be compared");
            return;
        }
    };
    if report.undecided {
        tracing::error!(index = %uid, %shard, differing = report.differing, ids = ?report.ids,
            "copies differ and none is right in everything; an operator has to decide");
    }
    if !report.odd.is_empty()
        && let Err(error) = verifier.eject(&report).await
    {
        tracing::error!(index = %uid, %shard, %error, "a copy that differs is still in use");
    }
    tracing::debug!(index = %uid, %shard, documents = report.documents, differing = report.differing, "compared");
    ctx.scrub.keep(report);
    ctx.scrub
        .retain(|(uid, _)| ctx.read(|state| state.indexes.contains_key(uid)));
}

/// The shard after `last` that rests and has several copies to compare, all on nodes that answer.
fn next(
    state: &ClusterState,
    last: Option<&Place>,
    is_up: impl Fn(NodeId) -> bool,
) -> Option<Place> {
    let mut first = None;
    for index in state.indexes.values() {
        for (shard, placement) in index.shards() {
            let comparable = placement.moving.is_none()
                && placement.readable().count() > 1
                && placement.readable().all(|replica| is_up(replica.node));
            if !comparable {
                continue;
            }
            let place = (index.name().clone(), shard);
            if last.is_none_or(|last| place > *last) {
                return Some(place);
            }
            first.get_or_insert(place);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::{Command, NewIndex, NodeSpec, Policy};
    use miroir_core::id::{GroupId, Incarnation};

    use super::*;

    /// Two nodes; `a` and `b` have two shards of two copies each.
    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        let mut commands = vec![Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy: Policy {
                default_shards: 2,
                default_replication_factor: 2,
                ..Policy::default()
            },
        }];
        for n in 1..=2 {
            let node = NodeSpec {
                url: format!("http://127.0.0.1:{n}"),
                group: GroupId(1),
                zone: None,
                weight: 1,
                version: "1.15.0".to_owned(),
            };
            commands.push(Command::AddNode { node });
        }
        for uid in ["a", "b"] {
            commands.push(Command::CreateIndex(NewIndex {
                uid: IndexUid::parse(uid).expect("a uid"),
                primary_key: None,
                shards: None,
                replication_factor: None,
                writer: None,
                task: None,
            }));
        }
        for (at, command) in (1..).zip(&commands) {
            state.apply(at, 0, command);
        }
        state
    }

    fn place(uid: &str, shard: u16) -> Place {
        (IndexUid::parse(uid).expect("a uid"), ShardId(shard))
    }

    #[test]
    fn every_shard_has_its_turn_and_then_the_first_again() {
        let state = state();
        let mut last = None;
        let mut seen = Vec::new();
        for _ in 0..5 {
            last = next(&state, last.as_ref(), |_| true);
            seen.push(last.clone().expect("one is left"));
        }
        let all = [
            place("a", 0),
            place("a", 1),
            place("b", 0),
            place("b", 1),
            place("a", 0),
        ];
        assert_eq!(seen, all);
    }

    #[test]
    fn shards_with_one_copy_or_a_node_that_is_down_are_left_alone() {
        let mut state = state();
        assert_eq!(next(&state, None, |node| node == NodeId(1)), None);
        let incarnation = state
            .indexes
            .values()
            .next()
            .map_or(Incarnation(0), |i| i.incarnation);
        state.apply(
            50,
            0,
            &Command::EjectReplica {
                uid: place("a", 0).0,
                incarnation,
                shard: ShardId(0),
                node: NodeId(1),
            },
        );
        assert_eq!(next(&state, None, |_| true), Some(place("a", 1)));
    }
}
