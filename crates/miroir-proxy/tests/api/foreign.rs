//! Documents of another index in the hits of a search.

use std::collections::BTreeSet;
use std::sync::Arc;

use miroir_core::id::IndexUid;
use miroir_core::registry::{Collection, Entry, FEATURES, Registry};
use miroir_core::routing::RoutingTable;
use serde_json::{Value, json};

use crate::search::version;
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen};

/// A node that finds one hit, and has whatever author it is asked for but `none`.
async fn node(hit: Value) -> FakeNode {
    FakeNode::start(move |seen: &Seen| match seen.path.as_str() {
        "/version" => version("1.50.0"),
        "/indexes/writers/documents/fetch" => {
            let ids = seen.body["ids"].as_array().cloned().unwrap_or_default();
            let author = |id: &Value| {
                json!({ "_miroir_shard": "†", "id": id, "name": format!("author {id}") })
            };
            let results: Vec<Value> = ids.iter().filter(|id| **id != "none").map(author).collect();
            Answer::Json(200, json!({ "results": results, "total": results.len() }))
        }
        "/multi-search" => {
            let mut hit = hit.clone();
            hit["_federation"] = json!({ "indexUid": INDEX, "queriesPosition": 0, "weightedRankingScore": 1.0 });
            hit["_rankingScoreDetails"] = json!({});
            Answer::Json(200, json!({ "hits": [hit], "estimatedTotalHits": 1 }))
        }
        _ => Answer::Json(200, json!({ "hits": [hit], "estimatedTotalHits": 1 })),
    })
    .await
}

/// Two nodes, on which the index `authors` is called `writers`.
fn table(nodes: &[&FakeNode], on: bool) -> RoutingTable {
    let entry = Entry {
        value: json!({ "foreignKeys": on }),
        version: 1,
        created_at_ms: 0,
        updated_at_ms: 0,
    };
    let feature = (Collection::ExperimentalFeatures, FEATURES.to_owned(), entry);
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let layout = Layout::new(&addresses)
        .settings(json!({ "foreignKeys": [
            { "foreignIndexUid": "authors", "fieldName": "author" },
            { "foreignIndexUid": "nowhere", "fieldName": "lost" },
        ] }))
        .registry(Registry::of(1, true, [feature]));
    let layout = (0..8).fold(layout, |layout, shard| layout.shard(&[shard % 2 + 1]));
    let mut table = layout.build();
    let uid = |text| IndexUid::parse(text).expect("valid");
    let mut authors = table.index(INDEX).expect("an index").as_ref().clone();
    authors.uid = uid("authors");
    authors.name = uid("writers");
    authors.settings = json!({ "displayedAttributes": ["name"] });
    table.indexes.insert(uid("writers"), Arc::new(authors));
    table
}

#[tokio::test]
async fn documents_are_read_once_of_each_node_and_shown_as_displayed() {
    let ids: Vec<String> = (0..12).map(|id| format!("a{id}")).collect();
    let a = node(json!({ "id": 1, "author": ids, "_miroir_shard": "†" })).await;
    let b = node(json!({ "id": 2, "author": "none" })).await;
    let proxy = Proxy::start(table(&[&a, &b], true)).await;
    let (status, body) = proxy
        .post(&format!("/indexes/{INDEX}/search"), json!({}))
        .await;
    assert_eq!(status, 200, "{body}");
    let authors: Vec<Value> = ids
        .iter()
        .map(|id| json!({ "name": format!("author \"{id}\"") }))
        .collect();
    assert_eq!(
        body["hits"],
        json!([{ "id": 1, "author": authors }, { "id": 2, "author": {} }])
    );
    let mut asked = BTreeSet::new();
    for node in [&a, &b] {
        let seen = node.seen("/documents/fetch");
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].body["fields"], json!(["name", "id"]));
        let ids = seen[0].body["ids"].as_array().expect("ids").clone();
        asked.extend(ids.iter().map(ToString::to_string));
    }
    assert_eq!(asked.len(), 13, "{asked:?}");
    let federated = json!({ "federation": {}, "queries": [{ "indexUid": INDEX, "q": "" }] });
    let (status, body) = proxy.post("/multi-search", federated).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["hits"][0]["author"][0], authors[0], "{body}");
}

#[tokio::test]
async fn an_index_that_there_is_not_is_missed_once_it_is_named() {
    let a = node(json!({ "id": 1, "lost": "x" })).await;
    let b = node(json!({ "id": 2 })).await;
    let path = format!("/indexes/{INDEX}/search");
    let proxy = Proxy::start(table(&[&a, &b], true)).await;
    let (status, body) = proxy.post(&path, json!({})).await;
    assert_eq!((status, &body["code"]), (404, &json!("index_not_found")));
    assert_eq!(body["message"], "Index `nowhere` not found.");
    let filtered = json!({ "filter": ["id = 1", "_foreign(author, name = x)"] });
    let (status, body) = proxy.post(&path, filtered).await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("feature_not_enabled"))
    );
    drop(proxy);
    let proxy = Proxy::start(table(&[&a, &b], false)).await;
    let (status, body) = proxy.post(&path, json!({})).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["hits"], json!([{ "id": 1, "lost": "x" }, { "id": 2 }]));
}
