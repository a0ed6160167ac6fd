//! What the leader remembers of each proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_core::id::{Epoch, MigrationId, NodeId, ProxyId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::LeaseRules;

/// One session of one proxy. A proxy that reconnects has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(u64);

/// Ids that a writer recorded for a migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// The ids.
    pub ids: BTreeSet<String>,
    /// Anything in the shard may have changed.
    pub whole_shard: bool,
}

/// What the leader knows of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyView {
    /// Its session, if it has one now.
    pub connection: Option<Connection>,
    /// When it was last answered.
    pub answered_at: Instant,
    /// Every write it routed by a table older than this has ended.
    pub writes_epoch: Epoch,
    /// So has every read.
    pub reads_epoch: Epoch,
}

#[derive(Debug)]
struct Memory {
    leading_since: Instant,
    connections: u64,
    proxies: BTreeMap<ProxyId, ProxyView>,
    dirty: BTreeMap<MigrationId, Dirty>,
    /// Proxies that are being declared lost: from here on nothing they say prolongs their lease.
    condemned: BTreeSet<ProxyId>,
    /// How long nodes take to answer each proxy's reads, and when it said so.
    reads: BTreeMap<ProxyId, (Instant, BTreeMap<NodeId, u64>)>,
}

/// The sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    rules: LeaseRules,
    memory: Arc<Mutex<Memory>>,
    version: Arc<watch::Sender<u64>>,
}

impl Sessions {
    /// No session yet; leadership counts from now.
    #[must_use]
    pub fn new(rules: LeaseRules) -> Self {
        let memory = Memory {
            leading_since: Instant::now(),
            connections: 0,
            proxies: BTreeMap::new(),
            dirty: BTreeMap::new(),
            condemned: BTreeSet::new(),
            reads: BTreeMap::new(),
        };
        Self {
            rules,
            memory: Arc::new(Mutex::new(memory)),
            version: Arc::new(watch::Sender::new(0)),
        }
    }

    /// How leases are counted.
    #[must_use]
    pub fn rules(&self) -> LeaseRules {
        self.rules
    }

    /// Forgets everything: leadership begins anew, and nothing an earlier one knew is trusted.
    pub fn begin_leadership(&self) {
        let mut memory = self.lock();
        memory.leading_since = Instant::now();
        memory.proxies.clear();
        memory.dirty.clear();
        memory.condemned.clear();
        memory.reads.clear();
        drop(memory);
        self.changed();
    }

    /// When the present leadership began.
    #[must_use]
    pub fn leading_since(&self) -> Instant {
        self.lock().leading_since
    }

    /// Changes whenever a session does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A session begins. Messages of an earlier one may be lost, so it counts as another connection. `None` for a
    /// proxy that is being declared lost: it has to register anew, under another id.
    pub fn opened(&self, proxy: ProxyId) -> Option<Connection> {
        let mut memory = self.lock();
        if memory.condemned.contains(&proxy) {
            return None;
        }
        memory.connections += 1;
        let connection = Connection(memory.connections);
        let now = Instant::now();
        let view = memory.proxies.entry(proxy).or_insert(ProxyView {
            connection: None,
            answered_at: now,
            writes_epoch: Epoch(0),
            reads_epoch: Epoch(0),
        });
        view.connection = Some(connection);
        view.answered_at = now;
        drop(memory);
        self.changed();
        Some(connection)
    }

    /// Ends whatever session a proxy has and refuses new ones, if its last answer is at least `silent` ago; answers
    /// whether it is. Decided under one lock: a renewal either comes before, and prevents it, or is not answered.
    pub fn condemn(&self, proxy: ProxyId, silent: Duration) -> bool {
        let mut memory = self.lock();
        let leading_since = memory.leading_since;
        let last = memory
            .proxies
            .get(&proxy)
            .map_or(leading_since, |view| view.answered_at);
        if last.elapsed() < silent {
            return false;
        }
        memory.condemned.insert(proxy);
        if let Some(view) = memory.proxies.get_mut(&proxy) {
            view.connection = None;
        }
        drop(memory);
        self.changed();
        true
    }

    /// A session ends. The lease runs on.
    pub fn closed(&self, proxy: ProxyId, connection: Connection) {
        self.on_connection(proxy, connection, |view| view.connection = None);
    }

    /// A renewal is being answered. `false` when the session is not the proxy's newest any more.
    pub fn renewed(&self, proxy: ProxyId, connection: Connection) -> bool {
        self.on_connection(proxy, connection, |view| view.answered_at = Instant::now())
    }

    /// Requests routed by older tables have ended.
    pub fn acknowledged(
        &self,
        proxy: ProxyId,
        connection: Connection,
        writes: Epoch,
        reads: Epoch,
    ) -> bool {
        self.on_connection(proxy, connection, |view| {
            view.writes_epoch = view.writes_epoch.max(writes);
            view.reads_epoch = view.reads_epoch.max(reads);
        })
    }

    /// Ids were written while their shard is copied.
    pub fn recorded(
        &self,
        proxy: ProxyId,
        connection: Connection,
        migration: MigrationId,
        dirty: Dirty,
    ) -> bool {
        let current = self.on_connection(proxy, connection, |_| ());
        if current {
            let mut memory = self.lock();
            let known = memory.dirty.entry(migration).or_default();
            known.ids.extend(dirty.ids);
            known.whole_shard |= dirty.whole_shard;
        }
        current
    }

    /// A proxy tells how long nodes take to answer its reads, in milliseconds. Nodes that it did not ask lately are
    /// not among them. It changes no barrier, so nobody is woken.
    pub fn reads_took(&self, proxy: ProxyId, latencies: BTreeMap<NodeId, u64>) {
        self.lock().reads.insert(proxy, (Instant::now(), latencies));
    }

    /// The longest that a node lately took to answer some proxy's reads, in milliseconds; `None` when no proxy said.
    #[must_use]
    pub fn reads_ms(&self, node: NodeId) -> Option<u64> {
        let memory = self.lock();
        let recent = memory.reads.values();
        recent
            .filter(|(at, _)| at.elapsed() < self.rules.lease)
            .filter_map(|(_, latencies)| latencies.get(&node).copied())
            .max()
    }

    /// Takes what was recorded for a migration.
    #[must_use]
    pub fn take_dirty(&self, migration: MigrationId) -> Dirty {
        self.lock().dirty.remove(&migration).unwrap_or_default()
    }

    /// What is known of a proxy; `None` when it has not called since leadership began.
    #[must_use]
    pub fn view(&self, proxy: ProxyId) -> Option<ProxyView> {
        self.lock().proxies.get(&proxy).copied()
    }

    /// The session of a proxy, if it has one now.
    #[must_use]
    pub fn connection(&self, proxy: ProxyId) -> Option<Connection> {
        self.view(proxy).and_then(|view| view.connection)
    }

    /// When a proxy was last answered, or when leadership began if that is later: what leases count from.
    #[must_use]
    pub fn last_contact(&self, proxy: ProxyId) -> Instant {
        let memory = self.lock();
        memory
            .proxies
            .get(&proxy)
            .map_or(memory.leading_since, |view| view.answered_at)
    }

    /// Proxies with a session now.
    #[must_use]
    pub fn live(&self) -> BTreeSet<ProxyId> {
        let memory = self.lock();
        memory
            .proxies
            .iter()
            .filter(|(_, view)| view.connection.is_some())
            .map(|(proxy, _)| *proxy)
            .collect()
    }

    /// Drops what is remembered of proxies and migrations that the state no longer has.
    pub fn retain(&self, proxy: impl Fn(ProxyId) -> bool, migration: impl Fn(MigrationId) -> bool) {
        let mut memory = self.lock();
        memory.proxies.retain(|id, _| proxy(*id));
        memory.condemned.retain(|id| proxy(*id));
        memory.reads.retain(|id, _| proxy(*id));
        memory.dirty.retain(|id, _| migration(*id));
    }

    fn on_connection(
        &self,
        proxy: ProxyId,
        connection: Connection,
        change: impl FnOnce(&mut ProxyView),
    ) -> bool {
        let mut memory = self.lock();
        let Some(view) = memory
            .proxies
            .get_mut(&proxy)
            .filter(|view| view.connection == Some(connection))
        else {
            return false;
        };
        change(view);
        drop(memory);
        self.changed();
        true
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// The memory is only maps and numbers: a panic elsewhere cannot have left it half changed.
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(LeaseRules {
            lease: Duration::from_secs(3),
            static_reads: Duration::from_secs(600),
            late_request: Duration::from_millis(500),
            read_timeout: Duration::from_secs(30),
        })
    }

    fn ids(list: &[&str]) -> Dirty {
        Dirty {
            ids: list.iter().map(ToString::to_string).collect(),
            whole_shard: false,
        }
    }

    #[test]
    fn an_old_session_changes_nothing() {
        let (sessions, proxy) = (sessions(), ProxyId(1));
        let old = sessions.opened(proxy).expect("not condemned");
        let new = sessions.opened(proxy).expect("not condemned");
        assert!(!sessions.renewed(proxy, old));
        assert!(!sessions.acknowledged(proxy, old, Epoch(9), Epoch(9)));
        assert!(!sessions.recorded(proxy, old, MigrationId(1), ids(&["a"])));
        sessions.closed(proxy, old);
        assert_eq!(sessions.connection(proxy), Some(new));
        assert_eq!(sessions.view(proxy).map(|v| v.writes_epoch), Some(Epoch(0)));
        assert_eq!(sessions.take_dirty(MigrationId(1)), Dirty::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_condemned_proxy_is_never_answered_again() {
        let (sessions, proxy) = (sessions(), ProxyId(1));
        let lease = Duration::from_secs(4);
        let connection = sessions.opened(proxy).expect("new");
        assert!(!sessions.condemn(proxy, lease), "it was answered just now");
        tokio::time::advance(lease).await;
        assert!(sessions.renewed(proxy, connection));
        assert!(!sessions.condemn(proxy, lease), "the renewal came first");
        tokio::time::advance(lease).await;
        assert!(sessions.condemn(proxy, lease));
        assert!(!sessions.renewed(proxy, connection));
        assert_eq!(sessions.opened(proxy), None);
    }

    #[test]
    fn acknowledged_epochs_never_go_back() {
        let (sessions, proxy) = (sessions(), ProxyId(1));
        let connection = sessions.opened(proxy).expect("not condemned");
        assert!(sessions.acknowledged(proxy, connection, Epoch(7), Epoch(5)));
        assert!(sessions.acknowledged(proxy, connection, Epoch(6), Epoch(9)));
        let view = sessions.view(proxy).expect("known");
        assert_eq!((view.writes_epoch, view.reads_epoch), (Epoch(7), Epoch(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_proxys_word_on_a_node_counts_while_it_is_fresh() {
        let sessions = sessions();
        let told = |node, ms| BTreeMap::from([(NodeId(node), ms)]);
        assert_eq!(sessions.reads_ms(NodeId(1)), None);
        sessions.reads_took(ProxyId(1), told(1, 40));
        sessions.reads_took(ProxyId(2), told(1, 90));
        assert_eq!(sessions.reads_ms(NodeId(1)), Some(90));
        assert_eq!(sessions.reads_ms(NodeId(2)), None);
        sessions.reads_took(ProxyId(2), told(2, 5));
        assert_eq!(
            sessions.reads_ms(NodeId(1)),
            Some(40),
            "it is not asked any more"
        );
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(sessions.reads_ms(NodeId(1)), None);
        sessions.reads_took(ProxyId(1), told(1, 40));
        sessions.begin_leadership();
        assert_eq!(sessions.reads_ms(NodeId(1)), None);
    }

    #[test]
    fn recorded_ids_add_up_until_taken() {
        let (sessions, proxy) = (sessions(), ProxyId(1));
        let connection = sessions.opened(proxy).expect("not condemned");
        sessions.recorded(proxy, connection, MigrationId(1), ids(&["a", "b"]));
        sessions.recorded(proxy, connection, MigrationId(1), ids(&["b", "c"]));
        let whole = Dirty {
            ids: BTreeSet::new(),
            whole_shard: true,
        };
        sessions.recorded(proxy, connection, MigrationId(2), whole.clone());
        assert_eq!(sessions.take_dirty(MigrationId(1)), ids(&["a", "b", "c"]));
        assert_eq!(sessions.take_dirty(MigrationId(1)), Dirty::default());
        assert_eq!(sessions.take_dirty(MigrationId(2)), whole);
    }

    #[test]
    fn a_new_leadership_trusts_nothing() {
        let (sessions, proxy) = (sessions(), ProxyId(1));
        let connection = sessions.opened(proxy).expect("not condemned");
        sessions.recorded(proxy, connection, MigrationId(1), ids(&["a"]));
        sessions.begin_leadership();
        assert_eq!(sessions.view(proxy), None);
        assert_eq!(sessions.take_dirty(MigrationId(1)), Dirty::default());
        assert!(!sessions.renewed(proxy, connection));
        assert_eq!(sessions.last_contact(proxy), sessions.leading_since());
    }
}
