//! What stands before every handler: the token, and the leader.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{Answer, Error};
use crate::actor::Context;
use crate::grpc::auth::CheckToken;

/// Lets only calls through that carry the cluster token.
pub(super) async fn with_token(
    State(check): State<CheckToken>,
    request: Request,
    next: Next,
) -> Answer {
    let given = request.headers().get(header::AUTHORIZATION);
    match check.admits(given.map(header::HeaderValue::as_bytes)) {
        Ok(()) => Ok(next.run(request).await),
        Err(status) => Err(status.into()),
    }
}

/// Sends whoever asks a follower to the leader. While none is known, reads are answered from this coordinator's own
/// state, and changes by nobody.
pub(super) async fn at_the_leader(
    State(ctx): State<Context>,
    request: Request,
    next: Next,
) -> Answer {
    let leadership = ctx.cluster.consensus().leadership().borrow().clone();
    if leadership.is_leader() {
        return Ok(next.run(request).await);
    }
    let leader = leadership.leader.map(|leader| leader.id);
    let peers = &ctx.config.peers;
    let known = peers.iter().find(|peer| Some(peer.id) == leader);
    let url = known.and_then(|peer| peer.http_url.as_deref());
    match (leader, url) {
        (Some(leader), Some(url)) => Ok(redirect(leader, url, &request)),
        _ if request.method() == Method::GET => Ok(next.run(request).await),
        (Some(leader), None) => Err(Error::unavailable(format!(
            "this coordinator does not lead; coordinator {leader} does, whose `http_url` is not configured here"
        ))),
        (None, _) => Err(Error::unavailable(
            "no coordinator leads at the moment; ask again",
        )),
    }
}

/// 307 keeps method and body. The text is for those whose client does not follow.
fn redirect(leader: u64, url: &str, request: &Request) -> Response {
    let path = request.uri().path_and_query();
    let location = format!(
        "{}{}",
        url.trim_end_matches('/'),
        path.map_or("/", axum::http::uri::PathAndQuery::as_str)
    );
    let body = json!({
        "message": format!("this coordinator does not lead; coordinator {leader} does, at {location}"),
        "code": "not_leader",
        "type": "system",
    });
    let headers = [(header::LOCATION, location)];
    (StatusCode::TEMPORARY_REDIRECT, headers, Json(body)).into_response()
}

/// Nothing is served there.
pub(super) async fn unknown_path(request: Request) -> Error {
    Error::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("nothing is served at {}", request.uri().path()),
    )
}

/// Something is served there, to other methods.
pub(super) async fn unknown_method(request: Request) -> Error {
    Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} does not take {}",
            request.uri().path(),
            request.method()
        ),
    )
}
