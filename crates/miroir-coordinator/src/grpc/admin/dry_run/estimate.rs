//! How much a plan copies, and how long that takes: asked of the nodes, and worked out from limits and experience.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use miroir_core::cluster::{ClusterState, PlannedMove};
use miroir_core::hidden_field;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_meili::{FetchRequest, NodeClient};
use miroir_proto::v1;
use tokio::time::{Instant, timeout_at};

use super::foresight::Foresight;
use crate::actor::Context;
use crate::grpc::admin::progress;
use crate::migration::Nodes;
use crate::nodes::Reachability;

/// How long the nodes may take to answer all questions; what is not known by then stays unknown.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Questions to nodes at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Finished migrations that experience is taken from, the newest.
const EXPERIENCE: usize = 100;

type Copy = (NodeId, IndexUid, ShardId);

/// What the sources hold.
struct Sizes {
    documents: BTreeMap<Copy, u64>,
    /// Bytes of an average document.
    average: BTreeMap<(NodeId, IndexUid), u64>,
}

/// The plan as it is answered.
pub(super) async fn plan(ctx: &Context, state: &ClusterState, foresight: Foresight) -> v1::Plan {
    let sizes = ask(ctx, &foresight.moves).await;
    let moves: Vec<v1::PlannedMove> = foresight
        .moves
        .iter()
        .map(|one| view(state, one, &sizes))
        .collect();
    let copied = || {
        let both = foresight.moves.iter().zip(&moves);
        both.filter(|(one, _)| one.kind.builds())
            .map(|(_, view)| view)
    };
    let documents: Option<u64> = copied().map(|one| one.documents).sum();
    let bytes: Option<u64> = copied().map(|one| one.bytes).sum();
    let (expected_ms, expected_from) = expected(state, &foresight.moves, documents, bytes);
    v1::Plan {
        moves,
        more: foresight.more,
        documents,
        bytes,
        expected_ms,
        expected_from: expected_from.to_owned(),
        blocked_by: foresight.blocked_by,
    }
}

fn view(state: &ClusterState, one: &PlannedMove, sizes: &Sizes) -> v1::PlannedMove {
    let builds = one.kind.builds();
    let key = (one.source, one.uid.clone(), one.shard);
    let documents = sizes.documents.get(&key).copied().filter(|_| builds);
    let average = sizes.average.get(&(one.source, one.uid.clone())).copied();
    v1::PlannedMove {
        index: state.uid_of(&one.uid).to_string(),
        shard: one.shard.0.into(),
        group: one.group.0,
        kind: progress::kind(one.kind).to_owned(),
        from: one.replaces.map(|node| node.0),
        to: builds.then_some(one.target.0),
        source: one.source.0,
        documents,
        bytes: match (documents, average) {
            (Some(0), _) => Some(0),
            (Some(documents), Some(average)) => Some(documents.saturating_mul(average)),
            (Some(_) | None, _) => None,
        },
    }
}

/// Asks every source how many documents of a shard it has, and how large they are.
async fn ask(ctx: &Context, moves: &[PlannedMove]) -> Sizes {
    let deadline = Instant::now() + ASK_WITHIN;
    let copies: BTreeSet<Copy> = moves
        .iter()
        .filter(|one| one.kind.builds())
        .map(|one| (one.source, one.uid.clone(), one.shard))
        .collect();
    let indexes: BTreeSet<(NodeId, IndexUid)> = copies
        .iter()
        .map(|(node, uid, _)| (*node, uid.clone()))
        .collect();
    let client = |node: NodeId| client(ctx, node);
    let counting = futures::stream::iter(copies).map(|key| async move {
        let found = timeout_at(deadline, count(client(key.0)?, &key.1, key.2)).await;
        Some((key, found.ok()??))
    });
    let documents = counting
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(futures::future::ready)
        .collect()
        .await;
    let weighing = futures::stream::iter(indexes).map(|key| async move {
        let found = timeout_at(deadline, average(client(key.0)?, &key.1)).await;
        Some((key, found.ok()??))
    });
    let average = weighing
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(futures::future::ready)
        .collect()
        .await;
    Sizes { documents, average }
}

/// The client of a node worth asking.
fn client(ctx: &Context, node: NodeId) -> Option<NodeClient> {
    let answers = ctx.health.reachability(node) != Reachability::Down;
    answers.then(|| ctx.fleet().client(node)).flatten()
}

async fn count(client: NodeClient, uid: &IndexUid, shard: ShardId) -> Option<u64> {
    let request = FetchRequest {
        limit: 0,
        filter: Some(hidden_field::filter_for(&BTreeSet::from([shard.0]))),
        ..FetchRequest::default()
    };
    match client.fetch(uid.as_str(), &request).await {
        Ok(page) => u64::try_from(page.total).ok(),
        // An index without documents need not be there yet.
        Err(error) if error.code() == Some("index_not_found") => Some(0),
        Err(_) => None,
    }
}

async fn average(client: NodeClient, uid: &IndexUid) -> Option<u64> {
    let stats = client.index_stats(uid.as_str()).await.ok()??;
    match (stats.raw_document_db_size, stats.number_of_documents) {
        (0, _) | (_, 0) => None,
        (bytes, documents) => Some(bytes.div_ceil(documents)),
    }
}

/// How long the copying takes, in milliseconds, and what that rests on.
fn expected(
    state: &ClusterState,
    moves: &[PlannedMove],
    documents: Option<u64>,
    bytes: Option<u64>,
) -> (Option<u64>, &'static str) {
    let lanes = lanes(state, moves);
    let at = |amount: Option<u64>, per_s: Option<u64>| {
        let per_s = per_s?.saturating_mul(lanes);
        Some(amount?.saturating_mul(1_000).div_ceil(per_s.max(1)))
    };
    if documents == Some(0) {
        return (Some(0), "nothing");
    }
    let policy = &state.policy;
    let throttled = at(documents, policy.throttle_docs_per_s.map(u64::from))
        .max(at(bytes, policy.throttle_bytes_per_s));
    let experienced = at(documents, experience(state));
    match (throttled, experienced) {
        (None, None) => (None, "unknown"),
        (throttled, experienced) if experienced > throttled => (experienced, "history"),
        (throttled, _) => (throttled, "throttle"),
    }
}

/// How many of the moves may work at the same time.
fn lanes(state: &ClusterState, moves: &[PlannedMove]) -> u64 {
    let builds = || moves.iter().filter(|one| one.kind.builds());
    let distinct = |node: fn(&PlannedMove) -> NodeId| {
        let nodes: BTreeSet<NodeId> = builds().map(node).collect();
        u64::try_from(nodes.len()).unwrap_or(u64::MAX)
    };
    let policy = &state.policy;
    let caps = [
        u64::from(policy.max_concurrent_migrations),
        u64::from(policy.max_migrations_per_target).saturating_mul(distinct(|one| one.target)),
        u64::from(policy.max_migrations_per_source).saturating_mul(distinct(|one| one.source)),
        u64::try_from(builds().count()).unwrap_or(u64::MAX),
    ];
    caps.into_iter().min().unwrap_or(1).max(1)
}

/// Documents a second that one migration has copied, of those that finished last.
fn experience(state: &ClusterState) -> Option<u64> {
    let finished = state.migrations.values().rev();
    let copied = finished
        .filter_map(progress::copied)
        .filter(|(documents, _)| *documents > 0)
        .take(EXPERIENCE);
    let (documents, ms) = copied.fold((0_u64, 0_u64), |sum, one| {
        (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
    });
    let rate = documents.saturating_mul(1_000).checked_div(ms)?;
    (rate > 0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::Command;
    use miroir_core::cluster::{NewIndex, NodeSpec, Policy};
    use miroir_core::id::{GroupId, Incarnation};
    use miroir_core::migration::Kind;

    use super::*;

    fn one(shard: u16, source: u64, target: u64) -> PlannedMove {
        PlannedMove {
            uid: IndexUid::parse("books").expect("a uid"),
            incarnation: Incarnation(1),
            shard: ShardId(shard),
            group: GroupId(1),
            kind: Kind::Move,
            source: NodeId(source),
            target: NodeId(target),
            replaces: Some(NodeId(source)),
        }
    }

    fn state(policy: Policy) -> ClusterState {
        let mut state = ClusterState::default();
        let cluster_id = "c".to_owned();
        state.apply(1, 0, &Command::Bootstrap { cluster_id, policy });
        let node = NodeSpec {
            url: "http://a".to_owned(),
            group: GroupId(1),
            zone: None,
            weight: 1,
            version: "1.15.0".to_owned(),
        };
        state.apply(2, 0, &Command::AddNode { node });
        let index = NewIndex {
            uid: IndexUid::parse("books").expect("a uid"),
            primary_key: None,
            shards: Some(4),
            replication_factor: None,
            writer: None,
            task: None,
        };
        state.apply(3, 0, &Command::CreateIndex(index));
        state
    }

    #[test]
    fn the_slower_of_the_limits_counts_and_lanes_share_the_work() {
        let policy = Policy {
            throttle_docs_per_s: Some(10),
            throttle_bytes_per_s: Some(1_000),
            max_migrations_per_target: 2,
            ..Policy::default()
        };
        let state = state(policy);
        let moves: Vec<_> = (0..4).map(|shard| one(shard, 1, 2)).collect();
        // Two at a time, ten documents a second each.
        let by_documents = expected(&state, &moves, Some(400), Some(1));
        assert_eq!(by_documents, (Some(20_000), "throttle"));
        let by_bytes = expected(&state, &moves, Some(400), Some(100_000));
        assert_eq!(by_bytes, (Some(50_000), "throttle"));
        assert_eq!(expected(&state, &moves, None, None), (None, "unknown"));
        assert_eq!(expected(&state, &[], Some(0), Some(0)).0, Some(0));
    }

    #[test]
    fn without_limit_and_experience_nothing_is_promised() {
        let state = state(Policy::default());
        let answer = expected(&state, &[one(0, 1, 2)], Some(400), Some(1));
        assert_eq!(answer, (None, "unknown"));
    }
}
