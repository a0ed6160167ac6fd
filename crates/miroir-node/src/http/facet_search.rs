//! The route that searches the values of a facet.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::App;
use super::actions;
use super::extract::index_uid;
use crate::engine::facet_search::{self, FacetQuery};
use crate::error::{ApiError, Code};
use crate::validate;

/// The members of a search that choose the documents whose values count; others are ignored.
const OF_A_SEARCH: [&str; 2] = ["q", "filter"];

pub(super) async fn post(
    State(app): State<App>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    app.authorize(&headers, actions::SEARCH, Some(&uid))?;
    let uid = index_uid(&uid)?;
    let body = app.json(&headers, body).await?;
    let missing = || {
        let message = "Missing field `facetName`";
        ApiError::new(Code::MissingFacetSearchFacetName, message)
    };
    let name = body["facetName"].as_str().ok_or_else(missing)?;
    let members = body.as_object().into_iter().flatten();
    let kept: Map<String, Value> = members
        .filter(|(name, _)| OF_A_SEARCH.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let query = FacetQuery {
        name: name.to_owned(),
        text: body["facetQuery"].as_str().map(str::to_owned),
        documents: validate::json(Value::Object(kept))?,
    };
    app.reading(move |app| {
        let index = app.engine().index(&uid)?;
        facet_search::run(&uid, &index, &query).map(Json)
    })
    .await
}
