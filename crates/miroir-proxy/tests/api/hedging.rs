//! Nodes that are late, and other copies that are asked in their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use miroir_core::routing::RoutingTable;
use miroir_proxy::config::Config;
use miroir_proxy::http::routes::PROXY_STATS;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::failures::one_hit_a_shard;
use crate::search::{search_answer, titles};
use crate::support::{Answer, FakeNode, INDEX, Layout, Proxy, Seen, error};

/// How long an answer may take that waits for no late node: far less than a late node is waited for otherwise.
const DEADLINE: Duration = Duration::from_secs(20);
/// Answers of a node after which it is known what is usual for it.
const USUAL_AFTER: usize = 24;

fn path() -> String {
    format!("/indexes/{INDEX}/search")
}

async fn finds(title: &'static str) -> FakeNode {
    FakeNode::start(move |seen| search_answer(seen, &[(title, 1)])).await
}

async fn hedging(table: RoutingTable, change: impl FnOnce(&mut Config)) -> Proxy {
    Proxy::with(table, Vec::new(), |config| {
        config.search_timeout_ms = 120_000;
        config.hedge_percent = 100;
        // What a busy machine does to a test is not late.
        config.hedge_min_ms = 150;
        change(config);
    })
    .await
}

/// Searches; the answer must come without waiting for a node that hangs.
async fn search(proxy: &Proxy, body: Value) -> Value {
    let path = path();
    let asked = tokio::time::timeout(DEADLINE, proxy.post(&path, body)).await;
    let (status, body) = asked.expect("late nodes are not waited for");
    assert_eq!(status, 200, "{body}");
    body
}

/// Searches until every node has answered often enough.
async fn warm_up(proxy: &Proxy, nodes: &[&FakeNode]) {
    for n in 0.. {
        let known = |node: &&FakeNode| node.seen("/search").len() >= USUAL_AFTER;
        if nodes.iter().all(known) {
            return;
        }
        assert!(n < 2000, "some node is never asked");
        search(proxy, json!({"q": format!("warm {n}")})).await;
    }
}

/// A query whose first copy of the only shard is on `node`, which is asked for it once here.
async fn query_for(proxy: &Proxy, node: &FakeNode) -> String {
    for n in 0..200 {
        let before = node.seen("/search").len();
        let query = format!("query {n}");
        search(proxy, json!({"q": query})).await;
        if node.seen("/search").len() > before {
            return query;
        }
    }
    panic!("no query is for this node");
}

async fn stats(proxy: &Proxy) -> Value {
    proxy.get(PROXY_STATS).await.1["reads"].clone()
}

#[tokio::test]
async fn other_copies_answer_for_a_late_node_and_nothing_counts_twice() {
    let shards = ["†††", "††‡", "††⁂", "††⁌"];
    let healthy =
        |held: &'static [&'static str]| FakeNode::start(move |seen| one_hit_a_shard(seen, held));
    let nodes = [
        healthy(&["†††", "††⁂", "††⁌"]).await,
        healthy(&["†††", "††‡"]).await,
        healthy(&["††‡", "††⁂", "††⁌"]).await,
    ];
    // What one node has is on both others, which are asked for shards of their own, too.
    let layout = Layout::new(&nodes.each_ref().map(|node| node.address))
        .shard(&[1, 2])
        .shard(&[2, 3])
        .shard(&[3, 1])
        .shard(&[1, 3]);
    let proxy = hedging(layout.build(), |_| {}).await;
    warm_up(&proxy, &nodes.each_ref()).await;
    let before = nodes[1].seen("/search").len();
    nodes[1].set(|_| Answer::Hang);
    for n in 0..30 {
        let body = search(&proxy, json!({"q": format!("late {n}"), "limit": 10})).await;
        let mut found = titles(&body);
        found.sort_unstable();
        assert_eq!(found, shards, "every shard once");
        assert_eq!(body["estimatedTotalHits"], 4);
    }
    let stats = stats(&proxy).await;
    assert!(stats["hedgesWon"].as_u64() >= Some(3), "{stats}");
    let asked = nodes[1].seen("/search").len() - before;
    assert!(
        asked < 15,
        "a node that is always late is left alone: {asked}"
    );
}

#[tokio::test]
async fn later_pages_come_from_whoever_answered_for_the_first() {
    let (a, b) = (finds("a").await, finds("b").await);
    let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
    let proxy = hedging(layout.build(), |_| {}).await;
    warm_up(&proxy, &[&a, &b]).await;
    let query = query_for(&proxy, &a).await;
    a.set(|seen| match seen.path.contains("/search") {
        true => Answer::Hang,
        false => search_answer(seen, &[]),
    });
    let first = search(&proxy, json!({"q": query, "limit": 1})).await;
    assert_eq!(titles(&first), ["b"]);
    // It is well again, and still not asked for what the other one began.
    a.set(|seen| search_answer(seen, &[("a", 1)]));
    let asked = a.seen("/search").len();
    for offset in [1, 2] {
        search(&proxy, json!({"q": query, "limit": 1, "offset": offset})).await;
    }
    assert_eq!(a.seen("/search").len(), asked, "two copies for one list");
    let again = search(&proxy, json!({"q": query, "limit": 1})).await;
    assert_eq!(titles(&again), ["a"], "whoever begins chooses anew");
}

/// A node that answers when the flag is set.
fn late(release: &watch::Receiver<bool>) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let release = release.clone();
    move |seen| {
        let answer = search_answer(seen, &[("a", 1)]);
        match seen.path.contains("/search") {
            true => Answer::Once(release.clone(), Box::new(answer)),
            false => answer,
        }
    }
}

async fn wait_until(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whoever_is_first_answers_alone() {
    // What the other copy does with the second request: nothing, or it fails.
    for other in [Answer::Hang, error(500, "internal", "no")] {
        let (a, b) = (finds("a").await, finds("b").await);
        let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
        let proxy = hedging(layout.build(), |_| {}).await;
        warm_up(&proxy, &[&a, &b]).await;
        let query = query_for(&proxy, &a).await;
        let (release, held) = watch::channel(false);
        a.set(late(&held));
        let mine = query.clone();
        b.set(move |seen| match seen.body["q"] == json!(mine) {
            true => other.clone(),
            false => search_answer(seen, &[("b", 1)]),
        });
        let asked = |node: &FakeNode| {
            let seen = node.seen("/search");
            seen.iter().filter(|s| s.body["q"] == json!(query)).count()
        };
        let before = asked(&b);
        let answer = search(&proxy, json!({"q": query}));
        let release = async {
            wait_until("the other copy is asked", async || asked(&b) > before).await;
            release.send_replace(true);
        };
        let (body, ()) = tokio::join!(answer, release);
        assert_eq!(titles(&body), ["a"]);
        assert_eq!(body["estimatedTotalHits"], 1);
        assert_eq!(asked(&b), before + 1, "one part, one second request");
    }
}

#[tokio::test]
async fn nobody_else_is_asked_where_there_is_no_other_copy_or_no_budget() {
    for (percent, copies) in [(100, &[1][..]), (0, &[1, 2][..])] {
        let (a, b) = (finds("a").await, finds("b").await);
        let layout = Layout::new(&[a.address, b.address]).shard(copies);
        let proxy = hedging(layout.shard(&[2]).build(), |config| {
            config.hedge_percent = percent;
            config.search_timeout_ms = 1000;
        })
        .await;
        warm_up(&proxy, &[&a, &b]).await;
        let before = stats(&proxy).await;
        a.set(|_| Answer::Hang);
        for n in 0..4 {
            let body = json!({"q": format!("late {n}")});
            let (status, body) = proxy.post(&path(), body).await;
            // Half of the time for the first copy, if there is another one, and all of it if not.
            let expected = if copies.len() == 1 { 503 } else { 200 };
            assert_eq!(status, expected, "{body}");
        }
        let after = stats(&proxy).await;
        for name in ["hedgesSent", "hedgesWon", "hedgesOutOfBudget"] {
            assert_eq!(after[name], before[name], "{percent} %: {after}");
        }
    }
}

#[tokio::test]
async fn what_was_saved_up_is_spent_and_then_nodes_are_waited_for() {
    let (a, b) = (finds("a").await, finds("b").await);
    let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
    let proxy = hedging(layout.build(), |config| config.hedge_percent = 1).await;
    warm_up(&proxy, &[&a, &b]).await;
    let queries: Vec<String> = (0..60).map(|n| format!("late {n}")).collect();
    let (release, held) = watch::channel(false);
    a.set(late(&held));
    // All at once, so that none of them has made the node known as slow for the next one.
    let all = futures::future::join_all(queries.iter().map(|q| search(&proxy, json!({"q": q}))));
    let release = async {
        let spent = async || stats(&proxy).await["hedgesOutOfBudget"].as_u64() > Some(0);
        wait_until("the budget is spent", spent).await;
        release.send_replace(true);
    };
    let (answers, ()) = tokio::join!(all, release);
    assert!(answers.iter().all(|body| titles(body).len() == 1));
    let stats = stats(&proxy).await;
    assert!(
        (1..=22).contains(&stats["hedgesSent"].as_u64().unwrap_or(0)),
        "{stats}"
    );
}

/// One of so many requests to a node is late, by this much: not enough for the node to count as slow.
const LATE_ONE_OF: usize = 25;
const LATE_BY: Duration = Duration::from_millis(200);

/// Tells, with `--nocapture`, how long the slowest answers of a fleet take in which one node pauses now and then.
#[tokio::test]
async fn a_node_that_pauses_now_and_then_with_and_without_hedges() {
    for percent in [0, 5] {
        let asked = Arc::new(AtomicUsize::new(0));
        let a = FakeNode::start(move |seen| {
            let answer = search_answer(seen, &[("hit", 1)]);
            match asked.fetch_add(1, Ordering::SeqCst) % LATE_ONE_OF {
                0 => Answer::Late(LATE_BY, Box::new(answer)),
                _ => answer,
            }
        })
        .await;
        let b = finds("hit").await;
        let layout = Layout::new(&[a.address, b.address]).shard(&[1, 2]);
        let proxy = hedging(layout.build(), |config| {
            config.hedge_percent = percent;
            config.hedge_min_ms = 20;
        })
        .await;
        let mut times = Vec::new();
        for n in 0..600 {
            let begun = Instant::now();
            let body = search(&proxy, json!({"q": format!("query {n}")})).await;
            assert_eq!(titles(&body), ["hit"], "whoever answers, once");
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let sent = stats(&proxy).await["hedgesSent"].as_u64().unwrap_or(0);
        println!(
            "{percent} %: half of the answers took {:?} at most, 99 of 100 {:?}, and {sent} requests more were sent",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
        let share = (times.len() as u64 * percent).div_ceil(100);
        assert!(
            sent <= share + 20 * percent.min(1),
            "{sent} are more than the budget"
        );
    }
}
