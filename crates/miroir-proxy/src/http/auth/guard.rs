//! The place that every request passes on the way to its handler.

use axum::RequestPartsExt as _;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use miroir_core::id::Epoch;
use miroir_core::registry::Action;

use super::Allowed;
use crate::error::HttpError;
use crate::http::Server;
use crate::http::routes::{self, Access};
use crate::write::FORWARDED_HEADER;

/// The paths whose `{uid}` is an index.
const OF_INDEX: &str = "/indexes/{uid}";

/// Judges a request by the access of its route, and hands its handler what it is allowed.
///
/// # Errors
/// See [`Keys::authorize`](super::Keys::authorize).
pub async fn guard(
    State(server): State<Server>,
    request: Request,
    next: Next,
) -> Result<Response, HttpError> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", |path| path.as_str());
    // A wrong method and an unknown path have no access, and handlers that touch nothing.
    let Some(Access::Key(action)) = routes::access_of(request.method(), path) else {
        return Ok(next.run(request).await);
    };
    let (mut head, body) = request.into_parts();
    let allowed = if is_forwarded(&server, &head.headers) {
        Allowed::everything()
    } else {
        let params = head.extract::<RawPathParams>().await.ok();
        let of_index = path.starts_with(OF_INDEX);
        let mut params = params.iter().flatten().filter(|_| of_index);
        let index = params.find(|(name, _)| *name == "uid").map(|(_, uid)| uid);
        server.authorize(&head.headers, action, index)?
    };
    head.extensions.insert(allowed);
    Ok(next.run(Request::from_parts(head, body)).await)
}

/// Whether another proxy sends the request on: it has judged it. The mark counts only next to the
/// cluster token.
pub fn is_forwarded(server: &Server, headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_HEADER) && server.parts().keys.is_proxy(headers)
}

impl Server {
    /// Judges a request by the keys of the present table, for routes that the table of routes does
    /// not say everything about. `index` is the index that its path names.
    ///
    /// # Errors
    /// See [`Keys::authorize`](super::Keys::authorize); `no_routing_table` as long as the keys are not known.
    pub fn authorize(
        &self,
        headers: &HeaderMap,
        action: Action,
        index: Option<&str>,
    ) -> Result<Allowed, HttpError> {
        let parts = self.parts();
        let table = parts.control.table();
        let judged = parts
            .keys
            .authorize(headers, &table.registry, action, index);
        match judged {
            Err(refused) if refused.code() == "invalid_api_key" && table.epoch == Epoch(0) => {
                Err(HttpError::unavailable(
                    "no_routing_table",
                    "The proxy has no routing table yet and knows no key but the master key. Try again.",
                ))
            }
            judged => judged,
        }
    }
}

/// The method under which a route is listed: a `HEAD` is answered by the route of `GET`.
pub fn listed(method: &Method) -> &str {
    if *method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    }
}
