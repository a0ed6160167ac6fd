//! A client's patch applied to what the catalogue holds.

use serde_json::{Map, Value};

use super::validate;
use crate::api_error::ApiError;

/// The desired settings after `patch`: what it sets replaces, what it sets to null goes back
/// to the default, what it leaves out stays. Settings that are objects with fields of their
/// own merge field by field, as in Meilisearch. The reset of all settings is an empty object.
///
/// # Errors
/// As [`validate`].
pub fn merge(desired: &Value, patch: &Value) -> Result<Value, ApiError> {
    validate(patch)?;
    let mut merged = desired.as_object().cloned().unwrap_or_default();
    for (name, value) in patch.as_object().into_iter().flatten() {
        match name.as_str() {
            "typoTolerance" => merge_fields(&mut merged, name, value, &["minWordSizeForTypos"]),
            "faceting" | "pagination" => merge_fields(&mut merged, name, value, &[]),
            "embedders" => merge_embedders(&mut merged, value),
            _ => set(&mut merged, name, value),
        }
    }
    Ok(Value::Object(merged))
}

fn set(members: &mut Map<String, Value>, name: &str, value: &Value) {
    if value.is_null() {
        members.shift_remove(name);
    } else {
        members.insert(name.to_owned(), value.clone());
    }
}

/// Merges the object `value` into the member `name`; the fields in `nested` merge likewise.
fn merge_fields(members: &mut Map<String, Value>, name: &str, value: &Value, nested: &[&str]) {
    let Value::Object(patch) = value else {
        return set(members, name, value);
    };
    let mut fields = members
        .get(name)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (field, value) in patch {
        if nested.contains(&field.as_str()) {
            merge_fields(&mut fields, field, value, &[]);
        } else {
            set(&mut fields, field, value);
        }
    }
    // An object without fields says nothing, and the default is said by leaving it out.
    let fields = if fields.is_empty() {
        Value::Null
    } else {
        Value::Object(fields)
    };
    set(members, name, &fields);
}

/// Embedders merge by name and field. Another source starts afresh, because most fields
/// belong to one source.
fn merge_embedders(members: &mut Map<String, Value>, value: &Value) {
    let Value::Object(patch) = value else {
        return set(members, "embedders", value);
    };
    let mut embedders = members
        .get("embedders")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, embedder) in patch {
        let source = |embedder: &Value| embedder.get("source").cloned();
        let other_source = match (embedders.get(name).and_then(source), source(embedder)) {
            (Some(before), Some(after)) => before != after,
            _ => false,
        };
        if other_source {
            embedders.shift_remove(name);
        }
        merge_fields(&mut embedders, name, embedder, &[]);
        // Unlike other objects, an embedder without fields exists.
        if embedder.is_object() && !embedders.contains_key(name) {
            embedders.insert(name.clone(), Value::Object(Map::new()));
        }
    }
    let embedders = if embedders.is_empty() {
        Value::Null
    } else {
        Value::Object(embedders)
    };
    set(members, "embedders", &embedders);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_replace_reset_and_merge() {
        let table = [
            (
                json!({}),
                json!({"stopWords": ["a"]}),
                json!({"stopWords": ["a"]}),
            ),
            (
                json!({"stopWords": ["a"]}),
                json!({"stopWords": ["b"]}),
                json!({"stopWords": ["b"]}),
            ),
            (
                json!({"stopWords": ["a"], "dictionary": ["x"]}),
                json!({"stopWords": null}),
                json!({"dictionary": ["x"]}),
            ),
            (
                json!({"synonyms": {"a": ["b"]}}),
                json!({"synonyms": {"c": ["d"]}}),
                json!({"synonyms": {"c": ["d"]}}),
            ),
            (
                json!({"faceting": {"maxValuesPerFacet": 5, "sortFacetValuesBy": {"a": "count"}}}),
                json!({"faceting": {"maxValuesPerFacet": null, "sortFacetValuesBy": {"b": "count"}}}),
                json!({"faceting": {"sortFacetValuesBy": {"b": "count"}}}),
            ),
            (
                json!({"pagination": {"maxTotalHits": 5}}),
                json!({"pagination": {"maxTotalHits": null}}),
                json!({}),
            ),
            (
                json!({"pagination": {"maxTotalHits": 5}}),
                json!({"pagination": {}}),
                json!({"pagination": {"maxTotalHits": 5}}),
            ),
            (
                json!({"typoTolerance": {"enabled": false, "minWordSizeForTypos": {"oneTypo": 3, "twoTypos": 7}}}),
                json!({"typoTolerance": {"enabled": null, "minWordSizeForTypos": {"oneTypo": null}}}),
                json!({"typoTolerance": {"minWordSizeForTypos": {"twoTypos": 7}}}),
            ),
            (
                json!({"typoTolerance": {"enabled": false}}),
                json!({"typoTolerance": null}),
                json!({}),
            ),
            (
                json!({"embedders": {"a": {"source": "openAi", "model": "m"}, "b": {"source": "userProvided"}}}),
                json!({"embedders": {"a": {"documentTemplate": "t"}, "b": null, "c": {}}}),
                json!({"embedders": {"a": {"source": "openAi", "model": "m", "documentTemplate": "t"}, "c": {}}}),
            ),
            (
                json!({"embedders": {"a": {"source": "openAi", "model": "m"}}}),
                json!({"embedders": {"a": {"source": "userProvided", "dimensions": 3}}}),
                json!({"embedders": {"a": {"source": "userProvided", "dimensions": 3}}}),
            ),
            (
                json!({"embedders": {"a": {"source": "openAi"}}}),
                json!({"embedders": {"a": null}}),
                json!({}),
            ),
        ];
        for (desired, patch, expected) in table {
            assert_eq!(merge(&desired, &patch), Ok(expected), "{desired} + {patch}");
        }
    }

    #[test]
    fn a_refused_patch_merges_nothing() {
        assert!(merge(&json!({}), &json!({"stopWords": 1})).is_err());
    }
}
