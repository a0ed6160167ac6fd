//! Keys, routes, bodies, errors: everything before a node is asked.

use miroir_core::cluster::{Task, TaskKind, TaskStatus};
use miroir_core::id::{IndexUid, TaskUid};
use miroir_proxy::http::routes::{self, Access, Mode, Route};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, TOKEN, answer, error};

async fn no_node() -> (FakeNode, Layout) {
    let node =
        FakeNode::start(|_| error(403, "invalid_api_key", "The provided API key is invalid."))
            .await;
    let layout = Layout::new(&[node.address]).shard(&[1]);
    (node, layout)
}

fn concrete(route: &Route) -> String {
    // Settings that are objects are changed with PATCH, others with PUT.
    let setting = match route.method {
        "PATCH" => "faceting",
        _ => "synonyms",
    };
    let path = route.path.replace("{uid}", "1");
    path.replace("{id}", "1")
        .replace("{setting}", setting)
        .replace("{key}", "k")
        .replace("{uuid}", "u")
        .replace("{workspace}", "w")
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("a method")
}

fn assert_error(body: &Value, code: &str) {
    assert_eq!(body["code"], code, "{body}");
    for member in ["message", "type", "link"] {
        assert!(body[member].is_string(), "{body}");
    }
    assert_eq!(
        body["link"],
        format!("https://docs.meilisearch.com/errors#{code}")
    );
}

#[tokio::test]
async fn every_route_asks_for_its_key() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    for route in routes::all() {
        let path = concrete(&route);
        let (status, body) = answer(proxy.anonymous(method(route.method), &path)).await;
        let shown = format!("{} {path}: {status} {body}", route.method);
        match route.access {
            Access::Key(_) => {
                assert_eq!(status, 401, "{shown}");
                assert_error(&body, "missing_authorization_header");
                assert_eq!(
                    body["message"],
                    "The Authorization header is missing. It must use the bearer authorization method."
                );
            }
            Access::Open | Access::Local => assert_eq!(status, 200, "{shown}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_offered_is_refused_by_name() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    for route in routes::all().filter(|route| route.mode == Mode::Unsupported) {
        let path = concrete(&route);
        let (status, body) = answer(proxy.request(method(route.method), &path)).await;
        assert_eq!(status, 400, "{} {path}: {body}", route.method);
        assert_error(&body, "feature_not_enabled");
        let name = format!("`{} {}`", route.method, route.path);
        let text = body["message"].as_str().expect("a message");
        assert!(text.starts_with(&name), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_here() {
    let (node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    for route in routes::SUPPORTED {
        let path = concrete(route).replace("/indexes/1", &format!("/indexes/{INDEX}"));
        let request = proxy
            .anonymous(method(route.method), &path)
            .bearer_auth("wrong")
            .json(&json!({}));
        let (status, body) = answer(request).await;
        match route.access {
            Access::Key(_) => {
                assert_eq!(status, 403, "{} {path} {body}", route.method);
                assert_error(&body, "invalid_api_key");
                assert_eq!(body["message"], "The provided API key is invalid.");
            }
            Access::Open | Access::Local => assert_eq!(status, 200),
        }
    }
    assert_eq!(node.seen("/indexes").len(), 0, "no node is asked");
}

#[tokio::test]
async fn an_unknown_index_is_no_secret_only_for_those_who_may_know() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    let search = |key: &str| {
        answer(
            proxy
                .anonymous(Method::GET, "/indexes/none/search")
                .bearer_auth(key),
        )
    };
    assert_eq!(search("wrong").await.0, 403);
    let (status, body) = proxy.get("/indexes/none/stats").await;
    assert_eq!(status, 404);
    assert_error(&body, "index_not_found");
    assert_eq!(body["message"], "Index `none` not found.");
    let (status, body) = proxy.get("/indexes/a%20b/search").await;
    assert_eq!(status, 400, "{body}");
    assert_error(&body, "invalid_index_uid");
}

#[tokio::test]
async fn without_a_master_key_everything_is_open() {
    let node =
        FakeNode::start(|_| Answer::Json(200, json!({"hits": [], "estimatedTotalHits": 0}))).await;
    let layout = Layout::new(&[node.address]).shard(&[1]);
    let proxy = Proxy::with(layout.build(), Vec::new(), |config| {
        config.master_key = None
    })
    .await;
    let (status, _) = answer(proxy.anonymous(Method::GET, "/indexes")).await;
    assert_eq!(status, 200);
    let (status, _) =
        answer(proxy.anonymous(Method::GET, &format!("/indexes/{INDEX}/search"))).await;
    assert_eq!(status, 200);
    assert!(
        !node.seen("/search")[0]
            .headers
            .contains_key("authorization")
    );
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    let table = [
        ("PUT", "/health", 405),
        ("PUT", "/indexes/movies", 405),
        ("PUT", "/indexes/movies/settings/embedders", 405),
        ("DELETE", "/multi-search", 405),
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("GET", "/indexes/movies/nothing", 404),
        ("GET", "/indexes/movies/settings/nothing", 404),
    ];
    for (name, path, expected) in table {
        let answer = proxy
            .request(method(name), path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), expected, "{name} {path}");
        assert!(
            !answer.headers().contains_key("content-type"),
            "{name} {path}"
        );
        let body = answer.text().await.expect("a body");
        assert_eq!(body, "", "{name} {path}");
    }
    let (status, body) = answer(proxy.request(Method::GET, "/indexes/%FF/stats")).await;
    assert_eq!(status, 400, "{body}");
    assert_error(&body, "bad_request");
    let wrong = proxy
        .request(Method::PUT, "/indexes/movies")
        .send()
        .await
        .expect("an answer");
    assert_eq!(wrong.headers()["allow"], "GET, PATCH, DELETE");
}

/// Method, path, content type, body; status and code of the answer.
type BadBody<'a> = (&'a str, &'a str, Option<&'a str>, &'a str, u16, &'a str);

#[tokio::test]
async fn bodies_are_refused_in_meilisearchs_words() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::with(layout.build(), Vec::new(), |c| c.payload_limit_bytes = 2000).await;
    let search = format!("/indexes/{INDEX}/search");
    let documents = format!("/indexes/{INDEX}/documents");
    let batch = format!("/indexes/{INDEX}/documents/delete-batch");
    let settings = format!("/indexes/{INDEX}/settings");
    let long = format!("{{\"q\":\"{}\"}}", "x".repeat(3000));
    let json_type = Some("application/json");
    let table: [BadBody<'_>; 15] = [
        ("POST", &search, None, "{}", 415, "missing_content_type"),
        (
            "POST",
            &search,
            Some("text/plain"),
            "{}",
            415,
            "invalid_content_type",
        ),
        ("POST", &search, json_type, "", 400, "missing_payload"),
        ("POST", &search, json_type, "{", 400, "malformed_payload"),
        ("POST", &search, json_type, "[]", 400, "bad_request"),
        ("POST", &search, json_type, &long, 413, "payload_too_large"),
        (
            "POST",
            &search,
            json_type,
            r#"{"filter":"_miroir_shard = x"}"#,
            400,
            "invalid_search_filter",
        ),
        ("POST", &documents, None, "[]", 415, "missing_content_type"),
        (
            "POST",
            &documents,
            Some("application/xml"),
            "[]",
            415,
            "invalid_content_type",
        ),
        (
            "POST",
            &documents,
            json_type,
            &long,
            413,
            "payload_too_large",
        ),
        (
            "POST",
            &batch,
            Some("text/csv"),
            "[]",
            415,
            "invalid_content_type",
        ),
        ("PATCH", &settings, json_type, "[]", 400, "bad_request"),
        (
            "PATCH",
            &settings,
            json_type,
            "nonsense",
            400,
            "malformed_payload",
        ),
        (
            "POST",
            "/indexes",
            json_type,
            r#"{"uid":"a b"}"#,
            400,
            "invalid_index_uid",
        ),
        (
            "PUT",
            "/indexes/a%20b/documents",
            json_type,
            "[]",
            400,
            "invalid_index_uid",
        ),
    ];
    for (name, path, content_type, body, expected, code) in table {
        let mut request = proxy.request(method(name), path).body(body.to_owned());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let (status, answer) = answer(request).await;
        assert_eq!(status, expected, "{name} {path} {answer}");
        assert_error(&answer, code);
    }
}

#[tokio::test]
async fn only_the_cluster_token_makes_a_forwarded_write() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    let write = |token: Option<&str>| {
        let path = format!("/indexes/{INDEX}/documents");
        let request = proxy
            .anonymous(Method::DELETE, &path)
            .header("miroir-forwarded", "5");
        answer(match token {
            Some(token) => request.header("miroir-token", token),
            None => request,
        })
    };
    assert_eq!(write(None).await.0, 401);
    assert_eq!(write(Some("guessed")).await.0, 401);
    // This proxy is not the index's writer, and says so to the proxy that forwarded the request.
    let (status, body) = write(Some(TOKEN)).await;
    assert_eq!(status, 421, "{body}");
}

#[tokio::test]
async fn the_proxy_tells_about_itself() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    assert_eq!(
        proxy.get("/health").await,
        (200, json!({"status": "available"}))
    );
    let (status, stats) = answer(proxy.anonymous(Method::GET, routes::PROXY_STATS)).await;
    assert_eq!(status, 200);
    assert_eq!(stats["session"]["epoch"], 5);
    assert_eq!(stats["session"]["proxy"], 1);
    assert_eq!(stats["requestsInFlight"], 0);
    assert!(
        stats["session"]["leaseLeftMs"]
            .as_u64()
            .is_some_and(|left| left > 0),
        "{stats}"
    );
    assert!(
        stats["rssBytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 1 << 20),
        "{stats}"
    );
    let coordinator = proxy.stop().await;
    assert!(
        coordinator
            .said_goodbye
            .load(std::sync::atomic::Ordering::SeqCst)
    );
}

#[tokio::test]
async fn indexes_come_from_the_table() {
    let (_node, layout) = no_node().await;
    let proxy = Proxy::start(layout.build()).await;
    let movies = json!({
        "uid": INDEX, "createdAt": "2023-11-14T22:13:20.000001Z",
        "updatedAt": "2023-11-14T22:13:20.123Z", "primaryKey": "id",
    });
    assert_eq!(
        proxy.get(&format!("/indexes/{INDEX}")).await,
        (200, movies.clone())
    );
    let list = json!({"results": [movies], "offset": 0, "limit": 20, "total": 1});
    assert_eq!(proxy.get("/indexes").await, (200, list));
    let rest = json!({"results": [], "offset": 1, "limit": 5, "total": 1});
    assert_eq!(proxy.get("/indexes?offset=1&limit=5").await, (200, rest));
    assert_eq!(proxy.get("/indexes/none").await.0, 404);
    assert_eq!(proxy.get("/indexes?limit=x").await.0, 400);

    proxy
        .coordinator
        .publish(miroir_core::routing::RoutingTable {
            indexes: Default::default(),
            ..layout.epoch(6).build()
        });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    assert!(
        proxy
            .control
            .wait_epoch(miroir_core::id::Epoch(6), deadline)
            .await
    );
    assert_eq!(proxy.get(&format!("/indexes/{INDEX}")).await.0, 404);
}

fn task(uid: u32, status: TaskStatus) -> Task {
    Task {
        uid: TaskUid(uid),
        index: IndexUid::parse(INDEX).ok(),
        kind: TaskKind::DocumentDeletion,
        status,
        details: json!({"deletedDocuments": 3}),
        error: None,
        custom_metadata: None,
        parts: Vec::new(),
        enqueued_at_ms: 1_700_000_000_001,
        started_at_ms: Some(1_700_000_000_002),
        finished_at_ms: Some(1_700_000_000_005),
    }
}

#[tokio::test]
async fn tasks_come_from_the_coordinators() {
    let (_node, layout) = no_node().await;
    let tasks = (0..3)
        .map(|uid| task(uid, TaskStatus::Succeeded))
        .chain([task(3, TaskStatus::Failed)]);
    let proxy = Proxy::with(layout.build(), tasks.collect(), |_| {}).await;
    let (status, shown) = proxy.get("/tasks/2").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&shown["uid"], &shown["duration"]),
        (&json!(2), &json!("PT0.003000S"))
    );
    assert_eq!(shown["details"], json!({"deletedDocuments": 3}));
    let uids = |page: &Value| -> Vec<u64> {
        let results = page["results"].as_array().expect("results");
        results
            .iter()
            .filter_map(|task| task["uid"].as_u64())
            .collect()
    };
    let (_, page) = proxy.get("/tasks?limit=2").await;
    assert_eq!(uids(&page), [3, 2]);
    assert_eq!(
        (&page["total"], &page["from"], &page["next"]),
        (&json!(4), &json!(3), &json!(1))
    );
    let (_, page) = proxy.get("/tasks?statuses=failed&uids=*").await;
    assert_eq!(uids(&page), [3]);
    for (path, status, code) in [
        ("/tasks/99", 404, "task_not_found"),
        ("/tasks/x", 400, "invalid_task_uids"),
        ("/tasks?statuses=done", 400, "invalid_task_statuses"),
        ("/tasks?foo=1", 400, "bad_request"),
    ] {
        let (got, body) = proxy.get(path).await;
        assert_eq!(got, status, "{path}");
        assert_error(&body, code);
    }
}
