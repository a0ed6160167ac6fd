//! Whether a node has the settings that it is to have.
//!
//! Nodes answer with every setting, defaults included, sorted and completed in their own ways, and with secrets masked. None
//! of that is a difference, and neither is what Miroir adds.

use serde_json::{Map, Value, json};

use super::FIELDS;
use super::node::setting_for_node;

/// The ranking rules of an index that sets none, by version.
const RANKING_RULES: [&[&str]; 2] = [
    &[
        "words",
        "typo",
        "proximity",
        "attribute",
        "sort",
        "exactness",
    ],
    &[
        "words",
        "typo",
        "proximity",
        "attributeRank",
        "sort",
        "wordPosition",
        "exactness",
    ],
];

/// The settings of which a node has something else than the desired ones make it have. `node` is its answer to
/// `GET settings`; a setting that it does not know is no difference.
#[must_use]
pub fn differences(desired: &Value, node: &Value) -> Vec<&'static str> {
    let differs = |name: &&&'static str| {
        let actual = node.get(**name);
        actual.is_some_and(|actual| !is_same(name, &setting_for_node(name, desired), actual))
    };
    FIELDS.iter().filter(differs).copied().collect()
}

fn is_same(name: &str, given: &Value, actual: &Value) -> bool {
    match name {
        "rankingRules" if given.is_null() => {
            RANKING_RULES.iter().any(|rules| json!(rules) == *actual)
        }
        "embedders" => same_embedders(given, actual),
        "filterableAttributes" => rules(given) == rules(actual),
        "localizedAttributes" => patterns(given) == patterns(actual),
        "searchableAttributes" => in_order(&filled(name, given)) == in_order(actual),
        "displayedAttributes"
        | "sortableAttributes"
        | "stopWords"
        | "nonSeparatorTokens"
        | "separatorTokens"
        | "dictionary"
        | "synonyms"
        | "typoTolerance" => unordered(&filled(name, given)) == unordered(actual),
        _ => filled(name, given) == *actual,
    }
}

/// What a node makes of a setting that is given in part, or not at all.
fn filled(name: &str, given: &Value) -> Value {
    let default = match name {
        "displayedAttributes" | "searchableAttributes" => json!(["*"]),
        "sortableAttributes" | "stopWords" | "nonSeparatorTokens" | "separatorTokens"
        | "dictionary" => json!([]),
        "synonyms" => json!({}),
        "proximityPrecision" => json!("byWord"),
        "typoTolerance" => json!({
            "enabled": true, "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
            "disableOnWords": [], "disableOnAttributes": [], "disableOnNumbers": false,
        }),
        "faceting" => json!({"sortFacetValuesBy": {"*": "alpha"}}),
        "pagination" => json!({"maxTotalHits": 1000}),
        "facetSearch" => json!(true),
        "prefixSearch" => json!("indexingTime"),
        _ => Value::Null,
    };
    over(default, given)
}

/// `given` where it says something, and `default` elsewhere.
fn over(default: Value, given: &Value) -> Value {
    match (default, given) {
        (default, Value::Null) => default,
        (Value::Object(mut members), Value::Object(given)) => {
            for (name, value) in given {
                let before = members.remove(name).unwrap_or_default();
                members.insert(name.clone(), over(before, value));
            }
            Value::Object(members)
        }
        (_, given) => given.clone(),
    }
}

/// The value with its lists sorted and without repetitions, and words that are compared in lower case so.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(unordered).collect();
            items.sort_by_key(ToString::to_string);
            items.dedup();
            Value::Array(items)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let value = match name.as_str() {
                    "disableOnWords" => unordered(&lower(value)),
                    _ => unordered(value),
                };
                (name.clone(), value)
            });
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn lower(words: &Value) -> Value {
    let words = words.as_array().into_iter().flatten();
    let text = |word: &Value| word.as_str().unwrap_or_default().to_lowercase();
    words.map(|word| Value::from(text(word))).collect()
}

/// A list without repetitions.
fn in_order(value: &Value) -> Vec<&Value> {
    let mut seen = Vec::new();
    for item in value.as_array().into_iter().flatten() {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Rules of filterable attributes, with the features that they do not name.
fn rules(value: &Value) -> Vec<Value> {
    let default = json!({"facetSearch": false, "filter": {"equality": true, "comparison": false}});
    let rule = |rule: &Value| {
        let Value::Object(members) = rule else {
            return rule.clone();
        };
        let features = members.get("features").unwrap_or(&Value::Null);
        let features = over(default.clone(), features);
        json!({"attributePatterns": members.get("attributePatterns"), "features": features})
    };
    value.as_array().into_iter().flatten().map(rule).collect()
}

/// The attributes of localized ones. Locales have several names each.
fn patterns(value: &Value) -> Vec<Option<&Value>> {
    let all = value.as_array().into_iter().flatten();
    all.map(|one| one.get("attributePatterns")).collect()
}

fn same_embedders(given: &Value, actual: &Value) -> bool {
    let none = Map::new();
    let given = given.as_object().unwrap_or(&none);
    let actual = actual.as_object().unwrap_or(&none);
    given.len() == actual.len()
        && given
            .iter()
            .all(|(name, embedder)| actual.get(name).is_some_and(|has| shows(has, embedder)))
}

/// Whether what a node shows of an embedder has everything that was given, as far as it shows it: keys are masked.
fn shows(actual: &Value, given: &Value) -> bool {
    match (actual, given) {
        (_, Value::Null) => true,
        (Value::Object(actual), Value::Object(given)) => given
            .iter()
            .filter(|(name, _)| *name != "apiKey")
            .all(|(name, value)| {
                value.is_null() || actual.get(name).is_some_and(|has| shows(has, value))
            }),
        (actual, given) => actual == given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::to_node;

    /// What a node of version 1.50 answers that was given nothing but what Miroir adds.
    fn fresh() -> Value {
        json!({
            "displayedAttributes": ["*"], "searchableAttributes": ["*"],
            "filterableAttributes": to_node(&json!({}))["filterableAttributes"], "sortableAttributes": [],
            "rankingRules": ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"],
            "stopWords": [], "nonSeparatorTokens": [], "separatorTokens": [], "dictionary": [], "synonyms": {},
            "distinctAttribute": null, "proximityPrecision": "byWord",
            "typoTolerance": {
                "enabled": true, "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9}, "disableOnWords": [],
                "disableOnAttributes": [], "disableOnNumbers": false,
            },
            "faceting": {"maxValuesPerFacet": 3000, "sortFacetValuesBy": {"*": "alpha"}},
            "pagination": {"maxTotalHits": 1000}, "embedders": {}, "searchCutoffMs": null,
            "localizedAttributes": null, "facetSearch": true, "prefixSearch": "indexingTime", "chat": {},
        })
    }

    #[test]
    fn what_nodes_complete_sort_and_mask_is_no_difference() {
        assert_eq!(differences(&json!({}), &fresh()), [""; 0]);
        let desired = json!({
            "displayedAttributes": ["z", "a"], "searchableAttributes": ["z", "a", "z"],
            "filterableAttributes": [
                "q", {"attributePatterns": ["b*"]}, {"attributePatterns": ["c"], "features": {"facetSearch": true}},
            ],
            "sortableAttributes": ["z", "a", "z"], "rankingRules": ["sort", "words", "x:asc"],
            "stopWords": ["z", "A"], "separatorTokens": ["b", "a"], "synonyms": {"Foo": ["b", "a b"], "z": []},
            "distinctAttribute": "sku", "proximityPrecision": "byAttribute",
            "typoTolerance": {
                "enabled": false, "disableOnWords": ["Zed", "a"], "minWordSizeForTypos": {"oneTypo": 3},
            },
            "faceting": {"maxValuesPerFacet": 7, "sortFacetValuesBy": {"g": "count"}},
            "embedders": {
                "d": {"source": "userProvided", "dimensions": 3},
                "r": {"source": "rest", "url": "http://x", "apiKey": "secretsecret", "documentTemplate": "{{doc.t}}"},
            },
            "searchCutoffMs": 150, "localizedAttributes": [{"attributePatterns": ["*_ja"], "locales": ["ja"]}],
            "facetSearch": false, "prefixSearch": "disabled",
        });
        let plain =
            json!({"facetSearch": false, "filter": {"equality": true, "comparison": false}});
        let faceted =
            json!({"facetSearch": true, "filter": {"equality": true, "comparison": false}});
        let hidden = to_node(&json!({}))["filterableAttributes"][0].clone();
        let node = json!({
            "displayedAttributes": ["z", "a"], "searchableAttributes": ["z", "a"],
            "filterableAttributes": [
                hidden, "q", {"attributePatterns": ["b*"], "features": plain}, {"attributePatterns": ["c"], "features": faceted},
            ],
            "sortableAttributes": ["a", "z"], "rankingRules": ["sort", "words", "x:asc"],
            "stopWords": ["A", "z"], "separatorTokens": ["a", "b"], "synonyms": {"z": [], "Foo": ["a b", "b"]},
            "distinctAttribute": "sku", "proximityPrecision": "byAttribute",
            "typoTolerance": {
                "enabled": false, "minWordSizeForTypos": {"oneTypo": 3, "twoTypos": 9}, "disableOnWords": ["a", "zed"],
                "disableOnAttributes": [], "disableOnNumbers": false,
            },
            "faceting": {"maxValuesPerFacet": 3000, "sortFacetValuesBy": {"*": "alpha", "g": "count"}},
            "pagination": {"maxTotalHits": 1000},
            "embedders": {
                "d": {"source": "userProvided", "dimensions": 3},
                "r": {
                    "source": "rest", "apiKey": "seXXXX...", "documentTemplate": "{{doc.t}}", "documentTemplateMaxBytes": 400,
                    "url": "http://x",
                },
            },
            "searchCutoffMs": 150, "localizedAttributes": [{"attributePatterns": ["*_ja"], "locales": ["jpn"]}],
            "facetSearch": false, "prefixSearch": "disabled",
        });
        assert_eq!(differences(&desired, &node), [""; 0]);
    }

    #[test]
    fn what_a_hand_changed_is_named() {
        let table = [
            ("displayedAttributes", json!(["a"])),
            ("searchableAttributes", json!(["a", "*"])),
            ("filterableAttributes", json!([])),
            ("sortableAttributes", json!(["a"])),
            ("rankingRules", json!(["words"])),
            ("stopWords", json!(["a"])),
            ("synonyms", json!({"a": ["b"]})),
            ("distinctAttribute", json!("a")),
            ("proximityPrecision", json!("byAttribute")),
            ("typoTolerance", json!({"enabled": false})),
            (
                "faceting",
                json!({"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}}),
            ),
            (
                "faceting",
                json!({"maxValuesPerFacet": 3000, "sortFacetValuesBy": {"*": "count"}}),
            ),
            ("pagination", json!({"maxTotalHits": 9})),
            ("embedders", json!({"d": {"source": "userProvided"}})),
            ("searchCutoffMs", json!(1)),
            (
                "localizedAttributes",
                json!([{"attributePatterns": ["a"], "locales": ["jpn"]}]),
            ),
            ("facetSearch", json!(false)),
            ("prefixSearch", json!("disabled")),
        ];
        for (name, value) in table {
            let mut node = fresh();
            node[name] = value;
            assert_eq!(differences(&json!({}), &node), [name]);
        }
        let desired = json!({"embedders": {"d": {"source": "userProvided", "dimensions": 3}}});
        let mut node = fresh();
        assert_eq!(differences(&desired, &node), ["embedders"], "gone");
        node["embedders"] = json!({"d": {"source": "userProvided", "dimensions": 4}});
        assert_eq!(differences(&desired, &node), ["embedders"], "another");
    }

    #[test]
    fn a_setting_that_a_node_does_not_know_is_no_difference() {
        let desired = json!({"facetSearch": false});
        assert_eq!(differences(&desired, &json!({"stopWords": []})), [""; 0]);
    }
}
