//! Which Meilisearch each node runs, asked in the background so that no search waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use miroir_core::id::NodeId;
use miroir_meili::{NodeVersion, Semver};

use crate::control::Control;

/// From this version on a node's totals are not limited to `maxTotalHits` any more.
const UNCAPPED_TOTALS: Semver = Semver::release(1, 47, 0);
/// By this version at the latest each facet has its own order when all are asked for at once.
const FACETS_BY_PATTERN: Semver = Semver::release(1, 50, 0);
/// How long a node may take to say which version it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon a node that did not say is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How soon a node that did say is asked again: it may have been upgraded.
const REFRESH: Duration = Duration::from_secs(60);

/// What is known of the nodes' versions.
#[derive(Debug, Default)]
pub(super) struct Versions {
    known: Mutex<BTreeMap<NodeId, NodeVersion>>,
}

impl Versions {
    /// Learns the versions of the nodes of `control`'s table for as long as the result is held.
    pub(super) fn follow(control: Control) -> Arc<Self> {
        let versions = Arc::new(Self::default());
        tokio::spawn(follow(Arc::downgrade(&versions), control));
        versions
    }

    /// Whether the nodes limit their totals to `maxTotalHits`. All nodes run the same version.
    pub(super) fn caps_totals(&self) -> bool {
        self.is_before(&UNCAPPED_TOTALS)
    }

    /// Whether the nodes list all facets in one order when they are asked for all of them.
    pub(super) fn orders_all_facets_alike(&self) -> bool {
        self.is_before(&FACETS_BY_PATTERN)
    }

    /// Whether the nodes run an older version than this one; so it is taken until one has told.
    fn is_before(&self, version: &Semver) -> bool {
        let known = self.known();
        known
            .values()
            .next()
            .is_none_or(|known| known.pkg_version < *version)
    }

    /// The version of some node, if one has said so.
    pub(super) fn any(&self) -> Option<NodeVersion> {
        self.known().values().next().cloned()
    }

    /// Asks all nodes. True when every one has answered.
    pub(super) async fn ask(&self, control: &Control) -> bool {
        let nodes = control.nodes();
        let asked = nodes.iter().map(|(node, client)| async move {
            (node, client.with_timeout(ASK_TIMEOUT).version().await)
        });
        let mut complete = true;
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(version) => {
                    self.known().insert(node, version);
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "node does not tell its version");
                    complete = false;
                }
            }
        }
        self.known().retain(|node, _| nodes.get(*node).is_some());
        complete
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, NodeVersion>> {
        // Every change is one insertion or removal: a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(versions: Weak<Versions>, control: Control) {
    let mut tables = control.subscribe();
    loop {
        let nodes: Vec<_> = tables.borrow_and_update().nodes.keys().copied().collect();
        let Some(versions) = versions.upgrade() else {
            return;
        };
        let complete = versions.ask(&control).await;
        drop(versions);
        let pause = if complete { REFRESH } else { ASK_AGAIN };
        let other_nodes = tables.wait_for(|table| !table.nodes.keys().eq(&nodes));
        // Whichever comes first; the sender lives as long as `control`.
        let _ = tokio::time::timeout(pause, other_nodes).await;
    }
}
