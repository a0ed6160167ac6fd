//! Which settings nodes are to have, and telling the coordinators that they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::cluster::AppliedSettings;
use miroir_core::id::{Epoch, Incarnation, IndexUid, NodeId, ProxyId, TaskUid};
use miroir_core::routing::IndexRoute;
use miroir_core::settings;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::group::SettingsVersion;
use super::prepare::SettingsChange;
use crate::catalog::{Catalog, CatalogError};

/// How long to wait before a node that did not take its settings is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// Reports of several nodes gather for this long and go in one command.
const GATHER: Duration = Duration::from_millis(10);

/// The newest settings of an index, and who was asked to take them.
#[derive(Debug)]
pub(super) struct Provisioning {
    desired: Value,
    current: Arc<SettingsVersion>,
    asked: BTreeMap<NodeId, Asked>,
    /// What the last table said that each node has.
    told: BTreeMap<NodeId, u64>,
    /// Clients' tasks by the version they made.
    tasks: BTreeMap<u64, TaskUid>,
}

#[derive(Debug)]
struct Asked {
    version: u64,
    missed_at: Option<Instant>,
}

impl Provisioning {
    pub(super) fn new(route: &IndexRoute) -> Self {
        let desired = route.settings.clone();
        let current = Arc::new(whole(route.settings_version, &desired));
        Self {
            desired,
            current,
            asked: BTreeMap::new(),
            told: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// The newest settings.
    pub(super) fn current(&self) -> &Arc<SettingsVersion> {
        &self.current
    }

    /// Nodes that had settings and have older ones or none by this table: they lost what they held, and what was
    /// known of them counts no more. They are asked anew.
    pub(super) fn wiped(&mut self, route: &IndexRoute) -> Vec<NodeId> {
        if self.told == route.node_settings {
            return Vec::new();
        }
        let has = |node: &NodeId| route.node_settings.get(node).copied();
        let fell = |(node, before): (&NodeId, &u64)| {
            has(node).is_some_and(|now| now < *before).then_some(*node)
        };
        let wiped: Vec<NodeId> = self.told.iter().filter_map(fell).collect();
        for node in &wiped {
            self.asked.remove(node);
        }
        self.told.clone_from(&route.node_settings);
        wiped
    }

    /// Takes the table's settings if they are newer than what is known, and returns the nodes that must be
    /// asked to take the newest.
    pub(super) fn behind(&mut self, route: &IndexRoute, now: Instant) -> BTreeSet<NodeId> {
        if route.settings_version > self.current.version {
            self.desired = route.settings.clone();
            self.current = Arc::new(whole(route.settings_version, &self.desired));
        }
        let version = self.current.version;
        let mut behind = route.behind_on_settings();
        behind.retain(|node| match self.asked.get(node) {
            Some(asked) if asked.version < version => true,
            Some(asked) => asked.missed_at.is_some_and(|missed| now >= missed + AGAIN),
            None => true,
        });
        for node in &behind {
            self.ask(*node);
        }
        behind
    }

    /// When a node is to be asked again, if any is.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.asked
            .values()
            .filter_map(|asked| asked.missed_at)
            .min()
            .map(|missed| missed + AGAIN)
    }

    /// Notes that a node is asked to take the newest settings.
    pub(super) fn ask(&mut self, node: NodeId) {
        self.asked.insert(
            node,
            Asked {
                version: self.current.version,
                missed_at: None,
            },
        );
    }

    /// Notes that a node did not take its settings.
    pub(super) fn missed(&mut self, node: NodeId, now: Instant) {
        if let Some(asked) = self.asked.get_mut(&node) {
            asked.missed_at = Some(now);
        }
    }

    /// The client's task that made a version, if one did.
    pub(super) fn task_of(&self, version: u64) -> Option<TaskUid> {
        self.tasks.get(&version).copied()
    }

    /// All settings after `change`.
    pub(super) fn changed(
        &self,
        change: &SettingsChange,
    ) -> Result<Value, miroir_core::api_error::ApiError> {
        match change {
            SettingsChange::Patch(patch) => settings::merge(&self.desired, patch),
            SettingsChange::Reset => Ok(Value::Object(serde_json::Map::new())),
        }
    }

    /// Takes settings that were committed for a client.
    pub(super) fn committed(
        &mut self,
        version: u64,
        task: TaskUid,
        desired: Value,
        change: &SettingsChange,
    ) {
        self.tasks.insert(version, task);
        if self.tasks.len() > 64 {
            self.tasks.pop_first();
        }
        if version <= self.current.version {
            return;
        }
        let patch = match change {
            SettingsChange::Patch(patch) => Some(settings::patch_for_node(&desired, patch)),
            SettingsChange::Reset => None,
        };
        self.current = Arc::new(SettingsVersion {
            patch,
            ..whole(version, &desired)
        });
        self.desired = desired;
    }
}

fn whole(version: u64, desired: &Value) -> SettingsVersion {
    let embedders = desired
        .get("embedders")
        .and_then(Value::as_object)
        .is_some_and(|e| !e.is_empty());
    SettingsVersion {
        version,
        full: settings::to_node(desired),
        patch: None,
        embedders,
    }
}

/// What became of settings on a node.
#[derive(Debug)]
pub(super) enum Told {
    /// It has enqueued them; with the client's task about them.
    Enqueued(AppliedSettings, Option<TaskUid>),
    /// It refuses this version as it is, with this error.
    Refused(u64, Value),
}

/// What goes to the coordinators in one command each.
#[derive(Debug, Default)]
struct Gathered {
    enqueued: BTreeMap<Option<TaskUid>, Vec<AppliedSettings>>,
    refused: BTreeMap<u64, Value>,
}

impl Gathered {
    fn take(&mut self, told: Told) {
        match told {
            Told::Enqueued(applied, task) => self.enqueued.entry(task).or_default().push(applied),
            Told::Refused(version, error) => {
                self.refused.insert(version, error);
            }
        }
    }
}

/// Reports what became of settings until every sender is gone, or the index is somebody else's.
pub(super) async fn report(
    catalog: Catalog,
    (uid, incarnation, proxy): (IndexUid, Incarnation, ProxyId),
    mut inbox: mpsc::UnboundedReceiver<Told>,
) {
    while let Some(first) = inbox.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut gathered = Gathered::default();
        gathered.take(first);
        while let Ok(told) = inbox.try_recv() {
            gathered.take(told);
        }
        let index = (&uid, incarnation);
        for (task, applied) in &gathered.enqueued {
            let id = Uuid::now_v7();
            let call = || catalog.settings_enqueued(id, index, proxy, applied, *task);
            if !told(&uid, &inbox, call).await {
                return;
            }
        }
        for (version, error) in &gathered.refused {
            let id = Uuid::now_v7();
            let call = || catalog.settings_refused(id, index, proxy, (*version, error));
            if !told(&uid, &inbox, call).await {
                return;
            }
        }
    }
}

/// Repeats `call` until a leader has taken it; `false` when nobody has to be told any more.
async fn told<F>(
    uid: &IndexUid,
    inbox: &mpsc::UnboundedReceiver<Told>,
    call: impl Fn() -> F,
) -> bool
where
    F: Future<Output = Result<Epoch, CatalogError>>,
{
    loop {
        match call().await {
            Ok(_) => return true,
            Err(CatalogError::NoLeader { .. } | CatalogError::Unknown { .. })
                if !inbox.is_closed() => {}
            Err(error) => {
                // Whoever writes the index now sees in the table what is missing, and repeats it.
                tracing::warn!(index = %uid, %error, "what became of settings is not reported");
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::route;
    use super::*;
    use serde_json::json;

    fn nodes(nodes: &BTreeSet<NodeId>) -> Vec<u64> {
        nodes.iter().map(|node| node.0).collect()
    }

    #[test]
    fn nodes_that_are_behind_are_asked_once_and_again_after_a_miss() {
        let mut route = route(&["I1 B2", "I3"]);
        route.node_settings.insert(NodeId(1), 1);
        let mut provisioning = Provisioning::new(&route);
        let start = Instant::now();
        assert_eq!(nodes(&provisioning.behind(&route, start)), [2, 3]);
        assert!(provisioning.behind(&route, start).is_empty());
        provisioning.missed(NodeId(2), start);
        assert!(provisioning.behind(&route, start).is_empty());
        assert_eq!(provisioning.next_try(), Some(start + AGAIN));
        assert_eq!(nodes(&provisioning.behind(&route, start + AGAIN)), [2]);
        route.settings_version = 2;
        assert_eq!(nodes(&provisioning.behind(&route, start)), [1, 2, 3]);
    }

    #[test]
    fn a_node_that_lost_its_settings_is_asked_anew() {
        let mut route = route(&["I1 I2"]);
        let start = Instant::now();
        let mut provisioning = Provisioning::new(&route);
        assert!(provisioning.wiped(&route).is_empty());
        assert_eq!(nodes(&provisioning.behind(&route, start)), [1, 2]);
        route.node_settings = BTreeMap::from([(NodeId(1), 1), (NodeId(2), 1)]);
        assert!(provisioning.wiped(&route).is_empty());
        assert!(provisioning.behind(&route, start).is_empty());
        route.node_settings.insert(NodeId(2), 0);
        assert_eq!(provisioning.wiped(&route), [NodeId(2)]);
        assert_eq!(nodes(&provisioning.behind(&route, start)), [2]);
        assert!(provisioning.wiped(&route).is_empty(), "told once");
        // A node that holds nothing of the index any more has lost nothing.
        route.node_settings.remove(&NodeId(1));
        assert!(provisioning.wiped(&route).is_empty());
    }

    #[test]
    fn the_newest_settings_win_wherever_they_come_from() {
        let mut route = route(&["I1"]);
        let mut provisioning = Provisioning::new(&route);
        let change = SettingsChange::Patch(json!({ "stopWords": ["a"] }));
        let desired = provisioning.changed(&change).expect("valid");
        provisioning.committed(2, TaskUid(9), desired, &change);
        assert_eq!(provisioning.current().version, 2);
        assert!(
            provisioning
                .current()
                .patch
                .as_ref()
                .is_some_and(|patch| patch["stopWords"] == json!(["a"]))
        );
        assert_eq!(
            (provisioning.task_of(2), provisioning.task_of(1)),
            (Some(TaskUid(9)), None)
        );
        // The table is behind: the next change builds on what was committed.
        provisioning.behind(&route, Instant::now());
        let change = SettingsChange::Patch(json!({ "dictionary": ["b"] }));
        assert_eq!(
            provisioning.changed(&change),
            Ok(json!({ "stopWords": ["a"], "dictionary": ["b"] }))
        );
        route.settings_version = 3;
        route.settings = json!({ "embedders": { "e": {} } });
        provisioning.behind(&route, Instant::now());
        assert!(provisioning.current().embedders);
        assert_eq!(provisioning.changed(&SettingsChange::Reset), Ok(json!({})));
    }
}
