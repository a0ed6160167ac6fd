//! Comparing what the cluster holds with what it must hold, through the proxies and on the nodes themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use miroir_core::hidden_field;
use miroir_proto::v1;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Client, Oracle, States};
use crate::cluster::Cluster;

/// Documents in one page.
const PAGE: usize = 1_000;

/// What is wrong. Nothing may be.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Acknowledged documents that are absent or differ, deleted ones that are still there, over all places.
    pub lost: u64,
    /// Documents that are in more places than they should be, over all places.
    pub duplicated: u64,
    /// Documents compared, over all places.
    pub compared: u64,
    /// In words, the first few.
    pub examples: Vec<String>,
}

impl Findings {
    fn note(&mut self, example: String) {
        if self.examples.len() < 10 {
            self.examples.push(example);
        }
    }
}

type Fields = Map<String, Value>;

/// Compares every document with the oracle: through each proxy, and on each node.
///
/// # Errors
/// When something does not answer; differences are findings.
pub async fn check_documents(
    cluster: &Cluster,
    client: &Client,
    oracle: &Oracle,
    index: &str,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    for proxy in client.proxies() {
        let documents = fetch_all(client, proxy, index).await?;
        if let Some((id, _)) = documents
            .iter()
            .find(|(_, copies)| copies[0].contains_key(hidden_field::NAME))
        {
            findings.lost += 1;
            findings.note(format!("{proxy} shows the hidden field in `{id}`"));
        }
        compare(&mut findings, oracle, &documents, proxy, 1);
    }
    let documents = on_nodes(cluster, client, index, &mut findings).await?;
    let copies = usize::from(cluster.layout.options.replication_factor)
        * cluster.layout.options.groups as usize;
    compare(&mut findings, oracle, &documents, "the nodes", copies);
    Ok(findings)
}

/// Everything that the nodes hold, and whether each document is where the shard map says.
async fn on_nodes(
    cluster: &Cluster,
    client: &Client,
    index: &str,
    findings: &mut Findings,
) -> anyhow::Result<BTreeMap<String, Vec<Fields>>> {
    let detail = cluster.admin.index(index).await?;
    let (map, name) = (detail.shards, detail.summary.unwrap_or_default().name);
    let mut all: BTreeMap<String, Vec<Fields>> = BTreeMap::new();
    for node in cluster.admin.nodes().await? {
        let held = fetch_all(client, &node.url, &name).await;
        let held = held.with_context(|| format!("reading node {}", node.id))?;
        for (id, copies) in held {
            for mut fields in copies {
                let code = fields.remove(hidden_field::NAME);
                let shard = code
                    .as_ref()
                    .and_then(Value::as_str)
                    .and_then(hidden_field::decode);
                if !belongs(&map, shard, &id, node.id) {
                    findings.duplicated += 1;
                    findings.note(format!(
                        "node {} holds `{id}` of shard {shard:?}, which is not its own",
                        node.id
                    ));
                }
                all.entry(id.clone()).or_default().push(fields);
            }
        }
    }
    Ok(all)
}

fn belongs(map: &[v1::ShardRoute], shard: Option<u16>, id: &str, node: u64) -> bool {
    let right = hidden_field::shard_of(id, u16::try_from(map.len()).unwrap_or(u16::MAX));
    let copies = shard
        .filter(|shard| *shard == right)
        .and_then(|shard| map.get(usize::from(shard)));
    copies.is_some_and(|shard| shard.replicas.iter().any(|replica| replica.node == node))
}

/// Compares documents with what they must be; `copies` is how many of each there must be.
fn compare(
    findings: &mut Findings,
    oracle: &Oracle,
    documents: &BTreeMap<String, Vec<Fields>>,
    place: &str,
    copies: usize,
) {
    let expected = oracle.states();
    for (id, states) in &expected {
        findings.compared += 1;
        let found = documents.get(id).map(Vec::as_slice).unwrap_or_default();
        if found.len() > copies {
            findings.duplicated += 1;
            findings.note(format!("{} copies of `{id}` in {place}", found.len()));
        }
        if !may_be(states, found, copies) {
            findings.lost += 1;
            findings.note(difference(id, states, found, place));
        }
    }
    for id in documents.keys().filter(|id| !expected.contains_key(*id)) {
        findings.lost += 1;
        findings.note(format!("`{id}` is in {place} although it was deleted"));
    }
}

/// Whether all copies are there and the same, and as the document may be; or all are absent and it may be so.
fn may_be(states: &States, found: &[Fields], copies: usize) -> bool {
    match found {
        [] => states.contains(&None),
        [first, others @ ..] => {
            let possible = |state: &Option<Arc<Fields>>| state.as_deref() == Some(first);
            found.len() >= copies
                && others.iter().all(|other| other == first)
                && states.iter().any(possible)
        }
    }
}

fn difference(id: &str, states: &States, found: &[Fields], place: &str) -> String {
    let words = |fields: &Fields| Value::Object(fields.clone()).to_string();
    let found: Vec<String> = found.iter().map(words).collect();
    let states: Vec<String> = states
        .iter()
        .map(|state| state.as_deref().map_or("absent".to_owned(), words))
        .collect();
    format!(
        "`{id}` in {place} is [{}] and should be {}",
        found.join(", "),
        states.join(" or ")
    )
}

/// All documents of an index that a server shows, by id; several under one id are all kept.
async fn fetch_all(
    client: &Client,
    server: &str,
    index: &str,
) -> anyhow::Result<BTreeMap<String, Vec<Fields>>> {
    let mut all: BTreeMap<String, Vec<Fields>> = BTreeMap::new();
    let path = format!("/indexes/{index}/documents/fetch");
    let mut offset = 0;
    loop {
        let body = json!({"offset": offset, "limit": PAGE});
        let page = client
            .send_to(
                server,
                Method::POST,
                &path,
                Some(("application/json", body.to_string())),
            )
            .await?;
        let total = page["total"]
            .as_u64()
            .context("a page of documents has no total")?;
        let results = page["results"]
            .as_array()
            .context("a page of documents has no results")?;
        ensure!(
            !results.is_empty() || offset as u64 >= total,
            "page at {offset} of {total} is empty"
        );
        for document in results {
            let fields = document.as_object().context("a document is no object")?;
            let id = fields
                .get("id")
                .and_then(Value::as_str)
                .context("a document has no id")?;
            all.entry(id.to_owned()).or_default().push(fields.clone());
        }
        offset += results.len();
        if offset as u64 >= total {
            return Ok(all);
        }
    }
}
