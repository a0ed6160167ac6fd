//! Searches over several nodes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, answer, error};

/// A node that finds these (title, matching words), and says which shard it is.
async fn finds(hits: &'static [(&'static str, u32)]) -> FakeNode {
    FakeNode::start(move |seen| search_answer(seen, hits)).await
}

pub fn search_answer(seen: &Seen, hits: &[(&str, u32)]) -> Answer {
    if seen.path == "/version" {
        return version("1.50.0");
    }
    let hit = |(title, words): &(&str, u32)| {
        json!({
            "title": title, "_miroir_shard": "†††",
            "_rankingScoreDetails": {"words": {"order": 0, "matchingWords": words, "score": 1.0}},
        })
    };
    Answer::Json(
        200,
        json!({
            "hits": hits.iter().map(hit).collect::<Vec<_>>(),
            "query": "", "processingTimeMs": 1, "limit": 20, "offset": 0,
            "estimatedTotalHits": hits.len(),
            "facetDistribution": {"genre": {"a": hits.len()}, "_miroir_shard": {"†††": 1}},
        }),
    )
}

pub fn version(text: &str) -> Answer {
    Answer::Json(
        200,
        json!({"commitSha": "a", "commitDate": "b", "pkgVersion": text}),
    )
}

pub fn titles(body: &Value) -> Vec<&str> {
    let hits = body["hits"]
        .as_array()
        .unwrap_or_else(|| panic!("no hits: {body}"));
    hits.iter()
        .filter_map(|hit| hit["title"].as_str())
        .collect()
}

#[tokio::test]
async fn hits_are_merged_and_nothing_hidden_shows() {
    let a = finds(&[("a3", 3), ("a1", 1)]).await;
    let b = finds(&[("b2", 2)]).await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    let query = json!({"q": "cat", "facets": ["genre"], "limit": 2, "filter": "x = 1"});
    let (status, body) = proxy.post(&format!("/indexes/{INDEX}/search"), query).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(titles(&body), ["a3", "b2"]);
    assert_eq!(body["estimatedTotalHits"], 3);
    assert_eq!(body["facetDistribution"], json!({"genre": {"a": 3}}));
    assert!(!body.to_string().contains("_miroir_shard"), "{body}");
    assert!(!body.to_string().contains("_rankingScoreDetails"), "{body}");
    for node in [&a, &b] {
        let seen = node.seen("/search");
        assert_eq!(seen.len(), 1, "each node is asked once");
        assert_eq!(
            seen[0].body["filter"], "x = 1",
            "a node that serves all it holds needs no filter"
        );
        assert_eq!(seen[0].body["showRankingScoreDetails"], true);
    }
}

#[tokio::test]
async fn a_node_that_holds_more_gets_a_filter() {
    use miroir_core::cluster::ReplicaState::{Building, InSync};
    let a = finds(&[("a", 1)]).await;
    let b = finds(&[("b", 1)]).await;
    let layout = Layout::new(&[a.address, b.address])
        .shard(&[1])
        .shard_in(vec![(1, InSync), (2, Building)])
        .shard(&[2])
        .leftover(1, 2);
    let proxy = Proxy::start(layout.build()).await;
    let (status, body) = proxy
        .post(
            &format!("/indexes/{INDEX}/search"),
            json!({"filter": ["x = 1 OR y = 2"]}),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    let filter = |node: &FakeNode| node.seen("/search")[0].body["filter"].clone();
    assert_eq!(
        filter(&a),
        json!(["_miroir_shard IN [\"†††\", \"††‡\"]", "x = 1 OR y = 2"])
    );
    assert_eq!(
        filter(&b),
        json!(["_miroir_shard = \"††⁂\"", "x = 1 OR y = 2"])
    );
}

#[tokio::test]
async fn one_node_gets_the_clients_query() {
    let node = finds(&[("a", 1)]).await;
    let proxy = Proxy::start(Layout::new(&[node.address]).shard(&[1]).shard(&[1]).build()).await;
    let path = format!("/indexes/{INDEX}/search?q=cat&offset=3&limit=2&facets=genre");
    let request = proxy
        .request(Method::GET, &path)
        .header("Meili-Include-Metadata", "true");
    let (status, body) = answer(request).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(titles(&body), ["a"]);
    assert!(!body.to_string().contains("_miroir_shard"), "{body}");
    let seen = &node.seen("/search")[0];
    assert_eq!(
        seen.body,
        json!({"q": "cat", "offset": 3, "limit": 2, "facets": ["genre"]})
    );
    assert_eq!(seen.headers["meili-include-metadata"], "true");
    assert_eq!(seen.headers["authorization"], "Bearer a-master-key");
}

#[tokio::test]
async fn a_nodes_refusal_is_the_clients_answer() {
    let refuses = |seen: &Seen| match seen.path.as_str() {
        "/version" => version("1.15.0"),
        _ => error(
            400,
            "invalid_search_filter",
            "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `genre`.",
        ),
    };
    let a = FakeNode::start(refuses).await;
    let b = finds(&[("b", 1)]).await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    let (status, body) = proxy
        .post(
            &format!("/indexes/{INDEX}/search"),
            json!({"filter": "x = 1"}),
        )
        .await;
    assert_eq!(status, 400);
    assert_eq!(body["code"], "invalid_search_filter");
    assert_eq!(
        body["message"],
        "Attribute `x` is not filterable. Available filterable attribute patterns are: `genre`."
    );
}

#[tokio::test]
async fn a_refusal_quotes_the_clients_own_filter() {
    let quotes = |seen: &Seen| match seen.path.as_str() {
        "/version" => version("1.15.0"),
        _ => error(
            400,
            "invalid_search_filter",
            &format!("Cannot read the filters of `{}`.", seen.body),
        ),
    };
    let nodes = [FakeNode::start(quotes).await, FakeNode::start(quotes).await];
    let layout = Layout::new(&[nodes[0].address, nodes[1].address]);
    let layout = layout.shard(&[1, 2]).shard(&[1]).shard(&[2]);
    let proxy = Proxy::start(layout.build()).await;
    let query = json!({"indexUid": INDEX, "filter": "x = 1"});
    let table = [
        (
            format!("/indexes/{INDEX}/search"),
            json!({"filter": "x = 1"}),
        ),
        ("/multi-search".to_owned(), json!({"queries": [query]})),
        (
            "/multi-search".to_owned(),
            json!({"federation": {}, "queries": [query]}),
        ),
    ];
    for (path, body) in table {
        let (status, answer) = proxy.post(&path, body).await;
        assert_eq!(status, 400, "{answer}");
        let message = answer["message"].as_str().expect("a message");
        assert!(message.contains("x = 1"), "{path} {message}");
        assert!(!message.contains('†'), "{path} {message}");
        assert!(!message.contains("_miroir_shard"), "{path} {message}");
    }
    let asked: Vec<Seen> = nodes.iter().flat_map(|node| node.seen("search")).collect();
    assert!(asked.iter().any(|seen| seen.body.to_string().contains('†')));
}

#[tokio::test]
async fn pages_of_one_query_use_the_same_copies() {
    let a = finds(&[]).await;
    let b = finds(&[]).await;
    let layout = Layout::new(&[a.address, b.address])
        .shard(&[1, 2])
        .shard(&[1, 2]);
    let proxy = Proxy::start(layout.build()).await;
    let search = format!("/indexes/{INDEX}/search");
    let mut used = [0, 0];
    for query in 0..12 {
        let before = [a.seen("/search").len(), b.seen("/search").len()];
        for offset in 0..3 {
            let body = json!({"q": format!("query {query}"), "offset": offset * 20});
            assert_eq!(proxy.post(&search, body).await.0, 200);
        }
        let asked = [
            a.seen("/search").len() - before[0],
            b.seen("/search").len() - before[1],
        ];
        assert!(
            asked == [3, 0] || asked == [0, 3],
            "three pages, one node: {asked:?}"
        );
        used = [used[0] + asked[0], used[1] + asked[1]];
    }
    assert!(
        used.iter().all(|count| *count > 0),
        "queries spread over copies: {used:?}"
    );
}

#[tokio::test]
async fn totals_are_capped_as_the_nodes_version_does() {
    for (reported, total) in [("1.15.0", 1), ("1.50.0", 2)] {
        let a = finds_as(reported).await;
        let b = finds_as(reported).await;
        let layout = Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .settings(json!({"pagination": {"maxTotalHits": 1}}));
        let proxy = Proxy::start(layout.build()).await;
        let (_, body) = proxy
            .post(&format!("/indexes/{INDEX}/search"), json!({}))
            .await;
        assert_eq!(body["estimatedTotalHits"], total, "{reported}");
        assert_eq!(titles(&body).len(), 1);
    }
}

async fn finds_as(reported: &'static str) -> FakeNode {
    FakeNode::start(move |seen| match seen.path.as_str() {
        "/version" => version(reported),
        _ => search_answer(seen, &[("a", 1)]),
    })
    .await
}
