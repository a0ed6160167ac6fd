//! Topology and the places of shards as operators see them.

use miroir_core::cluster::{ClusterState, Hold, Index, Policy, Rejection, ReplicaState};
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::planning;
use miroir_proto::v1;
use tonic::Status;

use super::views;
use crate::actor::Context;
use crate::grpc::status;

/// Policy, hold, groups and nodes, as of one moment.
pub fn topology(ctx: &Context) -> v1::Topology {
    let health = ctx.health.snapshot();
    ctx.read(|state| v1::Topology {
        cluster_id: state.cluster_id.clone().unwrap_or_default(),
        epoch: state.epoch.0,
        policy: Some(policy(&state.policy)),
        hold: state.hold.as_ref().map(hold),
        groups: views::groups(state).groups,
        nodes: views::nodes_of(state, &health),
    })
}

fn hold(hold: &Hold) -> v1::HoldState {
    v1::HoldState {
        reason: hold.reason.clone(),
        since_ms: hold.since_ms,
    }
}

fn policy(policy: &Policy) -> v1::Policy {
    v1::Policy {
        default_shards: policy.default_shards.into(),
        default_replication_factor: policy.default_replication_factor.into(),
        groups: policy.groups,
        min_in_sync: policy.min_in_sync.into(),
        reverse_window_ms: policy.reverse_window_ms,
        max_concurrent_migrations: policy.max_concurrent_migrations,
        max_migrations_per_target: policy.max_migrations_per_target,
        max_migrations_per_source: policy.max_migrations_per_source,
        throttle_docs_per_s: policy.throttle_docs_per_s,
        throttle_bytes_per_s: policy.throttle_bytes_per_s,
        finished_tasks_max: policy.finished_tasks_max,
        finished_migrations_max: policy.finished_migrations_max,
        idempotency_keys_max: policy.idempotency_keys_max,
        idempotency_ttl_ms: policy.idempotency_ttl_ms,
    }
}

/// One node with what it holds and what is being done about it.
///
/// # Errors
/// `NOT_FOUND` when there is none of that id.
pub fn node(ctx: &Context, id: NodeId) -> Result<v1::NodeDetail, Status> {
    let health = ctx.health.snapshot();
    ctx.read(|state| {
        let mut nodes = views::nodes_of(state, &health).into_iter();
        let node = nodes
            .find(|node| node.id == id.0)
            .ok_or_else(|| status::of_rejection(&Rejection::UnknownNode(id)))?;
        let about = state
            .operations
            .values()
            .filter(|one| !one.state.is_final() && one.kind.node() == Some(id));
        let indexes = state.indexes.values();
        Ok(v1::NodeDetail {
            node: Some(node),
            copies: indexes
                .flat_map(copies)
                .filter(|copy| copy.node == id.0)
                .collect(),
            operations: about.map(|one| one.id.0).collect(),
        })
    })
}

/// Every copy of every shard, of one index or of all.
///
/// # Errors
/// `NOT_FOUND` when there is no such index.
pub fn shards(state: &ClusterState, uid: Option<&IndexUid>) -> Result<v1::ListShardsReply, Status> {
    let copies = match uid {
        None => state.indexes.values().flat_map(copies).collect(),
        Some(uid) => copies(known(state, uid)?).collect(),
    };
    Ok(v1::ListShardsReply { copies })
}

/// Why a shard is where it is.
///
/// # Errors
/// `NOT_FOUND` when there is no such index, or no such shard of it.
pub fn explain(
    state: &ClusterState,
    uid: &IndexUid,
    shard: ShardId,
) -> Result<v1::ExplainShardReply, Status> {
    let index = known(state, uid)?;
    let lines = planning::explain_shard(state, index.name(), shard).ok_or_else(|| {
        status::of_rejection(&Rejection::UnknownShard {
            uid: uid.clone(),
            shard,
            last: index.shard_count().saturating_sub(1),
        })
    })?;
    Ok(v1::ExplainShardReply { lines })
}

fn known<'a>(state: &'a ClusterState, uid: &IndexUid) -> Result<&'a Index, Status> {
    state
        .index_called(uid)
        .ok_or_else(|| status::of_rejection(&Rejection::UnknownIndex(uid.clone())))
}

fn copies(index: &Index) -> impl Iterator<Item = v1::ShardCopy> {
    index.shards().flat_map(move |(id, shard)| {
        shard.replicas.iter().map(move |replica| v1::ShardCopy {
            index: index.uid.to_string(),
            shard: id.0.into(),
            group: replica.group.0,
            node: replica.node.0,
            state: state_name(replica.state).to_owned(),
            pinned: index.pins.contains(&(replica.node, id)),
            moving: shard.moving.map(|migration| migration.0),
        })
    })
}

fn state_name(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::InSync => "InSync",
        ReplicaState::Mirror => "Mirror",
        ReplicaState::Building => "Building",
        ReplicaState::Stale => "Stale",
    }
}
