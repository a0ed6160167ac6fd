//! Settings as nodes get them, and as clients see them.

use serde_json::{Map, Value, json};

use super::{FIELDS, template};
use crate::hidden_field::{NAME, strip_value};

const DEFAULT_MAX_VALUES: u64 = 100;

/// Sources that embed a text made from a template.
const TEMPLATE_SOURCES: [&str; 4] = ["openAi", "huggingFace", "ollama", "rest"];

/// The rule that lets nodes filter by the hidden field, and nothing else.
fn hidden_rule() -> Value {
    json!({
        "attributePatterns": [NAME],
        "features": {"facetSearch": false, "filter": {"equality": true, "comparison": true}},
    })
}

/// A body for `PATCH settings` that brings a node to the desired settings from any others:
/// every setting is there, null where the client has set nothing. Resetting all settings is
/// this with an empty object, never a DELETE, which would take the hidden rule away.
#[must_use]
pub fn to_node(desired: &Value) -> Value {
    FIELDS
        .iter()
        .map(|name| ((*name).to_owned(), setting_for_node(name, desired)))
        .collect()
}

/// A body for `PATCH settings` that brings a node from the settings before a client's `patch`
/// to `desired`, which is those merged with the patch. Smaller than [`to_node`], and it
/// names the embedders that the patch removes.
#[must_use]
pub fn patch_for_node(desired: &Value, patch: &Value) -> Value {
    let mut body = Map::new();
    body.insert(
        "filterableAttributes".to_owned(),
        filterable_for_node(desired),
    );
    for (name, value) in patch.as_object().into_iter().flatten() {
        let value = match (name.as_str(), value) {
            ("faceting", _) => faceting_for_node(desired),
            ("embedders", Value::Object(patched)) => embedders_patch(desired, patched),
            ("filterableAttributes", _) => continue,
            // Settings that are not offered can only be put back to the default that they have.
            (name, _) if !FIELDS.contains(&name) => continue,
            (_, value) => value.clone(),
        };
        body.insert(name.clone(), value);
    }
    Value::Object(body)
}

/// A node's `GET settings` as the client sees it.
#[must_use]
pub fn from_node(node: &Value, desired: &Value) -> Value {
    let mut settings = node.clone();
    if let Some(rules) = settings
        .get_mut("filterableAttributes")
        .and_then(Value::as_array_mut)
    {
        rules.retain(|rule| !is_hidden_rule(rule));
    }
    if let Some(max) = settings.pointer_mut("/faceting/maxValuesPerFacet") {
        *max = Value::from(max_values(desired));
    }
    if let Some(embedders) = settings.get_mut("embedders") {
        map_templates(embedders, &|text| template::from_node(text).into_owned());
    }
    strip_value(&mut settings);
    settings
}

/// Settings as [`from_node`] tells them, with the foreign keys of the desired ones, which nodes do not have; without any
/// where the feature is off.
#[must_use]
pub fn with_foreign_keys(settings: Value, desired: &Value, feature: bool) -> Value {
    let Value::Object(members) = settings else {
        return settings;
    };
    let mut shown = Map::new();
    for (name, value) in members {
        if name == "foreignKeys" {
            continue;
        }
        // After which Meilisearch shows them.
        let is_before = name == "sortableAttributes";
        shown.insert(name, value);
        if is_before && feature {
            shown.insert("foreignKeys".to_owned(), foreign_keys(desired));
        }
    }
    Value::Object(shown)
}

/// The foreign keys of the desired settings as clients see them.
#[must_use]
pub fn foreign_keys(desired: &Value) -> Value {
    desired.get("foreignKeys").cloned().unwrap_or(json!([]))
}

/// The `maxValuesPerFacet` of nodes for a client's value: ten times as many, at least 3000.
///
/// A value among the first of the merged list need not be among a node's first. Counts add
/// up, so by count the merge is exact only for facets that no node cuts. And a node lists
/// numbers by their text for up to 3000 matching documents, by their value beyond: the former
/// lists must be whole where all nodes together match more, and with 3000 values they are.
#[must_use]
pub fn node_max_values(client: u64) -> u64 {
    client.saturating_mul(10).max(3000)
}

pub(super) fn setting_for_node(name: &str, desired: &Value) -> Value {
    match name {
        "filterableAttributes" => filterable_for_node(desired),
        "faceting" => faceting_for_node(desired),
        "embedders" => match desired.get("embedders").and_then(Value::as_object) {
            Some(embedders) => embedders
                .iter()
                .map(|(name, embedder)| (name.clone(), embedder_for_node(embedder.clone())))
                .collect(),
            None => Value::Null,
        },
        _ => desired.get(name).cloned().unwrap_or(Value::Null),
    }
}

fn filterable_for_node(desired: &Value) -> Value {
    let client = desired
        .get("filterableAttributes")
        .and_then(Value::as_array);
    std::iter::once(hidden_rule())
        .chain(client.into_iter().flatten().cloned())
        .collect()
}

pub(super) fn is_hidden_rule(rule: &Value) -> bool {
    rule.get("attributePatterns")
        .is_some_and(|patterns| *patterns == json!([NAME]))
}

fn max_values(desired: &Value) -> u64 {
    let client = desired
        .pointer("/faceting/maxValuesPerFacet")
        .and_then(Value::as_u64);
    client.unwrap_or(DEFAULT_MAX_VALUES)
}

fn faceting_for_node(desired: &Value) -> Value {
    let orders = desired
        .pointer("/faceting/sortFacetValuesBy")
        .cloned()
        .unwrap_or(Value::Null);
    let max = node_max_values(max_values(desired));
    json!({"maxValuesPerFacet": max, "sortFacetValuesBy": orders})
}

/// The patched embedders, with templates that skip the hidden field.
fn embedders_patch(desired: &Value, patched: &Map<String, Value>) -> Value {
    let result = |name: &str| desired.get("embedders").and_then(|all| all.get(name));
    patched
        .iter()
        .map(|(name, patch)| {
            let rewritten = match (patch, result(name)) {
                (Value::Object(fields), Some(result)) => {
                    let rewritten = embedder_for_node(result.clone());
                    let mut fields = fields.clone();
                    for field in ["documentTemplate", "indexingEmbedder"] {
                        if let Some(value) = rewritten.get(field) {
                            fields.insert(field.to_owned(), value.clone());
                        }
                    }
                    Value::Object(fields)
                }
                _ => patch.clone(),
            };
            (name.clone(), rewritten)
        })
        .collect()
}

/// An embedder with a template that skips the hidden field, where its source uses one.
fn embedder_for_node(mut embedder: Value) -> Value {
    if let Some(inner) = embedder.get_mut("indexingEmbedder") {
        *inner = embedder_for_node(inner.take());
    }
    let given = embedder.get("documentTemplate").and_then(Value::as_str);
    // Meilisearch's default source is openAi. Fragments take the place of a template.
    let source = embedder
        .get("source")
        .and_then(Value::as_str)
        .unwrap_or("openAi");
    let uses_template =
        TEMPLATE_SOURCES.contains(&source) && embedder.get("indexingFragments").is_none();
    if given.is_some() || uses_template {
        let template = template::to_node(given);
        if let Some(fields) = embedder.as_object_mut() {
            fields.insert("documentTemplate".to_owned(), Value::from(template));
        }
    }
    embedder
}

/// Rewrites every document template inside `value`.
fn map_templates(value: &mut Value, rewrite: &impl Fn(&str) -> String) {
    let Value::Object(members) = value else {
        return;
    };
    for (name, member) in members {
        if let (Value::String(text), "documentTemplate") = (&mut *member, name.as_str()) {
            *text = rewrite(text);
        } else {
            map_templates(member, rewrite);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::merge;

    #[test]
    fn foreign_keys_are_the_clusters_and_shown_with_their_feature() {
        let keys = json!([{ "foreignIndexUid": "authors", "fieldName": "author" }]);
        let desired = json!({ "foreignKeys": keys });
        let node = json!({ "sortableAttributes": [], "foreignKeys": [], "rankingRules": [] });
        let shown = |on| with_foreign_keys(node.clone(), &desired, on).to_string();
        assert_eq!(
            shown(false),
            r#"{"sortableAttributes":[],"rankingRules":[]}"#
        );
        assert_eq!(
            shown(true),
            format!(r#"{{"sortableAttributes":[],"foreignKeys":{keys},"rankingRules":[]}}"#)
        );
        assert_eq!(foreign_keys(&json!({})), json!([]));
        assert_eq!(to_node(&desired).get("foreignKeys"), None);
        assert_eq!(patch_for_node(&desired, &desired).get("foreignKeys"), None);
    }

    #[test]
    fn a_node_gets_every_setting_and_the_rule_first() {
        let body = to_node(&json!({"filterableAttributes": ["*"], "stopWords": ["a"]}));
        assert_eq!(body["filterableAttributes"], json!([hidden_rule(), "*"]));
        assert_eq!(body["stopWords"], json!(["a"]));
        assert_eq!(body["synonyms"], Value::Null);
        assert_eq!(body["embedders"], Value::Null);
        assert_eq!(body.as_object().map(Map::len), Some(FIELDS.len()));
        assert_eq!(
            to_node(&json!({}))["filterableAttributes"],
            json!([hidden_rule()])
        );
    }

    #[test]
    fn a_patch_is_rewritten_where_it_must_be() {
        let before = json!({"filterableAttributes": ["a"], "faceting": {"maxValuesPerFacet": 7}});
        let table = [
            (
                json!({"stopWords": ["x"]}),
                json!({"filterableAttributes": [hidden_rule(), "a"], "stopWords": ["x"]}),
            ),
            (
                json!({"filterableAttributes": null}),
                json!({"filterableAttributes": [hidden_rule()]}),
            ),
            (
                json!({"filterableAttributes": ["b"]}),
                json!({"filterableAttributes": [hidden_rule(), "b"]}),
            ),
            (
                json!({"faceting": {"sortFacetValuesBy": {"g": "count"}}}),
                json!({"filterableAttributes": [hidden_rule(), "a"], "faceting": {"maxValuesPerFacet": 3000, "sortFacetValuesBy": {"g": "count"}}}),
            ),
            (
                json!({"faceting": null}),
                json!({"filterableAttributes": [hidden_rule(), "a"], "faceting": {"maxValuesPerFacet": 3000, "sortFacetValuesBy": null}}),
            ),
            (
                json!({"embedders": {"gone": null, "u": {"source": "userProvided", "dimensions": 2}}}),
                json!({"filterableAttributes": [hidden_rule(), "a"], "embedders": {"gone": null, "u": {"source": "userProvided", "dimensions": 2}}}),
            ),
            (
                json!({"embedders": null}),
                json!({"filterableAttributes": [hidden_rule(), "a"], "embedders": null}),
            ),
        ];
        for (patch, expected) in table {
            let desired = merge(&before, &patch).expect("valid");
            assert_eq!(patch_for_node(&desired, &patch), expected, "{patch}");
        }
    }

    #[test]
    fn templates_skip_the_hidden_field_and_come_back() {
        let desired = json!({"embedders": {
            "default": {"source": "openAi"},
            "own": {"source": "rest", "documentTemplate": "{{doc.title}}"},
            "loop": {"source": "ollama", "documentTemplate": "{% for f in fields %}{{f.value}}{% endfor %}"},
            "fragments": {"source": "rest", "indexingFragments": {"a": {"value": "x"}}},
            "user": {"source": "userProvided", "dimensions": 2},
            "both": {"source": "composite", "indexingEmbedder": {"source": "huggingFace"}, "searchEmbedder": {"source": "huggingFace"}},
        }});
        let node = to_node(&desired);
        let skips = |path: &str| {
            node.pointer(path)
                .and_then(Value::as_str)
                .is_some_and(|t| t.contains(NAME))
        };
        assert!(skips("/embedders/default/documentTemplate"));
        assert!(skips("/embedders/loop/documentTemplate"));
        assert!(skips("/embedders/both/indexingEmbedder/documentTemplate"));
        assert_eq!(
            node.pointer("/embedders/own/documentTemplate"),
            Some(&json!("{{doc.title}}"))
        );
        for path in [
            "/embedders/fragments/documentTemplate",
            "/embedders/user/documentTemplate",
            "/embedders/both/searchEmbedder/documentTemplate",
        ] {
            assert_eq!(node.pointer(path), None, "{path}");
        }
        let seen = from_node(&node, &desired);
        assert!(!seen.to_string().contains(NAME));
        assert_eq!(
            seen.pointer("/embedders/loop"),
            desired.pointer("/embedders/loop")
        );

        let patch = json!({"embedders": {"default": {"model": "m"}}});
        let desired = merge(&desired, &patch).expect("valid");
        let body = patch_for_node(&desired, &patch);
        assert_eq!(body.pointer("/embedders/default/model"), Some(&json!("m")));
        assert_eq!(body.pointer("/embedders/default/source"), None);
        assert!(
            body.pointer("/embedders/default/documentTemplate")
                .is_some()
        );
    }

    #[test]
    fn what_nodes_have_more_does_not_show() {
        let node = json!({
            "filterableAttributes": [hidden_rule()],
            "faceting": {"maxValuesPerFacet": 3000, "sortFacetValuesBy": {"*": "count"}},
            "embedders": {},
        });
        assert_eq!(
            from_node(
                &node,
                &json!({"faceting": {"sortFacetValuesBy": {"*": "count"}}})
            ),
            json!({"filterableAttributes": [], "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "count"}}, "embedders": {}})
        );
        let node =
            json!({"filterableAttributes": [hidden_rule(), "a", {"attributePatterns": ["b"]}]});
        assert_eq!(
            from_node(&node, &json!({})),
            json!({"filterableAttributes": ["a", {"attributePatterns": ["b"]}]})
        );
    }

    #[test]
    fn nodes_list_more_values() {
        for (client, node) in [(100, 3000), (5, 3000), (500, 5000), (u64::MAX, u64::MAX)] {
            assert_eq!(node_max_values(client), node);
        }
    }
}
