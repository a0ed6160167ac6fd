//! Trying a change: what it would do, without doing it.
//!
//! The command is applied to a copy of the state, so that it is refused as the real one would be; then the planner is
//! asked what it would do first. The state itself is only read.

mod estimate;
mod foresight;

use miroir_core::cluster::{Command, Outcome};
use miroir_proto::v1;
use tonic::Status;

use super::change::reply;
use crate::actor::Context;

/// Answers what `command` would be answered now, with the plan that would follow.
pub(super) async fn dry_run(ctx: &Context, command: &Command) -> Result<v1::ChangeReply, Status> {
    let mut state = ctx.read(Clone::clone);
    let index = ctx.cluster.consensus().metrics().applied_index.unwrap_or(0) + 1;
    let outcome = state.apply(index, ctx.clock.now_ms(), command);
    let operation = match &outcome {
        Outcome::NodeAdded { operation, .. }
        | Outcome::GroupAdded { operation, .. }
        | Outcome::Accepted(operation) => Some(*operation),
        Outcome::Done
        | Outcome::Controlled { .. }
        | Outcome::ProxyRegistered(_)
        | Outcome::IndexCreated { .. }
        | Outcome::SettingsChanged { .. }
        | Outcome::TaskRegistered(_)
        | Outcome::WritesRegistered(_)
        | Outcome::Planned { .. }
        | Outcome::Advanced(_)
        | Outcome::Rejected(_) => None,
    };
    let mut answer = reply(outcome)?;
    let down = |node| ctx.health.reachability(node) == crate::nodes::Reachability::Down;
    let foresight = match operation {
        Some(operation) => foresight::of_operation(&state, operation, down),
        None => foresight::of_control(&state, command),
    };
    answer.plan = Some(estimate::plan(ctx, &state, foresight).await);
    Ok(answer)
}
