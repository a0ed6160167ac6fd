//! `POST /render-template`

use axum::extract::{Request, State};
use serde_json::Value;

use super::Server;
use super::reads::json_body;
use crate::error::HttpError;
use crate::read::RenderQuery;

/// `POST /render-template`
pub async fn post(
    State(server): State<Server>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let query = RenderQuery::from_json(&body)?;
    Box::pin(server.parts().reads.render(&query, &caller))
        .await
        .map(axum::Json)
}
