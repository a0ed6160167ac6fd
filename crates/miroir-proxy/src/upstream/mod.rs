//! What this proxy has lately seen of each node: how fast it answers, whether it answers at all,
//! and how many reads it is busy with.
//!
//! It only orders the copies of a shard and leaves out nodes that are down; which copies may be
//! read is the routing table's word.

mod breaker;
mod usual;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::id::NodeId;
use miroir_meili::{MeiliError, NodeClient};
use tokio::sync::Semaphore;

use breaker::Breaker;
pub use breaker::Standing;

/// How often a node that is down is asked whether it is up again.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long one such question may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a request's end says of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Answers,
    /// It is alive and full: it has to be asked less, not called dead.
    TurnsDown,
    /// It does badly.
    Fails,
}

/// What is known of every node that was asked something.
#[derive(Debug)]
pub struct Upstream {
    nodes: Mutex<BTreeMap<NodeId, Arc<Node>>>,
    concurrency: usize,
}

#[derive(Debug)]
struct Node {
    breaker: Mutex<Breaker>,
    permits: Semaphore,
}

impl Node {
    fn with<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        // A breaker is a few numbers, each valid by itself: a panic while one was changed leaves
        // nothing to distrust.
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Upstream {
    /// Nothing is known yet. `concurrency` bounds the reads under way on one node.
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        Self {
            nodes: Mutex::default(),
            concurrency,
        }
    }

    /// How well a node serves, compared with the fastest.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Standing {
        let now = Instant::now();
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let best = best(&nodes, now);
        nodes
            .get(&node)
            .map_or(Standing::Good, |n| n.with(|b| b.standing(now, best)))
    }

    /// What a node usually takes to answer at most: 95 of 100 answers came sooner. `None` when it was seldom asked.
    #[must_use]
    pub fn usual(&self, node: NodeId) -> Option<Duration> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&node)?.with(|breaker| breaker.usual())
    }

    /// Whether a node can be asked beyond what it is asked already: it answers as well as others, turned nothing down
    /// lately, and has at least as many turns free as taken.
    #[must_use]
    pub fn has_room(&self, node: NodeId) -> bool {
        let now = Instant::now();
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let best = best(&nodes, now);
        nodes.get(&node).is_none_or(|node| {
            let free = node.permits.available_permits();
            node.with(|breaker| breaker.is_well(now, best))
                && free > 0
                && free * 2 >= self.concurrency
        })
    }

    /// Others answered in a node's place, when it had taken this long.
    pub fn overtaken(&self, node: NodeId, took: Duration) {
        let now = Instant::now();
        self.node(node).with(|breaker| breaker.overtaken(now, took));
    }

    /// How long each node lately took to answer, on average; nodes that were not asked lately are left out.
    #[must_use]
    pub fn latencies(&self) -> BTreeMap<NodeId, Duration> {
        let now = Instant::now();
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.with(|breaker| breaker.latency(now))?)))
            .collect()
    }

    /// Reads under way on all nodes together.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes
            .values()
            .map(|node| self.concurrency - node.permits.available_permits())
            .sum()
    }

    /// Waits for its turn on the node, runs `request`, and learns from how it went. `request` is made
    /// once its turn has come; it must end by itself at `deadline`. `None` when no turn came by then,
    /// which says nothing about the node. `judge` tells what a result says of the node.
    pub async fn run<T, F>(
        &self,
        (id, client): (NodeId, &NodeClient),
        deadline: tokio::time::Instant,
        request: impl FnOnce() -> F,
        judge: impl Fn(&Result<T, MeiliError>) -> Verdict,
    ) -> Option<Result<T, MeiliError>>
    where
        F: Future<Output = Result<T, MeiliError>>,
    {
        let node = self.node(id);
        let _turn = tokio::time::timeout_at(deadline, node.permits.acquire())
            .await
            .ok()?
            .ok()?;
        let begun = Instant::now();
        let result = request().await;
        let now = Instant::now();
        match judge(&result) {
            Verdict::Answers => node.with(|breaker| breaker.answered(now, now - begun)),
            Verdict::TurnsDown => node.with(|breaker| breaker.turned_down(now)),
            Verdict::Fails => {
                if node.with(Breaker::failed) {
                    tracing::warn!(node = %id, url = client.base_url(), "node does not answer: reads avoid it");
                    probe_until_up(id, &node, client.with_timeout(PROBE_TIMEOUT));
                }
            }
        }
        Some(result)
    }

    fn node(&self, id: NodeId) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(id).or_insert_with(|| {
            Arc::new(Node {
                breaker: Mutex::default(),
                permits: Semaphore::new(self.concurrency),
            })
        });
        Arc::clone(node)
    }

    /// Forgets nodes that are not in `keep`.
    pub fn retain(&self, keep: impl Fn(NodeId) -> bool) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|id, _| keep(*id));
    }
}

/// The average time of the fastest node.
fn best(nodes: &BTreeMap<NodeId, Arc<Node>>, now: Instant) -> Option<Duration> {
    let latencies = nodes.values();
    latencies.filter_map(|n| n.with(|b| b.latency(now))).min()
}

/// Asks a node that is down until it answers, or until nobody remembers it.
fn probe_until_up(id: NodeId, node: &Arc<Node>, client: NodeClient) {
    let node = Arc::downgrade(node);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            let Some(node) = node.upgrade() else { return };
            if client.health().await.is_ok() {
                node.with(Breaker::recovered);
                tracing::info!(node = %id, "node answers again");
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> NodeClient {
        let http = miroir_meili::http_client(Duration::from_millis(200)).expect("client");
        NodeClient::new(http, url, None).expect("loopback URL")
    }

    fn judge<T>(result: &Result<T, MeiliError>) -> Verdict {
        match result {
            Ok(_) => Verdict::Answers,
            Err(_) => Verdict::Fails,
        }
    }

    fn soon() -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn a_node_that_refuses_connections_goes_down_and_comes_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let upstream = Upstream::new(2);
        let node = client(&format!("http://{address}"));
        for _ in 0..3 {
            let ask = || node.health();
            let result = upstream.run((NodeId(1), &node), soon(), ask, judge).await;
            assert!(result.is_some_and(|result| result.is_err()));
        }
        assert_eq!(upstream.standing(NodeId(1)), Standing::Down);
        assert_eq!(
            upstream.standing(NodeId(2)),
            Standing::Good,
            "an unknown node gets a chance"
        );

        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("bind again");
        let healthy = axum::Router::new().route(
            "/health",
            axum::routing::get(|| async { r#"{"status":"available"}"# }),
        );
        tokio::spawn(async move { axum::serve(listener, healthy).await });
        let up = async {
            while upstream.standing(NodeId(1)) == Standing::Down {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), up)
            .await
            .expect("the probe finds it up");
    }

    #[tokio::test]
    async fn turns_are_bounded() {
        let upstream = Upstream::new(1);
        let node = client("http://127.0.0.1:9");
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        let wait = async {
            // Released by the test.
            held.await.ok();
            Ok(())
        };
        let one = (NodeId(1), &node);
        let first = upstream.run(one, soon(), || wait, judge);
        let second = upstream.run(one, soon(), || async { Ok(()) }, judge);
        tokio::pin!(first, second);
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending(), "one turn only");
        assert_eq!(upstream.in_flight(), 1);
        assert!(!upstream.has_room(NodeId(1)), "others wait already");
        assert!(upstream.has_room(NodeId(2)), "nothing is known of it");
        release.send(()).expect("the first waits");
        first.await.expect("its turn").expect("done");
        second.await.expect("its turn now").expect("done");
        assert_eq!(upstream.in_flight(), 0);
    }
}
