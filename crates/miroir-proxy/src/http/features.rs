//! Experimental features: kept in the registry, switched on the nodes by the leading coordinator.

use std::time::Duration;

use axum::extract::{Request, State};
use futures::future::join_all;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::{Collection, DYNAMIC_SEARCH_RULES, FEATURES, Registry};
use miroir_core::request::{parse_json, unknown_field, wrong_type};
use miroir_meili::NodeClient;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Server, registry};
use crate::error::HttpError;

/// Every feature of Meilisearch, in its order.
const NAMES: [&str; 15] = [
    "metrics",
    "logsRoute",
    "editDocumentsByFunction",
    "containsFilter",
    "dynamicSearchRules",
    "network",
    "getTaskDocumentsRoute",
    "taskQueueCompactionRoute",
    "compositeEmbedders",
    "chatCompletions",
    "multimodal",
    "foreignKeys",
    "disableDocumentsFetchQueue",
    "legacySearch",
    "renderRoute",
];

/// Features that cannot be switched on, and why.
const REFUSED: [(&str, &str); 2] = [
    (
        "network",
        "the network of Meilisearch is of nodes that know each other; here the cluster takes its place",
    ),
    (
        "chatCompletions",
        "a chat searches the one node that it runs on, not the cluster",
    ),
];

/// How long an answer waits for nodes to switch a feature.
const NODES_WITHIN: Duration = Duration::from_secs(3);
const NODES_PAUSE: Duration = Duration::from_millis(50);

/// All features, and which are on.
fn shown(registry: &Registry) -> Map<String, Value> {
    NAMES
        .iter()
        .map(|name| ((*name).to_owned(), Value::Bool(registry.feature(name))))
        .collect()
}

/// `GET /experimental-features`
pub async fn get(State(server): State<Server>) -> axum::Json<Value> {
    axum::Json(Value::Object(shown(&server.registry())))
}

/// `PATCH /experimental-features`
///
/// Answered when the nodes that answer have them too: a client uses a feature right after switching it on.
pub async fn patch(
    State(server): State<Server>,
    request: Request,
) -> Result<axum::Json<Value>, HttpError> {
    let body = server.json_body(request).await?;
    let patch = read(&body)?;
    let edit = |value: Option<&Value>| {
        let mut features = value
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        features.extend(patch.clone());
        Ok(Value::Object(features))
    };
    let place = (Collection::ExperimentalFeatures, FEATURES);
    if patch.get(DYNAMIC_SEARCH_RULES) == Some(&Value::Bool(true)) {
        Box::pin(require_on_nodes(&server, DYNAMIC_SEARCH_RULES)).await?;
    }
    if !patch.is_empty() {
        server
            .edit_object(place, edit, |refused| registry::of_refusal(&refused))
            .await?;
        Box::pin(wait_for_nodes(&server, &patch)).await;
    }
    Ok(get(State(server)).await)
}

/// Reads a patch; a feature that is `null` stays as it is.
fn read(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let members = match parse_json(body)? {
        Value::Object(members) => members,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => {
            return Err(wrong_type(Code::BadRequest, "", "an object", &other));
        }
    };
    let mut patch = Map::new();
    for (name, value) in members {
        if !NAMES.contains(&name.as_str()) {
            return Err(unknown_field("", &name, &NAMES));
        }
        match value {
            Value::Null => {}
            Value::Bool(_) => {
                patch.insert(name, value);
            }
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                let place = format!(".{name}");
                return Err(wrong_type(Code::BadRequest, &place, "a boolean", &value));
            }
        }
    }
    let is_on = |name: &str| patch.get(name) == Some(&Value::Bool(true));
    match REFUSED.iter().find(|(name, _)| is_on(name)) {
        Some((name, why)) => {
            let message = format!("`{name}` cannot be switched on in this Miroir cluster: {why}.");
            Err(ApiError::new(Code::FeatureNotEnabled, message))
        }
        None => Ok(patch),
    }
}

/// A feature that works only where every node has it: nodes that do not answer are not judged.
async fn require_on_nodes(server: &Server, name: &str) -> Result<(), ApiError> {
    let nodes = server.parts().control.nodes();
    let asked = nodes.iter().map(|(id, client)| async move {
        let held = client.with_timeout(NODES_WITHIN).features().await;
        let lacks = match held {
            Ok(held) => !held.contains_key(name),
            // A node whose version has no features at all.
            Err(error) => !error.retryable() && !error.outcome_unknown(),
        };
        lacks.then_some(id)
    });
    match join_all(asked).await.into_iter().flatten().next() {
        None => Ok(()),
        Some(node) => {
            let message = format!(
                "`{name}` cannot be switched on in this Miroir cluster: node {node} is of a version of Meilisearch without it."
            );
            Err(ApiError::new(Code::FeatureNotEnabled, message))
        }
    }
}

/// Waits until no node that answers differs from `patch` in a feature that it has.
async fn wait_for_nodes(server: &Server, patch: &Map<String, Value>) {
    let deadline = Instant::now() + NODES_WITHIN;
    let nodes = server.parts().control.nodes();
    let mut waiting: Vec<NodeClient> = nodes
        .iter()
        .map(|(_, client)| client.with_timeout(NODES_WITHIN))
        .collect();
    while !waiting.is_empty() && Instant::now() < deadline {
        let differ = join_all(waiting.iter().map(|node| differs(node, patch))).await;
        let mut differ = differ.into_iter();
        waiting.retain(|_| differ.next().unwrap_or(false));
        if !waiting.is_empty() {
            tokio::time::sleep(NODES_PAUSE).await;
        }
    }
}

async fn differs(node: &NodeClient, patch: &Map<String, Value>) -> bool {
    // One that does not answer, or has no features, is not waited for.
    let Ok(held) = node.features().await else {
        return false;
    };
    let differs = |(name, value): (&String, &Value)| held.get(name).is_some_and(|h| h != value);
    patch.iter().any(differs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::registry::Entry;
    use serde_json::json;

    #[test]
    fn every_feature_is_shown() {
        let entry = Entry {
            value: json!({ "metrics": true, "containsFilter": false }),
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        let place = (Collection::ExperimentalFeatures, FEATURES.to_owned());
        let features = shown(&Registry::of(1, true, [(place.0, place.1, entry)]));
        assert_eq!(
            features.keys().map(String::as_str).collect::<Vec<_>>(),
            NAMES
        );
        let on = features.iter().filter(|(_, on)| **on == json!(true));
        assert_eq!(
            on.map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["metrics"]
        );
    }

    #[test]
    fn patches_are_checked() {
        let read = |body: Value| read(body.to_string().as_bytes());
        let patch = read(json!({ "metrics": true, "network": false, "multimodal": null }));
        assert_eq!(
            patch.map(Value::Object),
            Ok(json!({ "metrics": true, "network": false }))
        );
        let table = [
            (
                json!({ "metrics": 1 }),
                Code::BadRequest,
                "Invalid value type at `.metrics`: expected a boolean, but found a positive integer: `1`",
            ),
            (
                json!({ "metricz": true }),
                Code::BadRequest,
                "Unknown field `metricz`: did you mean `metrics`? expected one of `metrics`, `logsRoute`, `editDocumentsByFunction`, `containsFilter`, `dynamicSearchRules`, `network`, `getTaskDocumentsRoute`, `taskQueueCompactionRoute`, `compositeEmbedders`, `chatCompletions`, `multimodal`, `foreignKeys`, `disableDocumentsFetchQueue`, `legacySearch`, `renderRoute`",
            ),
            (
                json!([]),
                Code::BadRequest,
                "Invalid value type: expected an object, but found an array: `[]`",
            ),
        ];
        for (body, code, message) in table {
            let error = read(body).expect_err("wrong");
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
        for (name, _) in REFUSED {
            let error = read(json!({ "metrics": true, name: true })).expect_err(name);
            assert_eq!(error.code, Code::FeatureNotEnabled);
            assert!(error.message.contains(name), "{error}");
        }
    }
}
