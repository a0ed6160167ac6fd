//! Changes as tests ask for them, and how they tell that nothing was changed.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use reqwest::Method;
use serde_json::Value;
use tonic::Code;

use super::cluster::{Coordinator, eventually};
use super::fake_node::FakeNode;
use super::http::{ask, spelled};

pub const QUICK: &str =
    "lease_ms = 60000\nnodes.health_interval_ms = 50\nmigration.repair_interval_ms = 60000";

/// A change, how it is refused, and words that the refusal has.
pub type Row = (Change, Code, &'static [&'static str]);

pub fn new(url: &str) -> v1::NewNode {
    v1::NewNode {
        url: url.to_owned(),
        ..Default::default()
    }
}

pub fn drain(node: u64) -> Change {
    Change::DrainNode(v1::DrainNode { node })
}

pub fn remove(node: u64, force: bool) -> Change {
    Change::RemoveNode(v1::RemoveNode { node, force })
}

pub fn factor(index: &str, replication_factor: u32) -> Change {
    Change::ChangeReplicationFactor(v1::ChangeReplicationFactor {
        index: index.to_owned(),
        replication_factor,
    })
}

pub fn shift(index: &str, shard: u32, from: u64, to: u64) -> Change {
    Change::MoveShard(v1::MoveShard {
        index: index.to_owned(),
        shard,
        from,
        to,
    })
}

pub fn pin(index: &str, shard: u32, node: Option<u64>, pinned: bool) -> Change {
    Change::Pin(v1::Pin {
        index: index.to_owned(),
        shard,
        node,
        pinned,
    })
}

pub fn hold(reason: &str) -> Change {
    Change::Hold(v1::Hold {
        reason: reason.to_owned(),
    })
}

pub fn migration(id: u64, action: v1::control_migration::Action) -> Change {
    let action = Some(action);
    Change::ControlMigration(v1::ControlMigration { id, action })
}

pub fn operation(id: u64, action: v1::control_operation::Action) -> Change {
    let action = Some(action);
    Change::ControlOperation(v1::ControlOperation { id, action })
}

pub fn group(urls: &[&str]) -> Change {
    let nodes = urls.iter().map(|url| new(url)).collect();
    Change::AddGroup(v1::AddGroup { nodes })
}

/// What operators see, without what changes by itself.
pub async fn picture(leader: &Coordinator) -> Vec<Value> {
    let mut picture = Vec::new();
    for path in [
        "/_miroir/topology",
        "/_miroir/shards",
        "/_miroir/operations",
        "/_miroir/migrations?all=true",
    ] {
        let (status, mut seen) = ask(leader, Method::GET, path, None).await;
        assert!(status.is_success(), "{path}: {seen}");
        strip(&mut seen);
        picture.push(seen);
    }
    picture
}

fn strip(value: &mut Value) {
    const MOVING: [&str; 18] = [
        "at_ms",
        "epoch",
        "phase",
        "phase_epoch",
        "step",
        "history",
        "attempts",
        "last_error",
        "waits_for",
        "health",
        "queue",
        "documents",
        "documents_total",
        "documents_done",
        "documents_per_s",
        "bytes_done",
        "eta_ms",
        "comparison",
    ];
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !MOVING.contains(&name.as_str()));
        fields.values_mut().for_each(strip);
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(strip);
    }
}

/// Asks for each change over gRPC and HTTP, and in earnest and as a dry run.
pub async fn all_refused(leader: &Coordinator, rows: &[Row]) {
    let mut before = picture(leader).await;
    // What was under way when it was paused may have its last step still to come.
    eventually("a state at rest", async || {
        let now = picture(leader).await;
        let changed = before != now;
        before = now;
        if changed {
            return Err("it still changes".to_owned());
        }
        Ok(())
    })
    .await;
    for (change, code, words) in rows {
        for dry_run in [false, true] {
            let request = v1::ChangeRequest {
                request_id: String::new(),
                dry_run,
                change: Some(change.clone()),
            };
            let answer = leader.admin().change(request).await;
            let status = answer.expect_err(&format!("{change:?} is refused"));
            assert_eq!(status.code(), *code, "{change:?}: {status}");
            for word in *words {
                let text = status.message();
                assert!(text.contains(word), "{change:?}: {word} is not in {text}");
            }
            let (method, mut path, body) = spelled(change);
            if dry_run {
                path.push_str(if path.contains('?') { "&" } else { "?" });
                path.push_str("dry_run=true");
            }
            let (http, error) = ask(leader, method, &path, body.as_ref()).await;
            let expected = if *code == Code::InvalidArgument {
                400
            } else if *code == Code::NotFound {
                404
            } else {
                409
            };
            assert_eq!(http.as_u16(), expected, "{path}: {error}");
            assert_eq!(error["message"], status.message(), "{path}");
        }
        assert_eq!(
            picture(leader).await,
            before,
            "{change:?} changed something"
        );
    }
}

pub async fn done(leader: &Coordinator, change: Change) -> v1::ChangeReply {
    let what = format!("{change:?}");
    let reply = leader.change(change).await;
    reply.unwrap_or_else(|error| panic!("{what}: {error}"))
}

pub async fn add(leader: &Coordinator, node: &FakeNode) -> v1::ChangeReply {
    let added = done(leader, Change::AddNode(new(&node.url))).await;
    let id = added.node.expect("its id");
    eventually("a node that answers", async || {
        let path = format!("/_miroir/nodes/{id}");
        let (_, seen) = ask(leader, Method::GET, &path, None).await;
        match seen["node"]["health"].as_str() {
            Some("up") => Ok(()),
            _ => Err(seen.to_string()),
        }
    })
    .await;
    added
}

pub async fn ended(leader: &Coordinator, operation: u64) {
    eventually("an operation that is done", async || {
        let path = format!("/_miroir/operations/{operation}");
        let (_, seen) = ask(leader, Method::GET, &path, None).await;
        match seen["state"].as_str() {
            Some("done") => Ok(()),
            _ => Err(seen.to_string()),
        }
    })
    .await;
}

pub async fn create(leader: &Coordinator, uid: &str, copies: u32) {
    let request = v1::CreateIndexRequest {
        uid: uid.to_owned(),
        replication_factor: Some(copies),
        ..Default::default()
    };
    let created = leader.catalog().create_index(request).await;
    created.expect("created");
}

/// The node that holds the only copy of a shard.
pub async fn holder(leader: &Coordinator, uid: &str, shard: u64) -> u64 {
    let path = format!("/_miroir/shards?index={uid}");
    let (_, seen) = ask(leader, Method::GET, &path, None).await;
    let copies = seen["copies"].as_array().expect("a list");
    let copy = copies.iter().find(|copy| copy["shard"] == shard);
    copy.and_then(|copy| copy["node"].as_u64()).expect("a copy")
}
