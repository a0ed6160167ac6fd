//! Changes: each makes the message that gRPC would have carried.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use miroir_proto::v1;
use miroir_proto::v1::change_request::Change;

use super::answer::{Answer, Error};
use super::input::{
    self, Body, Copy, Factor, FromTo, How, NewGroup, NewNode, Nothing, PolicyChange, Reason,
    Throttle, Which, number,
};
use crate::actor::Context;
use crate::grpc::admin;

/// Carries a change out, or tries it. What goes on after the answer is 202.
async fn send(ctx: &Context, how: How, change: Change) -> Answer {
    let request = v1::ChangeRequest {
        request_id: how.request_id,
        dry_run: how.dry_run,
        change: Some(change),
    };
    let dry_run = request.dry_run;
    let reply = Box::pin(admin::change(ctx, request)).await?;
    let status = if reply.operation.is_some() && !dry_run {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(reply)).into_response())
}

/// How a change is asked for that has nothing to be forced.
fn how(uri: &Uri) -> Result<How, Error> {
    let how: How = input::query(uri)?;
    if how.force {
        return Err(Error::bad_request(
            "`force` is for the removal of a node only",
        ));
    }
    Ok(how)
}

/// Bodies of changes that say everything in their path.
fn empty(body: &Body) -> Result<(), Error> {
    input::body::<Nothing>(body).map(drop)
}

pub(super) async fn add_node(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    let new: NewNode = input::body(&body)?;
    send(&ctx, how(&uri)?, Change::AddNode(new.into())).await
}

pub(super) async fn remove_node(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer {
    empty(&body)?;
    let how: How = input::query(&uri)?;
    let change = v1::RemoveNode {
        node: number("node", &id)?,
        force: how.force,
    };
    send(&ctx, how, Change::RemoveNode(change)).await
}

pub(super) async fn drain_node(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer {
    empty(&body)?;
    let node = number("node", &id)?;
    send(&ctx, how(&uri)?, Change::DrainNode(v1::DrainNode { node })).await
}

pub(super) async fn undrain_node(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer {
    empty(&body)?;
    let node = number("node", &id)?;
    let change = Change::UndrainNode(v1::UndrainNode { node });
    send(&ctx, how(&uri)?, change).await
}

pub(super) async fn add_group(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    let NewGroup { nodes } = input::body(&body)?;
    let nodes = nodes.into_iter().map(Into::into).collect();
    send(&ctx, how(&uri)?, Change::AddGroup(v1::AddGroup { nodes })).await
}

pub(super) async fn remove_group(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer {
    empty(&body)?;
    let group = number("replica group", &id)?;
    let change = Change::RemoveGroup(v1::RemoveGroup { group });
    send(&ctx, how(&uri)?, change).await
}

pub(super) async fn set_policy(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    let change: PolicyChange = input::body(&body)?;
    send(&ctx, how(&uri)?, Change::Policy(change.into())).await
}

pub(super) async fn hold(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    let Reason { reason } = input::body(&body)?;
    send(&ctx, how(&uri)?, Change::Hold(v1::Hold { reason })).await
}

pub(super) async fn release(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    empty(&body)?;
    send(&ctx, how(&uri)?, Change::Release(v1::Release {})).await
}

pub(super) async fn set_replication_factor(
    State(ctx): State<Context>,
    Path(index): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer {
    let Factor { replication_factor } = input::body(&body)?;
    let change = v1::ChangeReplicationFactor {
        index,
        replication_factor,
    };
    send(&ctx, how(&uri)?, Change::ChangeReplicationFactor(change)).await
}

pub(super) async fn rebalance(State(ctx): State<Context>, uri: Uri, body: Body) -> Answer {
    let Which { index } = input::body(&body)?;
    let change = Change::Rebalance(v1::Rebalance { index });
    send(&ctx, how(&uri)?, change).await
}

pub(super) async fn move_shard(
    State(ctx): State<Context>,
    Path((index, shard)): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    let FromTo { from, to } = input::body(&body)?;
    let change = v1::MoveShard {
        index,
        shard: number("shard", &shard)?,
        from,
        to,
    };
    send(&ctx, how(&uri)?, Change::MoveShard(change)).await
}

pub(super) async fn pin(
    State(ctx): State<Context>,
    Path(place): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    set_pin(&ctx, place, &uri, (&body, true)).await
}

pub(super) async fn unpin(
    State(ctx): State<Context>,
    Path(place): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    set_pin(&ctx, place, &uri, (&body, false)).await
}

async fn set_pin(
    ctx: &Context,
    (index, shard): (String, String),
    uri: &Uri,
    (body, pinned): (&Body, bool),
) -> Answer {
    let Copy { node } = input::body(body)?;
    let change = v1::Pin {
        index,
        shard: number("shard", &shard)?,
        node,
        pinned,
    };
    send(ctx, how(uri)?, Change::Pin(change)).await
}

pub(super) async fn control_migration(
    State(ctx): State<Context>,
    Path((id, action)): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    use v1::control_migration::Action;
    let id = number("migration", &id)?;
    let action = match control(&action, &body)? {
        Control::Pause => Action::Pause(v1::Pause {}),
        Control::Resume => Action::Resume(v1::Resume {}),
        Control::Cancel => Action::Cancel(v1::Cancel {}),
        Control::Reverse => Action::Reverse(v1::Reverse {}),
        Control::Throttle(limits) => Action::Throttle(limits),
    };
    let action = Some(action);
    let change = Change::ControlMigration(v1::ControlMigration { id, action });
    send(&ctx, how(&uri)?, change).await
}

pub(super) async fn control_operation(
    State(ctx): State<Context>,
    Path((id, action)): Path<(String, String)>,
    uri: Uri,
    body: Body,
) -> Answer {
    use v1::control_operation::Action;
    let id = number("operation", &id)?;
    let action = match control(&action, &body)? {
        Control::Pause => Action::Pause(v1::Pause {}),
        Control::Resume => Action::Resume(v1::Resume {}),
        Control::Cancel => Action::Cancel(v1::Cancel {}),
        Control::Reverse => Action::Reverse(v1::Reverse {}),
        Control::Throttle(limits) => Action::Throttle(limits),
    };
    let action = Some(action);
    let change = Change::ControlOperation(v1::ControlOperation { id, action });
    send(&ctx, how(&uri)?, change).await
}

enum Control {
    Pause,
    Resume,
    Cancel,
    Reverse,
    Throttle(v1::Throttle),
}

/// The action that a path names.
fn control(action: &str, body: &Body) -> Result<Control, Error> {
    let plain = match action {
        "pause" => Control::Pause,
        "resume" => Control::Resume,
        "cancel" => Control::Cancel,
        "reverse" => Control::Reverse,
        "throttle" => {
            let limits: Throttle = input::body(body)?;
            return Ok(Control::Throttle(limits.into()));
        }
        other => {
            return Err(Error::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("`{other}` is no action: pause, resume, cancel, reverse and throttle are"),
            ));
        }
    };
    empty(body)?;
    Ok(plain)
}
