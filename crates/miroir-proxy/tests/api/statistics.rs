//! Statistics, settings and versions.

use miroir_core::cluster::ReplicaState::{InSync, Stale};
use serde_json::{Value, json};

use crate::search::version;
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

/// A node that holds `held` documents, of which `served` match any filter.
fn holds(held: u64, served: u64) -> impl Fn(&Seen) -> Answer + Send + Sync {
    move |seen| {
        let index = json!({
            "numberOfDocuments": held, "rawDocumentDbSize": held * 10, "avgDocumentSize": 10,
            "isIndexing": false, "numberOfEmbeddings": 0, "numberOfEmbeddedDocuments": 0,
            "fieldDistribution": {"_miroir_shard": held, "id": held, "title": held / 2},
        });
        match seen.path.as_str() {
            "/version" => version("1.15.1"),
            "/stats" => Answer::Json(
                200,
                json!({
                    "databaseSize": held * 100, "usedDatabaseSize": held * 90,
                    "lastUpdate": format!("2026-01-0{}T00:00:00.000001Z", held % 10),
                    "indexes": {INDEX: index},
                }),
            ),
            path if path.ends_with("/stats") => Answer::Json(200, index),
            path if path.ends_with("/settings") => Answer::Json(
                200,
                json!({
                    "filterableAttributes": [
                        {
                            "attributePatterns": ["_miroir_shard"],
                            "features": {
                                "facetSearch": false,
                                "filter": {"equality": true, "comparison": true},
                            },
                        },
                        "genre",
                    ],
                    "rankingRules": ["words"],
                }),
            ),
            _ => {
                let total = if seen.body.get("filter").is_some() {
                    served
                } else {
                    held
                };
                Answer::Json(
                    200,
                    json!({"results": [], "offset": 0, "limit": 0, "total": total}),
                )
            }
        }
    }
}

#[tokio::test]
async fn documents_are_counted_once_whatever_nodes_hold() {
    let a = FakeNode::start(holds(6, 4)).await;
    let b = FakeNode::start(holds(3, 3)).await;
    // Node 1 also holds a stale copy of a shard that node 2 serves.
    let layout = Layout::new(&[a.address, b.address])
        .shard(&[1])
        .shard_in(vec![(1, Stale), (2, InSync)]);
    let proxy = Proxy::start(layout.build()).await;
    let expected = json!({
        "numberOfDocuments": 7, "rawDocumentDbSize": 70, "avgDocumentSize": 10, "isIndexing": false,
        "numberOfEmbeddings": 0, "numberOfEmbeddedDocuments": 0,
        "fieldDistribution": {"id": 7, "title": 3},
    });
    let (status, body) = proxy.get(&format!("/indexes/{INDEX}/stats")).await;
    assert_eq!((status, &body), (200, &expected));
    let (status, body) = proxy.get("/stats").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (&body["databaseSize"], &body["usedDatabaseSize"]),
        (&json!(900), &json!(810))
    );
    assert_eq!(body["lastUpdate"], "2026-01-06T00:00:00.000001Z");
    assert_eq!(body["indexes"], json!({INDEX: expected}));
}

/// The shards' values of the hidden field, and how many documents each has, all of which have a field that no other has.
const SHARDS: [(&str, &str, u64); 3] = [("†††", "a", 5), ("††‡", "b", 7), ("††⁂", "c", 9)];

/// A node that holds some of these shards.
fn holds_shards(held: &'static [usize]) -> impl Fn(&Seen) -> Answer + Send + Sync {
    move |seen| {
        let filter = seen.body.get("filter").map(Value::to_string);
        let asked = |code: &str| filter.as_ref().is_none_or(|filter| filter.contains(code));
        let shards = || held.iter().map(|shard| SHARDS[*shard]);
        let total: u64 = shards().filter(|s| asked(s.0)).map(|s| s.2).sum();
        let fields = shards().map(|(_, field, count)| (field.to_owned(), json!(count)));
        let mut fields: serde_json::Map<String, Value> = fields.collect();
        fields.insert("_miroir_shard".to_owned(), json!(total));
        let body = match seen.path.ends_with("/stats") {
            true => json!({
                "numberOfDocuments": total, "rawDocumentDbSize": total * 10, "isIndexing": false,
                "fieldDistribution": fields,
            }),
            false => json!({"results": [], "offset": 0, "limit": 0, "total": total}),
        };
        Answer::Json(200, body)
    }
}

#[tokio::test]
async fn fields_are_counted_exactly_with_several_copies_of_every_shard() {
    let nodes = [
        FakeNode::start(holds_shards(&[0, 2])).await,
        FakeNode::start(holds_shards(&[0, 1])).await,
        FakeNode::start(holds_shards(&[1, 2])).await,
    ];
    let table = |state| {
        let layout = Layout::new(&nodes.each_ref().map(|node| node.address));
        let first = vec![(1, state), (2, InSync)];
        layout.shard_in(first).shard(&[2, 3]).shard(&[3, 1]).build()
    };
    let path = format!("/indexes/{INDEX}/stats");
    let even = Proxy::start(table(InSync)).await;
    let (status, body) = even.get(&path).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["numberOfDocuments"], 21);
    assert_eq!(body["fieldDistribution"], json!({"a": 5, "b": 7, "c": 9}));
    assert_eq!(body["rawDocumentDbSize"], 210);
    for node in &nodes {
        assert_eq!(node.seen("/stats").len(), 1, "each is asked once");
    }
    // Where copies differ, or one cannot be asked, figures are estimates. Documents are counted still.
    let uneven = Proxy::start(table(Stale)).await;
    let (status, body) = uneven.get(&path).await;
    assert_eq!((status, &body["numberOfDocuments"]), (200, &json!(21)));
    assert_ne!(body["fieldDistribution"], json!({"a": 5, "b": 7, "c": 9}));
    nodes[1].set(|_| error(500, "internal", "no"));
    let (status, body) = even.get(&path).await;
    assert_eq!((status, &body["numberOfDocuments"]), (200, &json!(21)));
}

#[tokio::test]
async fn settings_come_from_a_node_without_what_is_hidden() {
    let a = FakeNode::start(|_| error(500, "internal", "no")).await;
    let b = FakeNode::start(holds(1, 1)).await;
    let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
    let proxy = Proxy::start(layout.build()).await;
    let (status, body) = proxy.get(&format!("/indexes/{INDEX}/settings")).await;
    assert_eq!(status, 200);
    assert_eq!(body["filterableAttributes"], json!(["genre"]));
    assert!(!body.to_string().contains("_miroir_shard"), "{body}");
    let (status, body) = proxy.get("/indexes/none/settings").await;
    assert_eq!((status, &body["code"]), (404, &json!("index_not_found")));
}

#[tokio::test]
async fn the_version_is_the_nodes() {
    let a = FakeNode::start(|_| error(500, "internal", "no")).await;
    let b = FakeNode::start(holds(1, 1)).await;
    let proxy = Proxy::start(Layout::new(&[a.address, b.address]).shard(&[1, 2]).build()).await;
    let version = json!({"commitSha": "a", "commitDate": "b", "pkgVersion": "1.15.1"});
    assert_eq!(proxy.get("/version").await, (200, version));
    b.set(|_| Answer::Json(200, Value::Null));
    assert_eq!(proxy.get("/version").await.0, 200, "it is asked once");
}
