//! `GET` and `POST /indexes/{uid}/similar`

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::search::SimilarQuery;
use serde_json::{Map, Value};

use super::Server;
use super::auth::Allowed;
use super::params::Params;
use super::path::Path;
use super::reads::{caller, json, json_body};
use crate::error::HttpError;
use crate::read::{Caller, DocumentsQuery};

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
    answer(&server, &uid, (&query, &allowed), &caller).await
}

/// Answers, unless a tenant's rule hides the document itself: what is similar to it would tell of it.
async fn answer(
    server: &Server,
    uid: &str,
    (query, allowed): (&SimilarQuery, &Allowed),
    caller: &Caller,
) -> Result<Response, HttpError> {
    let reads = &server.parts().reads;
    let found = Box::pin(reads.similar(uid, query, caller)).await?;
    let Some(rule) = allowed.filter(uid) else {
        return Ok(json(found));
    };
    let this_one = DocumentsQuery {
        offset: 0,
        limit: 0,
        filter: Some(rule.clone()),
        ids: Some(vec![query.id().to_owned()]),
        sort: Vec::new(),
        passed: Map::new(),
    };
    let seen = Box::pin(reads.documents(uid, &this_one, caller)).await?;
    let seen: Value = serde_json::from_str(&seen).unwrap_or_default();
    if seen["total"].as_u64() == Some(1) {
        return Ok(json(found));
    }
    let message = format!("Document `{}` not found.", query.id());
    Err(ApiError::new(Code::NotFoundSimilarId, message).into())
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
    answer(&server, &uid, (&query, &allowed), &caller).await
}
