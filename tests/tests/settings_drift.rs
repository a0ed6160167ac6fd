//! Settings that a hand changed on a node: found, repaired, and listed as long as they differ.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Options;
use miroir_tests::Trial;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// How long anything may take that must happen.
const WITHIN: Duration = Duration::from_secs(60);

struct Asker {
    http: reqwest::Client,
    master: String,
}

impl Asker {
    async fn ask(&self, method: Method, url: String, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, url).bearer_auth(&self.master);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(answer.json().await?)
    }

    /// Waits until a node's settings are as `wanted` says.
    async fn until(
        &self,
        node: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let url = format!("{node}/indexes/books/settings");
            let settings = self.ask(Method::GET, url, None).await?;
            if wanted(&settings) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{what}: {settings}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn drift_is_found_repaired_and_listed() -> anyhow::Result<()> {
    let interval = "MIROIR_COORDINATOR__SETTINGS__CHECK_INTERVAL_MS".to_owned();
    let options = Options {
        nodes: 2,
        coordinators: 1,
        proxies: 1,
        shards: 4,
        environment: vec![(interval, "300".to_owned())],
        ..Trial::options(PROGRAM)
    };
    let mut trial = Trial::start_empty(options).await?;
    let layout = &trial.cluster.layout;
    let (proxy, node) = (layout.proxy_url(1), layout.node_url(1));
    let asker = Asker {
        http: reqwest::Client::builder().no_proxy().build()?,
        master: layout.master_key()?,
    };
    let vectors = json!({ "source": "userProvided", "dimensions": 2 });
    let settings = json!({ "stopWords": ["a"], "embedders": { "mine": vectors } });
    let of_proxy = format!("{proxy}/indexes/books/settings");
    asker.ask(Method::PATCH, of_proxy, Some(settings)).await?;
    trial.client.wait_for_tasks(WITHIN).await?;

    let by_hand =
        json!({ "stopWords": ["z"], "filterableAttributes": ["x"], "synonyms": { "a": ["b"] } });
    let of_node = format!("{node}/indexes/books/settings");
    asker
        .ask(Method::PATCH, of_node.clone(), Some(by_hand))
        .await?;
    asker
        .until(&node, "the change by hand", |settings| {
            settings["stopWords"] == json!(["z"])
        })
        .await?;
    asker
        .until(&node, "the repair", |settings| {
            settings["stopWords"] == json!(["a"])
                && settings["synonyms"] == json!({})
                && settings["filterableAttributes"][0]["attributePatterns"]
                    == json!(["_miroir_shard"])
        })
        .await?;

    // An embedder that nobody wants stays where it is, and is told of.
    let extra = json!({ "embedders": { "other": { "source": "userProvided", "dimensions": 3 } } });
    asker.ask(Method::PATCH, of_node, Some(extra)).await?;
    let deadline = Instant::now() + WITHIN;
    let drift = loop {
        let status = trial.cluster.admin.status().await?;
        let mut listed = status.settings_drift.into_iter();
        let found = listed.find(|drift| drift.settings == ["embedders"] && drift.repairs > 0);
        if let Some(drift) = found {
            break drift;
        }
        ensure!(Instant::now() < deadline, "the drift is not listed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(drift.index == "books" && drift.since_ms > 0, "{drift:?}");
    let status = trial.cluster.admin.status().await?;
    let nodes: Vec<u64> = status.settings_drift.iter().map(|one| one.node).collect();
    nodes.first().context("the drift stays listed")?;
    ensure!(nodes.len() == 1, "{status:?}");
    trial.cluster.stop().await;
    Ok(())
}
