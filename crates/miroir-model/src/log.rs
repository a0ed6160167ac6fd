//! The committed state: the real one, and what a proxy sees of it.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use miroir_core::cluster::{
    ClusterState, Command, Control, NewIndex, NewTask, NodeSpec, Outcome, PlannedMove, Policy,
    Rejection, ReplicaState, TaskKind, Write,
};
use miroir_core::id::{GroupId, IndexUid, MigrationId, NodeId, ProxyId, ShardId};
use miroir_core::migration::{Event, Kind, Phase, PhaseChange, Record};
use miroir_core::routing::RoutingTable;

use crate::state::{COPIES, Copy, PROXIES, Proxy};

const GROUP: GroupId = GroupId(1);

/// What a proxy routes by, as far as the moving shard is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    /// Copies that readers may use.
    pub readable: [bool; COPIES],
    /// Copies that every write goes to.
    pub targets: [bool; COPIES],
    /// Whether writes wait: behind a fence, or because no copy is in sync.
    pub closed: bool,
    /// Whether the ids of writes are recorded.
    pub records: bool,
    /// The proxy that orders writes.
    pub writer: Option<Proxy>,
    /// By preferred copy: whether a search shows what A and C hold of the shard. `None` where it cannot be served.
    pub shown: [Option<[bool; COPIES]>; COPIES],
}

/// The Raft log, as the state it amounts to.
///
/// Equal and hashed by what can still make a difference, so without epochs, times, tasks and history.
#[derive(Clone)]
pub struct Log {
    state: Arc<ClusterState>,
    index: u64,
    names: Names,
    table: Table,
    phase: Phase,
    states: [Option<ReplicaState>; COPIES],
    registered: [bool; PROXIES],
    lost: [bool; PROXIES],
}

/// What the modelled things are called in the real state.
#[derive(Clone)]
struct Names {
    uid: IndexUid,
    shard: ShardId,
    migration: MigrationId,
    nodes: [NodeId; COPIES],
    proxies: [ProxyId; PROXIES],
}

impl Log {
    /// A cluster of two nodes and three proxies with one index of four shards, two on each node, and a planned move
    /// of one of them from A to C.
    ///
    /// # Panics
    /// When the real state refuses one of these commands.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let mut founding = Founding::default();
        let names = founding.names(kind);
        let table = seen(&founding.state, &names);
        let mut log = Self {
            state: Arc::new(founding.state),
            index: founding.index,
            names,
            table,
            phase: Phase::Planned,
            states: [None; COPIES],
            registered: [true; PROXIES],
            lost: [false; PROXIES],
        };
        log.refresh();
        log
    }

    /// The newest table.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table
    }

    /// The migration's phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What a copy is good for; `None` for a node that has none.
    #[must_use]
    pub fn copy(&self, copy: Copy) -> Option<ReplicaState> {
        self.states[copy.index()]
    }

    /// Whether a proxy may still read or write by some table.
    #[must_use]
    pub fn is_registered(&self, proxy: Proxy) -> bool {
        self.registered[proxy.index()]
    }

    /// Whether a proxy was declared lost.
    #[must_use]
    pub fn is_lost(&self, proxy: Proxy) -> bool {
        self.lost[proxy.index()]
    }

    /// Every change of phase so far. Not part of what states are told apart by.
    #[must_use]
    pub fn history(&self) -> &[PhaseChange] {
        &self.record().history
    }

    /// How many changes of phase there were.
    #[must_use]
    pub fn step(&self) -> u32 {
        self.record().step
    }

    /// The epoch of the newest table.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.state.epoch.0
    }

    /// Moves the migration. Whether it was accepted.
    pub fn advance(&mut self, event: Event) -> bool {
        let command = Command::Advance {
            id: self.names.migration,
            step: self.step(),
            event,
        };
        matches!(self.commit(&command), Outcome::Advanced(_))
    }

    /// Carries an operator's order out. Whether it was accepted.
    pub fn order(&mut self, control: Control) -> bool {
        let command = Command::ControlMigration {
            id: self.names.migration,
            control,
        };
        matches!(self.commit(&command), Outcome::Controlled { .. })
    }

    /// Whether the phase table knows an event in the present phase.
    #[must_use]
    pub fn takes(&self, event: Event) -> bool {
        self.phase.after(event, self.record().kind).is_ok()
    }

    /// Registers a write of `by` that `missed` copies did not take, in one command.
    ///
    /// # Errors
    /// What the real state answers.
    pub fn register(&mut self, by: Proxy, missed: &[Copy]) -> Result<(), Rejection> {
        let write = Write {
            uid: self.names.uid.clone(),
            incarnation: self.incarnation(),
            task: task(),
            parts: Vec::new(),
            missed: missed.iter().map(|copy| self.shard_on(*copy)).collect(),
        };
        let command = Command::RegisterWrites {
            proxy: self.names.proxies[by.index()],
            writes: vec![write],
        };
        let outcome = self.commit(&command);
        let Outcome::WritesRegistered(results) = outcome else {
            unreachable!("registering answers {outcome:?}")
        };
        results.into_iter().try_for_each(|one| one.map(|_| ()))
    }

    /// Takes a copy out of use by a command of its own.
    pub fn eject(&mut self, copy: Copy) {
        let (shard, node) = self.shard_on(copy);
        self.commit(&Command::EjectReplica {
            uid: self.names.uid.clone(),
            incarnation: self.incarnation(),
            shard,
            node,
        });
    }

    /// Declares a proxy lost.
    pub fn lose(&mut self, proxy: Proxy) {
        let proxy = self.names.proxies[proxy.index()];
        self.commit(&Command::LoseProxy { proxy });
    }

    /// Forgets a proxy that reads no more.
    pub fn forget(&mut self, proxy: Proxy) {
        let proxy = self.names.proxies[proxy.index()];
        self.commit(&Command::ForgetProxy { proxy });
    }

    /// Makes a proxy the writer.
    pub fn assign(&mut self, proxy: Proxy) {
        let command = Command::AssignWriter {
            uid: self.names.uid.clone(),
            incarnation: self.incarnation(),
            proxy: self.names.proxies[proxy.index()],
        };
        self.commit(&command);
    }

    fn commit(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        let epoch = self.state.epoch;
        let outcome = Arc::make_mut(&mut self.state).apply(self.index, 0, command);
        // Whatever changes a route changes the epoch.
        if self.state.epoch != epoch {
            self.refresh();
        }
        outcome
    }

    fn refresh(&mut self) {
        self.table = seen(&self.state, &self.names);
        self.phase = self.record().phase;
        let placement = self.state.indexes[&self.names.uid].shard(self.names.shard);
        let state_on = |node: NodeId| Some(placement?.on(node)?.state);
        self.states = self.names.nodes.map(state_on);
        let known = self.names.proxies.map(|id| self.state.proxies.get(&id));
        self.registered = known.map(|proxy| proxy.is_some());
        self.lost = known.map(|proxy| proxy.is_none_or(|proxy| proxy.lost));
    }

    fn record(&self) -> &Record {
        &self.state.migrations[&self.names.migration]
    }

    fn incarnation(&self) -> miroir_core::id::Incarnation {
        self.state.indexes[&self.names.uid].incarnation
    }

    fn shard_on(&self, copy: Copy) -> (ShardId, NodeId) {
        (self.names.shard, self.names.nodes[copy.index()])
    }
}

/// The commands before the first state of the model. None of them may be refused.
#[derive(Default)]
struct Founding {
    state: ClusterState,
    index: u64,
}

impl Founding {
    fn apply(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        let outcome = self.state.apply(self.index, 0, command);
        assert!(!matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        outcome
    }

    fn names(&mut self, kind: Kind) -> Names {
        self.apply(&Command::Bootstrap {
            cluster_id: "model".to_owned(),
            policy: Policy::default(),
        });
        let nodes = ["a", "c"].map(|name| self.node(name));
        let proxies = ["w1", "w2", "r"].map(|name| self.proxy(name));
        let uid = IndexUid::parse("books").expect("a valid uid");
        self.apply(&Command::CreateIndex(NewIndex {
            uid: uid.clone(),
            primary_key: None,
            shards: Some(4),
            replication_factor: Some(1),
            writer: Some(proxies[0]),
            task: None,
        }));
        let (shard, migration) = self.plan(kind, &uid, nodes);
        Names {
            uid,
            shard,
            migration,
            nodes,
            proxies,
        }
    }

    fn node(&mut self, name: &str) -> NodeId {
        let outcome = self.apply(&Command::AddNode { node: spec(name) });
        let Outcome::NodeAdded { node, .. } = outcome else {
            panic!("{outcome:?}")
        };
        node
    }

    fn proxy(&mut self, name: &str) -> ProxyId {
        let outcome = self.apply(&Command::RegisterProxy {
            instance: name.to_owned(),
            name: name.to_owned(),
            url: format!("http://{name}"),
        });
        let Outcome::ProxyRegistered(proxy) = outcome else {
            panic!("{outcome:?}")
        };
        proxy
    }

    fn plan(
        &mut self,
        kind: Kind,
        uid: &IndexUid,
        nodes: [NodeId; COPIES],
    ) -> (ShardId, MigrationId) {
        let index = &self.state.indexes[uid];
        let (shard, _) = index
            .shards()
            .find(|(_, placement)| placement.on(nodes[0]).is_some())
            .expect("two of four shards are on the first of two nodes");
        let planned = PlannedMove {
            uid: uid.clone(),
            incarnation: index.incarnation,
            shard,
            group: GROUP,
            kind,
            source: nodes[0],
            target: nodes[1],
            replaces: (kind == Kind::Move).then_some(nodes[0]),
        };
        let outcome = self.apply(&Command::Plan {
            operation: None,
            moves: vec![planned],
        });
        let Outcome::Planned { migrations, .. } = outcome else {
            panic!("{outcome:?}")
        };
        (shard, migrations[0])
    }
}

fn spec(name: &str) -> NodeSpec {
    NodeSpec {
        url: format!("http://{name}"),
        group: GROUP,
        zone: None,
        weight: 1,
        version: "1.15.0".to_owned(),
    }
}

fn task() -> NewTask {
    NewTask {
        kind: TaskKind::DocumentAdditionOrUpdate,
        details: serde_json::Value::Null,
        custom_metadata: None,
        failure: None,
        idempotency: None,
    }
}

/// The real routing table, reduced to the shard that moves.
fn seen(state: &ClusterState, names: &Names) -> Table {
    let table = RoutingTable::build(state).expect("the cluster is initialised");
    let route = &table.indexes[&names.uid];
    let shard = route.shard(names.shard).expect("the shard exists");
    let targets: BTreeSet<NodeId> = shard.write_targets().collect();
    let readable = names.nodes.map(|node| {
        let mut copies = shard.replicas.iter();
        copies.any(|copy| copy.node == node && copy.state.is_readable())
    });
    let in_sync = readable.iter().filter(|readable| **readable).count();
    let shown = names.nodes.map(|preferred| {
        let shares = route
            .covering_set(GROUP, |node| Some(u64::from(node != preferred)))
            .ok()?;
        Some(names.nodes.map(|node| {
            let share = shares.get(&node);
            share.is_some_and(|share| {
                share.shards.contains(&names.shard) || share.holds_nothing_else
            })
        }))
    });
    Table {
        readable,
        targets: names.nodes.map(|node| targets.contains(&node)),
        closed: shard.is_fenced() || in_sync < usize::from(table.min_in_sync.max(1)),
        records: shard.records_dirty().is_some(),
        writer: route.writer.and_then(|writer| {
            let mut all = Proxy::ALL.into_iter().zip(names.proxies);
            all.find(|(_, id)| *id == writer).map(|(proxy, _)| proxy)
        }),
        shown,
    }
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
            && self.phase == other.phase
            && self.states == other.states
            && self.registered == other.registered
            && self.lost == other.lost
    }
}

impl Eq for Log {}

impl Hash for Log {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.table.hash(hasher);
        self.phase.hash(hasher);
        self.states.hash(hasher);
        self.registered.hash(hasher);
        self.lost.hash(hasher);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("phase", &self.phase)
            .field("copies", &self.states)
            .field("writer", &self.table.writer)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
