//! The cluster of a few rounds, with everything that outlives a round.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Cluster, Options, Role};
use miroir_dev::demo::Client;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::workload::Crew;
use super::{Bias, INDEX, Plan, STABLE, documents_of, stable_id};
use crate::Network;

/// Nodes that ever run on one cluster.
const NODES_MAX: u16 = 14;

/// Nodes that run at the same time: each costs this machine something.
const RUNNING_MAX: usize = 6;

/// How long a write is held before it is refused, and how long a node may be silent before its copies are given up.
const HOLD: Duration = Duration::from_secs(6);

/// The same where copies are to be given up in the course of a round. Then fences may keep writes for too long as well.
const SHORT_HOLD: Duration = Duration::from_millis(900);

/// How long loading may take.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// What was done, in order, for whoever has to understand a failure.
#[derive(Debug, Clone)]
pub struct Trail {
    began: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trail {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            lines: Arc::default(),
        }
    }

    /// Adds a line.
    pub fn note(&self, what: impl std::fmt::Display) {
        let at = self.began.elapsed().as_secs_f64();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{at:8.2} s  {what}"));
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }
}

/// The cluster and its clients.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// A client of its proxies.
    pub client: Client,
    /// Clients that write; none while they are at work.
    pub crew: Option<Crew>,
    /// What can cut processes off from each other, where the machine permits.
    pub network: Option<Network>,
    /// What was done.
    pub trail: Trail,
    dir: TempDir,
}

impl Stage {
    /// Starts a cluster of a random shape and loads the documents that never change.
    pub async fn build(plan: &Plan, rng: &mut StdRng) -> anyhow::Result<Self> {
        let mut options = shape(plan, rng);
        let wants_network = plan.bias == Bias::Anything && rng.random_bool(0.5);
        let network = if wants_network { network()? } else { None };
        if let Some(network) = &network {
            options.places = network.places();
        }
        configure_proxies(&mut options, &plan.failpoints);
        let dir = tempfile::Builder::new().prefix("miroir-drill-").tempdir()?;
        let trail = Trail::new();
        trail.note(format_args!(
            "a cluster of {} nodes, {} groups, replication factor {}, writes held for {:?}{}",
            options.nodes,
            options.groups,
            options.replication_factor,
            options.hold,
            network.as_ref().map_or("", |_| ", in a network of its own")
        ));
        let cluster = Cluster::start(options, dir.path().to_owned()).await?;
        let client = Client::new(cluster.layout.proxy_urls(), cluster.layout.master_key()?)?;
        let stage = Self {
            crew: Some(Crew::new(&client, rng.random())),
            cluster,
            client,
            network,
            trail,
            dir,
        };
        stage.load().await?;
        Ok(stage)
    }

    async fn load(&self) -> anyhow::Result<()> {
        let settings = json!({"filterableAttributes": ["stable", "bucket"]});
        self.client.settings(INDEX, &settings).await?;
        let documents: Vec<Value> = (0..STABLE).map(stable_document).collect();
        let path = documents_of(INDEX);
        let body = Value::Array(documents);
        self.client
            .send_json(reqwest::Method::POST, &path, &body)
            .await?;
        self.client.wait_for_tasks(LOADED_WITHIN).await
    }

    /// Whether writes are held for so long that none may be refused while nothing is harmed.
    pub fn is_patient(&self) -> bool {
        self.cluster.layout.options.hold >= HOLD
    }

    /// Starts the process of one more node, and answers its URL; `None` when there are enough.
    pub fn start_node(&mut self) -> anyhow::Result<Option<String>> {
        let running = self.running_nodes().len();
        if running >= RUNNING_MAX || self.cluster.layout.nodes() >= NODES_MAX {
            return Ok(None);
        }
        let node = self.cluster.layout.add_node(1)?;
        self.cluster.spawn(Role::Node(node))?;
        Ok(Some(self.cluster.layout.node_url(node)))
    }

    /// The nodes whose processes run, be they paused.
    pub fn running_nodes(&mut self) -> Vec<Role> {
        let nodes = (1..=self.cluster.layout.nodes()).map(Role::Node);
        let cluster = &mut self.cluster;
        nodes
            .filter(|role| cluster.process(*role).is_some_and(|p| p.is_running()))
            .collect()
    }

    /// Waits until a node that was just started answers.
    pub async fn wait_for_node(url: &str) -> anyhow::Result<()> {
        let client = Client::new(vec![url.to_owned()], String::new())?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = client.send(reqwest::Method::GET, "/health", None).await {
            ensure!(
                Instant::now() < deadline,
                "{url} does not come up: {error:#}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Ends it. After a failure the logs are kept, and their place is the answer.
    pub async fn end(mut self, failed: bool) -> Option<String> {
        self.cluster.stop().await;
        failed.then(|| self.dir.keep().join("logs").display().to_string())
    }
}

/// What a cluster begins as.
fn shape(plan: &Plan, rng: &mut StdRng) -> Options {
    let mut options = Options {
        shards: 8,
        nodes: 3,
        hold: HOLD,
        ..Options::small(plan.program.clone())
    };
    match plan.bias {
        Bias::Anything => {
            options.groups = if rng.random_bool(0.3) { 2 } else { 1 };
            options.replication_factor = if rng.random_bool(0.5) { 2 } else { 1 };
            if rng.random_bool(0.5) {
                options.hold = SHORT_HOLD;
            }
            if options.groups == 2 {
                options.nodes = 4;
            }
        }
        Bias::ReadBarrier | Bias::DirtyIds => {}
        Bias::Ejection => {
            options.replication_factor = 2;
            options.hold = SHORT_HOLD;
        }
    }
    // Shorter than usual, so that what waits for a lease or for a read to end does not take most of a round.
    for (name, value) in [
        ("LEASE_MS", "2000"),
        ("NODES__REQUEST_TIMEOUT_MS", "6000"),
        ("NODES__HEALTH_INTERVAL_MS", "300"),
        ("NODES__HEALTH_TIMEOUT_MS", "1000"),
        ("MIGRATION__REPAIR_INTERVAL_MS", "500"),
        // It would mend what the drill is to find.
        ("SCRUB__INTERVAL_MS", "0"),
        ("LOG", "info,openraft=warn"),
    ] {
        let name = format!("MIROIR_COORDINATOR__{name}");
        options.environment.push((name, value.to_owned()));
    }
    if !plan.failpoints.is_empty() {
        let failpoints = ("FAILPOINTS".to_owned(), plan.failpoints.clone());
        options.environment.push(failpoints);
    }
    options
}

/// Proxies are told by a command before theirs: what of a node a coordinator waits for, no proxy may outlast.
fn configure_proxies(options: &mut Options, failpoints: &str) {
    for proxy in (1..=options.proxies).map(Role::Proxy) {
        let wrapper = options.places.wrappers.entry(proxy).or_default();
        wrapper.extend([
            "env".to_owned(),
            "MIROIR_NODE_REQUEST_TIMEOUT_MS=6000".to_owned(),
            "MIROIR_SEARCH_TIMEOUT_MS=6000".to_owned(),
            format!("FAILPOINTS={failpoints}"),
        ]);
    }
}

fn network() -> anyhow::Result<Option<Network>> {
    let proxies = (1..=2).map(Role::Proxy);
    let coordinators = (1..=3).map(Role::Coordinator);
    let nodes = (1..=NODES_MAX).map(Role::Node);
    match Network::create(proxies.chain(coordinators).chain(nodes)).context("a network")? {
        Ok(network) => Ok(Some(network)),
        Err(why) => {
            println!("  without partitions: {why}");
            Ok(None)
        }
    }
}

fn stable_document(number: u32) -> Value {
    let text = "a word or two that no client changes";
    json!({"id": stable_id(number), "stable": true, "text": text, "number": number})
}

/// What a document that never changes is.
pub fn stable_fields(number: u32) -> miroir_dev::demo::Fields {
    let document = stable_document(number);
    Arc::new(document.as_object().cloned().unwrap_or_default())
}
