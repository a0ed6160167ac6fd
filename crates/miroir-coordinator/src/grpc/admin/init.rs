//! Initialising a cluster, once.

use std::collections::BTreeMap;
use std::time::Duration;

use miroir_core::cluster::{Command, Outcome, Policy, Rejection};
use miroir_proto::v1;
use tonic::Status;
use uuid::Uuid;

use crate::actor::Context;
use crate::grpc::status;
use crate::raft::{Leadership, Member, MembershipError, ReadError};

/// Longest name of a cluster, in bytes.
const CLUSTER_ID_LEN_MAX: usize = 64;

/// Makes the configured coordinators one cluster, then gives it its id and policy.
///
/// The two steps are not one. A crash between them leaves consensus without a cluster id, and the same call,
/// made again at the leader, finishes the work.
pub async fn init_cluster(
    ctx: &Context,
    request: v1::InitClusterRequest,
) -> Result<v1::InitClusterReply, Status> {
    if let Some(cluster_id) = ctx.read(|state| state.cluster_id.clone()) {
        return Err(status::of_rejection(&Rejection::AlreadyInitialised {
            cluster_id,
        }));
    }
    let policy = policy(&request)?;
    let cluster_id = cluster_id(&request.cluster_id)?;
    let consensus = ctx.cluster.consensus();
    let peers = ctx.config.peers.iter();
    let members: BTreeMap<_, _> = peers
        .map(|peer| {
            (
                peer.id,
                Member::new(peer.raft_url.clone(), peer.api_url.clone()),
            )
        })
        .collect();
    match consensus.initialize(members).await {
        Ok(()) | Err(MembershipError::AlreadyInitialized) => {}
        Err(error) => return Err(status::of_membership(&error)),
    }
    lead(ctx).await?;
    let command = Command::Bootstrap {
        cluster_id: cluster_id.clone(),
        policy,
    };
    match consensus.propose(&command).await {
        Ok(Outcome::Done) => {
            tracing::info!(cluster_id, "the cluster is initialised");
            Ok(v1::InitClusterReply { cluster_id })
        }
        Ok(other) => Err(status::of_unexpected(&other)),
        Err(error) => Err(status::of_propose(&error)),
    }
}

/// Waits until this coordinator leads, or another one does.
async fn lead(ctx: &Context) -> Result<(), Status> {
    let mut leadership = ctx.cluster.consensus().leadership();
    let patience = Duration::from_millis(ctx.config.raft.propose_timeout_ms);
    let decided = leadership.wait_for(|now: &Leadership| now.leader.is_some());
    let now = match tokio::time::timeout(patience, decided).await {
        Ok(Ok(now)) => now.clone(),
        Ok(Err(_)) => return Err(Status::unavailable("this coordinator is stopping")),
        Err(_) => {
            return Err(Status::unavailable(
                "the coordinators elected no leader; look whether a majority of them is running and reachable",
            ));
        }
    };
    if now.is_leader() {
        return Ok(());
    }
    Err(status::of_read(&ReadError::NotLeader {
        leader: now.leader,
    }))
}

fn cluster_id(asked: &str) -> Result<String, Status> {
    if asked.is_empty() {
        return Ok(Uuid::new_v4().to_string());
    }
    if asked.len() > CLUSTER_ID_LEN_MAX || !asked.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Status::invalid_argument(format!(
            "cluster_id must be at most {CLUSTER_ID_LEN_MAX} visible ASCII characters"
        )));
    }
    Ok(asked.to_owned())
}

fn policy(request: &v1::InitClusterRequest) -> Result<Policy, Status> {
    let defaults = Policy::default();
    let policy = Policy {
        default_shards: narrow(
            "default_shards",
            request.default_shards,
            defaults.default_shards,
        )?,
        default_replication_factor: narrow(
            "default_replication_factor",
            request.default_replication_factor,
            defaults.default_replication_factor,
        )?,
        groups: request.groups.unwrap_or(defaults.groups),
        min_in_sync: narrow("min_in_sync", request.min_in_sync, defaults.min_in_sync)?,
        reverse_window_ms: request
            .reverse_window_ms
            .unwrap_or(defaults.reverse_window_ms),
        max_concurrent_migrations: request
            .max_concurrent_migrations
            .unwrap_or(defaults.max_concurrent_migrations),
        max_migrations_per_target: request
            .max_migrations_per_target
            .unwrap_or(defaults.max_migrations_per_target),
        max_migrations_per_source: request
            .max_migrations_per_source
            .unwrap_or(defaults.max_migrations_per_source),
        throttle_docs_per_s: request.throttle_docs_per_s.or(defaults.throttle_docs_per_s),
        throttle_bytes_per_s: defaults.throttle_bytes_per_s,
        finished_tasks_max: defaults.finished_tasks_max,
        finished_migrations_max: defaults.finished_migrations_max,
        idempotency_keys_max: defaults.idempotency_keys_max,
        idempotency_ttl_ms: defaults.idempotency_ttl_ms,
    };
    policy
        .validate()
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(policy)
}

/// A number that has to fit into a smaller type than protobuf has.
fn narrow<T: TryFrom<u32>>(field: &str, asked: Option<u32>, default: T) -> Result<T, Status> {
    match asked {
        None => Ok(default),
        Some(number) => T::try_from(number)
            .map_err(|_| Status::invalid_argument(format!("policy `{field}` cannot be {number}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_default() {
        assert_eq!(
            policy(&v1::InitClusterRequest::default()).expect("valid"),
            Policy::default()
        );
        let asked = v1::InitClusterRequest {
            default_shards: Some(16),
            throttle_docs_per_s: Some(500),
            ..Default::default()
        };
        let expected = Policy {
            default_shards: 16,
            throttle_docs_per_s: Some(500),
            ..Policy::default()
        };
        assert_eq!(policy(&asked).expect("valid"), expected);
    }

    #[test]
    fn a_policy_out_of_bounds_is_refused_by_name() {
        let wrong = |change: fn(&mut v1::InitClusterRequest)| {
            let mut request = v1::InitClusterRequest::default();
            change(&mut request);
            policy(&request).expect_err("out of bounds")
        };
        let table = [
            (wrong(|r| r.default_shards = Some(0)), "default_shards"),
            (wrong(|r| r.default_shards = Some(70_000)), "default_shards"),
            (
                wrong(|r| r.default_replication_factor = Some(300)),
                "default_replication_factor",
            ),
            (wrong(|r| r.groups = Some(0)), "groups"),
            (wrong(|r| r.min_in_sync = Some(0)), "min_in_sync"),
            (
                wrong(|r| r.max_concurrent_migrations = Some(0)),
                "max_concurrent_migrations",
            ),
        ];
        for (status, field) in table {
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(field), "{status}");
        }
    }

    #[test]
    fn a_cluster_id_is_short_and_visible() {
        assert_eq!(cluster_id("prod-1").expect("valid"), "prod-1");
        assert_ne!(
            cluster_id("").expect("fresh"),
            cluster_id("").expect("fresh")
        );
        for bad in ["a b", "é", &"x".repeat(65)] {
            assert_eq!(
                cluster_id(bad).expect_err(bad).code(),
                tonic::Code::InvalidArgument
            );
        }
    }
}
