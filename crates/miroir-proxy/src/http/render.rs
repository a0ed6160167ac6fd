//! `POST /render-template`

use axum::extract::{Request, State};
use miroir_core::registry::Action;
use serde_json::Value;

use super::Server;
use super::auth::Allowed;
use super::reads::json_body;
use crate::error::HttpError;
use crate::read::RenderQuery;

/// `POST /render-template`
pub async fn post(
    State(server): State<Server>,
    allowed: Allowed,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    // It shows settings and documents: the table of routes asks for the one, this for the other.
    let documents = server.authorize(request.headers(), Action::DocumentsGet, None)?;
    let (caller, body) = json_body(&server, request).await?;
    let query = RenderQuery::from_json(&body)?;
    for index in query.indexes() {
        allowed.require_index(index)?;
        documents.require_index(index)?;
    }
    Box::pin(server.parts().reads.render(&query, &caller))
        .await
        .map(axum::Json)
}
