//! Searching, reading documents, statistics.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use miroir_core::api_error::Code;
use miroir_core::search::SearchQuery;

use super::params::Params;
use super::path::Path;
use super::{Server, body, document_query};
use crate::error::HttpError;
use crate::read::{Caller, METADATA_HEADER};

/// JSON that is written already.
pub(super) fn json(text: String) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], Body::from(text)).into_response()
}

/// In whose name nodes are asked for the sender.
pub(super) fn caller(server: &Server, headers: &HeaderMap) -> Result<Caller, HttpError> {
    let kept = headers.get(METADATA_HEADER).cloned();
    Ok(Caller {
        authorization: server.parts().keys.pass_through(headers)?,
        headers: kept
            .into_iter()
            .map(|value| (METADATA_HEADER, value))
            .collect(),
    })
}

/// Checks the sender, then reads a JSON body.
pub(super) async fn json_body(
    server: &Server,
    request: Request,
) -> Result<(Caller, Bytes), HttpError> {
    let (head, content) = request.into_parts();
    let caller = caller(server, &head.headers)?;
    body::require_json(&head.headers)?;
    let content = body::read(&head.headers, content, server.parts().payload_limit).await?;
    Ok((caller, content))
}

/// `GET /indexes/{uid}/search`
pub async fn search_get(
    State(server): State<Server>,
    Path(uid): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&server, &headers)?;
    let params = Params::of(&uri)?;
    let query = SearchQuery::from_parameters(params.pairs())?;
    Box::pin(server.parts().reads.search(&uid, query, &caller))
        .await
        .map(json)
}

/// `POST /indexes/{uid}/search`
pub async fn search_post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let query = SearchQuery::from_json(&body)?;
    Box::pin(server.parts().reads.search(&uid, query, &caller))
        .await
        .map(json)
}

/// `GET /indexes/{uid}/documents/{id}`
pub async fn get_document(
    State(server): State<Server>,
    Path((uid, id)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = caller(&server, &headers)?;
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
    let caller = caller(&server, &headers)?;
    let query = document_query::from_uri(&uri)?;
    Box::pin(server.parts().reads.documents(&uid, &query, &caller))
        .await
        .map(json)
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
        .map(json)
}
