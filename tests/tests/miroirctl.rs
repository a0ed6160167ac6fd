//! The command line against a whole cluster of processes: what it prints is what is there, and a node is added with
//! it while the leader dies.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Role;
use miroir_dev::demo::INDEX;
use miroir_tests::Trial;
use serde_json::Value;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const CTL: &str = env!("CARGO_BIN_EXE_miroirctl-under-test");

/// How long one command may take; adding a node waits for its share.
const WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_adds_a_node_while_the_leader_dies() -> anyhow::Result<()> {
    let mut trial = Trial::start(Trial::options(PROGRAM)).await?;
    let outcome = operate(&mut trial).await;
    trial.end(outcome).await
}

async fn operate(trial: &mut Trial) -> anyhow::Result<()> {
    let ctl = Ctl::new(trial)?;
    lists_tell_what_is_there(trial, &ctl).await?;
    let url = add_a_node(trial, &ctl).await?;
    the_log_tells_what_was_done(&ctl).await?;
    adding_again_is_refused_or_accepted(&ctl, &url).await?;
    trial.check().await
}

async fn lists_tell_what_is_there(trial: &Trial, ctl: &Ctl) -> anyhow::Result<()> {
    // The leader has to have looked at them once.
    ctl.until("status", |status| status["nodes_reachable"] == 3)
        .await?;
    // Any one endpoint will do, also one that follows.
    for endpoint in &ctl.endpoints {
        let status = Ctl {
            endpoints: vec![endpoint.clone()],
            ..ctl.clone()
        }
        .ask("status")
        .await?;
        ensure!(
            status["initialised"] == true && status["leader"] == status["answered_by"],
            "{status}"
        );
        ensure!(
            status["nodes"] == 3 && status["nodes_reachable"] == 3,
            "{status}"
        );
    }
    let nodes = ctl.ask("node list").await?;
    let nodes = nodes["nodes"].as_array().context("no nodes")?;
    let copies: u64 = nodes
        .iter()
        .filter_map(|node| node["replicas"].as_u64())
        .sum();
    ensure!(copies == 16, "16 shards have {copies} copies: {nodes:?}");
    let shown = ctl.ask(&format!("index show {INDEX}")).await?;
    let map = shown["shard_map"].as_array().context("no shards")?;
    ensure!(
        map.len() == 16
            && map
                .iter()
                .all(|shard| shard["replicas"][0]["state"] == "InSync"),
        "{shown}"
    );
    let roles: Vec<Value> = ctl.ask("coordinator list").await?["coordinators"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        roles.iter().filter(|c| c["role"] == "leader").count() == 1 && roles.len() == 3,
        "{roles:?}"
    );
    let proxies = ctl.ask("proxy list").await?;
    let live = proxies["proxies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|proxy| proxy["lease"] == "live")
        .count();
    ensure!(
        live == usize::from(trial.cluster.layout.options.proxies),
        "{proxies}"
    );
    Ok(())
}

async fn add_a_node(trial: &mut Trial, ctl: &Ctl) -> anyhow::Result<String> {
    let node = trial.cluster.layout.add_node(1)?;
    let url = trial.cluster.layout.node_url(node);
    trial.cluster.spawn(Role::Node(node))?;
    trial
        .cluster
        .wait_for_http(Role::Node(node), &format!("{url}/health"))
        .await?;
    let adding = {
        let (ctl, line) = (ctl.clone(), format!("node add {url} --wait"));
        tokio::spawn(async move { ctl.ask(&line).await })
    };
    ctl.until("migration list --all", |list| list["total"] != 0)
        .await?;
    let leader = trial.cluster.admin.leader().await?;
    trial.cluster.kill(Role::Coordinator(leader)).await?;
    let added = adding.await??;
    ensure!(added["added"] == true && added["done"] == true, "{added}");
    trial.cluster.spawn(Role::Coordinator(leader))?;
    Ok(url)
}

async fn the_log_tells_what_was_done(ctl: &Ctl) -> anyhow::Result<()> {
    let migrations = ctl.ask("migration list --all").await?;
    // 16 shards over four nodes.
    ensure!(
        migrations["total"] == 4 && migrations["done"] == 4,
        "{migrations}"
    );
    let first = migrations["migrations"][0]["id"]
        .as_u64()
        .context("no id")?;
    let shown = ctl.ask(&format!("migration show {first}")).await?;
    let phases: Vec<&str> = shown["history"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|change| change["phase"].as_str())
        .collect();
    ensure!(
        phases.contains(&"Mirroring") && phases.last() == Some(&"Done"),
        "{shown}"
    );
    let table = ctl.run("migration watch", "table").await?;
    ensure!(table.status.success(), "{table:?}");
    Ok(())
}

async fn adding_again_is_refused_or_accepted(ctl: &Ctl, url: &str) -> anyhow::Result<()> {
    let refused = ctl.run(&format!("node add {url}"), "table").await?;
    let error = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refused.status.code() == Some(1) && error.contains("already in the cluster"),
        "{refused:?}"
    );
    let accepted = ctl
        .ask(&format!("node add {url} --if-needed --wait"))
        .await?;
    ensure!(
        accepted["added"] == false && accepted["done"] == true,
        "{accepted}"
    );
    let other = Ctl {
        token: "guess".to_owned(),
        ..ctl.clone()
    };
    ensure!(other.run("node list", "table").await?.status.code() == Some(1));
    Ok(())
}

/// Runs the program.
#[derive(Clone)]
struct Ctl {
    endpoints: Vec<String>,
    token: String,
}

impl Ctl {
    fn new(trial: &Trial) -> anyhow::Result<Self> {
        let layout = &trial.cluster.layout;
        Ok(Self {
            endpoints: layout.coordinator_urls(),
            token: layout.cluster_token()?,
        })
    }

    async fn run(&self, line: &str, format: &str) -> anyhow::Result<Output> {
        let mut command = Command::new(CTL);
        command
            .args(line.split(' '))
            .args(["--output", format])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
            .env("MIROIR_ENDPOINTS", self.endpoints.join(","))
            .env("MIROIR_CLUSTER_TOKEN", &self.token);
        let ended = tokio::time::timeout(WITHIN, command.output()).await;
        Ok(ended.with_context(|| format!("`miroirctl {line}` hangs"))??)
    }

    /// The document that a command prints, which must succeed.
    async fn ask(&self, line: &str) -> anyhow::Result<Value> {
        let output = self.run(line, "json").await?;
        ensure!(output.status.success(), "`miroirctl {line}`: {output:?}");
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`miroirctl {line}`: {output:?}"))
    }

    /// Asks until the answer is as it must become.
    async fn until(&self, line: &str, becomes: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + WITHIN;
        loop {
            let answer = self.ask(line).await?;
            if becomes(&answer) {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "`miroirctl {line}` stays at {answer}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
