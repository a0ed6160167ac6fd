//! Searches while an index's settings change: answered by copies that have the same ones.
//!
//! Nodes carry a change out at different moments. Ranking rules, facets or filters of two versions in one answer would be
//! neither's, so a search asks nodes what they have, as long as the table says that a change is under way, and goes to copies
//! that agree: those with the new settings if these serve every shard, else those with the old ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use miroir_core::id::{Incarnation, IndexUid, NodeId};
use miroir_core::routing::IndexRoute;
use miroir_core::settings::differences;
use serde_json::Value;
use tokio::time::Instant;

use super::session::is_served_without;
use super::{Begun, Caller, Reads};
use crate::error::HttpError;
use crate::upstream::Standing;

/// How long a node may take to tell its settings.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two looks while no copies that agree serve every shard.
const PAUSE: Duration = Duration::from_millis(50);
/// How long after a change searches wait for copies that agree. Some changes take nodes hours.
const WAIT: Duration = Duration::from_secs(2);
/// How often a search is begun again because nodes carried the change out meanwhile.
const TRIES: usize = 3;

const OTHER_SETTINGS: &str = "it has other settings than the other nodes at the moment";

/// One version of an index's settings.
type Version = (Incarnation, u64);

/// What is known of changes under way.
#[derive(Debug, Default)]
pub struct Changes {
    /// The newest version that a node was seen to have.
    has: Mutex<BTreeMap<(IndexUid, NodeId), Version>>,
    /// Until when searches wait for nodes that do not agree.
    patience: Mutex<BTreeMap<IndexUid, (Version, Instant)>>,
    /// Answers that were made of two versions.
    mixed: AtomicU64,
}

/// Which settings a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    New,
    Old,
    /// Others, or it does not tell.
    Unknown,
}

impl Changes {
    /// Answers that were made of two versions, since the proxy began.
    pub fn mixed(&self) -> u64 {
        self.mixed.load(Ordering::Relaxed)
    }

    fn knows(&self, uid: &IndexUid, node: NodeId, version: Version) -> bool {
        let has = self.has.lock().unwrap_or_else(PoisonError::into_inner);
        has.get(&(uid.clone(), node)) == Some(&version)
    }

    fn note(&self, uid: &IndexUid, node: NodeId, version: Version) {
        let mut has = self.has.lock().unwrap_or_else(PoisonError::into_inner);
        has.insert((uid.clone(), node), version);
    }

    /// Until when this change is waited for, by whoever saw it first.
    fn patience(&self, uid: &IndexUid, version: Version) -> Instant {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let new = (version, Instant::now() + WAIT);
        let known = patience.entry(uid.clone()).or_insert(new);
        if known.0 != version {
            *known = new;
        }
        known.1
    }
}

impl Reads {
    /// Begins a read of copies that have the same settings, as far as there are such.
    pub(super) async fn begin_agreeing(
        &self,
        uid: &str,
        caller: &Caller,
    ) -> Result<Begun, HttpError> {
        loop {
            let mut begun = self.begin(uid, caller).await?;
            if begun.scope.route.settings_before.is_none() {
                return Ok(begun);
            }
            let route = Arc::clone(&begun.scope.route);
            let changes = &self.inner.changes;
            let until = changes.patience(&route.name, version(&route));
            let has = Box::pin(self.ask_which(&route)).await;
            let lacking: Vec<NodeId> = begun.scope.failed.keys().copied().collect();
            if let Some((chosen, others)) = choose(&route, &has, &lacking) {
                let why = |node| (node, OTHER_SETTINGS.to_owned());
                begun.scope.failed.extend(others.into_iter().map(why));
                if chosen == Has::Old {
                    begun.scope.route = Arc::new(before(&route));
                    begun.old = true;
                }
                return Ok(begun);
            }
            if Instant::now() + PAUSE >= until {
                changes.mixed.fetch_add(1, Ordering::Relaxed);
                return Ok(begun);
            }
            // Nothing may be kept from moving meanwhile.
            drop(begun);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the nodes with the old settings still had them when they answered, or this was tried often enough. A new
    /// version stays.
    pub(super) async fn still_agrees(&self, begun: &Begun, tries: usize) -> bool {
        if !begun.old || tries >= TRIES {
            return true;
        }
        let table = self.inner.control.table();
        let Some(route) = table.named(&begun.scope.route.name) else {
            return true;
        };
        let read = |node: &NodeId| !begun.scope.failed.contains_key(node);
        let has = Box::pin(self.ask_which(route)).await;
        let mut of_those = has.iter().filter(|(node, _)| read(node));
        of_those.all(|(_, has)| *has == Has::Old)
    }

    async fn ask_which(&self, route: &IndexRoute) -> BTreeMap<NodeId, Has> {
        let asked = readers(route).into_iter().map(|node| async move {
            let changes = &self.inner.changes;
            if changes.knows(&route.name, node, version(route)) {
                return (node, Has::New);
            }
            // Reads leave it out anyway, and each would wait for it here.
            if self.upstream().standing(node) == Standing::Down {
                return (node, Has::Unknown);
            }
            let nodes = self.inner.control.nodes();
            let Some(client) = nodes.get(node) else {
                return (node, Has::Unknown);
            };
            let client = client.with_timeout(ASK_TIMEOUT);
            let settings = client.settings(route.name.as_str()).await;
            let has = settings.map_or(Has::Unknown, |settings| which(route, &settings));
            if has == Has::New {
                changes.note(&route.name, node, version(route));
            }
            (node, has)
        });
        join_all(asked).await.into_iter().collect()
    }
}

fn version(route: &IndexRoute) -> Version {
    (route.incarnation, route.settings_version)
}

fn readers(route: &IndexRoute) -> std::collections::BTreeSet<NodeId> {
    let copies = route.shards.iter().flat_map(|shard| &shard.replicas);
    let readable = copies.filter(|copy| copy.state.is_readable());
    readable.map(|copy| copy.node).collect()
}

fn which(route: &IndexRoute, settings: &Value) -> Has {
    let is = |desired: &Value| differences(desired, settings).is_empty();
    if is(&route.settings) {
        Has::New
    } else if route.settings_before.as_ref().is_some_and(is) {
        Has::Old
    } else {
        Has::Unknown
    }
}

/// The settings that copies on some of the nodes agree in, and the nodes that have others. `lacking` are not read anyway.
fn choose(
    route: &IndexRoute,
    has: &BTreeMap<NodeId, Has>,
    lacking: &[NodeId],
) -> Option<(Has, Vec<NodeId>)> {
    [Has::New, Has::Old].into_iter().find_map(|wanted| {
        let others = has.iter().filter(|(_, has)| **has != wanted);
        let others: Vec<NodeId> = others.map(|(node, _)| *node).collect();
        let left_out: Vec<NodeId> = others.iter().chain(lacking).copied().collect();
        is_served_without(route, &left_out).then_some((wanted, others))
    })
}

/// The route as it was before the change, for answers of nodes that have not carried it out.
fn before(route: &IndexRoute) -> IndexRoute {
    let settings = route.settings_before.clone().unwrap_or_default();
    IndexRoute {
        settings,
        settings_before: None,
        ..route.clone()
    }
}
