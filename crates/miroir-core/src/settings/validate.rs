//! Refuses settings before they become a task.

use serde_json::Value;

use super::{FIELDS, shape};
use crate::api_error::{ApiError, Code};
use crate::hidden_field::{self, check_attributes};
use crate::request::{unknown_field, wrong_type};

/// Checks a settings object that a client sends.
///
/// # Errors
/// Meilisearch's answer for unknown fields and wrong types; `feature_not_enabled` for
/// settings that Miroir does not offer; the setting's own code where it names the hidden
/// field or makes one of its symbols a word.
pub fn validate(patch: &Value) -> Result<(), ApiError> {
    let members = patch
        .as_object()
        .ok_or_else(|| wrong_type(Code::BadRequest, "", "an object", patch))?;
    for (name, value) in members {
        if shape::of_setting(name).is_none() {
            return Err(unknown_field("", name, &known_names()));
        }
        if !value.is_null() {
            check_one(name, &format!(".{name}"), value)?;
        }
    }
    Ok(())
}

/// Settings of Meilisearch that Miroir does not offer, with what Meilisearch says as long as their experimental feature
/// is not enabled. Their default can be asked for: it is what nodes have.
const NOT_OFFERED: [(&str, &str); 1] = [(
    "chat",
    "setting `chat` in the index settings requires enabling the `chat completions` experimental feature. See https://github.com/orgs/meilisearch/discussions/835",
)];

/// Refuses a setting that Miroir does not offer.
fn not_offered(name: &str) -> Result<(), ApiError> {
    match NOT_OFFERED.iter().find(|(known, _)| *known == name) {
        Some((_, message)) => Err(ApiError::new(Code::FeatureNotEnabled, *message)),
        None => Ok(()),
    }
}

/// Every name of a setting, those that are not offered too, in the order in which Meilisearch lists them and shows them
/// in tasks.
pub(super) fn known_names() -> Vec<&'static str> {
    let mut names = FIELDS.to_vec();
    names.insert(4, "foreignKeys");
    names.push("chat");
    names
}

/// Checks the value of one setting, which stands at `path`: `.stopWords`, or nothing when the value is
/// the whole body.
pub(super) fn check_one(name: &str, path: &str, value: &Value) -> Result<(), ApiError> {
    let Some((shape, code)) = shape::of_setting(name) else {
        return Err(unknown_field("", name, &known_names()));
    };
    shape::check(&shape, path, code, value)?;
    check_typo_sizes(name, path, value)?;
    check_attributes(name, attributes_of(name, value), code)?;
    check_tokens(name, value, code)?;
    check_templates(name, value, code)?;
    not_offered(name)
}

fn check_typo_sizes(name: &str, path: &str, value: &Value) -> Result<(), ApiError> {
    let sizes = value
        .get("minWordSizeForTypos")
        .filter(|_| name == "typoTolerance");
    let size = |field: &str| {
        sizes
            .and_then(|sizes| sizes.get(field))
            .and_then(Value::as_u64)
    };
    match (size("oneTypo"), size("twoTypos")) {
        (Some(one), Some(two)) if one > two => Err(ApiError::new(
            Code::InvalidSettingsTypoTolerance,
            format!(
                "Invalid value at `{path}.minWordSizeForTypos`: `minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be between `0` and `255`, and `twoTypos` should be greater or equals to `oneTypo` but found `oneTypo: {one}` and twoTypos: {two}`."
            ),
        )),
        _ => Ok(()),
    }
}

/// The attribute names and patterns in a setting.
fn attributes_of<'a>(name: &str, value: &'a Value) -> Vec<&'a str> {
    let items = || value.as_array().into_iter().flatten();
    let patterns = |rule: &'a Value| rule.get("attributePatterns").and_then(Value::as_array);
    match name {
        "displayedAttributes" | "searchableAttributes" | "sortableAttributes" => {
            items().filter_map(Value::as_str).collect()
        }
        "filterableAttributes" | "localizedAttributes" => items()
            .flat_map(|rule| std::iter::once(rule).chain(patterns(rule).into_iter().flatten()))
            .filter_map(Value::as_str)
            .collect(),
        "rankingRules" => items()
            .filter_map(Value::as_str)
            .map(|rule| rule.rsplit_once(':').map_or(rule, |(field, _)| field))
            .collect(),
        "distinctAttribute" => value.as_str().into_iter().collect(),
        "typoTolerance" => {
            let disabled = value.get("disableOnAttributes").and_then(Value::as_array);
            disabled
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect()
        }
        "faceting" => {
            let orders = value.get("sortFacetValuesBy").and_then(Value::as_object);
            orders
                .into_iter()
                .flat_map(|orders| orders.keys())
                .map(String::as_str)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The hidden field's symbols must stay separators: as part of a word they would be found by
/// queries.
fn check_tokens(name: &str, value: &Value, code: Code) -> Result<(), ApiError> {
    if !["nonSeparatorTokens", "dictionary"].contains(&name) {
        return Ok(());
    }
    let tokens = value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    match tokens
        .flat_map(str::chars)
        .find(|c| hidden_field::SYMBOLS.contains(c))
    {
        None => Ok(()),
        Some(symbol) => Err(ApiError::new(
            code,
            format!("The symbol `{symbol}` is reserved and cannot be used in `{name}`."),
        )),
    }
}

fn check_templates(name: &str, value: &Value, code: Code) -> Result<(), ApiError> {
    if name == "embedders" && any_text(value, &|text| text.contains(hidden_field::NAME)) {
        let field = hidden_field::NAME;
        return Err(ApiError::new(
            code,
            format!("Attribute `{field}` is reserved and cannot be used in `embedders`."),
        ));
    }
    Ok(())
}

fn any_text(value: &Value, found: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, found)),
        Value::Object(members) => members.values().any(|member| any_text(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn good_settings_pass() {
        let table = [
            json!({}),
            json!({"displayedAttributes": ["*"], "searchableAttributes": null}),
            json!({"filterableAttributes": ["a", {"attributePatterns": ["*"], "features": {"facetSearch": true, "filter": {"equality": true, "comparison": false}}}]}),
            json!({"rankingRules": ["words", "typo", "attributeRank", "price:asc", "a:b:desc"]}),
            json!({"typoTolerance": {"enabled": null, "minWordSizeForTypos": {"oneTypo": 4, "twoTypos": 4}}}),
            json!({"faceting": {"maxValuesPerFacet": 5, "sortFacetValuesBy": {"*": "count"}}}),
            json!({"nonSeparatorTokens": ["#", "@"], "separatorTokens": ["⁂"], "stopWords": ["⁂"], "dictionary": ["J. R. R."]}),
            json!({"embedders": {"e": {"source": "userProvided", "dimensions": 3}, "f": null}}),
            json!({"localizedAttributes": [{"attributePatterns": ["*_ja"], "locales": ["jpn"]}]}),
            json!({"chat": null, "foreignKeys": null}),
            json!({"synonyms": {"a": ["b"]}, "distinctAttribute": "sku", "searchCutoffMs": 5, "facetSearch": false, "prefixSearch": "disabled", "proximityPrecision": "byAttribute", "pagination": {"maxTotalHits": 1}}),
        ];
        for patch in table {
            assert_eq!(validate(&patch), Ok(()), "{patch}");
        }
        for name in FIELDS {
            assert_eq!(validate(&json!({ name: null })), Ok(()), "{name}");
        }
    }

    #[test]
    fn wrong_settings_get_meilisearchs_answer() {
        let table = [
            (
                json!([]),
                Code::BadRequest,
                "Invalid value type: expected an object, but found an array: `[]`",
            ),
            (
                json!({"displayedAttributes": "doggo"}),
                Code::InvalidSettingsDisplayedAttributes,
                "Invalid value type at `.displayedAttributes`: expected an array, but found a string: `\"doggo\"`",
            ),
            (
                json!({"stopWords": ["a", 1]}),
                Code::InvalidSettingsStopWords,
                "Invalid value type at `.stopWords[1]`: expected a string, but found a positive integer: `1`",
            ),
            (
                json!({"filterableAttributes": [1]}),
                Code::InvalidSettingsFilterableAttributes,
                "Invalid value type at `.filterableAttributes[0]`: expected a string, but found a positive integer: `1`",
            ),
            (
                json!({"filterableAttributes": [{"features": {}}]}),
                Code::InvalidSettingsFilterableAttributes,
                "Missing field `attributePatterns` inside `.filterableAttributes[0]`",
            ),
            (
                json!({"synonyms": "doggo"}),
                Code::InvalidSettingsSynonyms,
                "Invalid value type at `.synonyms`: expected an object, but found a string: `\"doggo\"`",
            ),
            (
                json!({"distinctAttribute": ["doggo"]}),
                Code::InvalidSettingsDistinctAttribute,
                "Invalid value type at `.distinctAttribute`: expected a string, but found an array: `[\"doggo\"]`",
            ),
            (
                json!({"typoTolerance": {"minWordSizeForTypos": "doggo"}}),
                Code::InvalidSettingsTypoTolerance,
                "Invalid value type at `.typoTolerance.minWordSizeForTypos`: expected an object, but found a string: `\"doggo\"`",
            ),
            (
                json!({"typoTolerance": {"x": 1}}),
                Code::InvalidSettingsTypoTolerance,
                "Unknown field `x` inside `.typoTolerance`: expected one of `enabled`, `minWordSizeForTypos`, `disableOnWords`, `disableOnAttributes`, `disableOnNumbers`",
            ),
            (
                json!({"pagination": {"maxTotalHits": "doggo"}}),
                Code::InvalidSettingsPagination,
                "Invalid value type at `.pagination.maxTotalHits`: expected a positive integer, but found a string: `\"doggo\"`",
            ),
            (
                json!({"pagination": {"maxTotalHits": 0}}),
                Code::InvalidSettingsPagination,
                "Invalid value at `.pagination.maxTotalHits`: a non-zero integer value lower than `18446744073709551615` was expected, but found a zero",
            ),
            (
                json!({"searchCutoffMs": -1}),
                Code::InvalidSettingsSearchCutoffMs,
                "Invalid value type at `.searchCutoffMs`: expected a positive integer, but found a negative integer: `-1`",
            ),
            (
                json!({"faceting": {"sortFacetValuesBy": {"g": "x"}}}),
                Code::InvalidSettingsFaceting,
                "Unknown value `x` at `.faceting.sortFacetValuesBy.g`: expected one of `alpha`, `count`",
            ),
            (
                json!({"rankingRules": ["words", "doggo"]}),
                Code::InvalidSettingsRankingRules,
                "Invalid value at `.rankingRules[1]`: `doggo` ranking rule is invalid. Valid ranking rules are words, typo, sort, proximity, attribute, exactness and custom ranking rules.",
            ),
            (
                json!({"embedders": {"e": 1}}),
                Code::InvalidSettingsEmbedders,
                "Invalid value type at `.embedders.e`: expected an object, but found a positive integer: `1`",
            ),
            (
                json!({"embedders": {"e": {"source": "userProvided", "dimension": 3}}}),
                Code::InvalidSettingsEmbedders,
                "Unknown field `dimension` inside `.embedders.e`: did you mean `dimensions`? expected one of `source`, `model`, `revision`, `pooling`, `apiKey`, `dimensions`, `binaryQuantized`, `documentTemplate`, `documentTemplateMaxBytes`, `url`, `indexingFragments`, `searchFragments`, `request`, `response`, `headers`, `searchEmbedder`, `indexingEmbedder`, `distribution`",
            ),
            (
                json!({"embedders": {"e": {"dimensions": "3"}}}),
                Code::InvalidSettingsEmbedders,
                "Invalid value type at `.embedders.e.dimensions`: expected a positive integer, but found a string: `\"3\"`",
            ),
            (
                json!({"foreignKeys": [{"foreignIndexUid": "authors"}]}),
                Code::InvalidSettingsForeignKeys,
                "Missing field `fieldName` inside `.foreignKeys[0]`",
            ),
            (
                json!({"foreignKeys": [{"foreignIndexUid": "a", "fieldName": "b", "x": 1}]}),
                Code::InvalidSettingsForeignKeys,
                "Unknown field `x` inside `.foreignKeys[0]`: expected one of `foreignIndexUid`, `fieldName`",
            ),
            (
                json!({"chat": {}}),
                Code::FeatureNotEnabled,
                "setting `chat` in the index settings requires enabling the `chat completions` experimental feature. See https://github.com/orgs/meilisearch/discussions/835",
            ),
        ];
        for (patch, code, message) in table {
            let error = validate(&patch).expect_err("refused");
            assert_eq!(
                (error.code, error.message.as_str()),
                (code, message),
                "{patch}"
            );
        }
        let error = validate(&json!({"doggo": 1})).expect_err("unknown");
        assert_eq!(error.code, Code::BadRequest);
        assert!(error.message.starts_with(
            "Unknown field `doggo`: expected one of `displayedAttributes`, `searchableAttributes`, "
        ));
        let error = validate(
            &json!({"typoTolerance": {"minWordSizeForTypos": {"oneTypo": 9, "twoTypos": 4}}}),
        );
        assert!(
            error
                .expect_err("sizes")
                .message
                .contains("but found `oneTypo: 9` and twoTypos: 4`.")
        );
    }

    #[test]
    fn the_hidden_field_and_its_symbols_are_refused() {
        let table = [
            json!({"displayedAttributes": ["_miroir_shard"]}),
            json!({"searchableAttributes": ["title", "_miroir_shard"]}),
            json!({"sortableAttributes": ["_miroir_shard"]}),
            json!({"filterableAttributes": ["_miroir_shard"]}),
            json!({"filterableAttributes": [{"attributePatterns": ["a", "_miroir_shard"]}]}),
            json!({"localizedAttributes": [{"attributePatterns": ["_miroir_shard"], "locales": []}]}),
            json!({"rankingRules": ["_miroir_shard:asc"]}),
            json!({"distinctAttribute": "_miroir_shard"}),
            json!({"typoTolerance": {"disableOnAttributes": ["_miroir_shard"]}}),
            json!({"faceting": {"sortFacetValuesBy": {"_miroir_shard": "count"}}}),
            json!({"embedders": {"e": {"documentTemplate": "{{ doc._miroir_shard }}"}}}),
            json!({"nonSeparatorTokens": ["#", "⁂"]}),
            json!({"dictionary": ["a⁌b"]}),
        ];
        for patch in table {
            let error = validate(&patch).expect_err("refused");
            assert!(error.message.contains("is reserved"), "{error}");
            let name = patch
                .as_object()
                .and_then(|p| p.keys().next())
                .expect("one setting");
            let snake: String = name
                .chars()
                .flat_map(|c| {
                    c.is_uppercase()
                        .then_some('_')
                        .into_iter()
                        .chain(c.to_lowercase())
                })
                .collect();
            assert_eq!(error.code.name(), format!("invalid_settings_{snake}"));
        }
    }
}
