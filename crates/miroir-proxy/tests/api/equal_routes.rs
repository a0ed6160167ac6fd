//! Merged searches and facet values of several real nodes are those of one.

use serde_json::{Value, json};

use crate::equal::Node;
use crate::support::{INDEX, Proxy};

/// Whole requests with one right answer: sorts without ties, and scores that do not depend on the
/// node.
fn multi_searches() -> Vec<Value> {
    let query = |query: Value| {
        let mut query = query;
        query["indexUid"] = json!(INDEX);
        query["sort"] = json!(["id:asc"]);
        query["attributesToRetrieve"] = json!(["id", "section"]);
        query
    };
    let sections = || {
        vec![
            query(json!({"filter": "section = games OR section = perl"})),
            query(json!({"filter": "section = perl OR priority = required"})),
            query(
                json!({"filter": "installed_size > 20000", "federationOptions": {"weight": 2.0}}),
            ),
        ]
    };
    let facets = json!({INDEX: ["section", "priority"]});
    vec![
        json!({"federation": {}, "queries": sections()}),
        json!({"federation": {"offset": 7, "limit": 30, "facetsByIndex": facets}, "queries": sections()}),
        json!({"federation": {"page": 3, "hitsPerPage": 9, "facetsByIndex": facets}, "queries": sections()}),
        json!({"federation": {"limit": 0}, "queries": [query(json!({}))]}),
        json!({"queries": [
            query(json!({"limit": 3, "facets": ["tags"]})),
            query(json!({"page": 2, "hitsPerPage": 4, "filter": "section = games"})),
        ]}),
    ]
}

fn facet_searches() -> Vec<Value> {
    vec![
        json!({"facetName": "section"}),
        json!({"facetName": "section", "facetQuery": "ga"}),
        json!({"facetName": "section", "facetQuery": "libdevle"}),
        json!({"facetName": "tags", "facetQuery": "r"}),
        json!({"facetName": "priority", "q": "game", "filter": "installed_size > 1000"}),
        json!({"facetName": "section", "filter": "section = nothing"}),
    ]
}

/// What cannot be equal, wherever it is.
fn without_noise(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("processingTimeMs");
            members.remove("requestUid");
            members.values_mut().for_each(without_noise);
        }
        Value::Array(items) => items.iter_mut().for_each(without_noise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Compares the answers of `proxy` with those of one node that has everything.
pub async fn check(proxy: &Proxy, reference: &Node, what: &str) {
    let facets = format!("/indexes/{INDEX}/facet-search");
    let searches = multi_searches()
        .into_iter()
        .map(|body| ("/multi-search", body));
    let values = facet_searches()
        .into_iter()
        .map(|body| (facets.as_str(), body));
    for (path, body) in searches.chain(values) {
        let mut expected = reference.ask(path, &body).await;
        without_noise(&mut expected);
        let (status, mut answer) = proxy.post(path, body.clone()).await;
        assert_eq!(status, 200, "{what}: {body}: {answer}");
        without_noise(&mut answer);
        assert_eq!(answer, expected, "{what}: {body}");
    }
}
