//! Reading documents by id and by page.

use std::sync::atomic::{AtomicUsize, Ordering};

use miroir_core::hidden_field::shard_of;
use serde_json::{Value, json};

use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

/// A node that holds these documents and understands pages of them, nothing else.
fn holds(ids: &[u32]) -> impl Fn(&Seen) -> Answer + Send + Sync + use<> {
    let documents: Vec<Value> = ids
        .iter()
        .map(|id| json!({"_miroir_shard": "†††", "id": id, "price": 1.50}))
        .collect();
    move |seen| {
        if let Some(id) = seen
            .path
            .split("/documents/")
            .nth(1)
            .filter(|part| !part.starts_with("fetch"))
        {
            let id = id.split('?').next().unwrap_or_default();
            let found = documents
                .iter()
                .find(|document| document["id"].as_u64() == id.parse().ok());
            return match found {
                Some(document) => Answer::Json(200, document.clone()),
                None => error(
                    404,
                    "document_not_found",
                    &format!("Document `{id}` not found."),
                ),
            };
        }
        let number =
            |name: &str| usize::try_from(seen.body[name].as_u64().expect(name)).expect("small");
        let (offset, limit) = (number("offset"), number("limit"));
        let page: Vec<&Value> = documents.iter().skip(offset).take(limit).collect();
        let total = documents.len();
        Answer::Json(
            200,
            json!({"results": page, "offset": offset, "limit": limit, "total": total}),
        )
    }
}

fn ids(body: &Value) -> Vec<u64> {
    let results = body["results"]
        .as_array()
        .unwrap_or_else(|| panic!("no results: {body}"));
    results
        .iter()
        .filter_map(|document| document["id"].as_u64())
        .collect()
}

#[tokio::test]
async fn a_document_is_asked_of_its_shards_copy() {
    let a = FakeNode::start(holds(&[1, 2, 3, 4, 5, 6])).await;
    let b = FakeNode::start(holds(&[1, 2, 3, 4, 5, 6])).await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    for id in 1..=6_u32 {
        let path = format!("/indexes/{INDEX}/documents/{id}?fields=*");
        let (status, body) = proxy.get(&path).await;
        assert_eq!((status, body), (200, json!({"id": id, "price": 1.5})));
        let asked = [a.seen(&path).len(), b.seen(&path).len()];
        let expected = if shard_of(&id.to_string(), 2) == 0 {
            [1, 0]
        } else {
            [0, 1]
        };
        assert_eq!(asked, expected, "{id}");
    }
    let (status, body) = proxy.get(&format!("/indexes/{INDEX}/documents/9")).await;
    assert_eq!(
        (status, &body["message"]),
        (404, &json!("Document `9` not found."))
    );
    let (status, _) = proxy
        .get(&format!("/indexes/{INDEX}/documents/%2E%2E"))
        .await;
    assert_eq!(status, 404);
    let (status, body) = proxy
        .get(&format!("/indexes/{INDEX}/documents/1?field=a"))
        .await;
    assert_eq!((status, &body["code"]), (400, &json!("bad_request")));
}

#[tokio::test]
async fn a_document_comes_from_another_copy_when_a_node_is_dead() {
    let a = FakeNode::start(holds(&[1, 2, 3])).await;
    let b = FakeNode::start(holds(&[1, 2, 3])).await;
    let proxy = Proxy::start(Layout::new(&[a.address, b.address]).shard(&[1, 2]).build()).await;
    a.kill();
    for id in 1..=3 {
        assert_eq!(
            proxy
                .get(&format!("/indexes/{INDEX}/documents/{id}"))
                .await
                .0,
            200
        );
    }
}

#[tokio::test]
async fn pages_run_through_all_nodes() {
    let a = FakeNode::start(holds(&[1, 2, 3])).await;
    let b = FakeNode::start(holds(&[])).await;
    let c = FakeNode::start(holds(&[7, 8, 9, 10])).await;
    let layout = Layout::new(&[a.address, b.address, c.address])
        .shard(&[1])
        .shard(&[2])
        .shard(&[3]);
    let proxy = Proxy::start(layout.build()).await;
    let all = [1, 2, 3, 7, 8, 9, 10];
    for offset in 0..9_usize {
        for limit in 0..9_usize {
            let path = format!("/indexes/{INDEX}/documents?offset={offset}&limit={limit}");
            let (status, body) = proxy.get(&path).await;
            assert_eq!(status, 200, "{body}");
            let expected: Vec<u64> = all.iter().copied().skip(offset).take(limit).collect();
            assert_eq!(ids(&body), expected, "{path}");
            assert_eq!(body["total"], 7);
            assert_eq!(
                (&body["offset"], &body["limit"]),
                (&json!(offset), &json!(limit))
            );
        }
    }
    let fetch = format!("/indexes/{INDEX}/documents/fetch");
    let (_, body) = proxy
        .post(
            &fetch,
            json!({"limit": 1, "fields": ["_miroir_shard", "id"]}),
        )
        .await;
    assert_eq!(body["results"], json!([{"id": 1, "price": 1.5}]), "{body}");
    let passed = a.seen("fetch").pop().expect("asked").body;
    assert_eq!(
        passed["fields"],
        json!(["_miroir_shard", "id"]),
        "taken out of the answer, not of the request"
    );
}

#[tokio::test]
async fn documents_by_id_are_asked_of_their_shards_only() {
    let a = FakeNode::start(holds(&[1])).await;
    let b = FakeNode::start(holds(&[2])).await;
    let proxy = Proxy::start(
        Layout::new(&[a.address, b.address])
            .shard(&[1])
            .shard(&[2])
            .build(),
    )
    .await;
    let id = (1..)
        .find(|id: &u32| shard_of(&id.to_string(), 2) == 1)
        .expect("some id");
    let (status, body) = proxy
        .get(&format!("/indexes/{INDEX}/documents?ids={id}"))
        .await;
    assert_eq!((status, ids(&body)), (200, vec![2]));
    assert!(a.seen("fetch").is_empty());
    assert_eq!(b.seen("fetch")[0].body["ids"], json!([id.to_string()]));
    assert_eq!(
        b.seen("fetch")[0].body["filter"],
        json!(null),
        "a node that holds nothing else needs no filter"
    );
}

#[tokio::test]
async fn a_page_begins_again_when_a_node_fails_in_its_middle() {
    let a = FakeNode::start(holds(&[1, 2])).await;
    let b = FakeNode::start(holds(&[3, 4])).await;
    let c = FakeNode::start(holds(&[3, 4])).await;
    let layout = Layout::new(&[a.address, b.address, c.address])
        .shard(&[1])
        .shard(&[2, 3]);
    let proxy = Proxy::start(layout.build()).await;
    // Whichever copy of the second shard is used first dies after it has told its total.
    let failed = std::sync::Arc::new(AtomicUsize::new(0));
    for node in [&b, &c] {
        let failed = failed.clone();
        let answers = holds(&[3, 4]);
        node.set(move |seen| match seen.body["limit"].as_u64() {
            Some(limit) if limit > 0 && failed.fetch_add(1, Ordering::SeqCst) == 0 => {
                error(500, "internal", "no")
            }
            _ => answers(seen),
        });
    }
    let (status, body) = proxy.get(&format!("/indexes/{INDEX}/documents")).await;
    assert_eq!((status, ids(&body)), (200, vec![1, 2, 3, 4]), "{body}");
    assert!(
        failed.load(Ordering::SeqCst) >= 2,
        "one failure, one success at least"
    );
}
