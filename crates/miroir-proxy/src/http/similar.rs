//! `GET` and `POST /indexes/{uid}/similar`

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use miroir_core::search::SimilarQuery;

use super::Server;
use super::auth::Allowed;
use super::params::Params;
use super::path::Path;
use super::reads::{caller, json, json_body};
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
    let mut query = SimilarQuery::from_parameters(params.pairs())?;
    query.narrow(allowed.filter(&uid))?;
    Box::pin(server.parts().reads.similar(&uid, &query, &caller))
        .await
        .map(json)
}

/// `POST /indexes/{uid}/similar`
pub async fn post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let mut query = SimilarQuery::from_json(&body)?;
    query.narrow(allowed.filter(&uid))?;
    Box::pin(server.parts().reads.similar(&uid, &query, &caller))
        .await
        .map(json)
}
