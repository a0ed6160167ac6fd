//! Every document on every copy that is in sync, and through every proxy, against what the clients were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, ensure};
use miroir_core::hidden_field;
use miroir_dev::demo::{Client, Fields, Refusal, States};
use miroir_proto::v1;
use reqwest::Method;
use serde_json::{Value, json};

use super::scratch::Existence;
use super::stage::{Stage, stable_fields};
use super::workload::{Acknowledged, Crew};
use super::{INDEX, STABLE, documents_of, stable_id};

/// Findings that are told of.
const TOLD: usize = 12;

/// Tasks asked for in one request.
const TASKS: usize = 100;

/// What is wrong. Nothing may be.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many things are wrong.
    pub count: usize,
    /// The first few, in words.
    pub examples: Vec<String>,
    /// Documents and tasks that were compared.
    pub compared: usize,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, what: String) {
        self.count += 1;
        if self.examples.len() < TOLD {
            self.examples.push(what);
        }
    }
}

/// What a server shows of an index; all documents of one id are kept.
type Shown = BTreeMap<String, Vec<Fields>>;

/// Compares everything. The cluster must be at rest.
pub async fn check(stage: &Stage, crew: &mut Crew) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let mut expected: BTreeMap<String, States> = (0..STABLE)
        .map(|number| (stable_id(number), vec![Some(stable_fields(number))]))
        .collect();
    for writer in &crew.writers {
        let states = writer.ledger.states();
        expected.extend(states.map(|(id, states)| (id.clone(), states.clone())));
    }
    check_index(stage, &mut findings, INDEX, &expected).await?;
    for index in &crew.scratch.indexes {
        let states = index.ledger.states();
        let expected = states.map(|(id, states)| (id.clone(), states.clone()));
        let is_there = fetch(&stage.client, stage.client_of(0)?, &index.uid).await?;
        match (index.existence, is_there.is_some()) {
            (Existence::There, false) => {
                findings.add(format!("index `{}` is not there", index.uid));
            }
            (Existence::Gone, true) => {
                findings.add(format!(
                    "index `{}` is there although it was deleted",
                    index.uid
                ));
            }
            (_, true) => {
                check_index(stage, &mut findings, &index.uid, &expected.collect()).await?;
            }
            (_, false) => {}
        }
    }
    check_synonyms(stage, crew, &mut findings).await?;
    check_tasks(&stage.client, &crew.take_acknowledged(), &mut findings).await?;
    Ok(findings)
}

impl Stage {
    fn client_of(&self, turn: usize) -> anyhow::Result<&str> {
        let proxies = self.client.proxies();
        proxies
            .get(turn)
            .map(String::as_str)
            .context("there is no proxy")
    }
}

/// Compares one index: through each proxy, and shard by shard on the nodes.
async fn check_index(
    stage: &Stage,
    findings: &mut Findings,
    index: &str,
    expected: &BTreeMap<String, States>,
) -> anyhow::Result<()> {
    for proxy in stage.client.proxies() {
        let shown = fetch(&stage.client, proxy, index).await?;
        let shown = shown.with_context(|| format!("{proxy} has no index `{index}`"))?;
        let place = format!("`{index}` through {proxy}");
        compare(findings, &place, expected.iter(), &shown);
    }
    let admin = &stage.cluster.admin;
    let detail = admin.index(index).await?;
    let (shards, name) = (detail.shards, detail.summary.unwrap_or_default().name);
    let mut held: BTreeMap<u64, Shown> = BTreeMap::new();
    for node in admin.nodes().await? {
        let shown = fetch(&stage.client, &node.url, &name).await?;
        held.insert(node.id, shown.unwrap_or_default());
    }
    compare_copies(findings, index, (&shards, &held), expected);
    Ok(())
}

/// Compares every copy that is in sync with what it must be, and with the other copies; what else a node holds is too
/// much.
fn compare_copies(
    findings: &mut Findings,
    index: &str,
    (shards, held): (&[v1::ShardRoute], &BTreeMap<u64, Shown>),
    expected: &BTreeMap<String, States>,
) {
    let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
    let mut by_shard: BTreeMap<u16, Vec<(&String, &States)>> = BTreeMap::new();
    for (id, states) in expected {
        let shard = hidden_field::shard_of(id, count);
        by_shard.entry(shard).or_default().push((id, states));
    }
    let mut by_copy: BTreeMap<(u64, u16), Shown> = BTreeMap::new();
    for (node, shown) in held {
        for (id, documents) in shown {
            let shard = hidden_field::shard_of(id, count);
            for fields in documents {
                let mut fields = fields.as_ref().clone();
                let code = fields.remove(hidden_field::NAME);
                let code = code.as_ref().and_then(Value::as_str);
                if code.and_then(hidden_field::decode) != Some(shard) {
                    findings.add(format!("`{id}` on node {node} has another shard's mark"));
                }
                let copy = by_copy.entry((*node, shard)).or_default();
                copy.entry(id.clone()).or_default().push(Arc::new(fields));
            }
        }
    }
    for (shard, route) in (0..).zip(shards) {
        let in_sync = route
            .replicas
            .iter()
            .filter(|replica| replica.state() == v1::ReplicaState::InSync);
        let mut first: Option<(u64, Shown)> = None;
        for replica in in_sync {
            let copy = by_copy.remove(&(replica.node, shard)).unwrap_or_default();
            let place = format!("shard {shard} of `{index}` on node {}", replica.node);
            let states = by_shard.get(&shard).cloned().unwrap_or_default();
            compare(findings, &place, states.into_iter(), &copy);
            match &first {
                Some((other, known)) if *known != copy => {
                    findings.add(format!("{place} differs from node {other}"));
                }
                Some(_) => {}
                None => first = Some((replica.node, copy)),
            }
        }
        if first.is_none() {
            findings.add(format!("no copy of shard {shard} of `{index}` is in sync"));
        }
    }
    for ((node, shard), copy) in by_copy {
        let some: Vec<&String> = copy.keys().take(5).collect();
        findings.add(format!(
            "node {node} holds {} documents of shard {shard} of `{index}`, which is not its own: {some:?}",
            copy.len()
        ));
    }
}

/// Compares documents with what they may be. Each must be there once.
fn compare<'a>(
    findings: &mut Findings,
    place: &str,
    expected: impl Iterator<Item = (&'a String, &'a States)>,
    shown: &Shown,
) {
    let mut known = BTreeSet::new();
    for (id, states) in expected {
        known.insert(id);
        findings.compared += 1;
        let found = shown.get(id).map(Vec::as_slice).unwrap_or_default();
        let right = match found {
            [] => states.contains(&None),
            [one] => states.iter().flatten().any(|state| state == one),
            [..] => false,
        };
        if !right {
            let words = |fields: &Fields| json!(**fields).to_string();
            let found: Vec<String> = found.iter().map(words).collect();
            let states = states
                .iter()
                .map(|s| s.as_ref().map_or("absent".to_owned(), words));
            let states: Vec<String> = states.collect();
            findings.add(format!(
                "`{id}` in {place} is [{}] and should be {}",
                found.join(", "),
                states.join(" or ")
            ));
        }
    }
    for id in shown.keys().filter(|id| !known.contains(id)) {
        findings.add(format!("`{id}` is in {place}, and nobody wrote it"));
    }
}

/// Compares the settings, through each proxy and on each node that has the index.
async fn check_synonyms(stage: &Stage, crew: &Crew, findings: &mut Findings) -> anyhow::Result<()> {
    let possible = crew.tuner.possible();
    let path = format!("/indexes/{INDEX}/settings");
    let index = stage.cluster.admin.index(INDEX).await?;
    let replicas = index.shards.iter().flat_map(|shard| &shard.replicas);
    let holders: BTreeSet<u64> = replicas.map(|replica| replica.node).collect();
    let nodes = stage.cluster.admin.nodes().await?.into_iter();
    let nodes = nodes.filter(|node| holders.contains(&node.id));
    let proxies = stage.client.proxies().iter().cloned();
    for server in proxies.chain(nodes.map(|node| node.url)) {
        let shown = stage
            .client
            .send_to(&server, Method::GET, &path, None)
            .await?;
        let shown = &shown["synonyms"];
        findings.compared += 1;
        if !possible.contains(&shown) {
            findings.add(format!(
                "the synonyms of {server} are {shown} and should be one of {possible:?}"
            ));
        }
    }
    Ok(())
}

/// Checks that what was acknowledged came to the end it had to.
async fn check_tasks(
    client: &Client,
    acknowledged: &[Acknowledged],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for some in acknowledged.chunks(TASKS) {
        let uids: Vec<String> = some.iter().map(|one| one.task.to_string()).collect();
        let path = format!("/tasks?limit={TASKS}&uids={}", uids.join(","));
        let answer = client.send(Method::GET, &path, None).await?;
        let tasks = answer["results"].as_array().context("no tasks")?;
        for one in some {
            findings.compared += 1;
            let task = tasks.iter().find(|task| task["uid"] == one.task);
            let expected = if one.succeeds { "succeeded" } else { "failed" };
            let status = task.map(|task| &task["status"]);
            if status != Some(&json!(expected)) {
                let task = task.unwrap_or(&Value::Null);
                findings.add(format!(
                    "the acknowledged task {} of {} should have {expected}: {task}",
                    one.task, one.path
                ));
            }
        }
    }
    Ok(())
}

/// All documents of an index that a server shows; `None` when it has no such index.
async fn fetch(client: &Client, server: &str, index: &str) -> anyhow::Result<Option<Shown>> {
    let mut all = Shown::new();
    let path = format!("{}/fetch", documents_of(index));
    let mut offset = 0;
    loop {
        let body = json!({"offset": offset, "limit": 1_000}).to_string();
        let body = Some(("application/json", body));
        let page = match client.send_to(server, Method::POST, &path, body).await {
            Ok(page) => page,
            Err(error) if is_no_index(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let results = page["results"].as_array().context("no results")?;
        for document in results {
            let id = document["id"].as_str().context("a document has no id")?;
            let fields = document.as_object().cloned().unwrap_or_default();
            let documents = all.entry(id.to_owned()).or_default();
            documents.push(Arc::new(fields));
        }
        offset += results.len();
        let total = page["total"].as_u64().context("no total")?;
        if offset as u64 >= total {
            return Ok(Some(all));
        }
        ensure!(!results.is_empty(), "page at {offset} of {total} is empty");
    }
}

fn is_no_index(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.body.contains("index_not_found"))
}
