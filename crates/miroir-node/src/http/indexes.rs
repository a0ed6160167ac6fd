//! Routes about indexes.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use deserr::{Deserr, ValuePointerRef};
use serde_json::{Value, json};

use super::actions;
use super::extract::{IndexUid, index_uid, parameters};
use super::{App, page};
use crate::engine::stats::index_view;
use crate::error::{ApiError, Code, marker};
use crate::queue::NewTask;
use crate::queue::heads::visible;
use crate::queue::task::Operation;
use crate::validate::{
    FromParam, InvalidJson, InvalidQuery, Param, missing_field, unknown_or_immutable,
};

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct ListParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidIndexOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(20), error = InvalidQuery<marker::InvalidIndexLimit>)]
    limit: Param<usize>,
}

pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let access = app.authorize(&headers, actions::INDEXES_GET, None)?;
    let ListParams {
        offset: Param(offset),
        limit: Param(limit),
    } = parameters(&uri)?;
    app.blocking(move |app| {
        let mut indexes = app.engine().all();
        indexes.retain(|(uid, _)| visible(access.indexes.as_deref(), uid));
        let total = indexes.len() as u64;
        let views = indexes
            .into_iter()
            .skip(offset)
            .take(limit)
            .map(|(uid, index)| Ok(json!(index_view(uid, &index)?)))
            .collect::<Result<_, ApiError>>()?;
        Ok(page(views, offset, limit, total))
    })
    .await
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
struct CreateIndex {
    #[deserr(error = InvalidJson<marker::InvalidIndexUid>, missing_field_error = missing_field::<marker::MissingIndexUid>)]
    uid: String,
    #[deserr(default, error = InvalidJson<marker::InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
}

pub(super) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let access = app.authorize(&headers, actions::INDEXES_CREATE, None)?;
    let CreateIndex { uid, primary_key } = app.validated(&headers, body).await?;
    let IndexUid(uid) = IndexUid::from_param(&uid).map_err(|problem| {
        ApiError::new(
            Code::InvalidIndexUid,
            format!("Invalid value at `.uid`: {}", problem.0),
        )
    })?;
    if !visible(access.indexes.as_deref(), &uid) {
        return Err(ApiError::new(
            Code::InvalidApiKey,
            "The provided API key is invalid.",
        ));
    }
    let operation = Operation::IndexCreation(primary_key);
    app.enqueue(NewTask::new(uid, operation)).await
}

pub(super) async fn get_one(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::INDEXES_GET, Some(&uid))?;
    let uid = index_uid(&uid)?;
    app.blocking(move |app| {
        let index = app.engine().index(&uid)?;
        Ok(Json(json!(index_view(uid, &index)?)))
    })
    .await
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields = immutable)]
struct UpdateIndex {
    #[deserr(default, error = InvalidJson<marker::InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
}

fn immutable(field: &str, accepted: &[&str], location: ValuePointerRef<'_>) -> InvalidJson {
    let fields = [
        ("uid", Code::ImmutableIndexUid),
        ("createdAt", Code::ImmutableIndexCreatedAt),
        ("updatedAt", Code::ImmutableIndexUpdatedAt),
    ];
    unknown_or_immutable(field, accepted, location, &fields)
}

pub(super) async fn update(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::INDEXES_UPDATE, Some(&uid))?;
    let index_uid = index_uid(&uid)?;
    let UpdateIndex { primary_key } = app.validated(&headers, body).await?;
    let operation = Operation::IndexUpdate(primary_key);
    app.enqueue(NewTask::new(index_uid, operation)).await
}

pub(super) async fn delete(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.authorize(&headers, actions::INDEXES_DELETE, Some(&uid))?;
    let index_uid = index_uid(&uid)?;
    let operation = Operation::IndexDeletion;
    app.enqueue(NewTask::new(index_uid, operation)).await
}
