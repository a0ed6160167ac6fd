//! Coordinators in one process, talking over real gRPC on loopback.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use miroir_coordinator::raft::{Consensus, Member, ProposeError, RaftLimits, RequestId};
use miroir_coordinator::storage::Storage;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::basics::{PATIENCE, config, identity, remember, wait_for};
use crate::support::{Command, Counters, Outcome};

/// One running coordinator.
pub struct Node {
    pub id: u64,
    pub consensus: Consensus<Counters>,
    pub raft_url: String,
    pub fatal: Arc<Mutex<Option<String>>>,
    address: std::net::SocketAddr,
    dir: PathBuf,
    limits: RaftLimits,
    hang_up: CancellationToken,
}

impl Node {
    pub async fn start(id: u64, dir: PathBuf, limits: RaftLimits) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self::start_at(id, dir, limits, any).await
    }

    async fn start_at(
        id: u64,
        dir: PathBuf,
        limits: RaftLimits,
        address: std::net::SocketAddr,
    ) -> Self {
        let storage = Storage::open_dir(&dir, &identity(id)).expect("the storage opens");
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
            dir,
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
            dir: self.dir,
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
    pub dir: PathBuf,
    limits: RaftLimits,
    address: std::net::SocketAddr,
}

impl Stopped {
    /// Starts it on the same directory and address.
    pub async fn start(self) -> Node {
        Node::start_at(self.id, self.dir, self.limits, self.address).await
    }
}

/// Some coordinators with their directories.
pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    dirs: Vec<TempDir>,
    limits: RaftLimits,
}

impl Cluster {
    /// Coordinators 1 to `count`, not yet a cluster.
    pub async fn start(count: u64, limits: RaftLimits) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            dirs: Vec::new(),
            limits,
        };
        for id in 1..=count {
            cluster.add(id).await;
        }
        cluster
    }

    /// Coordinators 1 to `count`, formed into a cluster with a leader.
    pub async fn formed(count: u64, limits: RaftLimits) -> Self {
        let cluster = Self::start(count, limits).await;
        let members = cluster.nodes.iter().map(|(id, n)| (*id, n.member()));
        cluster.nodes[&1]
            .consensus
            .initialize(members.collect())
            .await
            .expect("a new cluster forms");
        cluster.leader().await;
        cluster
    }

    /// Starts one more coordinator on an empty directory.
    pub async fn add(&mut self, id: u64) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start(id, dir.path().to_path_buf(), self.limits.clone()).await;
        self.dirs.push(dir);
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
