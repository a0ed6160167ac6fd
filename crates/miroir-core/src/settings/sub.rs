//! Settings that have a route of their own, below the one of all settings.

use serde_json::{Map, Value};

use super::validate::check_one;
use crate::api_error::ApiError;

/// The method that replaces or changes a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The setting is replaced as a whole.
    Put,
    /// The setting is an object; fields that are left out stay.
    Patch,
}

/// A setting with a route of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubSetting {
    /// The last part of the route's path.
    pub path: &'static str,
    /// The setting's name in the object of all settings.
    pub name: &'static str,
    /// How it is changed. Every one is read with `GET` and reset with `DELETE`.
    pub verb: Verb,
}

const fn sub(path: &'static str, name: &'static str, verb: Verb) -> SubSetting {
    SubSetting { path, name, verb }
}

/// Every setting that Meilisearch gives a route of its own.
pub const SUB_SETTINGS: [SubSetting; 22] = [
    sub("displayed-attributes", "displayedAttributes", Verb::Put),
    sub("searchable-attributes", "searchableAttributes", Verb::Put),
    sub("filterable-attributes", "filterableAttributes", Verb::Put),
    sub("sortable-attributes", "sortableAttributes", Verb::Put),
    sub("foreign-keys", "foreignKeys", Verb::Put),
    sub("ranking-rules", "rankingRules", Verb::Put),
    sub("stop-words", "stopWords", Verb::Put),
    sub("non-separator-tokens", "nonSeparatorTokens", Verb::Put),
    sub("separator-tokens", "separatorTokens", Verb::Put),
    sub("dictionary", "dictionary", Verb::Put),
    sub("synonyms", "synonyms", Verb::Put),
    sub("distinct-attribute", "distinctAttribute", Verb::Put),
    sub("proximity-precision", "proximityPrecision", Verb::Put),
    sub("typo-tolerance", "typoTolerance", Verb::Patch),
    sub("faceting", "faceting", Verb::Patch),
    sub("pagination", "pagination", Verb::Patch),
    sub("embedders", "embedders", Verb::Patch),
    sub("search-cutoff-ms", "searchCutoffMs", Verb::Put),
    sub("localized-attributes", "localizedAttributes", Verb::Put),
    sub("facet-search", "facetSearch", Verb::Put),
    sub("prefix-search", "prefixSearch", Verb::Put),
    sub("chat", "chat", Verb::Patch),
];

impl SubSetting {
    /// The setting at the end of a path, if there is one.
    #[must_use]
    pub fn at(path: &str) -> Option<&'static Self> {
        SUB_SETTINGS.iter().find(|setting| setting.path == path)
    }

    /// The patch of all settings that gives this one the value, or its default with null.
    ///
    /// # Errors
    /// What Meilisearch answers to a value of the wrong type: places in it are counted from the value, not from the
    /// object of all settings. `feature_not_enabled` for a setting that is not offered.
    pub fn patch(&self, value: Value) -> Result<Value, ApiError> {
        if !value.is_null() {
            check_one(self.name, "", &value)?;
        }
        Ok(Value::Object(Map::from_iter([(
            self.name.to_owned(),
            value,
        )])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::FIELDS;
    use serde_json::json;

    #[test]
    fn every_setting_has_a_route() {
        for name in FIELDS {
            assert!(SUB_SETTINGS.iter().any(|sub| sub.name == name), "{name}");
        }
        assert_eq!(
            SubSetting::at("stop-words").map(|s| s.name),
            Some("stopWords")
        );
        assert_eq!(SubSetting::at("vector-store"), None);
    }

    #[test]
    fn a_value_becomes_a_patch_or_is_refused_where_it_is_wrong() {
        let patch = |path, value| SubSetting::at(path).expect(path).patch(value);
        let good = [
            ("stop-words", json!(["a"]), json!({"stopWords": ["a"]})),
            ("stop-words", Value::Null, json!({"stopWords": null})),
            ("chat", Value::Null, json!({"chat": null})),
        ];
        for (path, value, expected) in good {
            assert_eq!(patch(path, value), Ok(expected), "{path}");
        }
        let bad = [
            (
                "stop-words",
                json!(["a", 1]),
                "Invalid value type at `[1]`: expected a string, but found a positive integer: `1`",
            ),
            (
                "stop-words",
                json!("a"),
                "Invalid value type: expected an array, but found a string: `\"a\"`",
            ),
            (
                "ranking-rules",
                json!(["a"]),
                "Invalid value at `[0]`: `a` ranking rule is invalid. Valid ranking rules are words, typo, sort, proximity, attribute, exactness and custom ranking rules.",
            ),
            (
                "proximity-precision",
                json!("a"),
                "Unknown value `a`: expected one of `byWord`, `byAttribute`",
            ),
            (
                "search-cutoff-ms",
                json!(-1),
                "Invalid value type: expected a positive integer, but found a negative integer: `-1`",
            ),
            (
                "typo-tolerance",
                json!({"x": 1}),
                "Unknown field `x`: expected one of `enabled`, `minWordSizeForTypos`, `disableOnWords`, `disableOnAttributes`, `disableOnNumbers`",
            ),
            (
                "typo-tolerance",
                json!({"minWordSizeForTypos": {"oneTypo": 9, "twoTypos": 4}}),
                "Invalid value at `.minWordSizeForTypos`: `minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, and `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: 9` and twoTypos: 4`.",
            ),
            (
                "pagination",
                json!({"maxTotalHits": 0}),
                "Invalid value at `.maxTotalHits`: a non-zero integer value lower than `18446744073709551615` was expected, but found a zero",
            ),
            (
                "embedders",
                json!({"d": {"source": "nope"}}),
                "Unknown value `nope` at `.d.source`: expected one of `openAi`, `huggingFace`, `ollama`, `userProvided`, `rest`, `composite`",
            ),
            (
                "chat",
                json!({}),
                "setting `chat` in the index settings requires enabling the `chat completions` experimental feature. See https://github.com/orgs/meilisearch/discussions/835",
            ),
        ];
        for (path, value, message) in bad {
            let error = patch(path, value.clone()).expect_err(message);
            assert_eq!(error.message, message, "{path} {value}");
        }
        let hidden = patch("displayed-attributes", json!(["_miroir_shard"]));
        assert!(hidden.expect_err("reserved").message.contains("reserved"));
    }
}
