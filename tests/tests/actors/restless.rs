//! A document that is written without pause must not keep a move from ending.

use std::time::Duration;

use miroir_core::migration::{Event, Kind, Phase};

use super::node::TestNode;
use super::world::{World, beside};
use super::writer::hot;

/// Node 2 is always many writes behind, so no look finds the document equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_document_is_compared_behind_the_fence() {
    let nodes = [TestNode::start().await, TestNode::start().await];
    nodes[0].fill(50).await;
    let mut world = World::new(&nodes, 1).await;
    world.lead().await;
    let lag = Duration::from_millis(1_500);
    beside(hot(&world, &nodes, "hot", lag), async {
        let id = world.begin(Kind::Move, (1, 2), Some(1));
        let record = world.reaches(id, Phase::Done).await;
        let mismatches = record.history.iter().filter(|c| c.event == Event::Mismatch);
        assert!(mismatches.count() <= 1, "{:#?}", record.history);
        assert_eq!(nodes[1].count().await, 51);
    })
    .await;
}
