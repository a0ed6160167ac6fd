//! A cluster and one node with the same indexes, and the searches that are put to both.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use miroir_dev::cluster::Options;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use miroir_tests::{Reference, Trial};
use serde_json::{Value, json};

use super::compare::{Difference, Oracle, What};
use super::corpus::{self, Index};
use super::dice::Dice;
use super::known::{RARE, excused};
use super::queries;
use super::server::Server;

/// How many queries are asked of every index in every stage.
const QUERIES: &str = "MIROIR_QUERIES";
const DEFAULT_QUERIES: usize = 40;
/// How many differences are told in full.
const TOLD_MAX: usize = 12;

/// What was asked, and what came out.
#[derive(Debug, Default)]
pub struct Tally {
    asked: usize,
    equal: usize,
    /// Queries that differ in a way that the documentation names, by its name.
    excused: BTreeMap<&'static str, Excused>,
    differences: Vec<String>,
    /// How many differences there are of each kind.
    kinds: BTreeMap<What, usize>,
}

/// Queries that differ in one way that is known.
#[derive(Debug, Default)]
struct Excused {
    queries: usize,
    /// By how much of the right one each number was wrong.
    off: Vec<f64>,
}

/// Everything that is running.
pub struct Stage {
    pub trial: Trial,
    pub tally: Tally,
    reference: Reference,
    node: Server,
    proxy: Server,
    indexes: Vec<Index>,
    dice: Dice,
    queries: usize,
}

impl Stage {
    /// Starts a cluster of these nodes, and the one node, which is loaded at once.
    pub async fn start(seed: u64, nodes: u16, groups: u32) -> anyhow::Result<Self> {
        let options = Options {
            nodes,
            groups,
            coordinators: 1,
            proxies: 1,
            shards: 6,
            ..Trial::options(env!("CARGO_BIN_EXE_miroir-under-test"))
        };
        let reference = Reference::start(&options).await?;
        let trial = Trial::start_empty(options).await?;
        let layout = &trial.cluster.layout;
        let stage = Self {
            node: Server::new(reference.url(), reference.key())?,
            proxy: Server::new(&layout.proxy_url(1), &layout.master_key()?)?,
            reference,
            trial,
            tally: Tally::default(),
            indexes: vec![corpus::things(), corpus::offers(), corpus::packages()?],
            dice: Dice::new(seed),
            queries: asked_for()?,
        };
        for index in &stage.indexes {
            stage.node.load(index, index.uid, &index.settings).await?;
            stage
                .node
                .load(index, &open(index), &opened(&index.settings))
                .await?;
        }
        Ok(stage)
    }

    /// Gives the cluster every index with this many copies of a shard in each group.
    pub async fn load(&self, replication_factor: u32) -> anyhow::Result<()> {
        let policy = v1::PolicyChange {
            default_replication_factor: Some(replication_factor),
            ..v1::PolicyChange::default()
        };
        self.trial
            .cluster
            .admin
            .change(Change::Policy(policy))
            .await?;
        for index in &self.indexes {
            let uid = clustered(index, replication_factor);
            self.proxy.load(index, &uid, &index.settings).await?;
        }
        Ok(())
    }

    /// Puts a round of queries to both.
    pub async fn compare(&mut self, what: &str, replication_factor: u32) -> anyhow::Result<()> {
        for at in 0..self.indexes.len() {
            for _ in 0..self.queries {
                self.query(what, at, replication_factor).await?;
            }
            self.walk(what, at, replication_factor).await?;
        }
        for query in queries::refused() {
            self.ask((what, 0, replication_factor), &query).await?;
        }
        Ok(())
    }

    /// Puts queries to both for as long as an operation runs. Answers how many.
    pub async fn compare_during(
        &mut self,
        operation: u64,
        what: &str,
        replication_factor: u32,
    ) -> anyhow::Result<usize> {
        let mut asked = 0;
        while self.runs(operation).await? {
            for at in 0..self.indexes.len() {
                self.query(what, at, replication_factor).await?;
                asked += 1;
            }
        }
        Ok(asked)
    }

    async fn runs(&self, operation: u64) -> anyhow::Result<bool> {
        let operations = self.trial.cluster.admin.operations().await?;
        let found = operations.iter().find(|one| one.id == operation);
        Ok(found.context("the operation is gone")?.state != "done")
    }

    async fn query(
        &mut self,
        what: &str,
        at: usize,
        replication_factor: u32,
    ) -> anyhow::Result<()> {
        let query = queries::query(&mut self.dice, &self.indexes[at]);
        self.ask((what, at, replication_factor), &query).await
    }

    async fn ask(
        &mut self,
        (what, at, copies): (&str, usize, u32),
        query: &Value,
    ) -> anyhow::Result<()> {
        let index = &self.indexes[at];
        let got = self.proxy.search(&clustered(index, copies), query).await?;
        let open = open(index);
        let oracle = Oracle {
            node: &self.node,
            uid: index.uid,
            clustered: &clustered(index, copies),
            open: &open,
            id: index.id,
            is_distinct: index.settings.get("distinctAttribute").is_some(),
            by_count: &|facet| {
                let orders = &index.settings["faceting"]["sortFacetValuesBy"];
                let facets = query["facets"].as_array();
                // Only older versions have one order for all.
                let all = std::env::var_os("MEILISEARCH_BIN").is_none()
                    && facets.is_some_and(|facets| facets.contains(&json!("*")));
                orders[facet] == "count" && !all || orders["*"] == "count"
            },
        };
        let differences = oracle.differences(query, &got).await?;
        let asked = shortened(query);
        let told = format!("{what}, {} with {copies} copies: {asked}", index.uid);
        self.tally.count(index, query, &told, &differences);
        Ok(())
    }

    /// Walks through all pages of one query: no document twice, none left out.
    async fn walk(&mut self, what: &str, at: usize, copies: u32) -> anyhow::Result<()> {
        let index = &self.indexes[at];
        let uid = clustered(index, copies);
        let mut query = queries::walkable(&mut self.dice, index);
        let size = 5 + self.dice.below(40);
        query["hitsPerPage"] = json!(size);
        let mut ids = BTreeSet::new();
        let mut total = 0;
        for page in 1.. {
            query["page"] = json!(page);
            let answer = self.proxy.search(&uid, &query).await?;
            let hits = answer.body["hits"]
                .as_array()
                .with_context(|| format!("{query}: {answer:?}"))?;
            for hit in hits {
                let id = hit[index.id].to_string();
                ensure!(
                    ids.insert(id),
                    "{what}, {uid}: {query}: {} twice",
                    hit[index.id]
                );
            }
            total = answer.body["totalHits"].as_u64().unwrap_or_default();
            if hits.len() < size {
                break;
            }
        }
        let reach = index.settings["pagination"]["maxTotalHits"]
            .as_u64()
            .unwrap_or(1000);
        ensure!(
            ids.len() as u64 == total.min(reach),
            "{what}, {uid}: {query}: {} documents on all pages, {total} in total",
            ids.len()
        );
        Ok(())
    }

    /// Ends everything. Tells what came out.
    ///
    /// # Errors
    /// When something went wrong, or an answer differed.
    pub async fn end(self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        let checked = outcome.and_then(|()| self.tally.check());
        drop(self.reference);
        self.trial.end(checked).await
    }
}

impl Excused {
    /// How far off the numbers were, in words.
    fn how_far(&self) -> String {
        if self.off.is_empty() {
            return String::new();
        }
        let most = self.off.iter().copied().fold(0.0, f64::max);
        let mean = self.off.iter().sum::<f64>() / self.off.len() as f64;
        format!(
            "; {} numbers off by {:.0} % on average, {:.0} % at most",
            self.off.len(),
            mean * 100.0,
            most * 100.0
        )
    }
}

impl Tally {
    fn count(&mut self, index: &Index, query: &Value, told: &str, differences: &[Difference]) {
        self.asked += 1;
        let mut excuses = BTreeSet::new();
        let mut unexcused = Vec::new();
        for one in differences {
            match excused(index, query, &one.what) {
                Some(excuse) => {
                    excuses.insert(excuse);
                    let known = self.excused.entry(excuse).or_default();
                    known.off.extend(one.off);
                }
                None => {
                    *self.kinds.entry(one.what.clone()).or_default() += 1;
                    unexcused.push(format!("{:?}: {}", one.what, one.detail));
                }
            }
        }
        for excuse in &excuses {
            self.excused.entry(excuse).or_default().queries += 1;
        }
        if !unexcused.is_empty() {
            self.differences
                .push(format!("{told}\n    {}", unexcused.join("\n    ")));
        } else if excuses.is_empty() {
            self.equal += 1;
        }
    }

    /// Prints the figures.
    ///
    /// # Errors
    /// When there are differences that nothing excuses; the first are told.
    fn check(&self) -> anyhow::Result<()> {
        println!(
            "{} queries, {} equal; inexact as documented:",
            self.asked, self.equal
        );
        for (excuse, known) in &self.excused {
            println!("  {:>5}  {excuse}{}", known.queries, known.how_far());
        }
        for (excuse, percent) in RARE {
            let found = self.excused.get(excuse).map_or(0, |known| known.queries);
            let most = self.asked * percent / 100;
            ensure!(found <= most, "{excuse}: {found} of {} queries", self.asked);
        }
        let told = self
            .differences
            .iter()
            .take(TOLD_MAX)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n  ");
        ensure!(
            self.differences.is_empty(),
            "{} of {} answers differ from one node's, in {:?}:\n  {told}",
            self.differences.len(),
            self.asked,
            self.kinds
        );
        Ok(())
    }
}

/// The query without the numbers of its vector.
fn shortened(query: &Value) -> Value {
    let mut query = query.clone();
    if let Some(vector) = query.get_mut("vector") {
        *vector = json!("…");
    }
    query
}

/// The uid of an index in the cluster.
fn clustered(index: &Index, replication_factor: u32) -> String {
    format!("{}-{replication_factor}", index.uid)
}

/// The uid of the index in which the one node leaves nothing out.
fn open(index: &Index) -> String {
    format!("{}-open", index.uid)
}

/// Settings that show everything and leave nothing out.
fn opened(settings: &Value) -> Value {
    let mut settings = settings.clone();
    settings["displayedAttributes"] = Value::Null;
    settings["distinctAttribute"] = Value::Null;
    settings["pagination"] = json!({"maxTotalHits": 10_000});
    settings
}

fn asked_for() -> anyhow::Result<usize> {
    match std::env::var(QUERIES) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{QUERIES} is `{text}`")),
        Err(_) => Ok(DEFAULT_QUERIES),
    }
}
