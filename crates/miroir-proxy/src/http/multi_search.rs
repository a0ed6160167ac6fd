//! `POST /multi-search`

use axum::extract::{Request, State};
use axum::response::Response;
use miroir_core::search::MultiSearch;

use super::Server;
use super::reads::{json, json_body};
use crate::error::HttpError;

/// `POST /multi-search`
pub async fn post(State(server): State<Server>, request: Request) -> Result<Response, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let request = MultiSearch::from_json(&body)?;
    Box::pin(server.parts().reads.multi_search(request, &caller))
        .await
        .map(json)
}
