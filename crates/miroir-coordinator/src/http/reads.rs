//! Reads: the views of the administration service as JSON.

use axum::extract::{Path, State};
use axum::http::Uri;
use miroir_core::id::{IndexUid, MigrationId, NodeId, OperationId};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Error, ok};
use super::input::{Nothing, number, query};
use crate::actor::Context;
use crate::grpc::admin::{self, places, views, work};

/// Whether the process serves. Open to everyone, so it tells no more.
pub(super) async fn health(State(ctx): State<Context>) -> Answer {
    let leadership = ctx.cluster.consensus().leadership().borrow().clone();
    ok(&json!({
        "status": "available",
        "leads": leadership.is_leader(),
        "has_leader": leadership.leader.is_some(),
    }))
}

pub(super) async fn topology(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    ok(&places::topology(&ctx))
}

pub(super) async fn policy(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    ok(&places::topology(&ctx).policy)
}

pub(super) async fn nodes(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    ok(&views::nodes(&ctx))
}

pub(super) async fn node(State(ctx): State<Context>, Path(id): Path<String>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    ok(&places::node(&ctx, NodeId(number("node", &id)?))?)
}

pub(super) async fn groups(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    ok(&ctx.read(views::groups))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfIndex {
    index: Option<String>,
}

pub(super) async fn shards(State(ctx): State<Context>, uri: Uri) -> Answer {
    let OfIndex { index } = query(&uri)?;
    let uid = index
        .map(|text| IndexUid::parse(&text).map_err(|error| Error::bad_request(error.to_string())))
        .transpose()?;
    ok(&ctx.read(|state| places::shards(state, uid.as_ref()))?)
}

pub(super) async fn explain(
    State(ctx): State<Context>,
    Path((index, shard)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    query::<Nothing>(&uri)?;
    let shard = number("shard", &shard)?;
    ok(&admin::explain(&ctx, &index, shard)?)
}

pub(super) async fn operations(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    let now = ctx.clock.now_ms();
    ok(&ctx.read(|state| work::operations(state, now)))
}

pub(super) async fn operation(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer {
    query::<Nothing>(&uri)?;
    let id = OperationId(number("operation", &id)?);
    ok(&admin::operation(&ctx, id)?)
}

/// Which migrations are listed: the unfinished ones, unless all are asked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Which {
    operation: Option<u64>,
    all: bool,
}

pub(super) async fn migrations(State(ctx): State<Context>, uri: Uri) -> Answer {
    let Which { operation, all } = query(&uri)?;
    let operation = operation.map(OperationId);
    if let Some(id) = operation {
        admin::operation(&ctx, id)?;
    }
    ok(&admin::migrations(&ctx, operation, !all))
}

pub(super) async fn migration(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer {
    query::<Nothing>(&uri)?;
    let id = MigrationId(number("migration", &id)?);
    ok(&admin::migration(&ctx, id)?)
}

/// What is under way, whoever asked for it, and how far it is.
pub(super) async fn rebalance_status(State(ctx): State<Context>, uri: Uri) -> Answer {
    query::<Nothing>(&uri)?;
    let now = ctx.clock.now_ms();
    let (operations, migrations) = ctx.read(|state| {
        let open = state
            .operations
            .values()
            .filter(|one| !one.state.is_final());
        let open: Vec<_> = open.map(|one| work::operation(state, one, now)).collect();
        (open, state.unfinished_migrations().count())
    });
    ok(&json!({
        "idle": operations.is_empty() && migrations == 0,
        "hold": places::topology(&ctx).hold,
        "migrations_unfinished": migrations,
        "operations": operations,
    }))
}
