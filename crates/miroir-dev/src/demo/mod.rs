//! The main job, end to end: clients write and search while a cluster takes another node and loses its leader.

mod check;
mod client;
mod corpus;
mod memory;
mod oracle;
mod report;
mod search;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::cluster::{Cluster, Options, Role};

pub use check::{Findings, check_documents};
pub use client::{Client, Refusal};
pub use corpus::Corpus;
use memory::MemoryWatch;
pub use oracle::{Fields, Oracle, States};
pub use report::Report;
pub use search::{Searched, Watch};
pub use workload::{Workload, Written};

/// The index of the demo.
pub const INDEX: &str = "packages";

/// How long clients work before the node is added, and after everything has moved.
const QUIET: Duration = Duration::from_secs(5);

/// How long the move may take.
const MOVE_WITHIN: Duration = Duration::from_secs(240);

/// What to show.
#[derive(Debug)]
pub struct Plan {
    /// The cluster.
    pub options: Options,
    /// Documents to load; the sample that is built in by default.
    pub corpus: Option<PathBuf>,
    /// Where everything is kept; a temporary directory by default.
    pub data_dir: Option<PathBuf>,
    /// Where the report goes as JSON.
    pub report: Option<PathBuf>,
    /// Seed of the workload.
    pub seed: u64,
}

/// Shows the main job and prints a report of it.
///
/// # Errors
/// When something could not even be tried; a failed check is part of the report.
pub async fn run(plan: Plan) -> anyhow::Result<Report> {
    let corpus = Corpus::read(plan.corpus.as_deref())?;
    let temporary = match &plan.data_dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("miroir-demo-").tempdir()?),
    };
    let data_dir = match (&plan.data_dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir.path().to_owned(),
        (None, None) => anyhow::bail!("there is no data directory"),
    };
    println!("seed {} (repeat with --seed {})", plan.seed, plan.seed);
    println!(
        "starting {} coordinators, {} nodes, {} proxies",
        plan.options.coordinators, plan.options.nodes, plan.options.proxies
    );
    let mut cluster = Cluster::start(plan.options, data_dir).await?;
    let shown = show(&mut cluster, corpus, plan.seed).await;
    if shown.is_err() {
        cluster.stop().await;
        if let Some(kept) = temporary {
            println!("logs are kept in {}", kept.keep().display());
        }
        return shown;
    }
    let report = shown?;
    cluster.stop().await;
    println!("\n{report}");
    if let Some(path) = plan.report {
        let text = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(kept) = temporary.filter(|_| !report.passed()) {
        println!("logs are kept in {}", kept.keep().display());
    }
    Ok(report)
}

async fn show(cluster: &mut Cluster, corpus: Corpus, seed: u64) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut report = Report {
        seed,
        ..Report::default()
    };
    let client = Client::new(cluster.layout.proxy_urls(), cluster.layout.master_key()?)?;
    let memory = MemoryWatch::start();
    println!("loading {} documents", corpus.documents().len());
    let oracle = Arc::new(Oracle::default());
    load(&client, &corpus, &oracle).await?;
    report.loaded(&corpus, began.elapsed());

    let workload = Workload::start(&client, Arc::clone(&oracle), &corpus, seed);
    let watch = Watch::start(&client, &corpus);
    tokio::time::sleep(QUIET).await;
    watch.next_period();
    report.documents_before = oracle.len();

    let (node, operation) = cluster.add_node(1).await?;
    println!("added {}, operation {operation}", Role::Node(node));
    wait_until_moving(cluster, operation).await?;
    let failover = kill_the_leader(cluster).await?;
    println!(
        "killed the leading coordinator {}; a new one leads after {:.2} s",
        failover.killed,
        failover.took.as_secs_f64()
    );
    report.new_leader_ms = u64::try_from(failover.took.as_millis())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.spawn(Role::Coordinator(failover.killed))?;
    println!("restarted coordinator {}", failover.killed);
    let moving = Instant::now();
    cluster
        .admin
        .wait_for_operation(operation, MOVE_WITHIN)
        .await?;
    println!(
        "all shards moved {:.1} s after the restart",
        moving.elapsed().as_secs_f64()
    );
    watch.next_period();
    tokio::time::sleep(QUIET).await;

    report.worked(workload.stop().await);
    report.searched(watch.stop().await);
    client.wait_for_tasks(Duration::from_secs(120)).await?;
    report.documents_after = oracle.len();
    report.held(&client.write_holds().await?);
    report.moved(&cluster.admin, operation).await?;
    report.found(check_documents(cluster, &client, &oracle, INDEX).await?);
    report.memory(memory.stop().await);
    report.took_ms = u64::try_from(began.elapsed().as_millis())?;
    Ok(report)
}

/// Loads the corpus as NDJSON, with the settings that the searches need.
async fn load(client: &Client, corpus: &Corpus, oracle: &Oracle) -> anyhow::Result<()> {
    client.settings(INDEX, &corpus.settings()).await?;
    for chunk in corpus.documents().chunks(5_000) {
        let lines: Vec<&str> = chunk
            .iter()
            .map(|document| document.text.as_str())
            .collect();
        client.add_ndjson(INDEX, lines.join("\n")).await?;
        for document in chunk {
            oracle.put(&document.id, document.fields.clone());
        }
    }
    client.wait_for_tasks(Duration::from_secs(240)).await
}

/// Waits until some shard is being copied, so that the leader dies in the middle of it.
async fn wait_until_moving(cluster: &Cluster, operation: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let migrations = cluster.admin.migrations(operation).await?.migrations;
        if migrations
            .iter()
            .any(|m| m.phase() >= miroir_proto::v1::Phase::Copying)
        {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "no shard began to move within a minute"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Failover {
    killed: u16,
    took: Duration,
}

/// Kills the leader with SIGKILL and waits until another one leads.
async fn kill_the_leader(cluster: &mut Cluster) -> anyhow::Result<Failover> {
    let killed = cluster.admin.leader().await?;
    cluster.kill(Role::Coordinator(killed)).await?;
    let began = Instant::now();
    let others: Vec<u16> = (1..=cluster.layout.options.coordinators)
        .filter(|n| *n != killed)
        .collect();
    while began.elapsed() < Duration::from_secs(60) {
        for other in &others {
            let status = cluster.admin.status_of(*other).await;
            if status.is_ok_and(|status| status.leader == u64::from(*other) && status.has_quorum) {
                return Ok(Failover {
                    killed,
                    took: began.elapsed(),
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no other coordinator leads a minute after coordinator {killed} was killed")
}
