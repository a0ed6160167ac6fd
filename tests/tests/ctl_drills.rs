//! `miroirctl drill` against whole clusters of processes: what it reports is what happened, and what it may not do it
//! does not.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Role};
use miroir_tests::Trial;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const CTL: &str = env!("CARGO_BIN_EXE_miroirctl-under-test");

/// How long one drill may take.
const WITHIN: Duration = Duration::from_secs(180);

/// One cluster at a time: two at once would starve each other on a small machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn options(coordinators: u16, copies: u8) -> Options {
    let set = |name: &str, ms: u32| (format!("MIROIR_COORDINATOR__{name}"), ms.to_string());
    Options {
        coordinators,
        proxies: 1,
        replication_factor: copies,
        shards: 4,
        environment: vec![
            set("NODES__HEALTH_INTERVAL_MS", 200),
            set("MIGRATION__REPAIR_INTERVAL_MS", 200),
        ],
        ..Trial::options(PROGRAM)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_on_three_coordinators() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let trial = Trial::start(options(3, 1)).await?;
    let outcome = async {
        let ctl = Ctl::new(&trial)?;
        bad_input_does_nothing(&trial, &ctl).await?;
        a_leader_is_replaced(&trial, &ctl).await?;
        a_shard_moves_there_and_back(&trial, &ctl).await?;
        coordinators_are_counted(&ctl).await?;
        // Without other copies a lost node takes documents with it.
        let foreseen = ctl.fails("drill node-loss --node 1", 1).await?;
        ensure!(foreseen["foreseen"]["without_copy"] != 0, "{foreseen}");
        no_trace(&trial).await
    }
    .await;
    trial.end(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_on_two_copies() -> anyhow::Result<()> {
    let _alone = ALONE.lock().await;
    let mut trial = Trial::start(options(1, 2)).await?;
    let outcome = async {
        let ctl = Ctl::new(&trial)?;
        a_node_is_lost_and_comes_back(&mut trial, &ctl).await?;
        an_interrupted_drill_puts_its_index_away(&trial, &ctl).await?;
        // There is nobody who could lead instead.
        ctl.fails("drill coordinator-loss", 1).await?;
        let line = "drill leader-failover --yes";
        let error = ctl.refused(line, 1).await?;
        ensure!(error.contains("no other coordinator"), "{error}");
        no_trace(&trial).await
    }
    .await;
    trial.end(outcome).await
}

async fn bad_input_does_nothing(trial: &Trial, ctl: &Ctl) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let before = trial.cluster.admin.status().await?;
    let cases = [
        ("leader-failover".to_owned(), 2, "--yes"),
        (format!("move --proxy {proxy}"), 2, "--yes"),
        ("move --yes".to_owned(), 2, "--proxy"),
        ("node-loss --node 99".to_owned(), 1, "no node 99"),
        (format!("node-loss --node 1 --proxy {proxy}"), 2, "--yes"),
        (
            "node-loss --node 1 --stop-command true".to_owned(),
            2,
            "--yes",
        ),
        (
            "coordinator-loss --coordinator 9".to_owned(),
            1,
            "no coordinator 9",
        ),
        (
            "leader-failover --yes --proxy 127.0.0.1:1".to_owned(),
            2,
            "--proxy",
        ),
        (
            "leader-failover --yes --proxy http://127.0.0.1:9".to_owned(),
            1,
            "no connection",
        ),
        (
            format!("leader-failover --yes --proxy {proxy} --proxy-key-file /nowhere/key"),
            2,
            "/nowhere/key",
        ),
        (
            format!("leader-failover --yes --proxy {proxy} --index movies"),
            2,
            "exists",
        ),
        (
            format!("leader-failover --yes --proxy {proxy} --index no/uid"),
            1,
            "no/uid",
        ),
        (
            "leader-failover --yes --timeout-s 0".to_owned(),
            2,
            "timeout",
        ),
    ];
    trial
        .client
        .send_json(
            Method::POST,
            "/indexes",
            &serde_json::json!({"uid": "movies"}),
        )
        .await?;
    trial.client.wait_for_tasks(WITHIN).await?;
    for (line, code, part) in cases {
        let error = ctl.refused(&format!("drill {line}"), code).await?;
        ensure!(error.contains(part), "`{line}`: no `{part}` in {error}");
    }
    let stranger = Ctl {
        key: "guess".to_owned(),
        ..ctl.clone()
    };
    let line = format!("drill leader-failover --yes --proxy {proxy}");
    let error = stranger.refused(&line, 1).await?;
    ensure!(
        error.contains("MIROIR_PROXY_KEY") && !error.contains("guess"),
        "{error}"
    );
    let after = trial.cluster.admin.status().await?;
    ensure!(
        (before.leader, before.term) == (after.leader, after.term),
        "{after:?}"
    );
    Ok(())
}

async fn a_leader_is_replaced(trial: &Trial, ctl: &Ctl) -> anyhow::Result<()> {
    let before = trial.cluster.admin.status().await?;
    let proxy = trial.cluster.layout.proxy_url(1);
    let report = ctl
        .passes(&format!("drill leader-failover --yes --proxy {proxy}"))
        .await?;
    let after = trial.cluster.admin.status().await?;
    let facts = &report["facts"];
    ensure!(
        facts["old_leader"] == before.leader && facts["new_leader"] == after.leader,
        "{before:?}, {after:?}: {report}"
    );
    ensure!(
        before.leader != after.leader && after.term > before.term,
        "{report}"
    );
    let steps = report["steps"].as_array().context("no steps")?;
    ensure!(steps.len() == 3, "{report}");
    load_was_kept(&report)
}

fn load_was_kept(report: &Value) -> anyhow::Result<()> {
    let load = &report["load"];
    ensure!(load["kept"]["acknowledged"].as_u64() > Some(0), "{report}");
    for what in ["lost", "duplicated", "wrong"] {
        ensure!(load["kept"][what] == 0, "{report}");
    }
    ensure!(
        load["writes"]["failed"] == 0 && load["searches"]["sent"].as_u64() > Some(0),
        "{report}"
    );
    Ok(())
}

async fn a_shard_moves_there_and_back(trial: &Trial, ctl: &Ctl) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let line = format!("drill move --yes --documents 300 --index drilled --proxy {proxy}");
    let report = ctl.passes(&line).await?;
    let told = format!("{}{}", report["steps"], report["durations"]);
    for step in [
        "there: done",
        "there: Fenced",
        "back: done",
        "back: Copying",
    ] {
        ensure!(told.contains(step), "no `{step}`: {report}");
    }
    ensure!(
        report["load"]["kept"]["acknowledged"].as_u64() > Some(300),
        "{report}"
    );
    load_was_kept(&report)
}

async fn coordinators_are_counted(ctl: &Ctl) -> anyhow::Result<()> {
    let each = ctl.passes("drill coordinator-loss").await?;
    ensure!(each["losses"].as_array().map(Vec::len) == Some(3), "{each}");
    let two = ctl
        .fails("drill coordinator-loss --coordinator 1,2", 1)
        .await?;
    ensure!(
        two["losses"][0]["left"] == 1 && two["majority"] == 2,
        "{two}"
    );
    Ok(())
}

async fn a_node_is_lost_and_comes_back(trial: &mut Trial, ctl: &Ctl) -> anyhow::Result<()> {
    let url = trial.cluster.layout.node_url(3);
    let nodes = trial.cluster.admin.nodes().await?;
    let id = nodes.iter().find(|n| n.url == url).context("no node 3")?.id;
    let foreseen = ctl.passes(&format!("drill node-loss --node {id}")).await?;
    let foreseen = &foreseen["foreseen"];
    ensure!(
        foreseen["without_copy"] == 0 && foreseen["copies"] == foreseen["rebuilt"],
        "{foreseen}"
    );
    let still = format!("drill node-loss --node {id} --yes --wait-for-loss-s 1");
    let still = ctl.fails(&still, 1).await?;
    ensure!(
        still["complaints"][0] == format!("node {id} still answers"),
        "{still}"
    );

    let proxy = trial.cluster.layout.proxy_url(1);
    let line = format!("drill node-loss --node {id} --yes --proxy {proxy} --allow-failed 1000");
    let (drill, _stderr) = ctl.waits_for_a_node(&line).await?;
    trial.cluster.kill(Role::Node(3)).await?;
    let seen = || async {
        let nodes = trial.cluster.admin.nodes().await?;
        Ok(nodes
            .iter()
            .any(|node| node.id == id && node.health == "down"))
    };
    until(async || seen().await).await?;
    trial.cluster.spawn(Role::Node(3))?;
    let ended = tokio::time::timeout(WITHIN, drill.wait_with_output()).await??;
    ensure!(ended.status.success(), "{ended:?}");
    let report: Value = serde_json::from_slice(&ended.stdout)?;
    println!("{line}: {report}");
    let steps = report["steps"].to_string();
    for step in ["is missed", "a write passes", "answers again", "is in sync"] {
        ensure!(steps.contains(step), "no `{step}`: {report}");
    }
    let kept = &report["load"]["kept"];
    ensure!(
        kept["acknowledged"].as_u64() > Some(0) && kept["lost"] == 0,
        "{report}"
    );
    Ok(())
}

/// Whoever interrupts a drill leaves nothing behind.
async fn an_interrupted_drill_puts_its_index_away(trial: &Trial, ctl: &Ctl) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let line = format!("drill node-loss --node 1 --yes --proxy {proxy}");
    let (drill, _stderr) = ctl.waits_for_a_node(&line).await?;
    ensure!(scratch_indexes(trial).await? == 1);
    let id = drill.id().context("it ended")?.to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await?;
    ensure!(sent.success(), "{sent}");
    let ended = tokio::time::timeout(WITHIN, drill.wait_with_output()).await??;
    ensure!(
        ended.status.code() == Some(1) && ended.stdout.is_empty(),
        "{ended:?}"
    );
    ensure!(scratch_indexes(trial).await? == 0, "its index is left");
    Ok(())
}

async fn scratch_indexes(trial: &Trial) -> anyhow::Result<usize> {
    let all = trial
        .client
        .send(Method::GET, "/indexes?limit=100", None)
        .await?;
    let uids = all["results"].as_array().context("no indexes")?.iter();
    let mine = uids.filter(|index| {
        let uid = index["uid"].as_str().unwrap_or_default();
        uid.starts_with("miroir-drill-") || uid == "drilled"
    });
    Ok(mine.count())
}

/// What drills made is gone, and what was there before is whole.
async fn no_trace(trial: &Trial) -> anyhow::Result<()> {
    ensure!(
        scratch_indexes(trial).await? == 0,
        "a scratch index is left"
    );
    trial.check().await
}

async fn until(mut look: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !look().await? {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "it never came about"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

type Lines = tokio::io::Lines<BufReader<ChildStderr>>;

/// Runs the program.
#[derive(Clone)]
struct Ctl {
    endpoints: Vec<String>,
    token: String,
    key: String,
}

impl Ctl {
    fn new(trial: &Trial) -> anyhow::Result<Self> {
        let layout = &trial.cluster.layout;
        Ok(Self {
            endpoints: layout.coordinator_urls(),
            token: layout.cluster_token()?,
            key: layout.master_key()?,
        })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(CTL);
        command
            .args(line.split(' '))
            .args(["--output", "json"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .env("MIROIR_ENDPOINTS", self.endpoints.join(","))
            .env("MIROIR_CLUSTER_TOKEN", &self.token)
            .env("MIROIR_PROXY_KEY", &self.key);
        command
    }

    /// Begins a drill, until it tells that the node may go. Its standard error stays open.
    async fn waits_for_a_node(&self, line: &str) -> anyhow::Result<(Child, Lines)> {
        let mut command = self.command(line);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        let mut drill = command.spawn()?;
        let mut lines = BufReader::new(drill.stderr.take().context("no standard error")?).lines();
        let told = tokio::time::timeout(WITHIN, lines.next_line()).await??;
        let told = told.context("it ended")?;
        ensure!(told.starts_with("stop node "), "{told}");
        Ok((drill, lines))
    }

    async fn run(&self, line: &str) -> anyhow::Result<Output> {
        let ended = tokio::time::timeout(WITHIN, self.command(line).output()).await;
        Ok(ended.with_context(|| format!("`miroirctl {line}` hangs"))??)
    }

    /// The report of a drill that must pass.
    async fn passes(&self, line: &str) -> anyhow::Result<Value> {
        let report = self.fails(line, 0).await?;
        println!("miroirctl {line}: {report}");
        Ok(report)
    }

    /// The report of a drill that must end with `code`.
    async fn fails(&self, line: &str, code: i32) -> anyhow::Result<Value> {
        let output = self.run(line).await?;
        let context = || format!("`miroirctl {line}`: {output:?}");
        ensure!(output.status.code() == Some(code), context());
        serde_json::from_slice(&output.stdout).with_context(context)
    }

    /// The error of a drill that must not begin.
    async fn refused(&self, line: &str, code: i32) -> anyhow::Result<String> {
        let output = self.run(line).await?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(code) && output.stdout.is_empty(),
            "`miroirctl {line}`: {output:?}"
        );
        Ok(error)
    }
}
