//! Dynamic search rules: kept in the registry, given to the nodes by the leading coordinator, which ends the task.

mod body;
mod find;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{NewTask, TaskKind};
use miroir_core::registry::{
    Collection, DYNAMIC_SEARCH_RULES, Entry, Registry, RegistryError, RulesChange,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::documents::read_metadata;
use super::path::Path;
use super::{Server, index_uid, registry, view};
use crate::error::HttpError;
use body::List;

type Answer = Result<(StatusCode, axum::Json<Value>), HttpError>;

/// A rule as clients see it.
fn shown(uid: &str, entry: &Entry) -> Value {
    let rule = &entry.value;
    let mut view = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            view.insert(name.to_owned(), value);
        }
    };
    let member = |name: &str| rule.get(name).cloned();
    put("uid", Some(json!(uid)));
    put("description", member("description"));
    put(
        "lastUpdatedAt",
        Some(json!(view::timestamp(entry.updated_at_ms))),
    );
    put("precedence", member("precedence"));
    put("active", Some(json!(is_active(entry))));
    put(
        "conditions",
        member("conditions").or_else(|| Some(json!({}))),
    );
    put("actions", member("actions").or_else(|| Some(json!([]))));
    Value::Object(view)
}

fn is_active(entry: &Entry) -> bool {
    entry.value["active"] != false
}

/// Rules exist only while the feature is on. `what` is Meilisearch's word for what was asked.
fn require_feature(registry: &Registry, what: &str) -> Result<(), ApiError> {
    if registry.feature(DYNAMIC_SEARCH_RULES) {
        return Ok(());
    }
    let message = format!(
        "{what} requires enabling the `dynamic search rules` experimental feature. See https://github.com/orgs/meilisearch/discussions/884"
    );
    Err(ApiError::new(Code::FeatureNotEnabled, message))
}

/// The uid in a path, which has the form of an index's.
fn rule_uid(uid: &str) -> Result<String, ApiError> {
    index_uid(uid).map(|uid| uid.as_str().to_owned())
}

/// `POST /dynamic-search-rules`
pub async fn list(
    State(server): State<Server>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let body = server.json_body(request).await?;
    let list = List::read(&body)?;
    let registry = server.registry();
    require_feature(&registry, "Calling the `POST /dynamic-search-rules` route")?;
    let mut rules: Vec<(String, Arc<Entry>)> = registry
        .iter(Collection::DynamicSearchRules)
        .map(|(uid, entry)| (uid.to_owned(), Arc::clone(entry)))
        .collect();
    // As Meilisearch does, the last that changed comes first.
    rules.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.version));
    if let Some(active) = list.active {
        rules.retain(|(_, entry)| is_active(entry) == active);
    }
    if let Some(words) = list.query.as_deref().filter(|text| !text.trim().is_empty()) {
        rules = find::matching(&server, words, rules).await?;
    }
    let total = rules.len();
    let page = rules.iter().skip(list.offset).take(list.limit);
    let results: Vec<Value> = page.map(|(uid, entry)| shown(uid, entry)).collect();
    Ok(axum::Json(json!({
        "results": results, "offset": list.offset, "limit": list.limit, "total": total,
    })))
}

/// `GET /dynamic-search-rules/{uid}`
pub async fn get(
    State(server): State<Server>,
    Path(uid): Path<String>,
) -> Result<axum::Json<Value>, HttpError> {
    let uid = rule_uid(&uid)?;
    let registry = server.registry();
    let what = "Calling the `GET /dynamic-search-rules/{:ruleUid}` route";
    require_feature(&registry, what)?;
    match registry.get(Collection::DynamicSearchRules, &uid) {
        Some(entry) => Ok(axum::Json(shown(&uid, entry))),
        None => {
            let message = format!("Dynamic search rule `{uid}` not found.");
            Err(ApiError::new(Code::DynamicSearchRuleNotFound, message).into())
        }
    }
}

/// `PATCH /dynamic-search-rules/{uid}`
pub async fn update(
    State(server): State<Server>,
    Path(uid): Path<String>,
    uri: Uri,
    request: Request,
) -> Answer {
    let uid = rule_uid(&uid)?;
    let metadata = read_metadata(&uri)?;
    let body = server.json_body(request).await?;
    let members = body::read_rule(&body)?;
    let details = json!({ "rule": members, "updatedRules": 1 });
    let change = RulesChange::Patch { uid, members };
    register(
        &server,
        change,
        task(TaskKind::DsrUpdate, details, metadata),
    )
    .await
}

/// `DELETE /dynamic-search-rules/{uid}`
pub async fn delete(State(server): State<Server>, Path(uid): Path<String>, uri: Uri) -> Answer {
    let uid = rule_uid(&uid)?;
    let task = task(
        TaskKind::DsrUpdate,
        json!({ "updatedRules": 1 }),
        read_metadata(&uri)?,
    );
    register(&server, RulesChange::Delete { uid }, task).await
}

/// `DELETE /dynamic-search-rules`
pub async fn clear(State(server): State<Server>, uri: Uri) -> Answer {
    let details = json!({ "deletedDocuments": null });
    let task = task(TaskKind::DsrClear, details, read_metadata(&uri)?);
    register(&server, RulesChange::Clear, task).await
}

fn task(kind: TaskKind, details: Value, custom_metadata: Option<String>) -> NewTask {
    NewTask {
        kind,
        details,
        custom_metadata,
        failure: None,
        idempotency: None,
    }
}

async fn register(server: &Server, change: RulesChange, task: NewTask) -> Answer {
    require_feature(
        &server.registry(),
        "Using the `/dynamic-search-rules` routes",
    )?;
    let catalog = &server.parts().catalog;
    let registered = catalog.change_rules(Uuid::now_v7(), &change, &task).await;
    let registered = registered.map_err(|error| match error.of_registry() {
        Some(RegistryError::Full { max }) => {
            let message = format!("There can be at most {max} dynamic search rules in this Miroir cluster. Delete some first.");
            ApiError::new(Code::BadRequest, message).into()
        }
        Some(refused) => registry::of_refusal(refused),
        None => HttpError::from(error),
    })?;
    let mut summary = view::summary_now(registered.task, None, task.kind);
    if let (Some(metadata), Value::Object(members)) = (&task.custom_metadata, &mut summary) {
        members.insert("customMetadata".to_owned(), json!(metadata));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(summary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_shown_with_their_defaults() {
        let entry = |value: Value| Entry {
            value,
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 1_700_000_000_123,
        };
        let bare = shown("r", &entry(json!({})));
        assert_eq!(
            bare.to_string(),
            r#"{"uid":"r","lastUpdatedAt":"2023-11-14T22:13:20.123Z","active":true,"conditions":{},"actions":[]}"#
        );
        let full = json!({
            "description": "d", "precedence": 3, "active": false,
            "conditions": { "query": { "isEmpty": true } }, "actions": [1],
        });
        let full = shown("r", &entry(full)).to_string();
        assert_eq!(
            full,
            r#"{"uid":"r","description":"d","lastUpdatedAt":"2023-11-14T22:13:20.123Z","precedence":3,"active":false,"conditions":{"query":{"isEmpty":true}},"actions":[1]}"#
        );
    }
}
