//! Copies that differ though each of them took every write.

use miroir_coordinator::cluster::Cluster as _;
use miroir_coordinator::migration::VerifyError;
use miroir_core::cluster::ReplicaState;
use miroir_core::id::{IndexUid, NodeId, ShardId};

use super::node::TestNode;
use super::world::{World, books};

async fn damaged(copies: usize) -> (World, Vec<TestNode>) {
    let mut nodes = Vec::new();
    for _ in 0..copies {
        let node = TestNode::start().await;
        node.fill(120).await;
        nodes.push(node);
    }
    let world = World::new(&nodes, u8::try_from(copies).expect("few")).await;
    (world, nodes)
}

fn states(world: &World) -> Vec<(u64, ReplicaState)> {
    world.cluster.read(|state| {
        let index = state.indexes.get(&books()).expect("it exists");
        let shard = index.shard(ShardId(0)).expect("its only shard");
        let of = |replica: &miroir_core::cluster::Replica| (replica.node.0, replica.state);
        shard.replicas.iter().map(of).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_copies_are_called_equal() {
    let (world, _nodes) = damaged(2).await;
    let report = world.verifier().verify(&books(), ShardId(0)).await;
    let report = report.expect("both answer");
    assert_eq!((report.documents, report.differing), (120, 0));
    assert!(report.odd.is_empty() && !report.undecided && report.ids.is_empty());
    assert_eq!(report.copies.len(), 2);
}

/// Of three the majority is right, also about a document that one of them lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_odd_one_of_three_is_found_and_taken_out_of_use() {
    let (world, nodes) = damaged(3).await;
    let first = states(&world)[0].0;
    let at = usize::try_from(first - 1).expect("small");
    nodes[at].delete("d00007").await;
    let task = nodes[at].put(&[("d00009".to_owned(), 4711)]).await;
    nodes[at].processed(task).await;
    let verifier = world.verifier();
    let report = verifier
        .verify(&books(), ShardId(0))
        .await
        .expect("all answer");
    assert_eq!(report.odd, [NodeId(first)]);
    assert_eq!(report.ids, ["d00007", "d00009"]);
    assert_eq!((report.documents, report.differing), (120, 2));
    verifier.eject(&report).await.expect("two are left");
    for (node, state) in states(&world) {
        let odd = node == first;
        assert_eq!(state == ReplicaState::Stale, odd, "node {node}");
    }
    // What was found is about copies that are not compared any more.
    let again = verifier.eject(&report).await;
    assert!(
        matches!(again, Err(VerifyError::Changed { .. })),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_the_first_choice_is_right() {
    let (world, nodes) = damaged(2).await;
    let second = states(&world)[1].0;
    // Damage on either copy: the rule knows nothing else.
    nodes[0].delete("d00001").await;
    let report = world.verifier().verify(&books(), ShardId(0)).await;
    let report = report.expect("both answer");
    assert_eq!(report.odd, [NodeId(second)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_is_an_error() {
    let (world, mut nodes) = damaged(2).await;
    let verifier = world.verifier();
    let no_index = IndexUid::parse("films").expect("a uid");
    for (uid, shard) in [(no_index, 0), (books(), 9)] {
        let unknown = verifier.verify(&uid, ShardId(shard)).await;
        assert!(
            matches!(unknown, Err(VerifyError::Unknown { .. })),
            "{unknown:?}"
        );
    }
    nodes[1].stop().await;
    let down = verifier.verify(&books(), ShardId(0)).await;
    assert!(down.is_err_and(|error| error.retryable()));
    assert!(states(&world).iter().all(|(_, state)| state.is_readable()));
}
