//! `POST /dumps`.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{App, actions};
use crate::error::ApiError;
use crate::queue::NewTask;
use crate::queue::task::Operation;

pub(super) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::DUMPS_CREATE, None)?;
    app.enqueue(NewTask::new(String::new(), Operation::Dump))
        .await
}
