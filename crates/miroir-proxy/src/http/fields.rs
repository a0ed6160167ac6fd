//! `POST /indexes/{uid}/fields`

use axum::extract::{Request, State};
use serde_json::Value;

use super::Server;
use super::path::Path;
use super::reads::json_body;
use crate::error::HttpError;
use crate::read::FieldsQuery;

/// `POST /indexes/{uid}/fields`
pub async fn post(
    State(server): State<Server>,
    Path(uid): Path<String>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let (caller, body) = json_body(&server, request).await?;
    let query = FieldsQuery::from_json(&body)?;
    Box::pin(server.parts().reads.fields(&uid, &query, &caller))
        .await
        .map(axum::Json)
}
