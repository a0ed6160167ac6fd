//! `POST /indexes/{uid}/facet-search`

use axum::extract::{Request, State};
use axum::response::Response;
use miroir_core::search::FacetSearch;

use super::path::Path;
use super::reads::{answered, json_body};
use super::{Allowed, Server};
use crate::error::HttpError;

/// `POST /indexes/{uid}/facet-search`
pub async fn post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let mut search = FacetSearch::from_json(&body)?;
    search.narrow(allowed.filter(&uid))?;
    Box::pin(server.parts().reads.facet_search(&uid, &search, &caller))
        .await
        .map(answered)
}
