//! API keys over a whole cluster: made once, the same on every node, judged by every proxy as one node judges them.

use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use miroir_dev::cluster::{Options, Role};
use miroir_tests::Trial;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_miroir-under-test");

/// How long anything may take that must happen.
const WITHIN: Duration = Duration::from_secs(60);

fn options() -> Options {
    let set = |name: &str, ms: u32| (format!("MIROIR_COORDINATOR__{name}"), ms.to_string());
    Options {
        nodes: 2,
        coordinators: 1,
        proxies: 2,
        shards: 4,
        environment: vec![set("NODES__HEALTH_INTERVAL_MS", 200)],
        ..Trial::options(PROGRAM)
    }
}

async fn eventually(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context(what.to_owned())),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Asks servers of the cluster with keys of any kind.
struct Asker {
    http: reqwest::Client,
    master: String,
}

impl Asker {
    fn new(trial: &Trial) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            master: trial.cluster.layout.master_key()?,
        })
    }

    /// Status and JSON of an answer. Without a body none is announced either.
    async fn ask(
        &self,
        key: Option<&str>,
        (method, url): (Method, String),
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// As the holder of the master key, who must not be refused.
    async fn master(
        &self,
        method: Method,
        url: String,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = self.ask(Some(&self.master), (method, url), body).await?;
        ensure!(status.is_success(), "{status}: {answer}");
        Ok(answer)
    }

    /// Makes a key through a proxy; its uid and value.
    async fn create(
        &self,
        proxy: &str,
        actions: &[&str],
        indexes: &[&str],
    ) -> anyhow::Result<(String, String)> {
        let body =
            json!({ "actions": actions, "indexes": indexes, "expiresAt": null, "name": "mine" });
        let made = self
            .master(Method::POST, format!("{proxy}/keys"), Some(&body))
            .await?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).context("no text");
        Ok((text("uid")?, text("key")?))
    }

    /// Uid, value, name, actions and indexes of every key, sorted.
    async fn keys(&self, server: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("{server}/keys?limit=100");
        let list = self.master(Method::GET, url, None).await?;
        let keys = list["results"].as_array().context("no list")?;
        let mut keys: Vec<Value> = keys
            .iter()
            .map(|key| {
                json!([
                    key["uid"],
                    key["key"],
                    key["name"],
                    key["actions"],
                    key["indexes"]
                ])
            })
            .collect();
        keys.sort_by_key(ToString::to_string);
        Ok(keys)
    }

    async fn create_index(&self, proxy: &str, uid: &str) -> anyhow::Result<()> {
        let body = json!({ "uid": uid, "primaryKey": "id" });
        let task = self
            .master(Method::POST, format!("{proxy}/indexes"), Some(&body))
            .await?;
        self.wait(proxy, &task, "succeeded").await.map(drop)
    }

    async fn wait(&self, proxy: &str, task: &Value, status: &str) -> anyhow::Result<Value> {
        let url = format!("{proxy}/tasks/{}", task["taskUid"]);
        let mut found = Value::Null;
        eventually("the task ends", async || {
            found = self.master(Method::GET, url.clone(), None).await?;
            ensure!(found["status"] == status, "{found}");
            Ok(())
        })
        .await?;
        Ok(found)
    }
}

/// Every node has the keys that the cluster has.
async fn same_everywhere(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let wanted = asker.keys(&trial.cluster.layout.proxy_url(1)).await?;
    for node in 1..=trial.cluster.layout.nodes() {
        let held = asker.keys(&trial.cluster.layout.node_url(node)).await?;
        ensure!(held == wanted, "node {node} has {held:?}, not {wanted:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_the_same_everywhere() -> anyhow::Result<()> {
    let mut trial = Trial::start_empty(options()).await?;
    let outcome = story(&mut trial).await;
    trial.end(outcome).await
}

async fn story(trial: &mut Trial) -> anyhow::Result<()> {
    let asker = Asker::new(trial)?;
    defaults_are_made_once(trial, &asker).await?;
    one_node_and_a_proxy_judge_alike(trial, &asker).await?;
    changes_reach_nodes(trial, &asker).await?;
    aliases_move_at_one_moment(trial, &asker).await?;
    indexes_are_not_created_in_passing(trial, &asker).await?;
    nodes_that_join_or_were_wiped_get_them(trial, &asker).await?;
    nobody_has_to_lead(trial, &asker).await
}

async fn defaults_are_made_once(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    eventually("the default keys are there", async || {
        let keys = asker.keys(&proxy).await?;
        ensure!(keys.len() == 4, "{keys:?}");
        same_everywhere(trial, asker).await
    })
    .await
}

/// Routes that an allowed key cannot do harm by.
fn harmless() -> Vec<(Method, &'static str)> {
    let get = |path| (Method::GET, path);
    vec![
        get("/version"),
        get("/stats"),
        get("/indexes"),
        get("/indexes/movies"),
        get("/indexes/books"),
        get("/indexes/none"),
        get("/indexes/movies/stats"),
        get("/indexes/movies/search"),
        get("/indexes/books/search"),
        get("/indexes/movies/documents"),
        get("/indexes/movies/settings"),
        get("/tasks?limit=1"),
        get("/keys?limit=1"),
        // Without a body: whoever is let through is told that it is missing.
        (Method::POST, "/indexes/movies/search"),
        (Method::POST, "/indexes/movies/documents"),
        (Method::PUT, "/indexes/books/documents"),
        (Method::POST, "/indexes/movies/documents/delete-batch"),
        (Method::PATCH, "/indexes/movies/settings"),
        (Method::POST, "/indexes"),
        (Method::POST, "/keys"),
    ]
}

async fn one_node_and_a_proxy_judge_alike(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let node = trial.cluster.layout.node_url(1);
    for uid in ["movies", "books"] {
        asker.create_index(&proxy, uid).await?;
    }
    let mut kinds = vec![
        None,
        Some(asker.master.clone()),
        Some("nonsense".to_owned()),
    ];
    let grants: [(&[&str], &[&str]); 8] = [
        (&["search"], &["*"]),
        (&["search"], &["mov*"]),
        (&["*"], &["*"]),
        (&["*.get"], &["*"]),
        (&["documents.*", "indexes.get"], &["movies"]),
        (&["indexes.*", "settings.update"], &["books", "m*"]),
        (&["tasks.*", "stats.get"], &["movies"]),
        (&["version", "keys.get", "keys.create"], &["*"]),
    ];
    for (actions, indexes) in grants {
        kinds.push(Some(asker.create(&proxy, actions, indexes).await?.1));
    }
    // The embedded node takes no tenant tokens.
    if trial.cluster.layout.options.node_bin.is_some() {
        kinds.extend(tenant_tokens(asker, &proxy).await?.into_iter().map(Some));
    }
    eventually("nodes have the keys", async || {
        same_everywhere(trial, asker).await
    })
    .await?;
    let mut differing = Vec::new();
    for kind in &kinds {
        for (method, path) in harmless() {
            let ask = |server: &str| {
                let target = (method.clone(), format!("{server}{path}"));
                asker.ask(kind.as_deref(), target, None)
            };
            let one = judgement(ask(&node).await?);
            let cluster = judgement(ask(&proxy).await?);
            if one != cluster {
                differing.push(format!(
                    "{kind:?} {method} {path}: {one:?}, not {cluster:?}"
                ));
            }
        }
    }
    ensure!(differing.is_empty(), "{}", differing.join("\n"));
    Ok(())
}

/// What of an answer tells how its sender was judged.
fn judgement((status, body): (StatusCode, Value)) -> (StatusCode, Value) {
    let told = if status.is_success() {
        Value::Null
    } else {
        json!([body["code"], body["type"], body["message"]])
    };
    (status, told)
}

async fn tenant_tokens(asker: &Asker, proxy: &str) -> anyhow::Result<Vec<String>> {
    let (uid, value) = asker.create(proxy, &["search"], &["mov*"]).await?;
    let token = |rules: Value, exp: Value, secret: &str| {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "apiKeyUid": uid, "searchRules": rules, "exp": exp });
        let message = format!(
            "{}.{}",
            encode(json!({ "typ": "JWT", "alg": "HS256" })),
            encode(claims)
        );
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        let signature = mac.chain_update(message.as_bytes()).finalize().into_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    Ok(vec![
        token(json!(["*"]), Value::Null, &value),
        token(
            json!({ "movies": null, "books": {} }),
            json!(4_000_000_000_u64),
            &value,
        ),
        token(json!("*"), Value::Null, &value),
        token(json!(["*"]), Value::Null, "other"),
        "a.b.c".to_owned(),
    ])
}

/// What one proxy has answered, the other goes by: nothing here waits for a table.
async fn aliases_move_at_one_moment(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let one = trial.cluster.layout.proxy_url(1);
    let two = trial.cluster.layout.proxy_url(2);
    let alias = format!("{one}/_miroir/aliases/shelf");
    let point = |body: Value| {
        let (target, master) = ((Method::PUT, alias.clone()), Some(asker.master.as_str()));
        async move { asker.ask(master, target, Some(&body)).await }
    };
    let meant = async || {
        let index = asker.master(Method::GET, format!("{two}/indexes/shelf"), None);
        anyhow::Ok(index.await?["uid"].clone())
    };
    for _ in 0..5 {
        for uid in ["movies", "books"] {
            let (status, body) = point(json!({ "target": uid })).await?;
            ensure!(status == 200 && body["target"] == uid, "{status} {body}");
            ensure!(
                meant().await? == uid,
                "the other proxy takes it for another index"
            );
        }
    }
    let documents = json!([{ "id": 1, "of": "shelf" }]);
    let url = format!("{two}/indexes/shelf/documents");
    let task = asker.master(Method::POST, url, Some(&documents)).await?;
    ensure!(task["indexUid"] == "books", "{task}");
    asker.wait(&two, &task, "succeeded").await?;
    let queries = json!({ "queries": [{ "indexUid": "shelf", "q": "shelf" }] });
    let url = format!("{two}/multi-search");
    let found = asker.master(Method::POST, url, Some(&queries)).await?;
    let first = &found["results"][0];
    ensure!(
        first["indexUid"] == "books" && first["hits"][0]["id"] == 1,
        "{found}"
    );

    let expecting = json!({ "target": "movies", "expectedTarget": "movies" });
    let (status, body) = point(expecting).await?;
    ensure!(
        status == 409 && body["code"] == "alias_changed",
        "{status} {body}"
    );
    let (_, key) = asker
        .create(&one, &["search"], &["movies", "shelf"])
        .await?;
    let search = (Method::GET, format!("{one}/indexes/shelf/search"));
    let (status, body) = asker.ask(Some(&key), search, None).await?;
    ensure!(
        status == 403 && body["code"] == "invalid_api_key",
        "{status} {body}"
    );

    let deletion = asker
        .master(Method::DELETE, format!("{one}/indexes/shelf"), None)
        .await?;
    asker.wait(&one, &deletion, "failed").await?;
    let creation = json!({ "uid": "shelf" });
    let task = asker
        .master(Method::POST, format!("{one}/indexes"), Some(&creation))
        .await?;
    let task = asker.wait(&one, &task, "failed").await?;
    ensure!(task["error"]["code"] == "index_already_exists", "{task}");

    let target = (Method::DELETE, alias.clone());
    let (status, _) = asker.ask(Some(&asker.master), target, None).await?;
    ensure!(status == 204, "{status}");
    let gone = (Method::GET, format!("{two}/indexes/shelf/search"));
    let (status, body) = asker.ask(Some(&asker.master), gone, None).await?;
    ensure!(
        status == 404 && body["code"] == "index_not_found",
        "{status} {body}"
    );
    Ok(())
}

async fn changes_reach_nodes(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let one = trial.cluster.layout.proxy_url(1);
    let two = trial.cluster.layout.proxy_url(2);
    let (uid, value) = asker.create(&one, &["search"], &["movies"]).await?;
    let search = |proxy: &str| {
        let target = (Method::GET, format!("{proxy}/indexes/movies/search"));
        asker.ask(Some(&value), target, None)
    };
    // At once where it was made, soon elsewhere.
    ensure!(search(&one).await?.0 == 200, "a new key opens nothing");
    eventually("the other proxy knows it", async || {
        let (status, body) = search(&two).await?;
        ensure!(status == 200, "{status} {body}");
        Ok(())
    })
    .await?;
    let patch = json!({ "name": "renamed", "description": "d" });
    let url = format!("{two}/keys/{value}");
    let patched = asker.master(Method::PATCH, url, Some(&patch)).await?;
    ensure!(
        patched["name"] == "renamed" && patched["uid"] == *uid,
        "{patched}"
    );
    eventually("nodes know its new name", async || {
        same_everywhere(trial, asker).await
    })
    .await?;
    let url = format!("{one}/keys/{uid}");
    asker.master(Method::DELETE, url, None).await?;
    ensure!(
        search(&one).await?.0 == 403,
        "a deleted key opens something"
    );
    eventually("it is gone everywhere", async || {
        ensure!(search(&two).await?.0 == 403, "the other proxy takes it");
        same_everywhere(trial, asker).await
    })
    .await
}

async fn indexes_are_not_created_in_passing(trial: &Trial, asker: &Asker) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let (_, value) = asker.create(&proxy, &["documents.add"], &["new*"]).await?;
    let target = (Method::POST, format!("{proxy}/indexes/newcomer/documents"));
    let body = json!([{ "id": 1 }]);
    let (status, task) = asker.ask(Some(&value), target, Some(&body)).await?;
    ensure!(status == 202, "{status} {task}");
    let task = asker.wait(&proxy, &task, "failed").await?;
    ensure!(task["error"]["code"] == "index_not_found", "{task}");
    let (_, value) = asker
        .create(&proxy, &["documents.add", "indexes.create"], &["new*"])
        .await?;
    let target = (Method::POST, format!("{proxy}/indexes/newcomer/documents"));
    let (status, task) = asker.ask(Some(&value), target, Some(&body)).await?;
    ensure!(status == 202, "{status} {task}");
    asker.wait(&proxy, &task, "succeeded").await.map(drop)
}

async fn nodes_that_join_or_were_wiped_get_them(
    trial: &mut Trial,
    asker: &Asker,
) -> anyhow::Result<()> {
    trial.cluster.add_node(1).await?;
    eventually("a node that joined has the keys", async || {
        same_everywhere(trial, asker).await
    })
    .await?;
    let role = Role::Node(2);
    trial.cluster.kill(role).await?;
    let database = trial.cluster.layout.home(role).join("data.ms");
    std::fs::remove_dir_all(&database).with_context(|| database.display().to_string())?;
    trial.cluster.spawn(role)?;
    eventually("a wiped node has the keys again", async || {
        same_everywhere(trial, asker).await
    })
    .await
}

async fn nobody_has_to_lead(trial: &mut Trial, asker: &Asker) -> anyhow::Result<()> {
    let proxy = trial.cluster.layout.proxy_url(1);
    let (_, value) = asker.create(&proxy, &["indexes.get"], &["movies"]).await?;
    trial.cluster.kill(Role::Coordinator(1)).await?;
    let list = |key: String| {
        let target = (Method::GET, format!("{proxy}/indexes"));
        async move { asker.ask(Some(&key), target, None).await }
    };
    let (status, body) = list(value).await?;
    ensure!(status == 200 && body["total"] == 1, "{status} {body}");
    ensure!(
        list("wrong".to_owned()).await?.0 == 403,
        "a wrong key opens something"
    );
    trial.cluster.spawn(Role::Coordinator(1))?;
    trial.cluster.admin.leader().await.map(drop)
}
