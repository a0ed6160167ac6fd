//! Several searches in one request.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

use super::App;
use super::actions;
use crate::engine::federated::{self, Federation, Query};
use crate::engine::search;
use crate::error::{ApiError, Code};
use crate::validate;

/// `POST /multi-search`
pub(super) async fn post(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let body = app.json(&headers, body).await?;
    let given = body["queries"].as_array().cloned().unwrap_or_default();
    let mut queries = Vec::new();
    for (position, query) in given.into_iter().enumerate() {
        let query = read_query(query).map_err(|error| inside(position, error))?;
        app.authorize(&headers, actions::SEARCH, Some(&query.uid))
            .map_err(|error| inside(position, error))?;
        queries.push(query);
    }
    let federation = body["federation"].as_object().map(read_federation);
    app.reading(move |app| match federation {
        Some(federation) => federated::run(app.engine(), &queries, &federation)
            .map(Json)
            .map_err(|(position, error)| inside(position, error)),
        None => each(app, &queries),
    })
    .await
}

fn each(app: &App, queries: &[Query]) -> Result<Json<Value>, ApiError> {
    let mut results = Vec::new();
    for (position, query) in queries.iter().enumerate() {
        let index = app.engine().index(&query.uid);
        let result =
            index.and_then(|index| search::run(app.engine(), &query.uid, &index, &query.search));
        let mut result = result.map_err(|error| inside(position, error))?;
        result["indexUid"] = json!(query.uid);
        results.push(result);
    }
    Ok(Json(json!({ "results": results })))
}

fn inside(position: usize, error: ApiError) -> ApiError {
    let message = format!("Inside `.queries[{position}]`: {}", error.message);
    ApiError { message, ..error }
}

fn read_query(query: Value) -> Result<Query, ApiError> {
    let Value::Object(mut members) = query else {
        return Err(ApiError::new(Code::BadRequest, "A query is an object."));
    };
    let uid = match members.remove("indexUid") {
        Some(Value::String(uid)) => uid,
        Some(_) | None => {
            let message = "Missing field `indexUid`";
            return Err(ApiError::new(Code::MissingIndexUid, message));
        }
    };
    let options = members.remove("federationOptions").unwrap_or_default();
    Ok(Query {
        uid,
        search: validate::json(Value::Object(members))?,
        weight: options["weight"].as_f64().unwrap_or(1.0),
    })
}

fn read_federation(members: &Map<String, Value>) -> Federation {
    let count = |name: &str| {
        let count = members.get(name).and_then(Value::as_u64);
        count.and_then(|count| usize::try_from(count).ok())
    };
    let facets = members.get("facetsByIndex").and_then(Value::as_object);
    let names = |names: &Value| {
        let names = names.as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Federation {
        offset: count("offset").unwrap_or(0),
        limit: count("limit"),
        page: count("page"),
        hits_per_page: count("hitsPerPage"),
        facets_by_index: facets
            .into_iter()
            .flatten()
            .filter(|(_, wanted)| wanted.is_array())
            .map(|(uid, wanted)| (uid.clone(), names(wanted)))
            .collect(),
        distinct: members
            .get("distinct")
            .and_then(Value::as_str)
            .map(str::to_owned),
    }
}
