//! What a client can do wrong is answered as one node answers it: every request of a table, to a node and to a cluster.
//!
//! With `MEILISEARCH_BIN` both consist of that Meilisearch, and whole answers are compared. The embedded node is older
//! than the API that a proxy speaks: there the status, the code and the type are, of what both know.

#[path = "errors/offered.rs"]
mod offered;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::Options;
use miroir_tests::{Reference, Trial};
use reqwest::{Client, Method, RequestBuilder, header};
use serde_json::{Value, json};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");
const REQUESTS: &str = include_str!("errors/requests.txt");
const WITHIN: Duration = Duration::from_secs(60);

/// Requests that a cluster answers otherwise, and why.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "POST /indexes/films/documents application/json [[1]]",
        "Meilisearch fails with 500 where it should refuse",
    ),
    (
        "PUT /indexes/films/documents application/json [[1]]",
        "Meilisearch fails with 500 where it should refuse",
    ),
    (
        "GET /indexes/books/documents?x=1",
        "`useNetwork` is not offered, and not listed",
    ),
    (
        "GET /indexes/books/documents/1?x=1",
        "`useNetwork` is not offered, and not listed",
    ),
];

/// One line of the table.
#[derive(Debug)]
struct Line<'a> {
    /// Whether only a node as new as Meilisearch 1.50 is compared.
    new: bool,
    method: Method,
    path: &'a str,
    content_type: Option<&'a str>,
    body: String,
    shown: String,
}

fn lines() -> anyhow::Result<Vec<Line<'static>>> {
    let read = |line: &'static str| {
        let mut words = line.splitn(5, ' ');
        let mut next = || {
            words
                .next()
                .with_context(|| format!("`{line}` is too short"))
        };
        let (kind, method, path, content_type) = (next()?, next()?, next()?, next()?);
        let body = words.next().unwrap_or_default();
        let shown = match (content_type, body) {
            ("-", _) => format!("{method} {path}"),
            _ => format!("{method} {path} {content_type} {body}"),
        };
        Ok(Line {
            new: kind == "new",
            method: method.parse()?,
            path,
            content_type: (content_type != "-").then_some(content_type),
            body: body.replace("\\n", "\n"),
            shown,
        })
    };
    let of_table = REQUESTS.lines().filter(|line| !line.starts_with('#'));
    of_table.map(read).collect()
}

/// A server under test.
struct Server {
    url: String,
    key: String,
    http: Client,
}

impl Server {
    /// Sends a request. A server that refuses before it has read the body may close the connection too early for its
    /// answer to be read: then it is asked again.
    async fn send(&self, line: &Line<'_>) -> anyhow::Result<(u16, Value)> {
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match self.request(line).send().await {
                Ok(answer) => break answer,
                Err(error) if tries == 5 => return Err(error.into()),
                Err(_) => {}
            }
        };
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    fn request(&self, line: &Line<'_>) -> RequestBuilder {
        let url = format!("{}{}", self.url, line.path);
        let request = self.http.request(line.method.clone(), url);
        let mut request = request.bearer_auth(&self.key);
        if let Some(content_type) = line.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if line.content_type.is_some() || !line.body.is_empty() {
            request = request.body(line.body.clone());
        }
        request
    }

    /// The task that an answer names, once it has ended.
    async fn task(&self, answer: &Value) -> anyhow::Result<Value> {
        let Some(uid) = answer["taskUid"].as_u64() else {
            return Ok(Value::Null);
        };
        let url = format!("{}/tasks/{uid}", self.url);
        let deadline = Instant::now() + WITHIN;
        loop {
            let asked = self.http.get(&url).bearer_auth(&self.key).send().await?;
            let task: Value = serde_json::from_slice(&asked.bytes().await?)?;
            if !["enqueued", "processing"].contains(&task["status"].as_str().unwrap_or_default()) {
                return Ok(task);
            }
            ensure!(Instant::now() < deadline, "a task does not end: {task}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What is compared of an answer and of its task.
    async fn answer(&self, line: &Line<'_>, whole: bool) -> anyhow::Result<Value> {
        let (status, body) = self.send(line).await.context(line.shown.clone())?;
        let task = self.task(&body).await.context(line.shown.clone())?;
        let error = |error: &Value| match whole {
            true => error.clone(),
            false => json!([error["code"], error["type"]]),
        };
        // Meilisearch and the proxy answer these without a body, the embedded node with one.
        let unrouted = ["method_not_allowed", "not_found"];
        let told = match &body {
            _ if unrouted.contains(&body["code"].as_str().unwrap_or_default()) => Value::Null,
            Value::Object(members) if members.contains_key("code") => error(&body),
            Value::Object(members) if members.contains_key("results") => Value::Null,
            Value::Object(_) if !whole => Value::Null,
            Value::Object(members) => {
                let own = ["taskUid", "enqueuedAt", "createdAt", "updatedAt"];
                let kept = members
                    .iter()
                    .filter(|(name, _)| !own.contains(&name.as_str()));
                kept.map(|(name, value)| (name.clone(), value.clone()))
                    .collect()
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => body.clone(),
        };
        let details = whole.then(|| task["details"].clone());
        Ok(json!({
            "status": status, "body": told,
            "task": [task["status"], task["type"], task["indexUid"], error(&task["error"]), details],
        }))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?.bytes().await?;
        serde_json::from_slice(&answer).with_context(|| path.to_owned())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// The task of a request that has to succeed.
    async fn succeed(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let answer = self.call(method, path, body).await?;
        let task = self.task(&answer).await?;
        ensure!(task["status"] == "succeeded", "{path}: {answer} {task}");
        Ok(task)
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        let index = json!({"uid": "books", "primaryKey": "id"});
        let created = self.succeed(Method::POST, "/indexes", Some(&index)).await;
        created.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_answered_as_by_one_node() -> anyhow::Result<()> {
    let options = Options {
        coordinators: 1,
        proxies: 1,
        nodes: 2,
        shards: 4,
        ..Trial::options(PROGRAM)
    };
    let trial = Trial::start_empty(options).await?;
    let outcome = compare(&trial).await;
    trial.end(outcome).await
}

async fn compare(trial: &Trial) -> anyhow::Result<()> {
    let reference = Reference::start(&trial.cluster.layout.options).await?;
    let key = trial.cluster.layout.master_key()?;
    let server = |url: &str, key: &str| Server {
        url: url.to_owned(),
        key: key.to_owned(),
        http: Client::new(),
    };
    let proxies = trial.cluster.layout.proxy_urls();
    let (one, cluster) = (
        server(reference.url(), reference.key()),
        server(&proxies[0], &key),
    );
    one.prepare().await?;
    cluster.prepare().await?;
    let whole = trial.cluster.layout.options.node_bin.is_some();
    let mut different = BTreeSet::new();
    let mut compared = 0;
    for line in lines()?.iter().filter(|line| whole || !line.new) {
        let (expected, got) = (
            one.answer(line, whole).await?,
            cluster.answer(line, whole).await?,
        );
        compared += 1;
        let excused = OTHERWISE.iter().any(|(shown, _)| *shown == line.shown);
        if expected != got && !excused {
            different.insert(format!(
                "{}\n  one:     {expected}\n  cluster: {got}",
                line.shown
            ));
        }
    }
    ensure!(compared > 250, "only {compared} requests were compared");
    let different: Vec<String> = different.into_iter().collect();
    ensure!(
        different.is_empty(),
        "{} of {compared} are answered otherwise:\n{}",
        different.len(),
        different.join("\n")
    );
    offered::every_setting_by_its_own_route(&cluster).await?;
    offered::tasks_about_tasks(&cluster).await?;
    offered::a_dump_is_a_task_of_every_node(&cluster, trial.cluster.layout.options.nodes).await
}
