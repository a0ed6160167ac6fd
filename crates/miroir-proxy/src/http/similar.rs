//! `GET` and `POST /indexes/{uid}/similar`

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use miroir_core::search::SimilarQuery;

use super::params::Params;
use super::path::Path;
use super::reads::{answered, caller, json_body};
use super::{Allowed, Server};
use crate::error::HttpError;

/// `GET /indexes/{uid}/similar`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&headers);
    let params = Params::of(&uri)?;
    let query = SimilarQuery::from_parameters(params.pairs())?;
    let rule = allowed.filter(&uid);
    Box::pin(server.parts().reads.similar(&uid, query, rule, &caller))
        .await
        .map(answered)
}

/// `POST /indexes/{uid}/similar`
pub async fn post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let query = SimilarQuery::from_json(&body)?;
    let rule = allowed.filter(&uid);
    Box::pin(server.parts().reads.similar(&uid, query, rule, &caller))
        .await
        .map(answered)
}
