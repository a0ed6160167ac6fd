//! A Meilisearch node that answers what a test tells it to, over real HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What the node is like.
#[derive(Debug, Clone)]
pub struct State {
    pub version: String,
    pub key: String,
    /// Documents by index.
    pub indexes: BTreeMap<String, u64>,
    /// Its tasks, whole, by uid.
    pub tasks: BTreeMap<u32, Value>,
    /// Method and path of every request that changed something.
    pub changes: Vec<String>,
    /// Answers 503 to everything.
    pub broken: bool,
    /// The uids of its dynamic search rules; `None` on a node that has no such thing.
    pub rules: Option<BTreeSet<String>>,
    /// Whether changes of rules are carried out at once.
    pub rules_are_done: bool,
    /// Whether it has keys, as every node with rules.
    pub has_keys: bool,
}

/// A running fake. It ends with the value.
pub struct FakeNode {
    pub url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeNode {
    /// An empty node with the fleet's key and a version that is new enough.
    pub async fn start() -> Self {
        let state = State {
            version: "1.15.1".to_owned(),
            key: super::cluster::KEY.to_owned(),
            indexes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            changes: Vec::new(),
            broken: false,
            rules: None,
            rules_are_done: false,
            has_keys: false,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, server }
    }

    /// Changes what the node is like.
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no panic while locked"));
    }

    /// Looks at what the node is like.
    pub fn get<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().expect("no panic while locked"))
    }

    /// Gives the node a task.
    pub fn task(&self, uid: u32, status: &str, more: Value) {
        let mut task = json!({
            "uid": uid, "indexUid": "books", "status": status, "type": "documentAdditionOrUpdate",
            "details": {"receivedDocuments": 1, "indexedDocuments": null},
            "enqueuedAt": "2026-01-01T00:00:00Z", "startedAt": null, "finishedAt": null,
        });
        for (key, value) in more.as_object().expect("an object") {
            task[key] = value.clone();
        }
        self.set(|state| {
            state.tasks.insert(uid, task);
        });
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let Some((line, key)) = read_request(&mut stream).await else {
            return;
        };
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, body) = {
            let mut state = state.lock().expect("no panic while locked");
            answer(&mut state, method, (path, query), &key)
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream
            .get_mut()
            .write_all((head + &body).as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The request line, and the key it came with.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => key = value.trim().trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((line, key))
}

fn error(status: u16, code: &str, message: &str) -> (u16, Value) {
    (
        status,
        json!({"message": message, "code": code, "type": "invalid_request", "link": ""}),
    )
}

fn answer(state: &mut State, method: &str, (path, query): (&str, &str), key: &str) -> (u16, Value) {
    if state.broken {
        return error(503, "too_many_search_requests", "busy");
    }
    if path == "/health" {
        return (200, json!({"status": "available"}));
    }
    if key != state.key {
        return error(403, "invalid_api_key", "The provided API key is invalid.");
    }
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, segments.as_slice()) {
        ("GET", ["version"]) => (
            200,
            json!({"commitSha": "x", "commitDate": "x", "pkgVersion": state.version}),
        ),
        ("GET", ["stats"]) => {
            let index =
                |documents: &u64| json!({"numberOfDocuments": documents, "isIndexing": false});
            let indexes: serde_json::Map<_, _> = state
                .indexes
                .iter()
                .map(|(uid, documents)| (uid.clone(), index(documents)))
                .collect();
            (
                200,
                json!({"databaseSize": 0, "lastUpdate": null, "indexes": indexes}),
            )
        }
        ("GET", ["tasks"]) => (200, tasks(state, query)),
        ("GET", ["tasks", uid]) => {
            match uid.parse().ok().and_then(|uid: u32| state.tasks.get(&uid)) {
                Some(task) => (200, task.clone()),
                None => error(404, "task_not_found", "no such task"),
            }
        }
        (_, ["keys"]) if state.has_keys || state.rules.is_some() => {
            (200, json!({"results": [], "total": 0}))
        }
        ("GET", ["experimental-features"]) if state.rules.is_some() => {
            (200, json!({"dynamicSearchRules": true}))
        }
        (_, ["dynamic-search-rules", ..]) if state.rules.is_some() => {
            rules(state, method, segments.get(1).copied())
        }
        ("DELETE", ["indexes", uid]) => {
            state.changes.push(format!("{method} {path}"));
            let task = state.tasks.keys().last().map_or(0, |last| last + 1);
            let existed = state.indexes.remove(*uid);
            let status = if existed.is_some() {
                "succeeded"
            } else {
                "failed"
            };
            let refusal = existed
                .is_none()
                .then(|| error(404, "index_not_found", "no such index").1);
            state.tasks.insert(
                task,
                json!({
                    "uid": task, "indexUid": uid, "status": status, "type": "indexDeletion",
                    "details": {"deletedDocuments": existed.unwrap_or(0)}, "error": refusal,
                    "enqueuedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:01Z",
                    "finishedAt": "2026-01-01T00:00:02Z",
                }),
            );
            (
                202,
                json!({"taskUid": task, "indexUid": uid, "status": "enqueued", "type": "indexDeletion",
                "enqueuedAt": "2026-01-01T00:00:00Z"}),
            )
        }
        _ => error(404, "not_found", "this fake does not know the route"),
    }
}

fn rules(state: &mut State, method: &str, uid: Option<&str>) -> (u16, Value) {
    let held = state.rules.get_or_insert_default();
    let Some(uid) = uid else {
        let rule =
            |uid: &String| json!({"uid": uid, "active": true, "conditions": {}, "actions": []});
        return (
            200,
            json!({"results": held.iter().map(rule).collect::<Vec<_>>()}),
        );
    };
    match method {
        "DELETE" => drop(held.remove(uid)),
        _ => drop(held.insert(uid.to_owned())),
    }
    state
        .changes
        .push(format!("{method} /dynamic-search-rules/{uid}"));
    let number = state.tasks.keys().last().map_or(0, |last| last + 1);
    let status = if state.rules_are_done {
        "succeeded"
    } else {
        "enqueued"
    };
    let mut task = json!({
        "uid": number, "indexUid": ".meili_dsr", "status": status, "type": "dsrUpdate",
        "enqueuedAt": "2026-01-01T00:00:00Z",
    });
    state.tasks.insert(number, task.clone());
    task["taskUid"] = json!(number);
    (202, task)
}

fn tasks(state: &State, query: &str) -> Value {
    let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
    let wanted = |name: &str| {
        pairs()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let list = |text: Option<String>| -> Option<Vec<String>> {
        text.map(|text| {
            text.replace("%2C", ",")
                .split(',')
                .map(ToOwned::to_owned)
                .collect()
        })
    };
    let (uids, statuses) = (list(wanted("uids")), list(wanted("statuses")));
    let limit: usize = wanted("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(20);
    let matching: Vec<&Value> = state
        .tasks
        .iter()
        .rev()
        .filter(|(uid, _)| {
            uids.as_ref()
                .is_none_or(|uids| uids.contains(&uid.to_string()))
        })
        .map(|(_, task)| task)
        .filter(|task| {
            let status = task["status"].as_str().unwrap_or("");
            statuses
                .as_ref()
                .is_none_or(|statuses| statuses.iter().any(|one| one == status))
        })
        .collect();
    let results: Vec<&Value> = matching.iter().copied().take(limit).collect();
    json!({"results": results, "total": matching.len(), "limit": limit, "from": null, "next": null})
}
