//! Reads that are to show what their client wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use miroir_core::id::TaskUid;
use miroir_core::session::SessionToken;
use miroir_proto::v1;
use reqwest::Method;
use serde_json::{Value, json};

use crate::search::search_answer;
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, answer};

/// A token of a client whose newest task is 7.
fn token() -> String {
    let mut token = SessionToken::new("a-cluster");
    token.note(Some(INDEX), TaskUid(7));
    token.encode()
}

/// A node whose task ends when the flag is set, and fails if it is told to.
async fn node(done: &Arc<AtomicBool>, fails: bool) -> FakeNode {
    let done = Arc::clone(done);
    FakeNode::start(move |seen: &Seen| {
        let task = |status: &str| {
            json!({
                "uid": 3, "indexUid": INDEX, "status": status, "type": "documentDeletion",
                "enqueuedAt": "2026-01-01T00:00:00Z",
            })
        };
        let page = |results: Vec<Value>| {
            let total = results.len();
            let page =
                json!({ "results": results, "total": total, "limit": 1, "from": 3, "next": null });
            Answer::Json(200, page)
        };
        let is_done = done.load(Ordering::SeqCst);
        if seen.path.starts_with("/tasks") && seen.path.contains("failed") {
            page(if fails {
                vec![task("failed")]
            } else {
                Vec::new()
            })
        } else if seen.path.starts_with("/tasks") {
            page(if is_done {
                Vec::new()
            } else {
                vec![task("enqueued")]
            })
        } else {
            search_answer(seen, &[("a", 1)])
        }
    })
    .await
}

fn flag(set: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(set))
}

/// Node task 3 of these nodes is pending.
fn pending(nodes: &[u64]) -> v1::PendingTasksReply {
    let task = |node: &u64| v1::PendingOnNode {
        node: *node,
        first: 3,
        last: 3,
    };
    v1::PendingTasksReply {
        nodes: nodes.iter().map(task).collect(),
        open: false,
        newest: Some(9),
        epoch: 5,
    }
}

fn set(proxy: &Proxy, reply: v1::PendingTasksReply) {
    let mut pending = proxy.coordinator.pending.lock().expect("no panic");
    pending.0 = reply;
}

fn asked(proxy: &Proxy) -> usize {
    proxy.coordinator.pending.lock().expect("no panic").1
}

async fn search(proxy: &Proxy, query: &str, session: Option<&str>) -> (u16, Value) {
    let path = format!("/indexes/{INDEX}/search?q={query}");
    let mut request = proxy.request(Method::GET, &path);
    if let Some(session) = session {
        request = request.header("Miroir-Session", session);
    }
    answer(request).await
}

#[tokio::test]
async fn a_read_goes_to_copies_that_have_what_was_written() {
    let (late, done) = (
        node(&flag(false), false).await,
        node(&flag(true), false).await,
    );
    let layout = Layout::new(&[late.address, done.address]).shard(&[1, 2]);
    let proxy = Proxy::start(layout.build()).await;
    set(&proxy, pending(&[1, 2]));
    for query in 0..12 {
        let (status, body) = search(&proxy, &query.to_string(), Some(&token())).await;
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(
        (late.seen("/search").len(), done.seen("/search").len()),
        (0, 12)
    );
    // Reads without a session go anywhere.
    for query in 0..12 {
        assert_eq!(search(&proxy, &query.to_string(), None).await.0, 200);
    }
    assert!(!late.seen("/search").is_empty());
}

#[tokio::test]
async fn a_read_waits_for_the_only_copy_and_later_ones_need_not_ask() {
    let done = flag(false);
    let only = node(&done, false).await;
    let layout = Layout::new(&[only.address]).shard(&[1]);
    let proxy = Proxy::start(layout.build()).await;
    set(&proxy, pending(&[1]));
    let token = token();
    let (read, ()) = tokio::join!(search(&proxy, "a", Some(&token)), async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while only.seen("/tasks").len() < 3 {
            assert!(tokio::time::Instant::now() < deadline, "it is not asked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(only.seen("/search").is_empty(), "it waits");
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(read.0, 200, "{}", read.1);
    set(&proxy, pending(&[]));
    assert_eq!(search(&proxy, "b", Some(&token)).await.0, 200);
    let before = asked(&proxy);
    assert_eq!(search(&proxy, "c", Some(&token)).await.0, 200);
    assert_eq!(asked(&proxy), before, "what has ended stays so");
}

#[tokio::test]
async fn every_read_is_refused_rather_than_answered_with_something_older() {
    let only = node(&flag(false), false).await;
    let layout = Layout::new(&[only.address]).shard(&[1]);
    let proxy = Proxy::with(layout.build(), Vec::new(), |config| {
        config.session_wait_ms = 30
    })
    .await;
    set(&proxy, pending(&[1]));
    let of = |rest: &str| format!("/indexes/{INDEX}/{rest}");
    let queries = json!({ "queries": [{ "indexUid": INDEX }] });
    let federated = json!({ "federation": {}, "queries": [{ "indexUid": INDEX }] });
    let table = [
        (Method::GET, of("search"), None),
        (Method::POST, of("search"), Some(json!({}))),
        (
            Method::POST,
            of("facet-search"),
            Some(json!({ "facetName": "a" })),
        ),
        (Method::GET, of("similar?id=1&embedder=e"), None),
        (Method::POST, "/multi-search".to_owned(), Some(queries)),
        (Method::POST, "/multi-search".to_owned(), Some(federated)),
        (Method::GET, of("documents"), None),
        (Method::GET, of("documents/1"), None),
        (Method::POST, of("documents/fetch"), Some(json!({}))),
        (Method::POST, of("fields"), Some(json!({}))),
        (Method::GET, of("stats"), None),
        (Method::GET, "/stats".to_owned(), None),
        (Method::GET, of("settings"), None),
        (Method::GET, of("settings/stop-words"), None),
    ];
    for (method, path, body) in table {
        let request = proxy.request(method, &path);
        let request = request.header("Miroir-Session", token());
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 503, "{path}");
        assert!(response.headers().contains_key("retry-after"), "{path}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["code"], "session_not_applied", "{path}: {body}");
    }
    assert!(only.seen("/search").is_empty() && only.seen("/documents").is_empty());
}

#[tokio::test]
async fn what_is_not_certain_is_waited_for() {
    let failed = node(&flag(true), true).await;
    let layout = Layout::new(&[failed.address]).shard(&[1]);
    let proxy = Proxy::with(layout.build(), Vec::new(), |config| {
        config.session_wait_ms = 30
    })
    .await;
    let open = v1::PendingTasksReply {
        open: true,
        ..pending(&[])
    };
    let later = v1::PendingTasksReply {
        epoch: 6,
        ..pending(&[])
    };
    // A task that failed here may have succeeded elsewhere; one may get node tasks yet; a copy may be out of use.
    for reply in [pending(&[1]), open, later] {
        set(&proxy, reply.clone());
        let (status, body) = search(&proxy, "a", Some(&token())).await;
        assert_eq!(
            (status, &body["code"]),
            (503, &json!("session_not_applied")),
            "{reply:?}"
        );
    }
    proxy.coordinator.publish(layout.epoch(6).build());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while search(&proxy, "a", Some(&token())).await.0 != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the table does not come"
        );
    }
}

#[tokio::test]
async fn tokens_that_mean_nothing_are_refused() {
    let only = node(&flag(true), false).await;
    let layout = Layout::new(&[only.address]).shard(&[1]);
    let proxy = Proxy::start(layout.build()).await;
    set(&proxy, pending(&[]));
    let mut other = SessionToken::new("another");
    other.note(Some(INDEX), TaskUid(7));
    let mut future = SessionToken::new("a-cluster");
    future.note(Some(INDEX), TaskUid(10));
    let damaged = token().replace('0', "1");
    for session in [other.encode(), future.encode(), damaged, String::new()] {
        let (status, body) = search(&proxy, "a", Some(&session)).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid_session")),
            "{session}"
        );
    }
    // What other indexes got does not matter here.
    let mut elsewhere = SessionToken::new("a-cluster");
    elsewhere.note(Some("elsewhere"), TaskUid(7));
    let before = asked(&proxy);
    assert_eq!(search(&proxy, "a", Some(&elsewhere.encode())).await.0, 200);
    assert_eq!(asked(&proxy), before);
}
