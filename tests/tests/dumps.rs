//! Dumps of the whole cluster under writes, and what is made of them in a cluster of another size.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Cluster, Options, Role};
use miroir_dev::demo::Client;
use miroir_tests::{Points, Trial};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const CTL: &str = env!("CARGO_BIN_EXE_miroirctl-under-test");

/// How long anything may take that must happen.
const WITHIN: Duration = Duration::from_secs(120);

/// Clients that write at the same time.
const CLIENTS: u32 = 4;

/// Every client writes to the first, and to the second once the first has acknowledged.
const INDEXES: [&str; 2] = ["first", "second"];

fn source() -> Options {
    Options {
        shards: 4,
        environment: vec![Points::environment()],
        ..Trial::options(PROGRAM)
    }
}

/// Fewer nodes, other shards.
fn target() -> Options {
    Options {
        nodes: 2,
        coordinators: 1,
        proxies: 1,
        shards: 7,
        ..Trial::options(PROGRAM)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_one_moment_of_the_cluster_and_restores_into_another() -> anyhow::Result<()> {
    let mut trial = Trial::start_empty(source()).await?;
    let points = Points::new(&trial.cluster.layout);
    let dir = tempfile::tempdir()?;
    let manifest = |name: &str| dir.path().join(name).display().to_string();
    let (calm, killed) = (manifest("calm.json"), manifest("killed.json"));
    let outcome = async {
        for uid in INDEXES {
            create(&trial.client, uid).await?;
        }
        let writers = Writers::start(&trial.client);
        writers.write_more(20).await?;
        let ctl = Ctl::new(&trial.cluster)?;
        let before = writers.acknowledged();
        ctl.passes(&["dump", "create", "--to", &calm]).await?;
        writers.write_more(20).await?;
        let before_killed = writers.acknowledged();
        leader_dies(&mut trial, &points, &writers, &killed).await?;
        writers.write_more(20).await?;
        let after = writers.stop().await?;
        ensure!(after.iter().all(|n| *n > 40), "{after:?}");
        restore(&trial.cluster, &calm, &before, &after).await?;
        restore(&trial.cluster, &killed, &before_killed, &after).await
    }
    .await;
    trial.end(outcome).await
}

async fn create(client: &Client, uid: &str) -> anyhow::Result<()> {
    let body = json!({"uid": uid, "primaryKey": "id"});
    client.send_json(Method::POST, "/indexes", &body).await?;
    let settings = json!({"filterableAttributes": ["n"], "faceting": {"maxValuesPerFacet": 7}});
    client.settings(uid, &settings).await?;
    client.wait_for_tasks(WITHIN).await
}

/// The leader is killed while writes are held: its successor goes on with the dump, and the hold ends.
async fn leader_dies(
    trial: &mut Trial,
    points: &Points,
    writers: &Writers,
    manifest: &str,
) -> anyhow::Result<()> {
    points.set("cut-Holding", "pause").await?;
    let dump = {
        let (ctl, manifest) = (Ctl::new(&trial.cluster)?, manifest.to_owned());
        tokio::spawn(async move { ctl.passes(&["dump", "create", "--to", &manifest]).await })
    };
    held(trial, true).await?;
    let held_at = writers.acknowledged();
    let leader = trial.cluster.admin.leader().await?;
    trial.cluster.kill(Role::Coordinator(leader)).await?;
    let successor = trial.cluster.admin.leader().await?;
    ensure!(successor != leader, "nobody took over");
    let pairs = held_at.iter().zip(writers.acknowledged());
    let mut more = pairs.map(|(then, now)| now - then);
    // What had been sent to nodes is acknowledged, and may have been the end of a pair.
    ensure!(more.all(|more| more <= 1), "writes went on: {held_at:?}");
    points.lift_all()?;
    dump.await??;
    held(trial, false).await?;
    trial.cluster.spawn(Role::Coordinator(leader))
}

/// Waits until every proxy holds writes, or none does.
async fn held(trial: &Trial, held: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    for proxy in trial.client.proxies() {
        loop {
            let path = "/_miroir/proxy/stats";
            let stats = trial.client.send_to(proxy, Method::GET, path, None).await?;
            let said = stats["session"]["writesHeld"].as_bool();
            if said.context("the stats do not tell")? == held {
                break;
            }
            ensure!(Instant::now() < deadline, "never {held}: {stats}");
            sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

/// Imports the dump into a new cluster, and looks at what is there. `before` is how many pairs each client had had
/// acknowledged when the dump was asked for, `after` in the end.
async fn restore(
    from: &Cluster,
    manifest: &str,
    before: &[u32],
    after: &[u32],
) -> anyhow::Result<()> {
    let trial = Trial::start_empty(target()).await?;
    let outcome = async {
        let read: Value = serde_json::from_str(&std::fs::read_to_string(manifest)?)?;
        let nodes = read["nodes"].as_object().context("no nodes")?;
        let mut files = Vec::new();
        for (id, node) in nodes {
            let at = (1..=from.layout.nodes()).find(|n| node["url"] == from.layout.node_url(*n));
            let dumps = from
                .layout
                .home(Role::Node(at.context("which node?")?))
                .join("dumps");
            let uid = node["dumpUid"].as_str().context("not written")?;
            files.push(format!(
                "{id}={}",
                dumps.join(format!("{uid}.dump")).display()
            ));
        }
        let ctl = Ctl::new(&trial.cluster)?;
        let proxy = trial.cluster.layout.proxy_url(1);
        let mut line = vec!["dump", "import", "--proxy", &proxy, "--manifest", manifest];
        let some = [line.clone(), vec![files[0].as_str()]].concat();
        let refused = ctl.run(&some).await?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            why.contains("no dump given holds"),
            "one node has not everything: {why}"
        );
        line.extend(files.iter().map(String::as_str));
        let report = ctl.passes(&line).await?;
        println!("{report}");
        is_one_moment(&trial.client, before, after).await
    }
    .await;
    trial.end(outcome).await
}

async fn is_one_moment(client: &Client, before: &[u32], after: &[u32]) -> anyhow::Result<()> {
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for uid in INDEXES {
        let path = format!("/indexes/{uid}/documents/fetch");
        let body = json!({"limit": 100_000, "fields": ["id"]});
        let answer = client.send_json(Method::POST, &path, &body).await?;
        let results = answer["results"].as_array().context("no documents")?;
        let ids = results
            .iter()
            .map(|d| d["id"].as_str().unwrap_or_default().to_owned());
        let ids: BTreeSet<String> = ids.collect();
        ensure!(ids.len() == results.len(), "`{uid}` has documents twice");
        found.push(ids);
        let path = format!("/indexes/{uid}/settings");
        let settings = client.send(Method::GET, &path, None).await?;
        ensure!(
            settings["faceting"]["maxValuesPerFacet"] == 7
                && settings["filterableAttributes"] == json!(["n"]),
            "{settings}"
        );
    }
    let [first, second] = found.as_slice() else {
        unreachable!("two indexes were read");
    };
    let alone: Vec<&String> = second.difference(first).collect();
    ensure!(
        alone.is_empty(),
        "written later and there, earlier and not: {alone:?}"
    );
    for (client, (before, after)) in before.iter().zip(after).enumerate() {
        for n in 0..*before {
            let id = id(client, n);
            ensure!(
                second.contains(&id),
                "{id} was acknowledged before and is missing"
            );
        }
        ensure!(
            !first.contains(&id(client, *after - 1)),
            "what was written long after is in it"
        );
    }
    Ok(())
}

fn id(client: usize, n: u32) -> String {
    format!("{client}-{n}")
}

/// Clients that write pairs.
struct Writers {
    tasks: JoinSet<anyhow::Result<()>>,
    /// Pairs that each had acknowledged.
    acknowledged: Arc<Vec<AtomicU32>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let acknowledged: Arc<Vec<AtomicU32>> =
            Arc::new((0..CLIENTS).map(|_| AtomicU32::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for at in 0..acknowledged.len() {
            let (client, counts) = (client.clone(), Arc::clone(&acknowledged));
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = counts[at].load(Ordering::Relaxed);
                    for uid in INDEXES {
                        let body = json!([{"id": id(at, n), "n": n}]);
                        let path = format!("/indexes/{uid}/documents");
                        client.send_json(Method::POST, &path, &body).await?;
                    }
                    counts[at].store(n + 1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self {
            tasks,
            acknowledged,
            stop,
        }
    }

    fn acknowledged(&self) -> Vec<u32> {
        let counts = self.acknowledged.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits until every client has written so many more pairs.
    async fn write_more(&self, pairs: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        let begun = self.acknowledged();
        let few = |now: Vec<u32>| {
            now.iter()
                .zip(&begun)
                .any(|(now, begun)| *now < begun + pairs)
        };
        while few(self.acknowledged()) {
            ensure!(Instant::now() < deadline, "writes do not go on: {begun:?}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Stops them; fails when one of their writes did, which none may, however long it is held.
    async fn stop(mut self) -> anyhow::Result<Vec<u32>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.acknowledged())
    }
}

/// Runs the program.
struct Ctl {
    endpoints: String,
    token: String,
    key: String,
}

impl Ctl {
    fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        Ok(Self {
            endpoints: cluster.layout.coordinator_urls().join(","),
            token: cluster.layout.cluster_token()?,
            key: cluster.layout.master_key()?,
        })
    }

    async fn run(&self, line: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(CTL);
        command
            .args(line)
            .args(["--output", "json"])
            .kill_on_drop(true)
            .env("MIROIR_ENDPOINTS", &self.endpoints)
            .env("MIROIR_CLUSTER_TOKEN", &self.token)
            .env("MIROIR_PROXY_KEY", &self.key);
        let ended = tokio::time::timeout(WITHIN, command.output()).await;
        Ok(ended.with_context(|| format!("{line:?} hangs"))??)
    }

    async fn passes(&self, line: &[&str]) -> anyhow::Result<Value> {
        let output = self.run(line).await?;
        let context = || format!("{line:?}: {output:?}");
        ensure!(output.status.success(), context());
        serde_json::from_slice(&output.stdout).with_context(context)
    }
}
