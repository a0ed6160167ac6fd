//! One node without shards that holds the same documents: what the cluster's answers are compared with.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Port};
use miroir_dev::demo::{Client, Corpus, INDEX, Oracle};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

const KEY: &str = "reference-master-key";

/// The node.
#[derive(Debug)]
pub struct Reference {
    client: Client,
    /// Killed with this value.
    _process: Child,
    _port: Port,
    _dir: TempDir,
}

impl Reference {
    /// Starts a node like those of the cluster.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let held = Port::take()?;
        let port = held.number();
        let mut command = match &options.node_bin {
            Some(binary) => Command::new(binary),
            None => {
                let mut command = Command::new(&options.program);
                command.arg("node");
                command
            }
        };
        let process = command
            .args([
                "--http-addr",
                &format!("127.0.0.1:{port}"),
                "--no-analytics",
            ])
            .arg("--db-path")
            .arg(dir.path().join("data.ms"))
            .env("MEILI_MASTER_KEY", KEY)
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let client = Client::new(vec![format!("http://127.0.0.1:{port}")], KEY.to_owned())?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while client.send(Method::GET, "/health", None).await.is_err() {
            ensure!(
                Instant::now() < deadline,
                "the reference node does not answer"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            client,
            _process: process,
            _port: held,
            _dir: dir,
        })
    }

    /// Its master key.
    #[must_use]
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.proxies().first().map_or("", String::as_str)
    }

    /// Makes it hold exactly what the oracle says.
    ///
    /// # Errors
    /// When the node refuses it.
    pub async fn hold(&self, corpus: &Corpus, oracle: &Oracle) -> anyhow::Result<()> {
        self.client.settings(INDEX, &corpus.settings()).await?;
        self.client
            .send(Method::DELETE, &format!("/indexes/{INDEX}/documents"), None)
            .await?;
        let documents = oracle.documents();
        let lines: Vec<String> = documents
            .values()
            .map(|f| Value::Object(f.as_ref().clone()).to_string())
            .collect();
        self.client.add_ndjson(INDEX, lines.join("\n")).await?;
        self.client.wait_for_tasks(Duration::from_secs(120)).await
    }
}

/// Queries whose totals, facets and hits are compared.
fn queries() -> Vec<Value> {
    vec![
        json!({"q": ""}),
        json!({"q": "library"}),
        json!({"q": "12"}),
        json!({"q": "\u{2042}"}),
        json!({"q": "game tool", "matchingStrategy": "all"}),
        json!({"q": "", "filter": "priority = optional"}),
        json!({"q": "data", "filter": ["section = libs OR section = python", "priority = optional"]}),
        json!({"q": "", "sort": ["installed_size:asc"]}),
        json!({"q": "support", "sort": ["installed_size:desc"]}),
    ]
}

/// Compares the answers of every proxy with the reference's: totals, facets, and which documents match.
///
/// # Errors
/// Naming the first query whose answers differ, with both.
pub async fn compare_searches(cluster: &Client, reference: &Reference) -> anyhow::Result<()> {
    let path = format!("/indexes/{INDEX}/search");
    for mut query in queries() {
        query["facets"] = json!(["section", "priority"]);
        query["page"] = json!(1);
        query["hitsPerPage"] = json!(1_000);
        let body = || Some(("application/json", query.to_string()));
        let expected = reference.client.send(Method::POST, &path, body()).await?;
        for proxy in cluster.proxies() {
            let found = cluster.send_to(proxy, Method::POST, &path, body()).await?;
            for field in ["totalHits", "totalPages", "facetDistribution", "facetStats"] {
                ensure!(
                    found[field] == expected[field],
                    "{query}: {field} is {} through {proxy} and {} on one node",
                    found[field],
                    expected[field]
                );
            }
            // A total of a thousand may be a capped one; beyond it, it is the ranking that decides which ones are shown.
            if expected["totalHits"].as_u64().context("no total")? < 1_000 {
                let (found, expected) = (ids(&found)?, ids(&expected)?);
                ensure!(
                    found == expected,
                    "{query}: other documents through {proxy} than on one node"
                );
            }
        }
    }
    Ok(())
}

/// The ids of an answer's hits, each of which must come once, without the hidden field.
fn ids(answer: &Value) -> anyhow::Result<BTreeSet<String>> {
    let hits = answer["hits"].as_array().context("no hits")?;
    let mut ids = BTreeSet::new();
    for hit in hits {
        let id = hit["id"].as_str().context("a hit has no id")?;
        ensure!(ids.insert(id.to_owned()), "`{id}` came twice");
        ensure!(
            !hit.to_string().contains("_miroir"),
            "the hidden field shows in {hit}"
        );
    }
    Ok(ids)
}
