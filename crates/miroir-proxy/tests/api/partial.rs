//! Answers without the shards that nobody answers for, where the configuration allows them.

use std::time::Duration;

use miroir_core::cluster::ReplicaState;
use miroir_core::routing::RoutingTable;
use miroir_proxy::config::UnavailableShards;
use miroir_proxy::http::routes::PROXY_STATS;
use reqwest::Method;
use serde_json::{Value, json};

use crate::search::{search_answer, titles};
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

/// How long an answer may take that waits for nobody.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node with one document, whatever it is asked.
fn holds(title: &'static str) -> impl Fn(&Seen) -> Answer + Send + Sync + Clone + 'static {
    move |seen| {
        let ok = |body| Answer::Json(200, body);
        let federation =
            json!({"indexUid": INDEX, "queriesPosition": 0, "weightedRankingScore": 0.5});
        match seen.path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/facet-search") => ok(json!({
                "facetHits": [{"value": title, "count": 1}], "facetQuery": null, "processingTimeMs": 1,
            })),
            "/multi-search" => ok(json!({
                "hits": [{"title": title, "_federation": federation, "_rankingScoreDetails": {}}],
                "processingTimeMs": 1, "limit": 20, "offset": 0, "estimatedTotalHits": 1,
            })),
            path if path.ends_with("/documents/fetch") => {
                let wanted = seen.body["limit"].as_u64().unwrap_or_default();
                let documents: &[Value] = match wanted {
                    0 => &[],
                    _ => &[json!({"title": title})],
                };
                ok(json!({"results": documents, "offset": 0, "limit": wanted, "total": 1}))
            }
            path if path.ends_with("/similar") => ok(json!({
                "hits": [], "id": "7", "processingTimeMs": 1, "limit": 20, "offset": 0, "estimatedTotalHits": 0,
            })),
            path if path.contains("/documents/") => ok(json!({
                "title": title, "_vectors": {"e": {"embeddings": [[0.5]], "regenerate": false}},
            })),
            path if path.ends_with("/stats") => ok(json!({
                "numberOfDocuments": 1, "isIndexing": false, "fieldDistribution": {"title": 1},
            })),
            _ => search_answer(seen, &[(title, 1)]),
        }
    }
}

async fn three() -> [FakeNode; 3] {
    [
        FakeNode::start(holds("a")).await,
        FakeNode::start(holds("b")).await,
        FakeNode::start(holds("c")).await,
    ]
}

/// The three nodes with a shard each.
fn a_shard_each(nodes: &[FakeNode; 3]) -> RoutingTable {
    let layout = Layout::new(&nodes.each_ref().map(|node| node.address));
    layout.shard(&[1]).shard(&[2]).shard(&[3]).build()
}

async fn lenient(table: RoutingTable) -> Proxy {
    Proxy::with(table, Vec::new(), |config| {
        config.unavailable_shards = UnavailableShards::Partial;
        // Nothing here waits for it.
        config.search_timeout_ms = 120_000;
    })
    .await
}

fn failing(_: &Seen) -> Answer {
    error(500, "internal", "no")
}

/// Status, the header of partial answers, and body.
async fn ask(
    proxy: &Proxy,
    method: Method,
    path: &str,
    body: &Value,
) -> (u16, Option<String>, Value) {
    let mut request = proxy.request(method, path);
    if !body.is_null() {
        request = request.json(body);
    }
    let sent = tokio::time::timeout(DEADLINE, request.send()).await;
    let answer = sent.expect("nobody is waited for").expect("an answer");
    let header = answer.headers().get("miroir-partial");
    let header = header.map(|value| value.to_str().expect("text").to_owned());
    let status = answer.status().as_u16();
    (status, header, answer.json().await.expect("JSON"))
}

fn index(rest: &str) -> String {
    format!("/indexes/{INDEX}{rest}")
}

#[tokio::test]
async fn what_the_others_have_is_answered_and_the_rest_is_named() {
    let nodes = three().await;
    let proxy = lenient(a_shard_each(&nodes)).await;
    nodes[1].set(failing);
    let query = json!({"q": "x"});
    let (status, header, body) = ask(&proxy, Method::POST, &index("/search"), &query).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(titles(&body), ["a", "c"]);
    assert_eq!(body["estimatedTotalHits"], 2, "totals are of what answered");
    assert_eq!(header.as_deref(), Some("shards=1/3; index=movies"));
    assert_eq!(
        body["remoteErrors"],
        json!({"node 2": {
            "message": "Shard 1 of index `movies`: it answered HTTP 500.", "code": "unavailable_shards",
            "type": "system", "link": "https://docs.meilisearch.com/errors#unavailable_shards",
        }})
    );
    nodes[1].set(holds("b"));
    let (_, header, body) = ask(&proxy, Method::POST, &index("/search"), &query).await;
    assert_eq!((header, titles(&body)), (None, vec!["a", "b", "c"]));
    assert!(body.get("remoteErrors").is_none(), "{body}");
    let stats = proxy.get(PROXY_STATS).await.1;
    assert_eq!(stats["reads"]["partialAnswers"], 1, "{stats}");
}

#[tokio::test]
async fn every_read_of_many_shards_can_be_partial() {
    let nodes = three().await;
    let proxy = lenient(a_shard_each(&nodes)).await;
    nodes[1].set(failing);
    let null = Value::Null;
    let query = json!({"indexUid": INDEX, "q": "x"});
    let (get, post) = (Method::GET, Method::POST);
    let table = [
        (&get, "/search?q=x", null.clone(), "/hits"),
        (
            &post,
            "/facet-search",
            json!({"facetName": "g"}),
            "/facetHits",
        ),
        (&get, "/documents", null.clone(), "/results"),
        (
            &post,
            "/documents/fetch",
            json!({"sort": ["title:asc"]}),
            "/results",
        ),
        (&post, "", json!({"queries": [query]}), "/results/0/hits"),
        (
            &post,
            "",
            json!({"queries": [query], "federation": {}}),
            "/hits",
        ),
    ];
    for (method, path, request, found) in table {
        let path = match path {
            "" => "/multi-search".to_owned(),
            path => index(path),
        };
        let (status, header, body) = ask(&proxy, method.clone(), &path, &request).await;
        assert_eq!(status, 200, "{path} {request}: {body}");
        assert_eq!(
            header.as_deref(),
            Some("shards=1/3; index=movies"),
            "{path}"
        );
        let found = body.pointer(found).and_then(Value::as_array);
        assert_eq!(found.map(Vec::len), Some(2), "{path}: {body}");
        let told = body["remoteErrors"].get("node 2");
        let told = told.or_else(|| body["results"][0]["remoteErrors"].get("node 2"));
        assert!(told.is_some(), "{path}: {body}");
        assert!(!body.to_string().contains("127.0.0.1"), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_needs_one_shard_or_all_is_an_error_still() {
    let nodes = three().await;
    let proxy = lenient(a_shard_each(&nodes)).await;
    nodes[1].set(failing);
    let null = Value::Null;
    let similar = |id: u32| json!({"id": id, "embedder": "e"});
    // Documents by their ids, so that all shards are met.
    let mut lost = 0;
    for id in 0..24 {
        let path = index(&format!("/documents/{id}"));
        let (status, header, body) = ask(&proxy, Method::GET, &path, &null).await;
        assert_eq!(header, None);
        let near = ask(&proxy, Method::POST, &index("/similar"), &similar(id)).await;
        if status == 200 {
            assert_eq!(near.0, 200, "{}", near.2);
            assert_eq!(near.1.as_deref(), Some("shards=1/3; index=movies"));
        } else {
            lost += 1;
            assert_eq!((status, &body["code"]), (503, &json!("unavailable_shards")));
            assert_eq!(
                (near.0, &near.2["code"]),
                (503, &json!("unavailable_shards"))
            );
        }
    }
    assert!((1..24).contains(&lost), "{lost} documents are on node 2");
    let (status, _, body) = ask(&proxy, Method::GET, &index("/stats"), &null).await;
    assert_eq!(
        status, 503,
        "counts of a part would be taken for the whole: {body}"
    );
    for node in &nodes {
        node.set(failing);
    }
    let (status, header, body) = ask(&proxy, Method::POST, &index("/search"), &json!({})).await;
    assert_eq!((status, header), (503, None), "nothing is no part: {body}");
    assert_eq!(body["code"], "unavailable_shards");
}

#[tokio::test]
async fn a_node_that_is_down_is_not_waited_for() {
    let nodes = three().await;
    let proxy = lenient(a_shard_each(&nodes)).await;
    nodes[1].set(failing);
    let query = |n: u32| json!({"q": format!("query {n}")});
    for n in 0..3 {
        ask(&proxy, Method::POST, &index("/search"), &query(n)).await;
    }
    nodes[1].set(|_| Answer::Hang);
    for n in 3..6 {
        let asked = ask(&proxy, Method::POST, &index("/search"), &query(n)).await;
        assert_eq!((asked.0, titles(&asked.2)), (200, vec!["a", "c"]));
    }
    // It answers, although it was not seen to be up again yet.
    nodes[1].set(|seen| match seen.path.as_str() {
        "/health" => error(500, "internal", "still no"),
        _ => holds("b")(seen),
    });
    let (_, header, body) = ask(&proxy, Method::POST, &index("/search"), &query(6)).await;
    assert_eq!((header, titles(&body)), (None, vec!["a", "b", "c"]));
}

#[tokio::test]
async fn a_shard_out_of_sync_is_missing_and_another_copy_is_not() {
    let nodes = three().await;
    let layout = Layout::new(&nodes.each_ref().map(|node| node.address));
    let stale = vec![(2, ReplicaState::Stale)];
    let table = layout.shard(&[1]).shard_in(stale).shard(&[2, 3]).build();
    let proxy = lenient(table).await;
    nodes[1].set(failing);
    for n in 0..6 {
        let query = json!({"q": format!("query {n}")});
        let (status, header, body) = ask(&proxy, Method::POST, &index("/search"), &query).await;
        assert_eq!((status, titles(&body)), (200, vec!["a", "c"]), "{body}");
        assert_eq!(header.as_deref(), Some("shards=1/3; index=movies"));
        let message = body["remoteErrors"]["node 2"]["message"].as_str();
        let message = message.expect("a message");
        assert!(
            message.starts_with("Shard 1 of index `movies`: it"),
            "{message}"
        );
    }
    let seen = nodes[0].seen("/search");
    let filtered = seen.iter().filter(|seen| seen.body.get("filter").is_some());
    assert_eq!(filtered.count(), 0, "it serves all it holds");
}
