//! Administration over plain HTTP, as tests ask for it.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::cluster::{Cluster, Coordinator, TOKEN, eventually};
use super::fake_node::FakeNode;

/// A request with the cluster token; redirects are not followed.
pub async fn ask(
    coordinator: &Coordinator,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, Value) {
    let request = client()
        .request(method, coordinator.http_url(path))
        .bearer_auth(TOKEN);
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    let response = request.send().await.expect("it answers");
    let status = response.status();
    (status, response.json().await.expect("JSON"))
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

/// How a change is asked for with curl.
pub fn spelled(change: &Change) -> (Method, String, Option<Value>) {
    let node = |new: &v1::NewNode| {
        let mut node = json!({"url": new.url});
        for (field, value) in [
            ("group", new.group.map(Value::from)),
            ("weight", new.weight.map(Value::from)),
        ] {
            if let Some(value) = value {
                node[field] = value;
            }
        }
        node
    };
    let shard = |index: &str, shard: u32, verb: &str| format!("/shards/{index}/{shard}/{verb}");
    let (method, path, body) = match change {
        Change::AddNode(new) => (Method::POST, "/nodes".to_owned(), Some(node(new))),
        Change::DrainNode(c) => (Method::POST, format!("/nodes/{}/drain", c.node), None),
        Change::UndrainNode(c) => (Method::POST, format!("/nodes/{}/undrain", c.node), None),
        Change::RemoveNode(c) => {
            let force = if c.force { "?force=true" } else { "" };
            (Method::DELETE, format!("/nodes/{}{force}", c.node), None)
        }
        Change::AddGroup(c) => {
            let nodes: Vec<Value> = c.nodes.iter().map(node).collect();
            let body = json!({"nodes": nodes});
            (Method::POST, "/replica_groups".to_owned(), Some(body))
        }
        Change::RemoveGroup(c) => (Method::DELETE, format!("/replica_groups/{}", c.group), None),
        Change::ChangeReplicationFactor(c) => (
            Method::POST,
            format!("/indexes/{}/replication_factor", c.index),
            Some(json!({"replication_factor": c.replication_factor})),
        ),
        Change::Rebalance(c) => {
            let body = c.index.as_ref().map(|index| json!({"index": index}));
            (Method::POST, "/rebalance".to_owned(), body)
        }
        Change::MoveShard(c) => (
            Method::POST,
            shard(&c.index, c.shard, "move"),
            Some(json!({"from": c.from, "to": c.to})),
        ),
        Change::Pin(c) => {
            let verb = if c.pinned { "pin" } else { "unpin" };
            let body = c.node.map(|node| json!({"node": node}));
            (Method::POST, shard(&c.index, c.shard, verb), body)
        }
        Change::Hold(c) => (
            Method::POST,
            "/hold".to_owned(),
            Some(json!({"reason": c.reason})),
        ),
        Change::Release(_) => (Method::DELETE, "/hold".to_owned(), None),
        Change::Policy(c) => {
            let mut body = json!({});
            if let Some(most) = c.max_concurrent_migrations {
                body["max_concurrent_migrations"] = most.into();
            }
            if let Some(limit) = c.throttle_docs_per_s {
                body["throttle_docs_per_s"] = limit.per_s.into();
            }
            (Method::PATCH, "/policy".to_owned(), Some(body))
        }
        Change::ControlMigration(c) => {
            use v1::control_migration::Action;
            let (verb, body) = match c.action.as_ref().expect("an action") {
                Action::Pause(_) => ("pause", None),
                Action::Resume(_) => ("resume", None),
                Action::Cancel(_) => ("cancel", None),
                Action::Reverse(_) => ("reverse", None),
                Action::Throttle(limits) => ("throttle", Some(throttle(limits))),
            };
            (Method::POST, format!("/migrations/{}/{verb}", c.id), body)
        }
        Change::ControlOperation(c) => {
            use v1::control_operation::Action;
            let (verb, body) = match c.action.as_ref().expect("an action") {
                Action::Pause(_) => ("pause", None),
                Action::Resume(_) => ("resume", None),
                Action::Cancel(_) => ("cancel", None),
                Action::Reverse(_) => ("reverse", None),
                Action::Throttle(limits) => ("throttle", Some(throttle(limits))),
            };
            (Method::POST, format!("/operations/{}/{verb}", c.id), body)
        }
    };
    (method, format!("/_miroir{path}"), body)
}

fn throttle(limits: &v1::Throttle) -> Value {
    json!({"docs_per_s": limits.docs_per_s, "bytes_per_s": limits.bytes_per_s})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_in_meilisearchs_shape() {
    let cluster = Cluster::initialised_with(1, "").await;
    let one = cluster.leader().await;
    let large = json!({"reason": "x".repeat(300 << 10)});
    let extra = json!({"url": "http://127.0.0.1:1", "rack": 3});
    let negative = json!({"docs_per_s": -1});
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let table = [
        (&get, "/_miroir/nowhere", None, 404, "nothing is served"),
        (&put, "/_miroir/nodes", None, 405, "does not take PUT"),
        (&get, "/_miroir/nodes?colour=red", None, 400, "colour"),
        (&get, "/_miroir/nodes/one", None, 400, "`one` is no node"),
        (&get, "/_miroir/nodes/7", None, 404, "no node 7"),
        (&get, "/_miroir/operations/7", None, 404, "no operation 7"),
        (&get, "/_miroir/migrations/7", None, 404, "no migration 7"),
        (&get, "/_miroir/shards?index=none", None, 404, "none"),
        (&get, "/_miroir/shards/none/0/explain", None, 404, "none"),
        (&post, "/_miroir/nodes", None, 400, "url"),
        (&post, "/_miroir/nodes", Some(&extra), 400, "rack"),
        (&post, "/_miroir/hold", Some(&large), 413, "length"),
        (&post, "/_miroir/rebalance?dry_run=1", None, 400, "dry_run"),
        (&post, "/_miroir/rebalance?force=true", None, 400, "force"),
        (&post, "/_miroir/rebalance?request_id=x", None, 400, "UUID"),
        (
            &post,
            "/_miroir/operations/1/stop",
            None,
            404,
            "`stop` is no action",
        ),
        (
            &post,
            "/_miroir/operations/1/throttle",
            Some(&negative),
            400,
            "-1",
        ),
        (
            &post,
            "/_miroir/migrations/-1/pause",
            None,
            400,
            "`-1` is no migration",
        ),
    ];
    for (method, path, body, status, words) in table {
        let (got, error) = ask(one, method.clone(), path, body).await;
        assert_eq!(got.as_u16(), status, "{method} {path}: {error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(words), "{method} {path}: {error}");
        assert_eq!(error["type"], "invalid_request", "{method} {path}");
        assert!(error["code"].is_string(), "{method} {path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_health_wants_the_token() {
    let cluster = Cluster::start(1, "").await;
    let one = &cluster.coordinators[0];
    let get = |path: &str| client().get(one.http_url(path));
    let health = get("/_miroir/health").send().await.expect("it answers");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(
        (&health["status"], &health["leads"]),
        (&json!("available"), &json!(false))
    );
    for path in ["/_miroir/topology", "/_miroir/nowhere"] {
        for request in [get(path), get(path).bearer_auth("another")] {
            let response = request.send().await.expect("it answers");
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            let error: Value = response.json().await.expect("JSON");
            assert_eq!(error["type"], "auth", "{error}");
        }
    }
    // Nobody leads before the cluster is made: reads are answered, changes are not.
    let (status, topology) = ask(one, Method::GET, "/_miroir/topology", None).await;
    assert_eq!(
        (status.as_u16(), &topology["cluster_id"]),
        (200, &json!(""))
    );
    let response = client()
        .post(one.http_url("/_miroir/rebalance"))
        .bearer_auth(TOKEN);
    let response = response.send().await.expect("it answers");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_a_follower_is_sent_to_the_leader() {
    let cluster = Cluster::initialised("").await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let path = "/_miroir/rebalance?dry_run=true";
    let request = client().post(follower.http_url(path)).bearer_auth(TOKEN);
    let response = request.send().await.expect("it answers");
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    let location = response.headers()["location"].to_str().expect("ASCII");
    assert_eq!(location, leader.http_url(path));
    let (status, reply) = ask(leader, Method::POST, path, None).await;
    assert_eq!(status.as_u16(), 200, "{reply}");
    assert_eq!(reply["plan"]["moves"], json!([]), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_and_is_shown() {
    let cluster = Cluster::initialised_with(1, "nodes.health_interval_ms = 50").await;
    let leader = cluster.leader().await;
    let node = FakeNode::start().await;
    let body = json!({"url": node.url, "zone": "z"});
    let (status, added) = ask(leader, Method::POST, "/_miroir/nodes", Some(&body)).await;
    assert_eq!(
        (status.as_u16(), &added["node"], &added["operation"]),
        (202, &json!(1), &json!(1)),
        "{added}"
    );
    eventually("an empty node that has its share", async || {
        let (_, operation) = ask(leader, Method::GET, "/_miroir/operations/1", None).await;
        match operation["state"].as_str() {
            Some("done") => Ok(()),
            _ => Err(operation.to_string()),
        }
    })
    .await;
    let (_, shown) = ask(leader, Method::GET, "/_miroir/nodes/1", None).await;
    assert_eq!(shown["node"]["url"], json!(node.url), "{shown}");
    assert_eq!(shown["node"]["zone"], "z", "{shown}");
    let (_, status) = ask(leader, Method::GET, "/_miroir/rebalance/status", None).await;
    assert_eq!(status["idle"], true, "{status}");
    let body = json!({"max_concurrent_migrations": 3, "throttle_docs_per_s": 9});
    let (status, _) = ask(leader, Method::PATCH, "/_miroir/policy", Some(&body)).await;
    assert_eq!(status.as_u16(), 200);
    let (_, policy) = ask(leader, Method::GET, "/_miroir/policy", None).await;
    assert_eq!(
        (
            &policy["max_concurrent_migrations"],
            &policy["throttle_docs_per_s"]
        ),
        (&json!(3), &json!(9))
    );
}
