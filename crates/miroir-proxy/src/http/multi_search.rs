//! `POST /multi-search`

use axum::extract::{Request, State};
use axum::response::Response;
use miroir_core::search::MultiSearch;

use super::reads::{answered, json_body};
use super::{Allowed, Server, aliases};
use crate::error::HttpError;

/// `POST /multi-search`
pub async fn post(
    State(server): State<Server>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let mut request = MultiSearch::from_json(&body)?;
    aliases::in_queries(&server.registry(), &mut request);
    authorize(&allowed, &mut request)?;
    Box::pin(server.parts().reads.multi_search(request, &caller))
        .await
        .map(answered)
}

/// Refuses indexes that the sender may not search, and narrows every search by the rules of its
/// tenant token.
fn authorize(allowed: &Allowed, request: &mut MultiSearch) -> Result<(), HttpError> {
    for (at, query) in request.queries.iter_mut().enumerate() {
        // One that is wrong by itself is never searched.
        let Ok(query) = query else { continue };
        let uid = query.index.as_str();
        let permitted = allowed.require_index(uid);
        permitted.map_err(|error| error.inside_query(at))?;
        let narrowed = query.query.narrow(allowed.filter(uid));
        narrowed.map_err(|error| HttpError::from(error).inside_query(at))?;
    }
    let facets = request.federation.iter();
    let facets = facets.flat_map(|federation| federation.facets_by_index.keys());
    for index in facets {
        allowed.require_index(index.as_str())?;
    }
    Ok(())
}
