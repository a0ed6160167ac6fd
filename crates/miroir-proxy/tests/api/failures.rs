//! Nodes that die, hang, refuse or lack an index, and what a client notices of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use miroir_proxy::http::routes::PROXY_STATS;
use serde_json::json;

use crate::search::{search_answer, titles};
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

fn path() -> String {
    format!("/indexes/{INDEX}/search")
}

async fn finds(title: &'static str) -> FakeNode {
    FakeNode::start(move |seen| search_answer(seen, &[(title, 1)])).await
}

/// Answers a search with one hit for every shard that the filter names, so that a shard asked twice
/// or not at all shows.
pub fn one_hit_a_shard(seen: &Seen, held: &[&str]) -> Answer {
    let filter = seen.body["filter"].to_string();
    let asked: Vec<&str> = match seen.body.get("filter") {
        None => held.to_vec(),
        Some(_) => ["†††", "††‡", "††⁂", "††⁌"]
            .into_iter()
            .filter(|c| filter.contains(c))
            .collect(),
    };
    let hits: Vec<(&str, u32)> = asked.into_iter().map(|shard| (shard, 1)).collect();
    search_answer(seen, &hits)
}

#[tokio::test]
async fn another_copy_answers_in_the_same_request() {
    let shards = ["†††", "††‡", "††⁂", "††⁌"];
    for failure in ["dead", "500", "503", "hang", "nonsense"] {
        let healthy = |held: &'static [&'static str]| {
            FakeNode::start(move |seen| one_hit_a_shard(seen, held))
        };
        let nodes = [
            healthy(&["†††", "††⁂", "††⁌"]).await,
            healthy(&["†††", "††‡"]).await,
            healthy(&["††‡", "††⁂", "††⁌"]).await,
        ];
        let layout = Layout::new(&[nodes[0].address, nodes[1].address, nodes[2].address])
            .shard(&[1, 2])
            .shard(&[2, 3])
            .shard(&[3, 1])
            .shard(&[1, 3]);
        let proxy = Proxy::start(layout.build()).await;
        let broken = &nodes[1];
        match failure {
            "dead" => broken.kill(),
            "500" => broken.set(|_| error(500, "internal", "no")),
            "503" => broken.set(|_| error(503, "too_many_search_requests", "no")),
            "hang" => broken.set(|_| Answer::Hang),
            _ => broken.set(|_| Answer::Json(502, json!("no"))),
        }
        for query in 0..6 {
            let body = json!({"q": format!("query {query}"), "limit": 10});
            let (status, body) = proxy.post(&path(), body).await;
            assert_eq!(status, 200, "{failure}: {body}");
            let mut found = titles(&body);
            found.sort_unstable();
            assert_eq!(found, shards, "{failure}: every shard once");
            assert_eq!(body["estimatedTotalHits"], 4, "{failure}");
        }
    }
}

#[tokio::test]
async fn a_shard_without_a_copy_is_an_error_and_named() {
    let a = finds("a").await;
    let b = finds("b").await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    b.set(|_| error(500, "internal", "no"));
    let (status, body) = proxy.post(&path(), json!({"q": "x"})).await;
    assert_eq!(status, 503);
    assert_eq!(body["code"], "unavailable_shards");
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("shard 1 of index `movies`"), "{message}");
    assert!(
        message.contains("node 2: it answered HTTP 500"),
        "{message}"
    );
    assert!(
        !message.contains("127.0.0.1"),
        "no address is told: {message}"
    );
    b.set(|seen| search_answer(seen, &[("b", 1)]));
    let (status, body) = proxy.post(&path(), json!({"q": "x"})).await;
    assert_eq!(
        (status, titles(&body).len()),
        (200, 2),
        "the next request is fine again"
    );
}

#[tokio::test]
async fn a_node_that_is_down_is_not_asked_until_it_answers_again() {
    let a = finds("a").await;
    let b = finds("b").await;
    let proxy = Proxy::start(Layout::new(&[a.address, b.address]).shard(&[1, 2]).build()).await;
    let healthy = Arc::new(AtomicUsize::new(0));
    let up = healthy.clone();
    a.set(
        move |seen| match (seen.path.as_str(), up.load(Ordering::SeqCst)) {
            ("/health", 1) => Answer::Json(200, json!({"status": "available"})),
            (_, 1) => search_answer(seen, &[("a", 1)]),
            _ => error(500, "internal", "no"),
        },
    );
    let mut query = 0;
    let mut ask = async || {
        query += 1;
        let (status, body) = proxy
            .post(&path(), json!({"q": format!("query {query}")}))
            .await;
        assert_eq!(status, 200, "{body}");
    };
    for _ in 0..20 {
        ask().await;
    }
    let failed = a.seen("/search").len();
    assert!(
        (1..=3).contains(&failed),
        "three failures in a row are enough: {failed}"
    );
    healthy.store(1, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(10);
    while a.seen("/search").len() == failed {
        assert!(Instant::now() < deadline, "it is never asked again");
        ask().await;
    }
}

#[tokio::test]
async fn the_last_copy_is_tried_even_if_it_seems_down() {
    let node = finds("a").await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).build()).await;
    node.set(|_| error(500, "internal", "no"));
    for query in 0..5 {
        assert_eq!(
            proxy.post(&path(), json!({"q": query.to_string()})).await.0,
            503
        );
    }
    node.set(|seen| match seen.path.as_str() {
        "/health" => error(500, "internal", "still no"),
        _ => search_answer(seen, &[("a", 1)]),
    });
    assert_eq!(proxy.post(&path(), json!({"q": "x"})).await.0, 200);
}

#[tokio::test]
async fn a_hanging_node_does_not_outlast_the_timeout() {
    let node = FakeNode::start(|_| Answer::Hang).await;
    let layout = Layout::new(&[node.address]).shard(&[1]);
    let proxy = Proxy::with(layout.build(), Vec::new(), |c| c.search_timeout_ms = 500).await;
    let begun = Instant::now();
    let (status, body) = proxy.post(&path(), json!({})).await;
    assert_eq!(status, 503, "{body}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_breaks_once_is_no_error() {
    let asked = AtomicUsize::new(0);
    let node = FakeNode::start(move |seen| {
        let fails =
            seen.path.contains("/search") && asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        if fails {
            error(500, "internal", "for a moment")
        } else {
            search_answer(seen, &[("a", 1)])
        }
    })
    .await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).build()).await;
    for query in 0..3 {
        let (status, body) = proxy.post(&path(), json!({"q": query.to_string()})).await;
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test]
async fn a_node_that_hangs_is_soon_left_out() {
    let a = FakeNode::start(|_| Answer::Hang).await;
    let b = finds("b").await;
    let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
    let proxy = Proxy::with(layout.build(), Vec::new(), |c| c.search_timeout_ms = 600).await;
    for query in 0..24 {
        let (status, body) = proxy
            .post(&path(), json!({"q": format!("query {query}")}))
            .await;
        assert_eq!(status, 200, "{body}");
    }
    let asked = a.seen("/search").len();
    assert!(
        (1..=3).contains(&asked),
        "three silences in a row are enough: {asked}"
    );
}

#[tokio::test]
async fn an_index_that_no_node_has_yet_is_not_found() {
    let absent = |_: &Seen| error(404, "index_not_found", "Index `movies` not found.");
    let a = FakeNode::start(absent).await;
    let b = FakeNode::start(absent).await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    let (status, body) = proxy.post(&path(), json!({})).await;
    assert_eq!((status, &body["code"]), (404, &json!("index_not_found")));
}

#[tokio::test]
async fn another_copy_answers_for_a_node_that_lost_the_index_or_its_settings() {
    let faults = [
        (404, "index_not_found", "Index `movies` not found."),
        (
            400,
            "invalid_search_filter",
            "Attribute `_miroir_shard` is not filterable. This index does not have configured filterable attributes.\n1:3 x",
        ),
        (
            400,
            "invalid_search_filter",
            "Index `movies`: Filter operator `=` is not allowed for the attribute `_miroir_shard`.",
        ),
    ];
    for (status, code, message) in faults {
        let a = FakeNode::start(move |_| error(status, code, message)).await;
        let b = finds("b").await;
        let proxy = Proxy::start(Layout::new(&[a.address, b.address]).shard(&[1, 2]).build()).await;
        for query in 0..8 {
            let body = json!({"q": format!("query {query}")});
            let (status, body) = proxy.post(&path(), body).await;
            assert_eq!((status, titles(&body).len()), (200, 1), "{message}: {body}");
        }
        assert!(!a.seen("/search").is_empty(), "{message}: never asked");
        b.set(|_| error(500, "internal", "no"));
        let (status, body) = proxy.post(&path(), json!({})).await;
        assert_eq!(
            (status, &body["code"]),
            (503, &json!("unavailable_shards")),
            "{message}: the other copy may have it"
        );
    }
}

#[tokio::test]
async fn a_filter_that_the_client_got_wrong_is_the_clients_fault() {
    let message =
        "Attribute `genre` is not filterable.\n1:6 genre = 1 AND `_miroir_shard` is not filterable";
    let refuses = move |_: &Seen| error(400, "invalid_search_filter", message);
    let a = FakeNode::start(refuses).await;
    let b = FakeNode::start(refuses).await;
    let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
    let proxy = Proxy::start(layout.build()).await;
    let (status, body) = proxy.post(&path(), json!({"filter": "genre = 1"})).await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("invalid_search_filter"))
    );
    assert_eq!(a.seen("/search").len() + b.seen("/search").len(), 1);
}

#[tokio::test]
async fn another_copy_of_a_lost_index_is_asked_at_once() {
    let lost = |_: &Seen| error(404, "index_not_found", "Index `movies` not found.");
    let a = FakeNode::start(lost).await;
    let b = finds("b").await;
    let c = finds("c").await;
    let layout = Layout::new(&[a.address, b.address, c.address])
        .shard(&[1, 2])
        .shard(&[3]);
    let proxy = Proxy::start(layout.build()).await;
    for query in 0..8 {
        let begun = Instant::now();
        let body = json!({"q": format!("query {query}")});
        let (status, body) = proxy.post(&path(), body).await;
        assert_eq!((status, titles(&body).len()), (200, 2), "{body}");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
    }
    assert!(!a.seen("/search").is_empty(), "never asked");
}

#[tokio::test]
async fn a_node_that_gets_the_index_a_moment_later_is_waited_for() {
    let a = finds("a").await;
    let asked = AtomicUsize::new(0);
    let b = FakeNode::start(move |seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0..4 => error(404, "index_not_found", "Index `movies` not found."),
        _ => search_answer(seen, &[("b", 1)]),
    })
    .await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    let (status, body) = proxy.post(&path(), json!({})).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(titles(&body).len(), 2);
}

#[tokio::test]
async fn requests_under_way_are_finished_before_the_proxy_ends() {
    let (release, held) = tokio::sync::watch::channel(false);
    let node = FakeNode::start(move |seen| {
        let found = search_answer(seen, &[("a", 1)]);
        match seen.path.contains("/search") {
            true => Answer::Once(held.clone(), Box::new(found)),
            false => found,
        }
    })
    .await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).build()).await;
    let request = proxy
        .request(reqwest::Method::POST, &path())
        .json(&json!({}));
    let asked = tokio::spawn(crate::support::answer(request));
    let deadline = Instant::now() + Duration::from_secs(10);
    while proxy.get(PROXY_STATS).await.1["requestsInFlight"] != 1 {
        assert!(Instant::now() < deadline, "the search does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let address = proxy.url.trim_start_matches("http://").to_owned();
    let stopping = tokio::spawn(proxy.stop());
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < deadline, "new connections are taken still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    release.send_replace(true);
    assert_eq!(
        asked.await.expect("no panic").0,
        200,
        "the request under way is answered"
    );
    stopping.await.expect("the proxy ends");
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = taken.local_addr().expect("address");
    let config = miroir_proxy::config::Config {
        http_addr: address,
        ..Default::default()
    };
    let error = miroir_proxy::app::App::start(config)
        .await
        .err()
        .expect("the port is taken");
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot listen on {address}: ")),
        "{error}"
    );
    assert!(error.retryable());
}
