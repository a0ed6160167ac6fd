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
