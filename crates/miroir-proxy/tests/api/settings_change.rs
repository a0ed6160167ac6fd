//! Searches while nodes carry a change of settings out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use miroir_core::routing::RoutingTable;
use serde_json::{Value, json};

use crate::search::search_answer;
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen};

/// A node that has the new settings once it was asked for them so often.
async fn node(looks: usize) -> FakeNode {
    let left = Arc::new(AtomicUsize::new(looks));
    FakeNode::start(move |seen: &Seen| {
        if !seen.path.contains("/settings") {
            return search_answer(seen, &[("a", 1)]);
        }
        let one_less = |left: usize| left.checked_sub(1);
        let old = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok();
        let words = if old { "old" } else { "new" };
        Answer::Json(200, json!({ "stopWords": [words] }))
    })
    .await
}

const NEVER: usize = usize::MAX;

fn changing(layout: Layout) -> RoutingTable {
    layout
        .settings(json!({ "stopWords": ["new"] }))
        .settings_before(json!({ "stopWords": ["old"] }))
        .build()
}

async fn search(proxy: &Proxy, query: &str) -> Value {
    let (status, body) = proxy
        .get(&format!("/indexes/{INDEX}/search?q={query}"))
        .await;
    assert_eq!(status, 200, "{body}");
    body
}

async fn mixed(proxy: &Proxy) -> Value {
    let (_, stats) = proxy.get("/_miroir/proxy/stats").await;
    stats["reads"]["mixedSettings"].clone()
}

fn searched(node: &FakeNode) -> usize {
    node.seen("/search").len()
}

#[tokio::test]
async fn copies_with_the_new_settings_answer_if_they_can() {
    let (old, new) = (node(NEVER).await, node(0).await);
    let layout = Layout::new(&[old.address, new.address]).shard(&[1, 2]);
    let proxy = Proxy::start(changing(layout)).await;
    for query in 0..12 {
        search(&proxy, &query.to_string()).await;
    }
    assert_eq!((searched(&old), searched(&new)), (0, 12));
    assert_eq!(new.seen("/settings").len(), 1, "it keeps them");
    assert_eq!(mixed(&proxy).await, 0);
}

#[tokio::test]
async fn copies_with_the_old_settings_answer_as_long_as_they_have_them() {
    let stays = node(NEVER).await;
    let layout = Layout::new(&[stays.address]).shard(&[1]);
    let proxy = Proxy::start(changing(layout)).await;
    search(&proxy, "a").await;
    assert_eq!((searched(&stays), mixed(&proxy).await), (1, json!(0)));
    // It carries the change out while it is searched: the answer is not taken.
    let flips = node(1).await;
    let layout = Layout::new(&[flips.address]).shard(&[1]);
    let proxy = Proxy::start(changing(layout)).await;
    search(&proxy, "a").await;
    assert_eq!((searched(&flips), mixed(&proxy).await), (2, json!(0)));
}

#[tokio::test]
async fn a_search_waits_for_nodes_that_are_about_to_agree() {
    let (new, late) = (node(0).await, node(3).await);
    let layout = Layout::new(&[new.address, late.address])
        .shard(&[1])
        .shard(&[2]);
    let proxy = Proxy::start(changing(layout)).await;
    search(&proxy, "a").await;
    assert_eq!((searched(&new), searched(&late)), (1, 1));
    assert_eq!(late.seen("/settings").len(), 4);
    assert_eq!(mixed(&proxy).await, 0);
}

#[tokio::test]
async fn a_change_that_takes_long_does_not_stop_searches() {
    let (new, old) = (node(0).await, node(NEVER).await);
    let layout = Layout::new(&[new.address, old.address])
        .shard(&[1])
        .shard(&[2]);
    let proxy = Proxy::start(changing(layout)).await;
    search(&proxy, "a").await;
    assert_eq!((searched(&new), searched(&old)), (1, 1));
    assert_eq!(mixed(&proxy).await, 1, "and is counted");
    let looks = old.seen("/settings").len();
    search(&proxy, "b").await;
    assert_eq!(old.seen("/settings").len(), looks + 1, "waited for once");
}

#[tokio::test]
async fn nobody_is_asked_while_nothing_changes() {
    let one = node(NEVER).await;
    let layout = Layout::new(&[one.address]).shard(&[1]);
    let proxy = Proxy::start(layout.build()).await;
    search(&proxy, "a").await;
    assert!(one.seen("/settings").is_empty());
}
