//! Routes that read documents.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use deserr::Deserr;
use milli_core::documents::validate_document_id_value;
use serde_json::Value;

use super::actions;
use super::extract::{index_uid, parameters};
use super::{App, page};
use crate::engine::documents::{self, Browse};
use crate::error::{ApiError, Code, marker};
use crate::validate::{CommaList, InvalidJson, InvalidQuery, Param, StarList};

/// Documents on a page when the client does not say.
const DEFAULT_LIMIT: usize = 20;

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct BrowseParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = InvalidQuery<marker::InvalidDocumentLimit>)]
    limit: Param<usize>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentFields>)]
    fields: StarList<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentIds>)]
    ids: Option<CommaList<String>>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentFilter>)]
    filter: Option<String>,
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidJson, rename_all = camelCase, deny_unknown_fields)]
struct BrowseBody {
    #[deserr(default, error = InvalidJson<marker::InvalidDocumentOffset>)]
    offset: usize,
    #[deserr(default = DEFAULT_LIMIT, error = InvalidJson<marker::InvalidDocumentLimit>)]
    limit: usize,
    #[deserr(default, error = InvalidJson<marker::InvalidDocumentFields>)]
    fields: Option<Vec<String>>,
    #[deserr(default, error = InvalidJson<marker::InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: bool,
    #[deserr(default, error = InvalidJson<marker::InvalidDocumentIds>)]
    ids: Option<Vec<Value>>,
    #[deserr(default, error = InvalidJson<marker::InvalidDocumentFilter>)]
    filter: Option<Value>,
}

impl TryFrom<BrowseParams> for Browse {
    type Error = ApiError;

    fn try_from(params: BrowseParams) -> Result<Self, ApiError> {
        // A filter that is JSON is an array of expressions; anything else is one expression.
        let filter = params
            .filter
            .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        let ids = params
            .ids
            .map(|ids| parse_ids(ids.0.into_iter().map(Value::String)))
            .transpose()?;
        Ok(Self {
            offset: params.offset.0,
            limit: params.limit.0,
            fields: params.fields.0,
            retrieve_vectors: params.retrieve_vectors.0,
            ids,
            filter,
        })
    }
}

impl TryFrom<BrowseBody> for Browse {
    type Error = ApiError;

    fn try_from(body: BrowseBody) -> Result<Self, ApiError> {
        let ids = body.ids.map(parse_ids).transpose()?;
        Ok(Self {
            offset: body.offset,
            limit: body.limit,
            fields: body.fields,
            retrieve_vectors: body.retrieve_vectors,
            ids,
            filter: body.filter,
        })
    }
}

/// Ids in a list of ids: integers, or strings of allowed characters.
fn parse_ids(ids: impl IntoIterator<Item = Value>) -> Result<Vec<String>, ApiError> {
    let parse = |(at, id)| {
        validate_document_id_value(id).map_err(|error| {
            let message = format!("In `.ids[{at}]`: {error}");
            ApiError::new(Code::InvalidDocumentIds, message)
        })
    };
    ids.into_iter().enumerate().map(parse).collect()
}

pub(super) async fn browse(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_GET, Some(&uid))?;
    let params: BrowseParams = parameters(&uri)?;
    run(&app, uid, params.try_into()?).await
}

pub(super) async fn fetch(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_GET, Some(&uid))?;
    let body: BrowseBody = app.validated(&headers, body).await?;
    run(&app, uid, body.try_into()?).await
}

async fn run(app: &App, uid: String, browse: Browse) -> Result<Json<Value>, ApiError> {
    let uid = index_uid(&uid)?;
    app.reading(move |app| {
        let index = app.engine().index(&uid)?;
        let (total, documents) = documents::browse(&index, &browse)?;
        let documents = documents.into_iter().map(Value::Object).collect();
        Ok(page(documents, browse.offset, browse.limit, total))
    })
    .await
}

#[derive(Debug, Deserr)]
#[deserr(error = InvalidQuery, rename_all = camelCase, deny_unknown_fields)]
struct GetParams {
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentFields>)]
    fields: StarList<String>,
    #[deserr(default, error = InvalidQuery<marker::InvalidDocumentRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
}

pub(super) async fn get_one(
    State(app): State<App>,
    Path((uid, document_id)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::DOCUMENTS_GET, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let GetParams {
        fields,
        retrieve_vectors,
    } = parameters(&uri)?;
    app.reading(move |app| {
        let index = app.engine().index(&uid)?;
        let document = documents::get(
            &index,
            &document_id,
            fields.0.as_deref(),
            retrieve_vectors.0,
        )?;
        Ok(Json(Value::Object(document)))
    })
    .await
}
