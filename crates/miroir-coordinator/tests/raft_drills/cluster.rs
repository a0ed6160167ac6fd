//! Coordinators in one process, talking over real gRPC on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use miroir_coordinator::raft::{Consensus, Member, ProposeError, RaftLimits, RequestId};
use miroir_coordinator::storage::Storage;
use miroir_coordinator::storage::memory::MemoryDisk;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::basics::{PATIENCE, config, identity, remember, wait_for};
use crate::support::{Command, Counters, Outcome};

/// What a coordinator stores on. Clones are the same disk.
#[derive(Clone)]
pub enum Disk {
    /// A directory, deleted with the last clone.
    Dir(Arc<TempDir>),
    /// Memory that can lose power.
    Memory(MemoryDisk),
}

impl Disk {
    fn directory() -> Self {
        Self::Dir(Arc::new(
            tempfile::tempdir().expect("a temporary directory"),
        ))
    }

    fn open(&self, id: u64) -> Storage {
        match self {
            Self::Dir(dir) => Storage::open_dir(dir.path(), &identity(id)),
            Self::Memory(disk) => Storage::open(Box::new(disk.open()), &identity(id)),
        }
        .expect("the storage opens")
    }

    /// The directory of one that is a directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Dir(dir) => dir.path(),
            Self::Memory(_) => panic!("a disk in memory has no path"),
        }
    }
}

/// One running coordinator.
pub struct Node {
    pub id: u64,
    pub consensus: Consensus<Counters>,
    pub raft_url: String,
    pub fatal: Arc<Mutex<Option<String>>>,
    address: std::net::SocketAddr,
    disk: Disk,
    limits: RaftLimits,
    hang_up: CancellationToken,
}

impl Node {
    pub async fn start(id: u64, disk: Disk, limits: RaftLimits) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self::start_at(id, disk, limits, any).await
    }

    async fn start_at(
        id: u64,
        disk: Disk,
        limits: RaftLimits,
        address: std::net::SocketAddr,
    ) -> Self {
        let storage = disk.open(id);
        let fatal = Arc::new(Mutex::new(None));
        let consensus = Consensus::start(config(id, &limits), storage, remember(&fatal))
            .await
            .expect("consensus starts");
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let hang_up = CancellationToken::new();
        let server = Server::builder()
            .add_service(consensus.service())
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                hang_up.clone().cancelled_owned(),
            );
        tokio::spawn(server);
        Self {
            id,
            consensus,
            raft_url: format!("http://{address}"),
            fatal,
            address,
            disk,
            limits,
            hang_up,
        }
    }

    /// Stops without telling anybody; returns what is needed to start again.
    pub async fn stop(self) -> Stopped {
        self.hang_up.cancel();
        self.consensus.shutdown().await;
        Stopped {
            id: self.id,
            disk: self.disk,
            limits: self.limits,
            address: self.address,
        }
    }

    pub fn member(&self) -> Member {
        Member::new(&self.raft_url, format!("http://api-of-{}", self.id))
    }

    pub fn value(&self, name: &str) -> u64 {
        let state = self.consensus.state();
        state.read(|m| m.values.get(name).copied().unwrap_or(0))
    }
}

/// A coordinator that is not running.
pub struct Stopped {
    pub id: u64,
    pub disk: Disk,
    limits: RaftLimits,
    address: std::net::SocketAddr,
}

impl Stopped {
    /// Starts it on the same directory and address.
    pub async fn start(self) -> Node {
        Node::start_at(self.id, self.disk, self.limits, self.address).await
    }
}

/// Some coordinators with their directories.
pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    limits: RaftLimits,
}

impl Cluster {
    /// Coordinators 1 to `count`, not yet a cluster.
    pub async fn start(count: u64, limits: RaftLimits) -> Self {
        let disks = (0..count).map(|_| Disk::directory()).collect();
        Self::start_on(disks, limits).await
    }

    /// One coordinator on each disk, not yet a cluster.
    pub async fn start_on(disks: Vec<Disk>, limits: RaftLimits) -> Self {
        let mut nodes = BTreeMap::new();
        for (id, disk) in (1..).zip(disks) {
            nodes.insert(id, Node::start(id, disk, limits.clone()).await);
        }
        Self { nodes, limits }
    }

    /// Coordinators 1 to `count`, formed into a cluster with a leader.
    pub async fn formed(count: u64, limits: RaftLimits) -> Self {
        Self::start(count, limits).await.form().await
    }

    /// Forms a cluster of those that run, and waits for its leader.
    pub async fn form(self) -> Self {
        let members = self.nodes.iter().map(|(id, n)| (*id, n.member()));
        self.nodes[&1]
            .consensus
            .initialize(members.collect())
            .await
            .expect("a new cluster forms");
        self.leader().await;
        self
    }

    /// Starts one more coordinator on an empty directory.
    pub async fn add(&mut self, id: u64) {
        let node = Node::start(id, Disk::directory(), self.limits.clone()).await;
        self.nodes.insert(id, node);
    }

    /// Stops a coordinator.
    pub async fn stop(&mut self, id: u64) -> Stopped {
        let node = self.nodes.remove(&id).expect("it is running");
        node.stop().await
    }

    /// Waits until one of the running coordinators may act as leader.
    pub async fn leader(&self) -> u64 {
        let find = || {
            let mut nodes = self.nodes.values();
            nodes.find(|n| n.consensus.is_leader()).map(|n| n.id)
        };
        wait_for("a leader", find).await
    }

    /// Proposes at whoever leads, again and again under one id, until it is executed.
    pub async fn propose(&self, command: Command) -> Outcome {
        self.propose_as(RequestId::random(), command).await
    }

    pub async fn propose_as(&self, id: RequestId, command: Command) -> Outcome {
        let start = Instant::now();
        loop {
            let leader = &self.nodes[&self.leader().await].consensus;
            match leader.propose_as(id, &command).await {
                Ok(outcome) => return outcome,
                Err(ProposeError::NotLeader { .. } | ProposeError::UnknownOutcome { .. })
                    if start.elapsed() < PATIENCE => {}
                Err(other) => panic!("cannot propose: {other}"),
            }
        }
    }

    /// Waits until all running coordinators have applied what the leader has.
    pub async fn settle(&self) {
        let leader = self.leader().await;
        let index = self.nodes[&leader].consensus.metrics().applied_index;
        for node in self.nodes.values() {
            let mut applied = node.consensus.state().applied();
            tokio::time::timeout(PATIENCE, applied.wait_for(|at| *at >= index))
                .await
                .unwrap_or_else(|_| panic!("coordinator {} does not reach {index:?}", node.id))
                .expect("the state machine lives");
        }
    }

    pub async fn shutdown(self) {
        for node in self.nodes.into_values() {
            let fatal = Arc::clone(&node.fatal);
            node.stop().await;
            assert_eq!(*fatal.lock().expect("not poisoned"), None);
        }
    }
}
