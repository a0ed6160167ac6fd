//! Changes that cannot be carried out: refused with the same words over gRPC and HTTP, and nothing is changed.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use reqwest::Method;
use tonic::Code;

use super::changes::{
    QUICK, Row, add, all_refused, create, done, drain, ended, factor, group, hold, holder,
    migration, new, operation, pin, remove, shift,
};
use super::cluster::{Cluster, Coordinator, eventually};
use super::fake_node::FakeNode;
use super::http::ask;

/// With one node: it is the last.
async fn with_one_node(leader: &Coordinator, node: &FakeNode) {
    use v1::control_migration::Action as OnMigration;
    use v1::control_operation::Action as OnOperation;
    let twin = node.url.replace("127.0.0.1", "localhost");
    let rows: &[Row] = &[
        (drain(1), Code::FailedPrecondition, &["last active node"]),
        (
            remove(1, false),
            Code::FailedPrecondition,
            &["last active node"],
        ),
        (
            remove(1, true),
            Code::FailedPrecondition,
            &["drain it instead"],
        ),
        (
            Change::RemoveGroup(v1::RemoveGroup { group: 1 }),
            Code::FailedPrecondition,
            &["last that can be searched"],
        ),
        (
            Change::RemoveGroup(v1::RemoveGroup { group: 9 }),
            Code::NotFound,
            &["group 9"],
        ),
        (drain(9), Code::NotFound, &["no node 9"]),
        (drain(0), Code::NotFound, &["no node 0"]),
        (
            Change::UndrainNode(v1::UndrainNode { node: 1 }),
            Code::FailedPrecondition,
            &["not draining"],
        ),
        (remove(9, true), Code::NotFound, &["no node 9"]),
        (
            Change::AddNode(new(&node.url)),
            Code::AlreadyExists,
            &["node 1"],
        ),
        (
            Change::AddNode(new("nonsense")),
            Code::InvalidArgument,
            &["http://host:port"],
        ),
        (group(&[]), Code::FailedPrecondition, &["0 nodes"]),
        (group(&[&node.url]), Code::AlreadyExists, &["node 1"]),
        (group(&[&twin]), Code::AlreadyExists, &["same address"]),
        (
            group(&["http://127.0.0.1:1", "http://127.0.0.1:1/"]),
            Code::InvalidArgument,
            &["named twice"],
        ),
        (
            group(&["http://127.0.0.1:1", "http://localhost:1"]),
            Code::InvalidArgument,
            &["same address"],
        ),
        (
            group(&["http://127.0.0.1:1"]),
            Code::FailedPrecondition,
            &["cannot be reached"],
        ),
        (hold("  "), Code::InvalidArgument, &["reason"]),
        (
            Change::Release(v1::Release {}),
            Code::InvalidArgument,
            &["not held"],
        ),
        (
            Change::Policy(v1::PolicyChange {
                max_concurrent_migrations: Some(0),
                ..Default::default()
            }),
            Code::InvalidArgument,
            &["max_concurrent_migrations"],
        ),
        (
            Change::Policy(v1::PolicyChange {
                throttle_docs_per_s: Some(v1::Limit { per_s: Some(0) }),
                ..Default::default()
            }),
            Code::InvalidArgument,
            &["throttle_docs_per_s"],
        ),
        (
            migration(9, OnMigration::Pause(v1::Pause {})),
            Code::NotFound,
            &["no migration 9"],
        ),
        (
            operation(9, OnOperation::Cancel(v1::Cancel {})),
            Code::NotFound,
            &["no operation 9"],
        ),
        (
            operation(1, OnOperation::Cancel(v1::Cancel {})),
            Code::FailedPrecondition,
            &["operation 1 is finished"],
        ),
        (
            operation(1, OnOperation::Pause(v1::Pause {})),
            Code::FailedPrecondition,
            &["operation 1 is finished"],
        ),
    ];
    all_refused(leader, rows).await;
}

/// With two nodes, an index of one copy and one of two.
async fn with_two_nodes(leader: &Coordinator) {
    let here = holder(leader, "books", 0).await;
    let there = 3 - here;
    done(leader, pin("books", 0, None, true)).await;
    done(leader, hold("disks are being changed")).await;
    let rows: &[Row] = &[
        (
            drain(1),
            Code::FailedPrecondition,
            &["shard 0 of `pair`", "needs 2 nodes"],
        ),
        (
            remove(2, false),
            Code::FailedPrecondition,
            &["shard 3 of `pair`"],
        ),
        (factor("books", 0), Code::InvalidArgument, &["not 0"]),
        (factor("books", 17), Code::InvalidArgument, &["not 17"]),
        (factor("books", 300), Code::InvalidArgument, &["not 300"]),
        (factor("books", 1), Code::InvalidArgument, &["already"]),
        (factor("books", 3), Code::FailedPrecondition, &["2 nodes"]),
        (factor("none", 2), Code::NotFound, &["none"]),
        (factor("a b", 2), Code::InvalidArgument, &["a b"]),
        (
            Change::Rebalance(v1::Rebalance {
                index: Some("none".to_owned()),
            }),
            Code::NotFound,
            &["none"],
        ),
        (shift("none", 0, 1, 2), Code::NotFound, &["none"]),
        (shift("books", 4, 1, 2), Code::NotFound, &["0 to 3"]),
        (shift("books", 70_000, 1, 2), Code::NotFound, &["70000"]),
        (shift("books", 0, here, 9), Code::NotFound, &["no node 9"]),
        (
            shift("books", 0, there, here),
            Code::InvalidArgument,
            &["has no copy"],
        ),
        (
            shift("pair", 0, 1, 2),
            Code::InvalidArgument,
            &["node 2 has a copy"],
        ),
        (
            shift("books", 0, here, there),
            Code::InvalidArgument,
            &["pinned", "unpin it first"],
        ),
        (
            pin("books", 0, None, true),
            Code::InvalidArgument,
            &["pinned already"],
        ),
        (
            pin("books", 1, None, false),
            Code::InvalidArgument,
            &["not pinned"],
        ),
        (
            pin("books", 0, Some(there), true),
            Code::InvalidArgument,
            &["has no copy"],
        ),
        (pin("books", 9, None, true), Code::NotFound, &["0 to 3"]),
        (
            hold("again"),
            Code::InvalidArgument,
            &["disks are being changed"],
        ),
        (
            group(&["http://127.0.0.1:1"]),
            Code::FailedPrecondition,
            &["cannot be reached"],
        ),
    ];
    all_refused(leader, rows).await;
    done(leader, pin("books", 0, Some(here), false)).await;
    done(leader, Change::Release(v1::Release {})).await;
}

/// While shards move to a third node, by an operation that is paused.
async fn while_shards_move(leader: &Coordinator, by: u64) {
    use v1::control_migration::Action as OnMigration;
    use v1::control_operation::Action as OnOperation;
    let path = format!("/_miroir/migrations?operation={by}");
    let moving = eventually("shards that move", async || {
        let (_, seen) = ask(leader, Method::GET, &path, None).await;
        // The one that has the only slot: nothing else can begin while the operation is being paused.
        let all = seen["migrations"].as_array().into_iter().flatten();
        let begun = all.clone().find(|one| one["phase"] != "Planned");
        begun.cloned().ok_or_else(|| seen.to_string())
    })
    .await;
    done(leader, operation(by, OnOperation::Pause(v1::Pause {}))).await;
    let id = moving["id"].as_u64().expect("an id");
    let index = moving["index"].as_str().expect("an index");
    let shard = u32::try_from(moving["shard"].as_u64().expect("a shard")).expect("small");
    let (from, to) = (
        moving["replaces"].as_u64().expect("a copy that goes"),
        moving["target"].as_u64().expect("a copy that comes"),
    );
    let nothing = v1::Throttle {
        docs_per_s: Some(0),
        bytes_per_s: None,
    };
    let rows: &[Row] = &[
        (
            operation(by, OnOperation::Pause(v1::Pause {})),
            Code::FailedPrecondition,
            &["paused already"],
        ),
        (
            migration(id, OnMigration::Resume(v1::Resume {})),
            Code::FailedPrecondition,
            &["is not paused"],
        ),
        (
            migration(id, OnMigration::Reverse(v1::Reverse {})),
            Code::FailedPrecondition,
            &["cancel it instead"],
        ),
        (
            migration(id, OnMigration::Throttle(nothing)),
            Code::InvalidArgument,
            &["at least 1"],
        ),
        (
            operation(by, OnOperation::Throttle(nothing)),
            Code::InvalidArgument,
            &["at least 1"],
        ),
        (
            shift(index, shard, from, to),
            Code::FailedPrecondition,
            &["is moving already"],
        ),
        (
            pin(index, shard, None, true),
            Code::FailedPrecondition,
            &["is moving already"],
        ),
    ];
    all_refused(leader, rows).await;
}

/// While a node drains.
async fn while_a_node_drains(leader: &Coordinator) {
    use v1::control_operation::Action;
    let by = done(leader, drain(1)).await.operation.expect("its id");
    done(leader, operation(by, Action::Pause(v1::Pause {}))).await;
    let rows: &[Row] = &[
        (drain(1), Code::FailedPrecondition, &["draining already"]),
        (
            remove(1, false),
            Code::FailedPrecondition,
            &["draining already"],
        ),
        (
            operation(by, Action::Pause(v1::Pause {})),
            Code::FailedPrecondition,
            &["paused already"],
        ),
    ];
    all_refused(leader, rows).await;
    done(leader, Change::UndrainNode(v1::UndrainNode { node: 1 })).await;
    let (_, seen) = ask(leader, Method::GET, "/_miroir/nodes/1", None).await;
    assert_eq!(seen["node"]["admission"], "active", "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_changes_are_refused_alike_and_change_nothing() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let nodes = [
        FakeNode::start().await,
        FakeNode::start().await,
        FakeNode::start().await,
    ];
    let added = add(leader, &nodes[0]).await;
    ended(leader, added.operation.expect("its id")).await;
    with_one_node(leader, &nodes[0]).await;

    let added = add(leader, &nodes[1]).await;
    ended(leader, added.operation.expect("its id")).await;
    create(leader, "books", 1).await;
    create(leader, "pair", 2).await;
    with_two_nodes(leader).await;

    let one_at_a_time = v1::PolicyChange {
        max_concurrent_migrations: Some(1),
        ..Default::default()
    };
    done(leader, Change::Policy(one_at_a_time)).await;
    let added = add(leader, &nodes[2]).await;
    while_shards_move(leader, added.operation.expect("its id")).await;
    while_a_node_drains(leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_names_nothing_is_refused() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let empty = |change| v1::ChangeRequest {
        change,
        ..Default::default()
    };
    let no_action = [
        None,
        Some(Change::ControlMigration(v1::ControlMigration::default())),
        Some(Change::ControlOperation(v1::ControlOperation::default())),
    ];
    for change in no_action {
        let answer = leader.admin().change(empty(change)).await;
        super::cluster::refused(answer, Code::InvalidArgument, &["names no"]);
    }
}
