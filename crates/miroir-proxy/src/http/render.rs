//! `POST /render-template`

use axum::extract::{Request, State};
use miroir_core::registry::Action;
use serde_json::Value;

use super::reads::json_body;
use super::{Allowed, Server};
use crate::error::HttpError;
use crate::read::RenderQuery;

/// `POST /render-template`
pub async fn post(
    State(server): State<Server>,
    allowed: Allowed,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    // A document may be shown as well as a setting.
    server.authorize(request.headers(), Action::DocumentsGet, None)?;
    let (caller, body) = json_body(&server, request).await?;
    let query = RenderQuery::from_json(&body)?;
    for uid in query.indexes() {
        allowed.require_index(uid)?;
    }
    Box::pin(server.parts().reads.render(&query, &caller))
        .await
        .map(axum::Json)
}
