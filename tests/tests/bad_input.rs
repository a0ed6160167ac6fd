//! Bad input, to a running cluster and to its processes: each a clear error, and nothing changed.

use std::time::Duration;

use anyhow::{Context, ensure};
use miroir_dev::demo::{INDEX, Refusal};
use miroir_tests::{Reference, Trial};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_by_name_and_changes_nothing() -> anyhow::Result<()> {
    let mut trial = Trial::start(Trial::options(PROGRAM)).await?;
    let outcome = refuse_everything(&mut trial).await;
    trial.end(outcome).await
}

async fn refuse_everything(trial: &mut Trial) -> anyhow::Result<()> {
    nodes_that_cannot_be_added(trial).await?;
    bodies_that_are_no_documents(trial).await?;
    one_bad_document_in_a_thousand(trial).await?;
    the_hidden_field(trial).await?;
    keys_and_routes(trial).await?;
    trial.check().await
}

/// Answers every request as a Meilisearch of an old version would.
async fn old_node() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let body = match std::str::from_utf8(&request).unwrap_or_default() {
                        text if text.starts_with("GET /version") => {
                            r#"{"commitSha":"x","commitDate":"x","pkgVersion":"1.9.0"}"#
                        }
                        text if text.starts_with("GET /health") => r#"{"status":"available"}"#,
                        _ => r#"{"results":[],"offset":0,"limit":1,"total":0}"#,
                    };
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
                    let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(url)
}

async fn nodes_that_cannot_be_added(trial: &Trial) -> anyhow::Result<()> {
    let admin = &trial.cluster.admin;
    let before = admin.status().await?;
    let other_key = Reference::start(&trial.cluster.layout.options).await?;
    let cases = [
        ("http://127.0.0.1:9".to_owned(), 1, "127.0.0.1:9"),
        (
            trial.cluster.layout.node_url(1),
            1,
            "already in the cluster as node 1",
        ),
        (other_key.url().to_owned(), 1, "master key"),
        (old_node().await?, 1, "1.9.0"),
        (
            trial.cluster.layout.node_url(1).replace("http", "ftp"),
            1,
            "http",
        ),
        (old_node().await?, 7, "group 7"),
    ];
    for (url, group, words) in cases {
        let refused = admin.add_node(&url, group).await;
        let error = refused
            .err()
            .with_context(|| format!("{url} was admitted"))?;
        ensure!(
            format!("{error:#}").contains(words),
            "adding {url} said `{error:#}`, without `{words}`"
        );
    }
    let after = admin.status().await?;
    ensure!(
        before.epoch == after.epoch,
        "the epoch went from {} to {}",
        before.epoch,
        after.epoch
    );
    ensure!(after.nodes == 3 && after.operations_unfinished == 0);
    let unknown = admin.index("no-such-index").await;
    ensure!(unknown.is_err_and(|error| format!("{error:#}").contains("no-such-index")));
    Ok(())
}

/// Sends a request that must be refused at once; answers Meilisearch's error object.
async fn refused(
    trial: &Trial,
    method: Method,
    path: &str,
    body: Option<(&str, String)>,
    status: u16,
) -> anyhow::Result<Value> {
    let error = trial
        .client
        .send(method, path, body)
        .await
        .err()
        .with_context(|| format!("{path} was accepted"))?;
    let refusal = error
        .downcast_ref::<Refusal>()
        .with_context(|| format!("not an answer: {error:#}"))?;
    ensure!(refusal.status == status, "not a {status}: {refusal}");
    let error: Value = serde_json::from_str(&refusal.body)
        .with_context(|| format!("not an error object: {refusal}"))?;
    for field in ["message", "code", "type", "link"] {
        ensure!(error[field].is_string(), "no `{field}` in {error}");
    }
    Ok(error)
}

async fn bodies_that_are_no_documents(trial: &Trial) -> anyhow::Result<()> {
    let path = format!("/indexes/{INDEX}/documents");
    let cases = [
        ("application/json", "{not json", 400, "malformed_payload"),
        ("application/json", "", 400, "missing_payload"),
        (
            "application/x-ndjson",
            "{\"id\": \"a\"}\nnot json\n",
            400,
            "malformed_payload",
        ),
        ("text/plain", "{}", 415, "invalid_content_type"),
    ];
    for (content_type, body, status, code) in cases {
        let error = refused(
            trial,
            Method::POST,
            &path,
            Some((content_type, body.to_owned())),
            status,
        )
        .await?;
        ensure!(error["code"] == code, "{body:?} as {content_type}: {error}");
    }
    let search = format!("/indexes/{INDEX}/search");
    let wrong = Some((
        "application/json",
        json!({"q": "x", "limit": "many"}).to_string(),
    ));
    let error = refused(trial, Method::POST, &search, wrong, 400).await?;
    ensure!(error["code"] == "invalid_search_limit", "{error}");
    Ok(())
}

/// Waits for a task and answers it.
async fn finished(trial: &Trial, accepted: &Value) -> anyhow::Result<Value> {
    let uid = accepted["taskUid"].as_u64().context("no task uid")?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let task = trial
            .client
            .send(Method::GET, &format!("/tasks/{uid}"), None)
            .await?;
        if task["status"] != "enqueued" && task["status"] != "processing" {
            return Ok(task);
        }
        ensure!(tokio::time::Instant::now() < deadline, "{task}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one_bad_document_in_a_thousand(trial: &Trial) -> anyhow::Result<()> {
    let mut documents: Vec<Value> = (0..1_000)
        .map(|n| json!({"id": format!("bad-batch-{n}"), "n": n}))
        .collect();
    documents[500]["id"] = json!("not a valid id!");
    let path = format!("/indexes/{INDEX}/documents");
    let accepted = trial
        .client
        .send_json(Method::POST, &path, &Value::Array(documents))
        .await?;
    let task = finished(trial, &accepted).await?;
    ensure!(task["status"] == "failed", "{task}");
    ensure!(task["error"]["code"] == "invalid_document_id", "{task}");
    ensure!(
        task["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("not a valid id!")),
        "{task}"
    );
    ensure!(task["details"]["indexedDocuments"] == 0, "{task}");
    let absent = trial
        .client
        .send(Method::GET, &format!("{path}/bad-batch-1"), None)
        .await;
    ensure!(
        absent.is_err_and(|error| error.to_string().contains("document_not_found")),
        "a part was applied"
    );
    // It failed on purpose; what follows looks for tasks that failed by accident.
    trial.client.expect_failures(1);
    Ok(())
}

async fn the_hidden_field(trial: &Trial) -> anyhow::Result<()> {
    let (settings, documents) = (
        format!("/indexes/{INDEX}/settings"),
        format!("/indexes/{INDEX}/documents"),
    );
    let search = format!("/indexes/{INDEX}/search");
    let cases = [
        (
            Method::PATCH,
            settings.as_str(),
            json!({"filterableAttributes": ["_miroir_shard"]}),
        ),
        (
            Method::PATCH,
            settings.as_str(),
            json!({"sortableAttributes": ["_miroir_shard"]}),
        ),
        (
            Method::PATCH,
            settings.as_str(),
            json!({"nonSeparatorTokens": ["\u{2042}"]}),
        ),
        (
            Method::POST,
            search.as_str(),
            json!({"filter": "_miroir_shard = x"}),
        ),
        (
            Method::POST,
            search.as_str(),
            json!({"facets": ["_miroir_shard"]}),
        ),
        (
            Method::POST,
            search.as_str(),
            json!({"sort": ["_miroir_shard:asc"]}),
        ),
    ];
    for (method, path, body) in cases {
        refused(
            trial,
            method,
            path,
            Some(("application/json", body.to_string())),
            400,
        )
        .await?;
    }
    let document = json!([{"id": "hidden", "_miroir_shard": "x"}]);
    match trial
        .client
        .send_json(Method::POST, &documents, &document)
        .await
    {
        Ok(accepted) => {
            let task = finished(trial, &accepted).await?;
            ensure!(task["status"] == "failed", "{task}");
            trial.client.expect_failures(1);
        }
        Err(error) => ensure!(error.to_string().contains("_miroir_shard"), "{error}"),
    }
    for path in [
        settings,
        search,
        documents,
        format!("/indexes/{INDEX}/stats"),
        "/tasks".to_owned(),
    ] {
        let answer = trial.client.send(Method::GET, &path, None).await?;
        let shown = answer.to_string();
        // Error messages of refused requests may name it, tasks that failed for it among them.
        ensure!(
            path == "/tasks" || !shown.contains("_miroir_shard"),
            "{path} shows the hidden field: {shown}"
        );
    }
    Ok(())
}

async fn keys_and_routes(trial: &Trial) -> anyhow::Result<()> {
    let stranger =
        miroir_dev::demo::Client::new(trial.cluster.layout.proxy_urls(), "wrong".to_owned())?;
    for (method, path) in [
        (Method::POST, format!("/indexes/{INDEX}/search")),
        (Method::DELETE, format!("/indexes/{INDEX}/documents")),
        (Method::DELETE, format!("/indexes/{INDEX}")),
    ] {
        let body = Some(("application/json", "{}".to_owned()));
        let error = stranger
            .send(method, &path, body)
            .await
            .err()
            .context("a wrong key was accepted")?;
        ensure!(
            error.to_string().contains("invalid_api_key"),
            "{path}: {error}"
        );
    }
    let unsupported = refused(
        trial,
        Method::POST,
        "/network/control",
        Some(("application/json", "{}".to_owned())),
        400,
    );
    let error = unsupported.await?;
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|m| m.contains("/network/control")),
        "{error}"
    );
    unknown_paths_have_no_body(trial).await
}

/// As in Meilisearch: clients tell by it that they have the wrong address.
async fn unknown_paths_have_no_body(trial: &Trial) -> anyhow::Result<()> {
    let answer = trial.client.send(Method::GET, "/no-such-route", None).await;
    let error = answer.err().context("an unknown path was accepted")?;
    let refusal = error.downcast_ref::<Refusal>().context("no answer")?;
    ensure!(
        (refusal.status, refusal.body.as_str()) == (404, ""),
        "{refusal}"
    );
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_in_a_configuration_is_named_before_anything_is_started()
-> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for role in ["coordinator", "proxy"] {
        let path = dir.path().join(format!("{role}.toml"));
        std::fs::write(&path, "no_such_key = 1\n")?;
        let ended = Command::new(PROGRAM)
            .arg(role)
            .arg("--config")
            .arg(&path)
            .current_dir(dir.path())
            .output()
            .await?;
        let words = String::from_utf8_lossy(&ended.stderr);
        ensure!(!ended.status.success(), "{role} started");
        ensure!(words.contains("no_such_key"), "{role} says {words}");
    }
    ensure!(
        std::fs::read_dir(dir.path())?.count() == 2,
        "something was created"
    );
    Ok(())
}
