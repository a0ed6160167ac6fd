//! What a client wrote, sent again and read back by way of another proxy, while nodes have it only in their queues.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::cluster::{Options, Role};
use miroir_tests::Trial;
use reqwest::{Method, Response};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// How long anything may take that must happen.
const WITHIN: Duration = Duration::from_secs(60);

/// Keeps nodes from beginning tasks.
struct Hold(Vec<PathBuf>);

impl Hold {
    fn begin(trial: &Trial) -> anyhow::Result<Self> {
        let layout = &trial.cluster.layout;
        let mut files = Vec::new();
        for node in 1..=layout.nodes() {
            let file = layout.home(Role::Node(node)).join("data.ms").join("hold");
            std::fs::write(&file, "").with_context(|| file.display().to_string())?;
            files.push(file);
        }
        Ok(Self(files))
    }

    fn end(self) -> anyhow::Result<()> {
        for file in self.0 {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }
}

struct Asker {
    http: reqwest::Client,
    master: String,
}

impl Asker {
    async fn ask(
        &self,
        (method, url): (Method, String),
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> anyhow::Result<Response> {
        let mut request = self.http.request(method, url).bearer_auth(&self.master);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(request.send().await?)
    }

    /// Adds a document under a key; the task and the session.
    async fn add(&self, proxy: &str, id: u32, key: &str) -> anyhow::Result<(Value, String)> {
        let url = format!("{proxy}/indexes/books/documents?primaryKey=id");
        let body = json!([{ "id": id, "title": "a book" }]);
        let headers = [("Idempotency-Key", key)];
        let answer = self.ask((Method::POST, url), &headers, Some(body)).await?;
        ensure!(answer.status() == 202, "{}", answer.text().await?);
        let session = answer.headers().get("miroir-session");
        let session = session.context("no session")?.to_str()?.to_owned();
        Ok((answer.json().await?, session))
    }

    async fn get(&self, url: String, session: &[(&str, &str)]) -> anyhow::Result<(u16, Value)> {
        let answer = self.ask((Method::GET, url), session, None).await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}

#[tokio::test]
async fn a_session_reads_its_writes_and_a_repeat_is_the_same_write() -> anyhow::Result<()> {
    let options = Options {
        nodes: 2,
        coordinators: 1,
        proxies: 2,
        shards: 4,
        // Meilisearch cannot be kept from beginning tasks.
        node_bin: None,
        ..Trial::options(PROGRAM)
    };
    let mut trial = Trial::start_empty(options).await?;
    let layout = &trial.cluster.layout;
    let (one, two) = (layout.proxy_url(1), layout.proxy_url(2));
    let asker = Asker {
        http: reqwest::Client::builder().no_proxy().build()?,
        master: layout.master_key()?,
    };
    asker.add(&one, 0, "first").await?;
    trial.client.wait_for_tasks(WITHIN).await?;

    let hold = Hold::begin(&trial)?;
    let (task, session) = asker.add(&one, 1, "second").await?;
    let (again, _) = asker.add(&two, 1, "second").await?;
    ensure!(again["taskUid"] == task["taskUid"], "{task} {again}");
    let document = format!("{two}/indexes/books/documents/1");
    let (status, body) = asker.get(document.clone(), &[]).await?;
    ensure!(status == 404, "it was held: {body}");
    let headers = [("Miroir-Session", session.as_str())];
    let reading = asker.get(document.clone(), &headers);
    let mut reading = std::pin::pin!(reading);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut reading).await;
    ensure!(early.is_err(), "answered too early: {early:?}");
    hold.end()?;
    let (status, body) = reading.await?;
    ensure!(status == 200 && body["title"] == "a book", "{body}");
    let stats = format!("{two}/indexes/books/stats");
    let (_, stats) = asker.get(stats, &headers).await?;
    ensure!(stats["numberOfDocuments"] == 2, "{stats}");

    // The next leader knows the same.
    trial.cluster.kill(Role::Coordinator(1)).await?;
    trial.cluster.spawn(Role::Coordinator(1))?;
    let (again, _) = asker.add(&two, 1, "second").await?;
    ensure!(again["taskUid"] == task["taskUid"], "{task} {again}");
    let (status, body) = asker.get(document, &headers).await?;
    ensure!(status == 200, "{body}");
    trial.cluster.stop().await;
    Ok(())
}
