//! Trying a change: what would move, and that nothing does.

use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;

use super::changes::{QUICK, add, create, drain, ended, factor, holder, new, picture, shift};
use super::cluster::{Cluster, eventually};
use super::fake_node::FakeNode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_would_move_and_moves_nothing() {
    let cluster = Cluster::initialised_with(1, QUICK).await;
    let leader = cluster.leader().await;
    let nodes = [FakeNode::start().await, FakeNode::start().await];
    for node in &nodes {
        let added = add(leader, node).await;
        ended(leader, added.operation.expect("its id")).await;
    }
    create(leader, "books", 1).await;
    let before = picture(leader).await;
    let held = holder(leader, "books", 0).await;
    let try_out = async |change| {
        let request = v1::ChangeRequest {
            dry_run: true,
            change: Some(change),
            ..Default::default()
        };
        let reply = leader.admin().change(request).await;
        let reply = reply.expect("accepted").into_inner();
        (reply.clone(), reply.plan.expect("a plan"))
    };
    let (reply, plan) = try_out(drain(held)).await;
    assert!(reply.operation.is_some(), "{reply:?}");
    assert!(!plan.more, "{plan:?}");
    let other = 3 - held;
    assert!(!plan.moves.is_empty());
    for one in &plan.moves {
        assert_eq!(
            (one.kind.as_str(), one.from, one.to, one.source),
            ("move", Some(held), Some(other), held)
        );
    }
    // The fake nodes know no documents: what nobody knows is not made up.
    assert_eq!((plan.documents, plan.expected_ms), (None, None), "{plan:?}");

    let (_, one) = try_out(shift("books", 0, held, other)).await;
    assert_eq!(one.moves.len(), 1, "{one:?}");
    let third = FakeNode::start().await;
    let (reply, plan) = try_out(Change::AddNode(new(&third.url))).await;
    assert_eq!(reply.node, Some(3));
    assert!(plan.moves.iter().all(|one| one.to == Some(3)), "{plan:?}");
    let (_, plan) = try_out(factor("books", 2)).await;
    assert_eq!(plan.moves.len(), 4, "{plan:?}");
    assert!(plan.moves.iter().all(|one| one.kind == "build"), "{plan:?}");
    assert_eq!(picture(leader).await, before);

    nodes[usize::try_from(other - 1).expect("small")].set(|node| node.broken = true);
    eventually("a node that is known to be down", async || {
        let (_, plan) = try_out(drain(held)).await;
        match plan.blocked_by.as_slice() {
            [reason] if *reason == format!("node {other} is down") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(picture(leader).await, before);
}
