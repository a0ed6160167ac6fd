//! Health, version, and what this proxy says about itself.

use axum::extract::{Request, State};
use miroir_core::api_error::{ApiError, Code};
use serde_json::{Value, json};

use super::{Peer, Server};
use crate::error::HttpError;

/// `GET /health`
///
/// It says whether this process serves: reads and writes may still be refused for a while, as long
/// as no coordinator leads. `GET /_miroir/proxy/stats` tells that.
pub async fn health() -> axum::Json<Value> {
    axum::Json(json!({ "status": "available" }))
}

/// `GET /version`
///
/// The nodes' version, which is what decides how searches behave.
pub async fn version(State(server): State<Server>) -> Result<axum::Json<Value>, HttpError> {
    let version = server.parts().reads.node_version().await;
    let version = version.ok_or_else(|| {
        HttpError::unavailable("nodes_unreachable", "No node tells its version. Try again.")
    })?;
    Ok(axum::Json(json!({
        "commitSha": version.commit_sha,
        "commitDate": version.commit_date,
        "pkgVersion": version.pkg_version.to_string(),
    })))
}

/// `GET /_miroir/proxy/stats`
pub async fn proxy_stats(
    State(server): State<Server>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let parts = server.parts();
    let local = request
        .extensions()
        .get::<Peer>()
        .is_some_and(|peer| peer.0.ip().is_loopback());
    if !local && !parts.keys.is_master(request.headers()) {
        let message =
            "These statistics are for programs on the same machine, and for the master key.";
        return Err(ApiError::new(Code::InvalidApiKey, message).into());
    }
    Ok(axum::Json(json!({
        "session": parts.control.status(),
        "writes": parts.writes.stats(),
        "reads": parts.reads.stats_of_reads(),
        // Without this one.
        "requestsInFlight": server.in_flight().saturating_sub(1),
        "nodeReadsInFlight": parts.reads.upstream().in_flight(),
        "rssBytes": rss_bytes(),
    })))
}

/// Resident memory of this process; `None` where the system does not tell.
pub(super) fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
