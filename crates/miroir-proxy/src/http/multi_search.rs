//! `POST /multi-search`

use axum::extract::{Request, State};
use axum::response::Response;
use miroir_core::search::MultiSearch;

use super::Server;
use super::auth::Allowed;
use super::reads::{json, json_body};
use crate::error::HttpError;

/// Refuses indexes that the sender may not search, and narrows each search by the rule for its index.
fn narrow(request: &mut MultiSearch, allowed: &Allowed) -> Result<(), HttpError> {
    for (at, query) in request.queries.iter_mut().enumerate() {
        // A query that is wrong by itself is refused when its turn comes, and asks no index.
        let Ok(query) = query else { continue };
        let place = |error: HttpError| error.inside_query(at);
        allowed.require_index(query.index.as_str()).map_err(place)?;
        let rule = allowed.filter(query.index.as_str());
        query
            .query
            .narrow(rule)
            .map_err(|error| place(error.into()))?;
    }
    let federation = request.federation.iter();
    let counted = federation.flat_map(|federation| federation.facets_by_index.keys());
    for index in counted {
        allowed.require_index(index.as_str())?;
    }
    Ok(())
}

/// `POST /multi-search`
pub async fn post(
    State(server): State<Server>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let mut request = MultiSearch::from_json(&body)?;
    narrow(&mut request, &allowed)?;
    Box::pin(server.parts().reads.multi_search(request, &caller))
        .await
        .map(json)
}
