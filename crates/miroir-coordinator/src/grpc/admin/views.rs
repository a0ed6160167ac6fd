//! The state as operators see it.

use std::collections::BTreeMap;
use std::time::Duration;

use miroir_core::cluster::{Admission, ClusterState, GroupState, Index, ReplicaState};
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::routing::RoutingTable;
use miroir_proto::v1;
use tokio::time::Instant;

use crate::actor::settings::Drift;
use crate::actor::{Context, SettingsBoard};
use crate::nodes::{NodeHealth, Reachability};
use crate::raft::{Leadership, MemberStatus, Role};

/// A number for a message; none is ever near the limit.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The whole cluster in one message.
pub fn status(ctx: &Context) -> v1::StatusReply {
    let consensus = ctx.cluster.consensus();
    let (metrics, members) = (consensus.metrics(), consensus.members());
    let health = ctx.health.snapshot();
    let leader = metrics.leadership.leader.as_ref();
    ctx.read(|state| v1::StatusReply {
        cluster_id: state.cluster_id.clone().unwrap_or_default(),
        coordinator: metrics.id,
        leader: leader.map_or(0, |leader| leader.id),
        term: metrics.leadership.term,
        epoch: state.epoch.0,
        applied: metrics.applied_index.unwrap_or(0),
        nodes: count(state.nodes.len()),
        nodes_reachable: count(
            health
                .values()
                .filter(|node| node.reachability == Reachability::Up)
                .count(),
        ),
        groups: count(state.groups.len()),
        indexes: count(state.indexes.len()),
        proxies: count(state.proxies.values().filter(|proxy| !proxy.lost).count()),
        coordinators: count(members.len()),
        migrations_unfinished: count(state.unfinished_migrations().count()),
        operations_unfinished: count(
            state
                .operations
                .values()
                .filter(|operation| !operation.state.is_final())
                .count(),
        ),
        replicas_stale: state.indexes.values().map(stale).sum(),
        tasks_unfinished: count(state.tasks.unfinished().count()),
        has_quorum: leader.is_some(),
        leader_api_url: leader.map_or_else(String::new, |leader| leader.api_url.clone()),
        settings_drift: drift(state, &ctx.settings),
    })
}

fn drift(state: &ClusterState, board: &SettingsBoard) -> Vec<v1::SettingsDrift> {
    let drifts = board.all().into_iter();
    let view = |((index, node), drift): ((IndexUid, NodeId), Drift)| v1::SettingsDrift {
        index: state.uid_of(&index).to_string(),
        node: node.0,
        settings: drift.settings.iter().map(ToString::to_string).collect(),
        since_ms: drift.since_ms,
        repairs: drift.repairs,
    };
    drifts.map(view).collect()
}

/// Every node, with what the leader last saw of it.
pub fn nodes(ctx: &Context) -> v1::ListNodesReply {
    let health = ctx.health.snapshot();
    let nodes = ctx.read(|state| nodes_of(state, &health));
    v1::ListNodesReply { nodes }
}

/// The same of a state that is being read.
pub(super) fn nodes_of(
    state: &ClusterState,
    health: &BTreeMap<NodeId, NodeHealth>,
) -> Vec<v1::Node> {
    let replicas = replicas(state);
    let view = |node: &miroir_core::cluster::Node| {
        let seen = health.get(&node.id).cloned().unwrap_or_default();
        v1::Node {
            id: node.id.0,
            url: node.url.clone(),
            group: node.group.0,
            zone: node.zone.clone(),
            weight: node.weight,
            version: node.version.clone(),
            admission: match node.admission {
                Admission::Active => "active",
                Admission::Draining => "draining",
            }
            .to_owned(),
            health: seen.reachability.as_str().to_owned(),
            replicas: replicas.get(&node.id).copied().unwrap_or(0),
            documents: seen.documents,
            queue: seen.queue,
            last_error: seen.last_error,
        }
    };
    state.nodes.values().map(view).collect()
}

/// How many copies each node holds, of all indexes.
fn replicas(state: &ClusterState) -> BTreeMap<NodeId, u32> {
    let mut counts = BTreeMap::new();
    let all = state
        .indexes
        .values()
        .flat_map(|index| &index.placement)
        .flat_map(|shard| &shard.replicas);
    for replica in all {
        *counts.entry(replica.node).or_default() += 1;
    }
    counts
}

/// Every group with its nodes.
pub fn groups(state: &ClusterState) -> v1::ListGroupsReply {
    let view = |group: &miroir_core::cluster::Group| v1::Group {
        id: group.id.0,
        state: match group.state {
            GroupState::Initialising => "initialising",
            GroupState::Searchable => "searchable",
            GroupState::Retiring => "retiring",
        }
        .to_owned(),
        nodes: state
            .nodes
            .values()
            .filter(|node| node.group == group.id)
            .map(|node| node.id.0)
            .collect(),
    };
    v1::ListGroupsReply {
        groups: state.groups.values().map(view).collect(),
    }
}

fn stale(index: &Index) -> u32 {
    let all = index.placement.iter().flat_map(|shard| &shard.replicas);
    count(
        all.filter(|replica| replica.state == ReplicaState::Stale)
            .count(),
    )
}

/// One line about an index.
pub fn index_summary(index: &Index) -> v1::IndexSummary {
    v1::IndexSummary {
        uid: index.uid.to_string(),
        name: index.name().to_string(),
        primary_key: index.primary_key.clone(),
        shards: index.shard_count().into(),
        replication_factor: index.replication_factor.into(),
        writer: index.writer.map(|proxy| proxy.0),
        settings_version: index.settings.version,
        shards_moving: count(
            index
                .placement
                .iter()
                .filter(|shard| shard.moving.is_some())
                .count(),
        ),
        replicas_stale: stale(index),
        created_at_ms: index.created_at_ms,
        updated_at_ms: index.updated_at_ms,
    }
}

/// Everything about an index.
pub fn index_detail(state: &ClusterState, uid: &IndexUid) -> Option<v1::IndexDetail> {
    let index = state.index_called(uid)?;
    let table = RoutingTable::build(state)?;
    let route = table.index(uid.as_str())?;
    Some(v1::IndexDetail {
        summary: Some(index_summary(index)),
        shards: route.shards.iter().map(Into::into).collect(),
        settings: index.settings.desired.to_string(),
    })
}

/// Every coordinator; before the cluster is initialised, those of the configuration.
pub fn coordinators(ctx: &Context) -> v1::ListCoordinatorsReply {
    let consensus = ctx.cluster.consensus();
    let (metrics, members) = (consensus.metrics(), consensus.members());
    if members.is_empty() {
        let view = |peer: &crate::config::Peer| v1::Coordinator {
            id: peer.id,
            api_url: peer.api_url.clone(),
            raft_url: peer.raft_url.clone(),
            role: "unknown".to_owned(),
            matched: None,
        };
        return v1::ListCoordinatorsReply {
            coordinators: ctx.config.peers.iter().map(view).collect(),
        };
    }
    let view = |(id, status): (&u64, &MemberStatus)| v1::Coordinator {
        id: *id,
        api_url: status.member.api_url.clone(),
        raft_url: status.member.raft_url.clone(),
        role: role(*id, status, metrics.id, &metrics.leadership).to_owned(),
        matched: metrics.replicated.get(id).copied().flatten(),
    };
    v1::ListCoordinatorsReply {
        coordinators: members.iter().map(view).collect(),
    }
}

fn role(id: u64, status: &MemberStatus, me: u64, leadership: &Leadership) -> &'static str {
    match &leadership.leader {
        Some(leader) if leader.id == id => "leader",
        _ if !status.voter => "learner",
        Some(_) => "follower",
        None if id == me && leadership.role == Role::Follower => "follower",
        None => "unknown",
    }
}

/// Every proxy that may still read or write, with what the leader knows of its lease.
pub fn proxies(ctx: &Context) -> v1::ListProxiesReply {
    let leading = ctx.cluster.consensus().is_leader();
    let now = Instant::now();
    let view = |proxy: &miroir_core::cluster::Proxy| {
        let known = ctx.sessions.view(proxy.id).filter(|_| leading);
        let lease = match known {
            _ if !leading => "unknown",
            Some(seen) if !proxy.lost && within(now, seen.answered_at, ctx.config.lease()) => {
                "live"
            }
            Some(_) => "expired",
            // It has not called since this coordinator began to lead.
            None if !proxy.lost
                && within(now, ctx.sessions.leading_since(), ctx.config.lease()) =>
            {
                "unknown"
            }
            None => "expired",
        };
        v1::Proxy {
            id: proxy.id.0,
            name: proxy.name.clone(),
            url: proxy.url.clone(),
            lease: lease.to_owned(),
            lost: proxy.lost,
            writes_epoch: known.map_or(0, |seen| seen.writes_epoch.0),
            reads_epoch: known.map_or(0, |seen| seen.reads_epoch.0),
        }
    };
    v1::ListProxiesReply {
        proxies: ctx.read(|state| state.proxies.values().map(view).collect()),
    }
}

fn within(now: Instant, since: Instant, span: Duration) -> bool {
    now.saturating_duration_since(since) <= span
}
