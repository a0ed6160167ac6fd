//! Searches whose merge needs what hits do not show, or the hits of all nodes before the nodes can go on.

use miroir_core::cluster::ReplicaState::{Building, InSync};
use serde_json::{Value, json};

use crate::search::version;
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

/// A node whose documents have these ids and hidden values, in its order.
async fn sorts(documents: &'static [(u32, u32)]) -> FakeNode {
    FakeNode::start(move |seen: &Seen| {
        let list = |document: &dyn Fn(&(u32, u32)) -> Value| -> Vec<Value> {
            documents.iter().map(document).collect()
        };
        let hidden = json!({"<hidden-rule-0>": {"order": 0, "value": "<hidden>"}});
        match seen.path.as_str() {
            "/version" => version("1.50.0"),
            path if path.ends_with("/documents/fetch") => {
                let results = list(&|(id, secret)| json!({"id": id, "secret": secret}));
                Answer::Json(200, json!({"results": results, "total": documents.len()}))
            }
            _ => {
                let hits = list(&|(id, _)| json!({"id": id, "_rankingScoreDetails": hidden}));
                Answer::Json(200, json!({"hits": hits, "estimatedTotalHits": hits.len()}))
            }
        }
    })
    .await
}

#[tokio::test]
async fn hits_are_ordered_by_what_only_their_documents_tell() {
    let a = sorts(&[(1, 10), (2, 30)]).await;
    let b = sorts(&[(3, 20), (4, 40)]).await;
    let layout = Layout::new(&[a.address, b.address])
        .settings(json!({"displayedAttributes": ["id"], "sortableAttributes": ["secret"]}))
        .shard(&[1])
        .shard(&[2]);
    let proxy = Proxy::start(layout.build()).await;
    let query = json!({"sort": ["secret:asc"], "limit": 3});
    let (status, body) = proxy.post(&format!("/indexes/{INDEX}/search"), query).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["hits"], json!([{"id": 1}, {"id": 3}, {"id": 2}]));
    let asked = &a.seen("/documents/fetch")[0].body;
    assert_eq!(
        *asked,
        json!({"ids": [1, 2], "limit": 2, "fields": ["id", "secret"]})
    );
}

/// Newer versions quote the whole filter, which the node's part of it is in.
#[tokio::test]
async fn an_error_quotes_the_clients_filter_only() {
    let node = FakeNode::start(|seen| match seen.path.as_str() {
        "/version" => version("1.50.0"),
        _ => error(
            400,
            "invalid_search_filter",
            &format!("No: {}", seen.body["filter"]),
        ),
    })
    .await;
    let layout = Layout::new(&[node.address]).shard(&[1]).leftover(1, 2);
    let layout = layout.shard_in(vec![(1, InSync), (2, Building)]);
    let proxy = Proxy::start(layout.build()).await;
    let query = json!({"filter": "unknown = 1"});
    let (status, body) = proxy.post(&format!("/indexes/{INDEX}/search"), query).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["message"], "No: \"unknown = 1\"");
}
