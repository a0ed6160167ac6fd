//! A cluster without consensus: the replicated state in memory, nodes, and the parts that actors are given.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use miroir_coordinator::actor::{Context, ScrubBoard, SettingsBoard};
use miroir_coordinator::clock::SystemClock;
use miroir_coordinator::cluster::Cluster;
use miroir_coordinator::config::Config;
use miroir_coordinator::migration::{
    MoveOptions, Mover, NodeLoad, Nodes, Paces, Underway, Verifier, VerifyOptions, supervise,
};
use miroir_coordinator::nodes::{HealthBoard, NodePool};
use miroir_coordinator::raft::{ProposeError, ReadError};
use miroir_coordinator::session::{LeaseRules, Sessions};
use miroir_core::cluster::{
    AppliedSettings, ClusterState, Command, Control, NewIndex, NodeSpec, Outcome, PlannedMove,
    Policy,
};
use miroir_core::id::{GroupId, Incarnation, IndexUid, MigrationId, NodeId, ProxyId, ShardId};
use miroir_core::migration::{Event, Kind, PaceBounds, Phase, Record};
use miroir_meili::NodeClient;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::node::{KEY, TestNode};

/// The index of every test; it has one shard.
pub const BOOKS: &str = "books";

/// Unfinished tasks of a node above which copying gives way.
pub const QUEUE_MAX: u64 = 100;

/// No condition of these tests takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn books() -> IndexUid {
    IndexUid::parse(BOOKS).expect("a uid")
}

/// Waits until a condition holds.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check().await {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < deadline, "{what}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The replicated state, changed by whoever proposes.
#[derive(Debug, Clone)]
pub struct Memory {
    state: Arc<Mutex<ClusterState>>,
    applied: Arc<watch::Sender<u64>>,
}

impl Cluster for Memory {
    fn read<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R {
        look(&self.state.lock().expect("no panic while locked"))
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        Ok(self.apply(&command))
    }

    async fn confirm_leadership(&self) -> Result<(), ReadError> {
        Ok(())
    }
}

impl Memory {
    pub fn apply(&self, command: &Command) -> Outcome {
        let mut state = self.state.lock().expect("no panic while locked");
        let at = *self.applied.borrow() + 1;
        let outcome = state.apply(at, at, command);
        drop(state);
        self.applied.send_replace(at);
        outcome
    }

    /// Applies a command that must be carried out.
    pub fn must(&self, command: Command) -> Outcome {
        let outcome = self.apply(&command);
        let refused = matches!(outcome, Outcome::Rejected(_));
        assert!(!refused, "{command:?}: {outcome:?}");
        outcome
    }
}

/// Nodes by id, of which some count as down.
#[derive(Debug, Clone)]
pub struct Fleet {
    clients: BTreeMap<NodeId, NodeClient>,
    pub down: Arc<watch::Sender<Vec<NodeId>>>,
    /// Unfinished tasks that every node is said to have.
    pub queue: Arc<AtomicU64>,
}

impl Nodes for Fleet {
    fn client(&self, node: NodeId) -> Option<NodeClient> {
        self.clients.get(&node).cloned()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.down.borrow().contains(&node)
    }

    fn load(&self, _: NodeId) -> NodeLoad {
        NodeLoad {
            queue: Some(self.queue.load(Ordering::Relaxed)),
            ..NodeLoad::default()
        }
    }

    async fn down(&self, node: NodeId) {
        let mut down = self.down.subscribe();
        let gone = down.wait_for(|down| down.contains(&node)).await.is_err();
        assert!(!gone, "this fleet holds the sender");
    }
}

/// A cluster of nodes 1, 2, ... with the index on some of them.
pub struct World {
    pub cluster: Memory,
    pub fleet: Fleet,
    pub sessions: Sessions,
    pub incarnation: Incarnation,
    pub writer: ProxyId,
    pub paces: Paces,
    mover: Option<(CancellationToken, JoinHandle<()>)>,
}

impl World {
    /// All of `nodes` in one group; `copies` of them, the first, hold the index.
    pub async fn new(nodes: &[TestNode], copies: u8) -> Self {
        let cluster = Memory {
            state: Arc::default(),
            applied: Arc::new(watch::Sender::new(0)),
        };
        cluster.must(Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy: Policy {
                default_shards: 1,
                default_replication_factor: copies,
                ..Policy::default()
            },
        });
        let (instance, name, url) = ("i".to_owned(), "p".to_owned(), "http://p".to_owned());
        let registered = cluster.must(Command::RegisterProxy {
            instance,
            name,
            url,
        });
        let Outcome::ProxyRegistered(writer) = registered else {
            panic!("{registered:?}")
        };
        let mut clients = BTreeMap::new();
        let mut incarnation = Incarnation(0);
        for (n, node) in (1_u64..).zip(nodes) {
            cluster.must(add_node(node));
            clients.insert(NodeId(n), node.client.clone());
            if n == u64::from(copies) {
                incarnation = create(&cluster, writer);
            }
        }
        let sessions = Sessions::new(LeaseRules {
            lease: Duration::from_secs(60),
            static_reads: Duration::from_secs(600),
            late_request: Duration::from_millis(20),
            read_timeout: Duration::from_secs(5),
        });
        let world = Self {
            cluster,
            fleet: Fleet {
                clients,
                down: Arc::new(watch::Sender::new(Vec::new())),
                queue: Arc::default(),
            },
            sessions,
            incarnation,
            writer,
            paces: Paces::default(),
            mover: None,
        };
        for (n, node) in (1..).zip(nodes) {
            let task = node.settings().await;
            world.report_settings(n, task);
        }
        world
    }

    /// Says that a node has enqueued the index's settings with its task.
    pub fn report_settings(&self, node: u64, node_task: u32) {
        self.cluster.must(Command::SettingsEnqueued {
            uid: books(),
            incarnation: self.incarnation,
            proxy: self.writer,
            applied: vec![AppliedSettings {
                node: NodeId(node),
                version: 1,
                node_task,
            }],
            task: None,
        });
    }

    /// Starts the actors of the migrations, as a new leader.
    pub async fn lead(&mut self) {
        self.depose().await;
        self.sessions.begin_leadership();
        let options = MoveOptions {
            chunk_docs: 50,
            fence_budget: Duration::from_millis(2_000),
            late_request: Duration::from_millis(20),
            takeover: Duration::ZERO,
            pace: Some(PaceBounds {
                docs_per_s_min: 10,
                queue_max: QUEUE_MAX,
                latency_max_ms: 1_000,
                reads_max_ms: 1_000,
            }),
        };
        let mover = Mover {
            cluster: self.cluster.clone(),
            nodes: self.fleet.clone(),
            sessions: self.sessions.clone(),
            underway: Underway::default(),
            paces: self.paces.clone(),
            options,
        };
        let cancel = CancellationToken::new();
        let running = tokio::spawn(supervise(mover, cancel.clone()));
        self.mover = Some((cancel, running));
    }

    /// Ends them.
    pub async fn depose(&mut self) {
        if let Some((cancel, running)) = self.mover.take() {
            cancel.cancel();
            running.await.expect("they end");
        }
    }

    /// Plans one migration and gives it a slot.
    pub fn begin(
        &self,
        kind: Kind,
        (source, target): (u64, u64),
        replaces: Option<u64>,
    ) -> MigrationId {
        let one = PlannedMove {
            uid: books(),
            incarnation: self.incarnation,
            shard: ShardId(0),
            group: GroupId(1),
            kind,
            source: NodeId(source),
            target: NodeId(target),
            replaces: replaces.map(NodeId),
        };
        let planned = self.cluster.must(Command::Plan {
            operation: None,
            moves: vec![one],
        });
        let Outcome::Planned { migrations, .. } = planned else {
            panic!("{planned:?}")
        };
        let id = migrations[0];
        self.cluster.must(Command::Advance {
            id,
            step: 0,
            event: Event::SlotGranted,
        });
        id
    }

    pub fn record(&self, id: MigrationId) -> Record {
        let record = self
            .cluster
            .read(|state| state.migrations.get(&id).cloned());
        record.expect("it was planned")
    }

    pub fn control(&self, id: MigrationId, control: Control) {
        self.cluster.must(Command::ControlMigration { id, control });
    }

    pub fn throttle(&self, id: MigrationId, docs_per_s: Option<u32>) {
        let bytes_per_s = None;
        self.control(
            id,
            Control::Throttle {
                docs_per_s,
                bytes_per_s,
            },
        );
    }

    /// Waits until a migration is in a phase.
    pub async fn reaches(&self, id: MigrationId, phase: Phase) -> Record {
        eventually(&format!("migration {id} in {phase}"), async || {
            let record = self.record(id);
            if record.phase == phase {
                Ok(record)
            } else {
                Err(format!("{record:#?}"))
            }
        })
        .await
    }

    pub fn verifier(&self) -> Verifier<Memory, Fleet> {
        let options = VerifyOptions {
            chunk_docs: 50,
            pause: Duration::ZERO,
        };
        Verifier::new(self.cluster.clone(), self.fleet.clone(), options)
    }

    /// What a leader-only actor is given.
    pub fn context(&self) -> Context<Memory> {
        let text = format!(
            "id = 1\ncluster_token = \"t\"\nnode_master_key = \"{KEY}\"\nnodes.health_interval_ms = 20\n\
             peers = [{{ id = 1, api_url = \"http://127.0.0.1:1\", raft_url = \"http://127.0.0.1:2\" }}]"
        );
        let config = Config::parse("test", &text, []).expect("a valid configuration");
        Context {
            cluster: self.cluster.clone(),
            nodes: NodePool::new(&config).expect("clients"),
            config: Arc::new(config),
            health: HealthBoard::default(),
            sessions: self.sessions.clone(),
            underway: Underway::default(),
            paces: self.paces.clone(),
            scrub: ScrubBoard::default(),
            settings: SettingsBoard::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

fn add_node(node: &TestNode) -> Command {
    Command::AddNode {
        node: NodeSpec {
            url: node.url.clone(),
            group: GroupId(1),
            zone: None,
            weight: 1,
            version: "1.15.1".to_owned(),
        },
    }
}

fn create(cluster: &Memory, writer: ProxyId) -> Incarnation {
    let created = cluster.must(Command::CreateIndex(NewIndex {
        uid: books(),
        primary_key: Some("id".to_owned()),
        shards: None,
        replication_factor: None,
        writer: Some(writer),
        task: None,
    }));
    let Outcome::IndexCreated { incarnation, .. } = created else {
        panic!("{created:?}")
    };
    incarnation
}

/// Runs `work` beside a future that never ends by itself.
pub async fn beside<T>(other: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = other => panic!("it ended by itself"),
        done = work => done,
    }
}
