//! Reads back what settings nodes have, and has drift repaired.
//!
//! A node that has carried a version of an index's settings out is asked for them, and again now and then: a hand, a fault
//! or an upgrade may have changed them. What differs is reported and repaired by stating the same settings as a new version,
//! which the index's writer carries to every node in the order of its writes (docs/adr/0003). A node on which this does not help is
//! left alone for ever longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_core::cluster::{ClusterState, Command, Index, TaskKind};
use miroir_core::id::{Incarnation, IndexUid, NodeId};
use miroir_core::settings::differences;
use miroir_meili::NodeTaskUid;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Cluster;
use crate::migration::Nodes;

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// Settings that were carried out a moment ago are looked at before others, so many in a round.
const FRESH_MAX: usize = 16;
/// How long one call to a node may take.
const CALL: Duration = Duration::from_secs(5);
/// How long a second repair of an index waits for the first to help; it doubles.
const REPAIR_AGAIN: Duration = Duration::from_secs(30);
const REPAIR_AGAIN_MAX: Duration = Duration::from_secs(3600);

/// An index, by its name on nodes, on a node.
type Place = (IndexUid, NodeId);

/// Settings of a node that are not the desired ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Which settings.
    pub settings: Vec<&'static str>,
    /// When that was seen first, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How often the index's settings were stated anew since.
    pub repairs: u32,
}

/// The drift there is, as long as this coordinator leads. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SettingsBoard {
    drifts: Arc<Mutex<BTreeMap<Place, Drift>>>,
}

impl SettingsBoard {
    /// All of it, by index and node.
    #[must_use]
    pub fn all(&self) -> BTreeMap<(IndexUid, NodeId), Drift> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Drift>> {
        self.drifts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what a look showed; answers whether it is news.
    fn keep(&self, place: &Place, settings: &[&'static str], now_ms: u64) -> bool {
        let mut drifts = self.lock();
        if settings.is_empty() {
            return drifts.remove(place).is_some();
        }
        let drift = drifts.entry(place.clone()).or_insert(Drift {
            settings: Vec::new(),
            since_ms: now_ms,
            repairs: 0,
        });
        let is_news = drift.settings != settings;
        drift.settings = settings.to_vec();
        is_news
    }

    fn count_repair(&self, uid: &IndexUid) {
        let mut drifts = self.lock();
        let of_index = drifts.iter_mut().filter(|((index, _), _)| index == uid);
        of_index.for_each(|(_, drift)| drift.repairs += 1);
    }

    fn has(&self, uid: &IndexUid) -> bool {
        self.lock().keys().any(|(index, _)| index == uid)
    }

    fn retain(&self, is_there: impl Fn(&Place) -> bool) {
        self.lock().retain(|place, _| is_there(place));
    }
}

/// What a node is to have.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    incarnation: Incarnation,
    version: u64,
    desired: Value,
    /// The node's task that applies it.
    task: u32,
}

/// The last look at a place.
#[derive(Debug, Clone, Copy)]
struct Look {
    incarnation: Incarnation,
    version: u64,
    at: Instant,
}

/// When the settings of an index may be stated anew, and the pause after that.
#[derive(Debug, Clone, Copy)]
struct Repair {
    not_before: Instant,
    pause: Duration,
}

/// Looks and repairs until cancelled. Leader-only. With an interval of 0 it does nothing.
pub async fn run<C: Cluster>(ctx: Context<C>, cancel: CancellationToken) {
    let again = Duration::from_millis(ctx.config.settings.check_interval_ms);
    if again.is_zero() {
        return cancel.cancelled().await;
    }
    ctx.settings.retain(|_| false);
    let mut watch = Watch {
        ctx,
        again,
        looks: BTreeMap::new(),
        repairs: BTreeMap::new(),
    };
    let mut ticks = interval(EVERY.min(again));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        if cancel.run_until_cancelled(watch.round()).await.is_none() {
            return;
        }
    }
}

struct Watch<C> {
    ctx: Context<C>,
    again: Duration,
    looks: BTreeMap<Place, Look>,
    repairs: BTreeMap<IndexUid, Repair>,
}

impl<C: Cluster> Watch<C> {
    async fn round(&mut self) {
        let mut wanted = self.ctx.read(settled);
        // A node that is down would be due for ever, and no other place with it.
        wanted.retain(|(_, node), _| self.ctx.health.is_up(*node));
        let nodes = self.ctx.read(holders);
        self.looks.retain(|place, _| nodes.contains(place));
        self.ctx.settings.retain(|place| nodes.contains(place));
        for place in due(&wanted, &self.looks, self.again, Instant::now()) {
            if let Some(one) = wanted.get(&place) {
                self.look(&place, one).await;
            }
        }
    }

    /// Asks a node for its settings, unless it has not carried them out or they change meanwhile.
    async fn look(&mut self, place: &Place, wanted: &Wanted) {
        let (uid, node) = place;
        let Some(client) = self.ctx.fleet().client(*node) else {
            return;
        };
        let client = client.with_timeout(CALL);
        let task = client.task(NodeTaskUid(wanted.task)).await;
        if !task.is_ok_and(|task| task.is_none_or(|task| task.status.is_final())) {
            return;
        }
        let Ok(settings) = client.settings(uid.as_str()).await else {
            return;
        };
        // A change is committed before it is sent: what was read is of this version only if it is still the newest.
        let is_still = self.ctx.read(|state| {
            let index = state.indexes.get(uid);
            index.is_some_and(|index| {
                (index.incarnation, index.settings.version) == (wanted.incarnation, wanted.version)
            })
        });
        if !is_still {
            return;
        }
        let found = differences(&wanted.desired, &settings);
        let is_news = self
            .ctx
            .settings
            .keep(place, &found, self.ctx.clock.now_ms());
        let look = Look {
            incarnation: wanted.incarnation,
            version: wanted.version,
            at: Instant::now(),
        };
        self.looks.insert(place.clone(), look);
        if found.is_empty() {
            if is_news {
                tracing::info!(index = %uid, %node, "a node has its settings again");
            }
            if !self.ctx.settings.has(uid) {
                self.repairs.remove(uid);
            }
            return;
        }
        if is_news {
            tracing::warn!(index = %uid, %node, settings = ?found, "a node has other settings than it is to have");
        }
        self.repair(uid, wanted).await;
    }

    async fn repair(&mut self, uid: &IndexUid, wanted: &Wanted) {
        let now = Instant::now();
        let before = self.repairs.get(uid).copied();
        if before.is_some_and(|before| now < before.not_before) {
            return;
        }
        let command = Command::RestateSettings {
            uid: uid.clone(),
            incarnation: wanted.incarnation,
            version: wanted.version,
        };
        match self.ctx.cluster.propose(command).await {
            Ok(_) => {
                let pause = before.map_or(REPAIR_AGAIN, |before| {
                    (before.pause * 2).min(REPAIR_AGAIN_MAX)
                });
                let not_before = now + pause;
                self.repairs
                    .insert(uid.clone(), Repair { not_before, pause });
                self.ctx.settings.count_repair(uid);
                tracing::info!(index = %uid, again_in = ?pause, "settings are sent to every node again");
            }
            Err(error) => tracing::warn!(index = %uid, %error, "settings could not be stated anew"),
        }
    }
}

/// Every place that holds something of an index, which is told by its name on nodes.
fn holders(state: &ClusterState) -> BTreeSet<Place> {
    let of_index = |index: &Index| {
        let uid = index.name().clone();
        let nodes = state.holders(index).into_iter();
        nodes
            .map(move |node| (uid.clone(), node))
            .collect::<Vec<_>>()
    };
    state.indexes.values().flat_map(of_index).collect()
}

/// Places whose node has enqueued the newest settings of an index which no task is about to change.
fn settled(state: &ClusterState) -> BTreeMap<Place, Wanted> {
    let changing: BTreeSet<&IndexUid> = state
        .tasks
        .unfinished()
        .filter(|task| task.kind == TaskKind::SettingsUpdate)
        .filter_map(|task| task.index.as_ref())
        .collect();
    let mut wanted = BTreeMap::new();
    let still = state.indexes.values();
    for index in still.filter(|index| !changing.contains(&index.uid)) {
        for node in state.holders(index) {
            let known = index.nodes.get(&node);
            let known = known.filter(|known| known.settings_version == index.settings.version);
            if let Some(task) = known.and_then(|known| known.settings_task) {
                let one = Wanted {
                    incarnation: index.incarnation,
                    version: index.settings.version,
                    desired: index.settings.desired.clone(),
                    task,
                };
                wanted.insert((index.name().clone(), node), one);
            }
        }
    }
    wanted
}

/// Where to look now: where this version was not looked at yet, and the place that was not looked at for longest, if that
/// is long enough ago.
fn due(
    wanted: &BTreeMap<Place, Wanted>,
    looks: &BTreeMap<Place, Look>,
    again: Duration,
    now: Instant,
) -> Vec<Place> {
    let is_of = |look: &Look, one: &Wanted| {
        (look.incarnation, look.version) == (one.incarnation, one.version)
    };
    let known = |place: &Place, one: &Wanted| {
        let look = looks.get(place);
        look.filter(|look| is_of(look, one)).map(|look| look.at)
    };
    let fresh = wanted
        .iter()
        .filter(|(place, one)| known(place, one).is_none());
    let mut due: Vec<Place> = fresh
        .take(FRESH_MAX)
        .map(|(place, _)| place.clone())
        .collect();
    let looked = wanted
        .iter()
        .filter_map(|(place, one)| Some((known(place, one)?, place)));
    let oldest = looked.min().filter(|(at, _)| now >= *at + again);
    due.extend(oldest.map(|(_, place)| place.clone()));
    due
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(uid: &str, node: u64) -> Place {
        (IndexUid::parse(uid).expect("a uid"), NodeId(node))
    }

    fn wanted(version: u64) -> Wanted {
        Wanted {
            incarnation: Incarnation(1),
            version,
            desired: json!({}),
            task: 7,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_versions_are_looked_at_at_once_and_old_ones_in_turn() {
        let again = Duration::from_secs(60);
        let start = Instant::now();
        let all: BTreeMap<Place, Wanted> =
            (1..=3).map(|node| (place("a", node), wanted(2))).collect();
        let look = |version, at| Look {
            incarnation: Incarnation(1),
            version,
            at,
        };
        let mut looks = BTreeMap::new();
        assert_eq!(due(&all, &looks, again, start).len(), 3);
        looks.insert(place("a", 1), look(2, start));
        looks.insert(place("a", 2), look(1, start));
        let now = start + Duration::from_secs(59);
        assert_eq!(
            due(&all, &looks, again, now),
            [place("a", 2), place("a", 3)]
        );
        looks.insert(place("a", 2), look(2, now));
        looks.insert(place("a", 3), look(2, now));
        assert!(due(&all, &looks, again, now).is_empty());
        let later = now + again;
        assert_eq!(due(&all, &looks, again, later), [place("a", 1)], "one");
    }

    #[test]
    fn drift_is_news_once_and_so_is_its_end() {
        let board = SettingsBoard::default();
        let here = place("a", 1);
        assert!(!board.keep(&here, &[], 5));
        assert!(board.keep(&here, &["stopWords"], 5));
        board.count_repair(&here.0);
        assert!(!board.keep(&here, &["stopWords"], 9));
        assert!(board.keep(&here, &["stopWords", "synonyms"], 9));
        let drift = board.all().remove(&here).expect("there");
        assert_eq!((drift.since_ms, drift.repairs), (5, 1));
        assert!(board.has(&here.0));
        assert!(board.keep(&here, &[], 10));
        assert!(!board.has(&here.0));
    }
}
