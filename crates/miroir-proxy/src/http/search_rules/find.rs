//! Finding rules by words: nodes have them all, and an engine that searches.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use miroir_core::registry::{Collection, Entry};
use serde_json::{Value, json};

use super::super::Server;
use crate::error::HttpError;

/// Those of `rules` that a search for words in descriptions and conditions finds, the best first.
///
/// # Errors
/// When no node answers.
pub(super) async fn matching(
    server: &Server,
    words: &str,
    rules: Vec<(String, Arc<Entry>)>,
) -> Result<Vec<(String, Arc<Entry>)>, HttpError> {
    let nodes = server.parts().control.nodes();
    for (_, node) in nodes.iter() {
        let body =
            json!({ "limit": Collection::DynamicSearchRules.max(), "filter": { "query": words } });
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let path = "/dynamic-search-rules";
        let asked = node.raw(Method::POST, path, headers, body.to_string().into());
        let Ok(answer) = asked.await else {
            continue;
        };
        if answer.status.is_success()
            && let Some(found) = uids(&answer.body)
        {
            let rule = |uid: &String| rules.iter().find(|(known, _)| known == uid).cloned();
            return Ok(found.iter().filter_map(rule).collect());
        }
    }
    let message = "No node answers that knows the rules.";
    Err(HttpError::unavailable("unavailable_shards", message))
}

fn uids(answer: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let uid = |rule: &Value| rule["uid"].as_str().map(str::to_owned);
    Some(
        answer["results"]
            .as_array()?
            .iter()
            .filter_map(uid)
            .collect(),
    )
}
