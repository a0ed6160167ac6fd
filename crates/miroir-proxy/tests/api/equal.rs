//! Real nodes behind a real proxy answer as one node with all documents does: embedded ones, or, when
//! `MEILISEARCH_BIN` names a Meilisearch binary, that.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use miroir_core::cluster::ReplicaState::{Building, InSync, Stale};
use miroir_core::document::{Batch, ContentType, Split};
use miroir_core::settings::to_node;
use miroir_meili::{NodeClient, Secret, TaskStatus, WriteMode, http_client};
use miroir_node::NodeConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::equal_routes;
use crate::support::{INDEX, KEY, Layout, Proxy};

pub const SHARDS: u16 = 8;
const CORPUS: &[u8] = include_bytes!("../../../miroir-dev/data/packages-sample.ndjson");
const TASK_DEADLINE: Duration = Duration::from_secs(120);

/// A real node. It ends with the value.
pub struct Node {
    pub address: SocketAddr,
    pub client: NodeClient,
    _running: Running,
    _data: TempDir,
}

/// What keeps a node alive.
enum Running {
    InProcess { _stop: oneshot::Sender<()> },
    Process { _child: Child },
}

pub fn settings() -> Value {
    json!({
        "filterableAttributes": ["section", "priority", "tags", "installed_size"],
        "sortableAttributes": ["id", "installed_size"],
        "searchableAttributes": ["name", "summary", "tags"],
        "pagination": {"maxTotalHits": 2000},
    })
}

impl Node {
    pub async fn start() -> Self {
        let data = TempDir::new().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let running = match std::env::var_os("MEILISEARCH_BIN") {
            None => Self::in_process(listener, data.path()),
            Some(binary) => {
                // Free until the process takes it; one that loses it ends, and is not reached.
                drop(listener);
                Self::process(&binary, address, data.path())
            }
        };
        let http = http_client(Duration::from_secs(5)).expect("a client");
        let url = format!("http://{address}");
        let client = NodeClient::new(http, &url, Some(Secret::new(KEY))).expect("a URL");
        let deadline = Instant::now() + TASK_DEADLINE;
        while let Err(error) = client.health().await {
            assert!(
                Instant::now() < deadline,
                "the node does not come up: {error}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            address,
            client,
            _running: running,
            _data: data,
        }
    }

    fn in_process(listener: TcpListener, data: &Path) -> Running {
        let address = listener.local_addr().expect("address");
        let mut config = NodeConfig::new(address, data.to_owned());
        config.master_key = Some(KEY.to_owned());
        config.max_indexing_threads = 1;
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(miroir_node::serve(config, listener, async move {
            // Dropping the sender stops it too.
            let _ = stopped.await;
        }));
        Running::InProcess { _stop: stop }
    }

    fn process(binary: &OsStr, address: SocketAddr, data: &Path) -> Running {
        let child = Command::new(binary)
            .args(["--http-addr", &address.to_string(), "--master-key", KEY])
            .args(["--no-analytics", "--log-level", "ERROR", "--db-path"])
            .arg(data.join("db"))
            .current_dir(data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("MEILISEARCH_BIN={binary:?} does not start: {error}"));
        Running::Process { _child: child }
    }

    pub async fn load(&self, settings: &Value, ndjson: Vec<u8>) {
        let settings = self
            .client
            .patch_settings(INDEX, settings)
            .await
            .expect("settings");
        self.wait(settings.task_uid).await;
        let format = miroir_meili::ContentType::NdJson;
        let params = miroir_meili::AddParams {
            primary_key: Some("id"),
            ..Default::default()
        };
        let added =
            self.client
                .add_documents(INDEX, WriteMode::Replace, params, format, ndjson.into());
        self.wait(added.await.expect("documents").task_uid).await;
    }

    pub async fn wait(&self, task: miroir_meili::NodeTaskUid) {
        let deadline = Instant::now() + TASK_DEADLINE;
        loop {
            let found = self
                .client
                .task(task)
                .await
                .expect("tasks answer")
                .expect("the task exists");
            if found.status.is_final() {
                assert_eq!(found.status, TaskStatus::Succeeded, "{found:?}");
                return;
            }
            assert!(Instant::now() < deadline, "{found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The answer to a POST of `body`, or to a GET without one.
    pub async fn ask(&self, path: &str, body: &Value) -> Value {
        let mut headers = miroir_meili::HeaderMap::new();
        let json = miroir_meili::HeaderValue::from_static("application/json");
        headers.insert("content-type", json);
        let method = if body.is_null() {
            miroir_meili::Method::GET
        } else {
            miroir_meili::Method::POST
        };
        let sent = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let answer = self
            .client
            .raw(method, path, headers, sent.into())
            .await
            .expect(path);
        let answer = answer.into_success().expect(path);
        serde_json::from_slice(&answer.body).expect("JSON")
    }
}

/// The corpus as nodes hold it.
pub fn split() -> Split {
    let batch = Batch::parse(CORPUS, ContentType::Ndjson).expect("the corpus");
    Split::new(&batch, "id", SHARDS).expect("valid documents")
}

/// A node with all documents and no hidden field: what a client should not be able to tell from
/// the cluster.
pub async fn reference() -> Node {
    let node = Node::start().await;
    node.load(&settings(), CORPUS.to_vec()).await;
    node
}

/// Queries that one answer only is right for: their hits are put in an order without ties.
fn exact_queries() -> Vec<Value> {
    vec![
        json!({"sort": ["id:asc"], "limit": 2000}),
        json!({"sort": ["id:desc"], "offset": 700, "limit": 25}),
        json!({"sort": ["installed_size:desc", "id:asc"], "page": 3, "hitsPerPage": 7}),
        json!({"sort": ["id:asc"], "page": 1, "hitsPerPage": 5, "filter": "section = nothing"}),
        json!({
            "sort": ["installed_size:asc", "id:asc"], "limit": 50,
            "filter": "section = perl OR installed_size > 20000",
            "facets": ["section", "priority", "installed_size"],
        }),
        json!({
            "sort": ["id:asc"], "filter": [["section = games", "section = text"], "priority = optional"],
            "attributesToRetrieve": ["id", "section"], "facets": ["tags"],
        }),
        json!({"sort": ["id:asc"], "facets": ["*"], "limit": 3}),
        json!({"sort": ["id:asc"], "limit": 0, "facets": ["section"]}),
        json!({
            "q": "library", "sort": ["id:asc"], "limit": 3, "attributesToHighlight": ["*"],
            "attributesToCrop": ["summary"], "cropLength": 4, "showMatchesPosition": true,
        }),
    ]
}

/// Queries whose equal hits may come in another order.
fn ranked_queries() -> Vec<Value> {
    let all = |query: Value| {
        let mut query = query;
        query["limit"] = json!(2000);
        query["facets"] = json!(["section", "priority"]);
        query
    };
    vec![
        all(json!({"q": "game"})),
        all(json!({"q": "strategy game"})),
        all(json!({"q": "libary"})),
        all(json!({"q": "perl module"})),
        all(json!({"q": "python dev"})),
        all(json!({"q": "\"text editor\""})),
        all(json!({"q": "data -game"})),
        all(json!({"q": "role program", "filter": "section = net OR section = utils"})),
        all(json!({"q": "documentation", "matchingStrategy": "all"})),
        all(json!({"q": "x"})),
        // Shard 12 does not exist, and no shard's number is a word.
        all(json!({"q": "12"})),
        all(json!({"q": "3"})),
        all(json!({"q": "⁂"})),
        all(json!({"q": "†††"})),
        all(json!({"q": "_miroir_shard"})),
    ]
}

/// What cannot be equal: times and ids of requests.
pub fn without_noise(mut answer: Value) -> Value {
    let members = answer.as_object_mut().expect("an object");
    members.remove("processingTimeMs");
    members.remove("requestUid");
    answer
}

fn ids(answer: &Value) -> Vec<String> {
    let hits = answer["hits"]
        .as_array()
        .or_else(|| answer["results"].as_array());
    let hits = hits.unwrap_or_else(|| panic!("no hits: {answer}"));
    hits.iter()
        .map(|hit| hit["id"].as_str().expect("an id").to_owned())
        .collect()
}

async fn check_searches(proxy: &Proxy, reference: &Node, what: &str) {
    let path = format!("/indexes/{INDEX}/search");
    for query in exact_queries() {
        let expected = without_noise(reference.ask(&path, &query).await);
        let (status, answer) = proxy.post(&path, query.clone()).await;
        assert_eq!(status, 200, "{what}: {query}: {answer}");
        let answer = without_noise(answer);
        // Field by field, so that a failure can be read.
        for (name, value) in expected.as_object().expect("an object") {
            assert_eq!(&answer[name], value, "{what}: {query}: {name}");
        }
        assert_eq!(answer, expected, "{what}: {query}");
    }
    for query in ranked_queries() {
        let mut detailed = query.clone();
        detailed["showRankingScoreDetails"] = json!(true);
        let expected = reference.ask(&path, &detailed).await;
        let (status, answer) = proxy.post(&path, query.clone()).await;
        assert_eq!(status, 200, "{what}: {query}: {answer}");
        for name in [
            "estimatedTotalHits",
            "facetDistribution",
            "facetStats",
            "query",
            "limit",
        ] {
            assert_eq!(answer[name], expected[name], "{what}: {query}: {name}");
        }
        // Hits of one rank may change places; hits of different ranks may not.
        let rank_of: BTreeMap<&str, &Value> = expected["hits"]
            .as_array()
            .expect("hits")
            .iter()
            .map(|hit| {
                (
                    hit["id"].as_str().expect("an id"),
                    &hit["_rankingScoreDetails"],
                )
            })
            .collect();
        let ranks = |ids: &[String]| -> Vec<Value> {
            ids.iter()
                .map(|id| (*rank_of.get(id.as_str()).expect("a hit of one node")).clone())
                .collect()
        };
        let (got, wanted) = (ids(&answer), ids(&expected));
        assert_eq!(ranks(&got), ranks(&wanted), "{what}: {query}");
        let sorted = |mut ids: Vec<String>| {
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(got.clone()), sorted(wanted), "{what}: {query}");
        assert_eq!(
            paged(proxy, &query, 9).await,
            got,
            "{what}: {query}: pages are parts of the whole"
        );
    }
}

async fn paged(proxy: &Proxy, query: &Value, size: usize) -> Vec<String> {
    let path = format!("/indexes/{INDEX}/search");
    let mut found = Vec::new();
    loop {
        let mut page = query.clone();
        page["offset"] = json!(found.len());
        page["limit"] = json!(size);
        let (status, answer) = proxy.post(&path, page).await;
        assert_eq!(status, 200, "{answer}");
        let ids = ids(&answer);
        if ids.is_empty() {
            return found;
        }
        found.extend(ids);
    }
}

async fn check_documents(proxy: &Proxy, reference: &Node, what: &str) {
    let fetch = format!("/indexes/{INDEX}/documents/fetch");
    let by_id = |answer: &Value| -> BTreeMap<String, Value> {
        let results = answer["results"].as_array().expect("results");
        results
            .iter()
            .map(|d| (d["id"].as_str().expect("an id").to_owned(), d.clone()))
            .collect()
    };
    for body in [
        json!({"limit": 5000}),
        json!({"limit": 5000, "filter": "section = games"}),
        json!({"ids": ["0ad", "abcm2ps", "none"], "fields": ["id", "name"]}),
    ] {
        let expected = reference.ask(&fetch, &body).await;
        let (status, answer) = proxy.post(&fetch, body.clone()).await;
        assert_eq!(status, 200, "{what}: {answer}");
        assert_eq!(answer["total"], expected["total"], "{what}: {body}");
        assert_eq!(by_id(&answer), by_id(&expected), "{what}: {body}");
        assert_eq!(
            ids(&answer).len(),
            ids(&expected).len(),
            "{what}: {body}: nothing twice"
        );
    }
    let mut found = Vec::new();
    while let (200, page) = proxy
        .get(&format!(
            "{}?offset={}&limit=200",
            fetch.trim_end_matches("/fetch"),
            found.len()
        ))
        .await
    {
        let ids = ids(&page);
        if ids.is_empty() {
            break;
        }
        found.extend(ids);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 1415, "{what}: pages hold every document once");
    for id in ["0ad", "abcm2ps"] {
        let path = format!("/indexes/{INDEX}/documents/{id}");
        let expected = reference.ask(&path, &Value::Null).await;
        assert_eq!(proxy.get(&path).await, (200, expected), "{what}");
    }
    let (_, stats) = proxy.get(&format!("/indexes/{INDEX}/stats")).await;
    assert_eq!(stats["numberOfDocuments"], 1415, "{what}");
    assert_eq!(stats["fieldDistribution"]["id"], 1415, "{what}");
    assert!(!stats.to_string().contains("_miroir_shard"), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disjoint_nodes_answer_as_one() {
    let reference = reference().await;
    let nodes = [
        Node::start().await,
        Node::start().await,
        Node::start().await,
    ];
    let split = split();
    let mut layout = Layout::new(&nodes.each_ref().map(|node| node.address)).settings(settings());
    for shard in 0..SHARDS {
        layout = layout.shard(&[u64::from(shard % 3) + 1]);
    }
    for (number, node) in (0..).zip(&nodes) {
        node.load(
            &to_node(&settings()),
            split.ndjson(|shard| shard % 3 == number),
        )
        .await;
    }
    let proxy = Proxy::start(layout.build()).await;
    check_searches(&proxy, &reference, "disjoint").await;
    check_documents(&proxy, &reference, "disjoint").await;
    equal_routes::check(&proxy, &reference, "disjoint").await;
    let path = format!("/indexes/{INDEX}/stats");
    let fields = |stats: Value| stats["fieldDistribution"].clone();
    assert_eq!(
        fields(proxy.get(&path).await.1),
        fields(reference.ask(&path, &Value::Null).await)
    );
    let path = format!("/indexes/{INDEX}/settings");
    assert_eq!(
        proxy.get(&path).await,
        (200, reference.ask(&path, &Value::Null).await)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_not_read_do_not_show() {
    let reference = reference().await;
    let nodes = [
        Node::start().await,
        Node::start().await,
        Node::start().await,
    ];
    let split = split();
    // Every node holds every document; the third one's have been changed by nobody since.
    for node in &nodes[..2] {
        node.load(&to_node(&settings()), split.ndjson(|_| true))
            .await;
    }
    let stale = String::from_utf8(split.ndjson(|_| true)).expect("text");
    let stale = stale
        .replace("\"section\": \"", "\"section\": \"old-")
        .replace("game", "match");
    nodes[2]
        .load(&to_node(&settings()), stale.into_bytes())
        .await;
    let addresses = nodes.each_ref().map(|node| node.address);
    let layout = || Layout::new(&addresses).settings(settings());

    let mut replicas = layout();
    let mut moving = layout();
    for shard in 0..SHARDS {
        replicas = replicas.shard_in(vec![(1, InSync), (2, InSync), (3, Stale)]);
        moving = match shard % 2 {
            0 => moving
                .shard_in(vec![(1, InSync), (3, Building)])
                .leftover(2, shard),
            _ => moving
                .shard_in(vec![(2, InSync)])
                .leftover(1, shard)
                .leftover(3, shard),
        };
    }
    let proxy = Proxy::start(replicas.build()).await;
    check_searches(&proxy, &reference, "replicas").await;
    check_documents(&proxy, &reference, "replicas").await;
    equal_routes::check(&proxy, &reference, "replicas").await;
    drop(proxy);
    let proxy = Proxy::start(moving.build()).await;
    check_searches(&proxy, &reference, "moving").await;
    check_documents(&proxy, &reference, "moving").await;
    equal_routes::check(&proxy, &reference, "moving").await;
}
