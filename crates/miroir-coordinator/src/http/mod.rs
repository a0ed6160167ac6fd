//! Administration for people with curl: the same changes and the same views as over gRPC, under `/_miroir/`.
//!
//! A handler turns a request into the message that gRPC would have carried and calls the same function. Names are in
//! snake case throughout, in paths, queries and bodies.

mod answer;
mod changes;
mod guard;
mod input;
mod reads;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::actor::Context;
use crate::error::AppError;
use crate::grpc::auth::CheckToken;

/// Largest body of a request, in bytes: a group of a few hundred nodes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Serves administration over HTTP until `stop`, then until open calls end.
///
/// # Errors
/// [`AppError::Serve`] when the server ends otherwise.
pub async fn serve_http(
    listener: TcpListener,
    ctx: Context,
    check: CheckToken,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let served = axum::serve(listener, router(ctx, check)).with_graceful_shutdown(async move {
        stop.cancelled().await;
    });
    served.await.map_err(|error| AppError::Serve {
        what: "HTTP",
        detail: error.to_string(),
    })
}

fn router(ctx: Context, check: CheckToken) -> Router {
    let guarded = topology()
        .merge(placement())
        .merge(work())
        .fallback(guard::unknown_path)
        .method_not_allowed_fallback(guard::unknown_method)
        .layer(from_fn_with_state(ctx.clone(), guard::at_the_leader))
        .layer(from_fn_with_state(check, guard::with_token))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(ctx.clone());
    let open = Router::new()
        .route("/_miroir/health", get(reads::health))
        .with_state(ctx);
    open.merge(guarded)
}

fn topology() -> Router<Context> {
    Router::new()
        .route("/_miroir/topology", get(reads::topology))
        .route("/_miroir/nodes", get(reads::nodes).post(changes::add_node))
        .route(
            "/_miroir/nodes/{id}",
            get(reads::node).delete(changes::remove_node),
        )
        .route("/_miroir/nodes/{id}/drain", post(changes::drain_node))
        .route("/_miroir/nodes/{id}/undrain", post(changes::undrain_node))
        .route(
            "/_miroir/replica_groups",
            get(reads::groups).post(changes::add_group),
        )
        .route(
            "/_miroir/replica_groups/{id}",
            delete(changes::remove_group),
        )
        .route(
            "/_miroir/policy",
            get(reads::policy).patch(changes::set_policy),
        )
        .route(
            "/_miroir/hold",
            post(changes::hold).delete(changes::release),
        )
}

fn placement() -> Router<Context> {
    let shard = "/_miroir/shards/{index}/{shard}";
    Router::new()
        .route("/_miroir/shards", get(reads::shards))
        .route(&format!("{shard}/explain"), get(reads::explain))
        .route(&format!("{shard}/move"), post(changes::move_shard))
        .route(&format!("{shard}/pin"), post(changes::pin))
        .route(&format!("{shard}/unpin"), post(changes::unpin))
        .route(
            "/_miroir/indexes/{uid}/replication_factor",
            post(changes::set_replication_factor),
        )
        .route("/_miroir/rebalance", post(changes::rebalance))
        .route("/_miroir/rebalance/status", get(reads::rebalance_status))
}

fn work() -> Router<Context> {
    Router::new()
        .route("/_miroir/operations", get(reads::operations))
        .route("/_miroir/operations/{id}", get(reads::operation))
        .route(
            "/_miroir/operations/{id}/{action}",
            post(changes::control_operation),
        )
        .route("/_miroir/migrations", get(reads::migrations))
        .route("/_miroir/migrations/{id}", get(reads::migration))
        .route(
            "/_miroir/migrations/{id}/{action}",
            post(changes::control_migration),
        )
}
