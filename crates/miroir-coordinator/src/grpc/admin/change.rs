//! Every change that an operator asks for: checked, turned into a command, and committed or only tried.
//!
//! gRPC and plain HTTP both end here, so that they refuse the same things in the same words.

use miroir_core::cluster::Outcome;
use miroir_core::id::{MigrationId, NodeId};
use miroir_proto::v1;
use tonic::Status;

use super::{command, dry_run};
use crate::actor::Context;
use crate::grpc::commit::{commit, request_id};
use crate::grpc::status;
use crate::raft::ReadError;

/// Carries a change out, or tries it.
///
/// # Errors
/// The status to answer. When it is a refusal, nothing was changed.
pub async fn change(ctx: &Context, request: v1::ChangeRequest) -> Result<v1::ChangeReply, Status> {
    leading(ctx)?;
    request_id(&request.request_id)?;
    let change = request.change.ok_or_else(|| {
        Status::invalid_argument("the request names no change, or one that is not known here")
    })?;
    let command = command::of(ctx, change).await?;
    if request.dry_run {
        return dry_run::dry_run(ctx, &command).await;
    }
    let outcome = commit(&ctx.cluster, &request.request_id, &command).await?;
    reply(outcome)
}

/// Refuses unless this coordinator leads, naming the one that does.
pub(crate) fn leading(ctx: &Context) -> Result<(), Status> {
    let leadership = ctx.cluster.consensus().leadership().borrow().clone();
    if leadership.is_leader() {
        return Ok(());
    }
    Err(status::of_read(&ReadError::NotLeader {
        leader: leadership.leader,
    }))
}

/// What the log answered, as operators are told.
pub(super) fn reply(outcome: Outcome) -> Result<v1::ChangeReply, Status> {
    let nothing = v1::ChangeReply::default();
    Ok(match outcome {
        Outcome::Done => nothing,
        Outcome::NodeAdded { node, operation } => v1::ChangeReply {
            operation: Some(operation.0),
            node: Some(node.0),
            ..nothing
        },
        Outcome::GroupAdded {
            group,
            nodes,
            operation,
        } => v1::ChangeReply {
            operation: Some(operation.0),
            group: Some(group.0),
            nodes: nodes.into_iter().map(|NodeId(id)| id).collect(),
            ..nothing
        },
        Outcome::Accepted(operation) => v1::ChangeReply {
            operation: Some(operation.0),
            ..nothing
        },
        Outcome::Controlled { migrations, left } => v1::ChangeReply {
            migrations: migrations.into_iter().map(|MigrationId(id)| id).collect(),
            left: left.into_iter().map(|MigrationId(id)| id).collect(),
            ..nothing
        },
        Outcome::Rejected(rejection) => return Err(status::of_rejection(&rejection)),
        other @ (Outcome::ProxyRegistered(_)
        | Outcome::IndexCreated { .. }
        | Outcome::SettingsChanged { .. }
        | Outcome::TaskRegistered(_)
        | Outcome::WritesRegistered(_)
        | Outcome::Planned { .. }
        | Outcome::Advanced(_)) => return Err(status::of_unexpected(&other)),
    })
}
