//! Searching, reading documents, statistics.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use miroir_core::api_error::Code;
use miroir_core::search::SearchQuery;

use super::params::Params;
use super::path::Path;
use super::{Allowed, Server, document_query};
use crate::error::HttpError;
use crate::read::{Answer, Caller, METADATA_HEADER, SESSION_HEADER};

/// JSON that is written already.
pub(super) fn json(text: String) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], Body::from(text)).into_response()
}

/// Tells a client how many shards of which indexes its answer is without.
const PARTIAL_HEADER: HeaderName = HeaderName::from_static("miroir-partial");

/// An answer, with a header if it is partial.
pub(super) fn answered(answer: Answer) -> Response {
    let partial = answer.missing.header();
    let partial = partial.and_then(|text| HeaderValue::try_from(text).ok());
    let mut response = json(answer.body);
    if let Some(partial) = partial {
        response.headers_mut().insert(PARTIAL_HEADER, partial);
    }
    response
}

/// What of a request its read goes by, and what nodes are told.
pub(super) fn caller(headers: &HeaderMap) -> Caller {
    let kept = headers.get(METADATA_HEADER).cloned();
    Caller {
        headers: kept
            .into_iter()
            .map(|value| (METADATA_HEADER, value))
            .collect(),
        session: headers.get(SESSION_HEADER).cloned(),
    }
}

/// Reads a JSON body.
pub(super) async fn json_body(
    server: &Server,
    request: Request,
) -> Result<(Caller, Bytes), HttpError> {
    let caller = caller(request.headers());
    Ok((caller, server.json_body(request).await?))
}

/// `GET /indexes/{uid}/search`
pub async fn search_get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&headers);
    let params = Params::of(&uri)?;
    let mut query = SearchQuery::from_parameters(params.pairs())?;
    query.narrow(allowed.filter(&uid))?;
    Box::pin(server.parts().reads.search(&uid, query, &caller))
        .await
        .map(answered)
}

/// `POST /indexes/{uid}/search`
pub async fn search_post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    allowed: Allowed,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let mut query = SearchQuery::from_json(&body)?;
    query.narrow(allowed.filter(&uid))?;
    Box::pin(server.parts().reads.search(&uid, query, &caller))
        .await
        .map(answered)
}

/// `GET /indexes/{uid}/documents/{id}`
pub async fn get_document(
    State(server): State<Server>,
    Path((uid, id)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&headers);
    let params = Params::only(&uri, &["fields", "retrieveVectors"])?;
    params.flag("retrieveVectors", Code::InvalidDocumentRetrieveVectors)?;
    Box::pin(server.parts().reads.document(&uid, &id, &uri, &caller))
        .await
        .map(json)
}

/// `GET /indexes/{uid}/documents`
pub async fn list_documents(
    State(server): State<Server>,
    Path(uid): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&headers);
    let query = document_query::from_uri(&uri)?;
    Box::pin(server.parts().reads.documents(&uid, &query, &caller))
        .await
        .map(answered)
}

/// `POST /indexes/{uid}/documents/fetch`
pub async fn fetch_documents(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let query = document_query::from_json(&body)?;
    Box::pin(server.parts().reads.documents(&uid, &query, &caller))
        .await
        .map(answered)
}
