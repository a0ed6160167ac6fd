//! Changes as operators ask for them, to commands of the log.

use std::time::Duration;

use miroir_core::cluster::{Command, Control, Policy, Rejection};
use miroir_core::id::{GroupId, IndexUid, MigrationId, NodeId, OperationId, ShardId};
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;
use tonic::Status;

use super::admit;
use crate::actor::Context;
use crate::grpc::status;
use crate::nodes::Reachability;

/// Longest reason of a hold, in bytes.
const REASON_MAX: usize = 500;

/// The command that carries a change out. What the log cannot know is checked here: addresses, and which nodes
/// answer.
pub(super) async fn of(ctx: &Context, change: Change) -> Result<Command, Status> {
    Ok(match change {
        Change::AddNode(new) => Command::AddNode {
            node: admit::node(ctx, new).await?,
        },
        Change::AddGroup(v1::AddGroup { nodes }) => Command::AddGroup {
            nodes: admit::group(ctx, nodes).await?,
        },
        Change::DrainNode(v1::DrainNode { node }) => Command::DrainNode { node: NodeId(node) },
        Change::UndrainNode(v1::UndrainNode { node }) => {
            Command::UndrainNode { node: NodeId(node) }
        }
        Change::RemoveNode(v1::RemoveNode { node, force }) => {
            let node = NodeId(node);
            if force {
                refuse_the_living(ctx, node).await?;
            }
            Command::RemoveNode { node, force }
        }
        Change::RemoveGroup(v1::RemoveGroup { group }) => Command::RemoveGroup {
            group: GroupId(group),
        },
        Change::ChangeReplicationFactor(change) => Command::ChangeReplicationFactor {
            uid: uid(&change.index)?,
            replication_factor: factor(change.replication_factor)?,
        },
        Change::Rebalance(v1::Rebalance { index }) => Command::Rebalance {
            uid: index.as_deref().map(uid).transpose()?,
        },
        Change::MoveShard(one) => Command::MoveShard {
            shard: shard(ctx, &one.index, one.shard)?,
            uid: uid(&one.index)?,
            from: NodeId(one.from),
            to: NodeId(one.to),
        },
        Change::Pin(pin) => Command::Pin {
            shard: shard(ctx, &pin.index, pin.shard)?,
            uid: uid(&pin.index)?,
            node: pin.node.map(NodeId),
            pinned: pin.pinned,
        },
        Change::Hold(v1::Hold { reason }) => Command::SetHold {
            reason: Some(checked_reason(reason)?),
        },
        Change::Release(v1::Release {}) => Command::SetHold { reason: None },
        Change::Policy(change) => Command::ChangePolicy {
            policy: policy(ctx.read(|state| state.policy.clone()), &change)?,
        },
        Change::ControlMigration(v1::ControlMigration { id, action }) => {
            Command::ControlMigration {
                id: MigrationId(id),
                control: migration_control(action)?,
            }
        }
        Change::ControlOperation(v1::ControlOperation { id, action }) => {
            Command::ControlOperation {
                id: OperationId(id),
                control: operation_control(action)?,
            }
        }
    })
}

pub(super) fn uid(text: &str) -> Result<IndexUid, Status> {
    IndexUid::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A shard's number. One that no index can have is refused as the log refuses one that this index has not.
pub(super) fn shard(ctx: &Context, index: &str, number: u32) -> Result<ShardId, Status> {
    let index = uid(index)?;
    u16::try_from(number).map(ShardId).map_err(|_| {
        let known = ctx.read(|state| state.index_called(&index).is_some());
        if known {
            Status::not_found(format!(
                "index `{index}` has no shard {number}; shards are from 0 to {}",
                Policy::SHARDS_MAX - 1
            ))
        } else {
            status::of_rejection(&Rejection::UnknownIndex(index.clone()))
        }
    })
}

fn factor(number: u32) -> Result<u8, Status> {
    u8::try_from(number).map_err(|_| {
        Status::invalid_argument(format!(
            "a replication factor must be from 1 to {}, not {number}",
            Policy::REPLICATION_FACTOR_MAX
        ))
    })
}

fn checked_reason(reason: String) -> Result<String, Status> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_MAX {
        return Err(Status::invalid_argument(format!(
            "a hold needs a reason of at most {REASON_MAX} bytes, for whoever finds it later"
        )));
    }
    Ok(reason)
}

/// A node that answers is drained, not given up: what it holds may be all there is of a write that is not
/// acknowledged yet, and copies on it are the fastest source.
async fn refuse_the_living(ctx: &Context, id: NodeId) -> Result<(), Status> {
    let Some(node) = ctx.read(|state| state.nodes.get(&id).cloned()) else {
        return Ok(());
    };
    let lives = match ctx.health.reachability(id) {
        Reachability::Up => true,
        Reachability::Down => false,
        // Nobody has looked yet: this coordinator leads since a moment ago.
        Reachability::Unknown => {
            let timeout = Duration::from_millis(ctx.config.nodes.health_timeout_ms);
            match ctx.nodes.client(&node) {
                Ok(client) => client.with_timeout(timeout).health().await.is_ok(),
                Err(_) => false,
            }
        }
    };
    if lives {
        return Err(Status::failed_precondition(format!(
            "node {id} at {} answers; drain it instead: remove it without force",
            node.url
        )));
    }
    Ok(())
}

/// The policy with what was asked for in place of what there is.
fn policy(now: Policy, change: &v1::PolicyChange) -> Result<Policy, Status> {
    let docs = match &change.throttle_docs_per_s {
        None => now.throttle_docs_per_s,
        Some(limit) => limit
            .per_s
            .map(|n| narrow("throttle_docs_per_s", n))
            .transpose()?,
    };
    let bytes = match &change.throttle_bytes_per_s {
        None => now.throttle_bytes_per_s,
        Some(limit) => limit.per_s,
    };
    Ok(Policy {
        default_shards: given("default_shards", change.default_shards, now.default_shards)?,
        default_replication_factor: given(
            "default_replication_factor",
            change.default_replication_factor,
            now.default_replication_factor,
        )?,
        groups: now.groups,
        min_in_sync: given("min_in_sync", change.min_in_sync, now.min_in_sync)?,
        reverse_window_ms: change.reverse_window_ms.unwrap_or(now.reverse_window_ms),
        max_concurrent_migrations: change
            .max_concurrent_migrations
            .unwrap_or(now.max_concurrent_migrations),
        max_migrations_per_target: change
            .max_migrations_per_target
            .unwrap_or(now.max_migrations_per_target),
        max_migrations_per_source: change
            .max_migrations_per_source
            .unwrap_or(now.max_migrations_per_source),
        throttle_docs_per_s: docs,
        throttle_bytes_per_s: bytes,
        finished_tasks_max: change.finished_tasks_max.unwrap_or(now.finished_tasks_max),
        finished_migrations_max: change
            .finished_migrations_max
            .unwrap_or(now.finished_migrations_max),
        idempotency_keys_max: change
            .idempotency_keys_max
            .unwrap_or(now.idempotency_keys_max),
        idempotency_ttl_ms: change.idempotency_ttl_ms.unwrap_or(now.idempotency_ttl_ms),
    })
}

fn given<T: TryFrom<u32>>(field: &str, asked: Option<u32>, now: T) -> Result<T, Status> {
    match asked {
        None => Ok(now),
        Some(number) => narrow(field, number),
    }
}

fn narrow<N: Copy + std::fmt::Display, T: TryFrom<N>>(field: &str, number: N) -> Result<T, Status> {
    T::try_from(number)
        .map_err(|_| Status::invalid_argument(format!("policy `{field}` cannot be {number}")))
}

fn no_action() -> Status {
    Status::invalid_argument(
        "the request names no action: one of pause, resume, cancel, reverse and throttle",
    )
}

fn throttle(limits: v1::Throttle) -> Control {
    Control::Throttle {
        docs_per_s: limits.docs_per_s,
        bytes_per_s: limits.bytes_per_s,
    }
}

fn migration_control(action: Option<v1::control_migration::Action>) -> Result<Control, Status> {
    use v1::control_migration::Action;
    Ok(match action.ok_or_else(no_action)? {
        Action::Pause(_) => Control::Pause,
        Action::Resume(_) => Control::Resume,
        Action::Cancel(_) => Control::Cancel,
        Action::Reverse(_) => Control::Reverse,
        Action::Throttle(limits) => throttle(limits),
    })
}

fn operation_control(action: Option<v1::control_operation::Action>) -> Result<Control, Status> {
    use v1::control_operation::Action;
    Ok(match action.ok_or_else(no_action)? {
        Action::Pause(_) => Control::Pause,
        Action::Resume(_) => Control::Resume,
        Action::Cancel(_) => Control::Cancel,
        Action::Reverse(_) => Control::Reverse,
        Action::Throttle(limits) => throttle(limits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_change_does_not_name_stays() {
        let now = Policy {
            throttle_docs_per_s: Some(5),
            throttle_bytes_per_s: Some(6),
            min_in_sync: 2,
            ..Policy::default()
        };
        let nothing = v1::PolicyChange::default();
        assert_eq!(policy(now.clone(), &nothing).expect("valid"), now);
        let change = v1::PolicyChange {
            max_concurrent_migrations: Some(3),
            throttle_docs_per_s: Some(v1::Limit { per_s: Some(7) }),
            throttle_bytes_per_s: Some(v1::Limit { per_s: None }),
            ..nothing
        };
        let expected = Policy {
            max_concurrent_migrations: 3,
            throttle_docs_per_s: Some(7),
            throttle_bytes_per_s: None,
            ..now
        };
        assert_eq!(policy(now.clone(), &change).expect("valid"), expected);
        let wide = v1::PolicyChange {
            min_in_sync: Some(300),
            ..nothing
        };
        let error = policy(now, &wide).expect_err("too wide");
        assert!(error.message().contains("min_in_sync"), "{error}");
    }

    #[test]
    fn an_action_that_is_not_known_is_none() {
        for error in [
            migration_control(None).expect_err("no action"),
            operation_control(None).expect_err("no action"),
        ] {
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
        }
    }

    #[test]
    fn a_hold_has_a_reason() {
        assert_eq!(checked_reason(" disks ".to_owned()).expect("one"), "disks");
        for bad in [" ".to_owned(), "x".repeat(REASON_MAX + 1)] {
            checked_reason(bad).expect_err("no reason");
        }
    }
}
