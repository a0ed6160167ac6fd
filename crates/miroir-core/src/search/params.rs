//! The parameters of a search, their types and what Meilisearch says when they are wrong.

use serde_json::{Map, Value};

use crate::api_error::{ApiError, Code};
use crate::request::{expected_one_of, unknown_field, unknown_parameter, wrong_type};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    OptionalText,
    Count,
    OptionalCount,
    Flag,
    Texts,
    Numbers,
    Filter,
    Strategy,
    Threshold,
    Hybrid,
    /// Known to Meilisearch and without meaning here: Miroir always searches everything.
    Dropped,
    /// Known to Meilisearch and not offered by Miroir.
    Refused,
}

const STRATEGIES: [&str; 3] = ["last", "all", "frequency"];
const HYBRID_FIELDS: [&str; 2] = ["semanticRatio", "embedder"];

/// Every field of a JSON search body, in the order in which Meilisearch lists them.
const FIELDS: [(&str, Kind, Code); 30] = [
    ("q", Kind::OptionalText, Code::InvalidSearchQ),
    ("offset", Kind::Count, Code::InvalidSearchOffset),
    ("limit", Kind::Count, Code::InvalidSearchLimit),
    ("page", Kind::OptionalCount, Code::InvalidSearchPage),
    (
        "hitsPerPage",
        Kind::OptionalCount,
        Code::InvalidSearchHitsPerPage,
    ),
    (
        "attributesToRetrieve",
        Kind::Texts,
        Code::InvalidSearchAttributesToRetrieve,
    ),
    (
        "attributesToCrop",
        Kind::Texts,
        Code::InvalidSearchAttributesToCrop,
    ),
    ("cropLength", Kind::Count, Code::InvalidSearchCropLength),
    ("cropMarker", Kind::Text, Code::InvalidSearchCropMarker),
    (
        "attributesToHighlight",
        Kind::Texts,
        Code::InvalidSearchAttributesToHighlight,
    ),
    (
        "highlightPreTag",
        Kind::Text,
        Code::InvalidSearchHighlightPreTag,
    ),
    (
        "highlightPostTag",
        Kind::Text,
        Code::InvalidSearchHighlightPostTag,
    ),
    (
        "showMatchesPosition",
        Kind::Flag,
        Code::InvalidSearchShowMatchesPosition,
    ),
    ("filter", Kind::Filter, Code::InvalidSearchFilter),
    ("sort", Kind::Texts, Code::InvalidSearchSort),
    ("distinct", Kind::OptionalText, Code::InvalidSearchDistinct),
    ("facets", Kind::Texts, Code::InvalidSearchFacets),
    (
        "matchingStrategy",
        Kind::Strategy,
        Code::InvalidSearchMatchingStrategy,
    ),
    (
        "attributesToSearchOn",
        Kind::Texts,
        Code::InvalidSearchAttributesToSearchOn,
    ),
    (
        "rankingScoreThreshold",
        Kind::Threshold,
        Code::InvalidSearchRankingScoreThreshold,
    ),
    ("locales", Kind::Texts, Code::InvalidSearchLocales),
    ("hybrid", Kind::Hybrid, Code::InvalidSearchHybridQuery),
    ("vector", Kind::Numbers, Code::InvalidSearchVector),
    (
        "retrieveVectors",
        Kind::Flag,
        Code::InvalidSearchRetrieveVectors,
    ),
    ("media", Kind::Refused, Code::FeatureNotEnabled),
    ("personalize", Kind::Refused, Code::FeatureNotEnabled),
    ("useNetwork", Kind::Dropped, Code::BadRequest),
    (
        "showRankingScore",
        Kind::Flag,
        Code::InvalidSearchShowRankingScore,
    ),
    (
        "showRankingScoreDetails",
        Kind::Flag,
        Code::InvalidSearchShowRankingScoreDetails,
    ),
    (
        "showPerformanceDetails",
        Kind::Flag,
        Code::InvalidSearchShowPerformanceDetails,
    ),
];

/// Checks the members of a JSON body. Returns those that mean something: no nulls, nothing
/// that Miroir drops.
pub(super) fn check_body(body: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let mut checked = Map::new();
    for (name, value) in body {
        let Some((_, kind, code)) = FIELDS.iter().find(|(known, _, _)| *known == name) else {
            return Err(unknown_field("", &name, &FIELDS.map(|(known, _, _)| known)));
        };
        check_value(&name, *kind, *code, &value)?;
        if !value.is_null() && !matches!(kind, Kind::Dropped) {
            checked.insert(name, value);
        }
    }
    if checked.contains_key("vector") && !checked.contains_key("hybrid") {
        return Err(ApiError::new(
            Code::MissingSearchHybrid,
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        ));
    }
    Ok(checked)
}

fn check_value(name: &str, kind: Kind, code: Code, value: &Value) -> Result<(), ApiError> {
    let path = format!(".{name}");
    let expect = |accepted: bool, expected: &str| {
        if accepted {
            Ok(())
        } else {
            Err(wrong_type(code, &path, expected, value))
        }
    };
    match kind {
        Kind::Filter | Kind::Dropped => Ok(()),
        Kind::OptionalText
        | Kind::OptionalCount
        | Kind::Texts
        | Kind::Numbers
        | Kind::Threshold
        | Kind::Hybrid
        | Kind::Refused
            if value.is_null() =>
        {
            Ok(())
        }
        Kind::Text | Kind::OptionalText => expect(value.is_string(), "a string"),
        Kind::Count | Kind::OptionalCount => expect(value.is_u64(), "a positive integer"),
        Kind::Flag => expect(value.is_boolean(), "a boolean"),
        Kind::Texts => check_items(&path, code, value, "a string", Value::is_string),
        Kind::Numbers => check_items(&path, code, value, "a number", Value::is_number),
        Kind::Strategy => check_strategy(&path, code, value),
        Kind::Threshold => check_unit(&path, "rankingScoreThreshold", code, value),
        Kind::Hybrid => check_hybrid(value),
        Kind::Refused => Err(not_offered(name)),
    }
}

fn check_items(
    path: &str,
    code: Code,
    value: &Value,
    expected: &str,
    accepted: fn(&Value) -> bool,
) -> Result<(), ApiError> {
    let items = value
        .as_array()
        .ok_or_else(|| wrong_type(code, path, "an array", value))?;
    match items.iter().enumerate().find(|(_, item)| !accepted(item)) {
        None => Ok(()),
        Some((index, item)) => Err(wrong_type(
            code,
            &format!("{path}[{index}]"),
            expected,
            item,
        )),
    }
}

fn check_strategy(path: &str, code: Code, value: &Value) -> Result<(), ApiError> {
    let strategy = value
        .as_str()
        .ok_or_else(|| wrong_type(code, path, "a string", value))?;
    if STRATEGIES.contains(&strategy) {
        return Ok(());
    }
    let accepted = expected_one_of(strategy, &STRATEGIES);
    Err(ApiError::new(
        code,
        format!("Unknown value `{strategy}` at `{path}`: {accepted}"),
    ))
}

/// A number between 0 and 1.
fn check_unit(path: &str, name: &str, code: Code, value: &Value) -> Result<(), ApiError> {
    let number = value
        .as_f64()
        .ok_or_else(|| wrong_type(code, path, "a number", value))?;
    if (0.0..=1.0).contains(&number) {
        return Ok(());
    }
    Err(ApiError::new(
        code,
        format!("Invalid value at `{path}`: {}", outside_unit(name)),
    ))
}

fn outside_unit(name: &str) -> String {
    format!("the value of `{name}` is invalid, expected a float between `0.0` and `1.0`.")
}

fn check_hybrid(value: &Value) -> Result<(), ApiError> {
    let code = Code::InvalidSearchHybridQuery;
    let members = value
        .as_object()
        .ok_or_else(|| wrong_type(code, ".hybrid", "an object", value))?;
    for (name, member) in members {
        match name.as_str() {
            "semanticRatio" => check_unit(
                ".hybrid.semanticRatio",
                "semanticRatio",
                Code::InvalidSearchSemanticRatio,
                member,
            )?,
            "embedder" if member.is_string() => {}
            "embedder" => {
                let code = Code::InvalidSearchEmbedder;
                return Err(wrong_type(code, ".hybrid.embedder", "a string", member));
            }
            unknown => {
                return Err(ApiError {
                    code,
                    ..unknown_field(".hybrid", unknown, &HYBRID_FIELDS)
                });
            }
        }
    }
    if members.contains_key("embedder") {
        Ok(())
    } else {
        Err(ApiError::new(
            code,
            "Missing field `embedder` inside `.hybrid`",
        ))
    }
}

fn not_offered(name: &str) -> ApiError {
    ApiError::new(
        Code::FeatureNotEnabled,
        format!("`{name}` is not available in a search through Miroir. Remove it from the query."),
    )
}

/// Every parameter of a GET search, in the order in which Meilisearch lists them.
const PARAMETERS: [&str; 30] = [
    "q",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "attributesToRetrieve",
    "attributesToCrop",
    "cropLength",
    "cropMarker",
    "attributesToHighlight",
    "highlightPreTag",
    "highlightPostTag",
    "showMatchesPosition",
    "filter",
    "sort",
    "distinct",
    "facets",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "locales",
    "hybridEmbedder",
    "hybridSemanticRatio",
    "vector",
    "retrieveVectors",
    "personalizeUserContext",
    "useNetwork",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
];

/// The JSON body that means the same as the decoded query parameters.
pub(super) fn body_of_parameters<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    let mut hybrid = Map::new();
    for (name, text) in parameters {
        match name {
            "hybridEmbedder" => {
                hybrid.insert("embedder".to_owned(), Value::from(text));
            }
            "hybridSemanticRatio" => {
                let code = Code::InvalidSearchSemanticRatio;
                hybrid.insert(
                    "semanticRatio".to_owned(),
                    unit(name, "semanticRatio", code, text)?,
                );
            }
            "personalizeUserContext" => return Err(not_offered(name)),
            name if PARAMETERS.contains(&name) => {
                body.insert(name.to_owned(), value_of_parameter(name, text)?);
            }
            unknown => return Err(unknown_parameter(unknown, &PARAMETERS)),
        }
    }
    if !hybrid.is_empty() {
        if !hybrid.contains_key("embedder") {
            return Err(ApiError::new(
                Code::InvalidSearchHybridQuery,
                "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
            ));
        }
        body.insert("hybrid".to_owned(), Value::Object(hybrid));
    } else if body.contains_key("vector") {
        return Err(ApiError::new(
            Code::MissingSearchHybrid,
            "`hybridEmbedder` is mandatory when `vector` is present",
        ));
    }
    Ok(body)
}

fn value_of_parameter(name: &str, text: &str) -> Result<Value, ApiError> {
    let Some((_, kind, code)) = FIELDS.iter().find(|(known, _, _)| *known == name) else {
        return Ok(Value::from(text));
    };
    let invalid = |problem: String| {
        ApiError::new(
            *code,
            format!("Invalid value in parameter `{name}`: {problem}"),
        )
    };
    match kind {
        Kind::Text | Kind::OptionalText | Kind::Dropped | Kind::Refused | Kind::Hybrid => {
            Ok(Value::from(text))
        }
        Kind::Count | Kind::OptionalCount => text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| invalid(format!("could not parse `{text}` as a positive integer"))),
        Kind::Flag => text.parse::<bool>().map(Value::from).map_err(|_| {
            invalid(format!(
                "could not parse `{text}` as a boolean, expected either `true` or `false`"
            ))
        }),
        Kind::Texts if name == "sort" => {
            Ok(split_sort(text).into_iter().map(Value::from).collect())
        }
        Kind::Texts => Ok(items(text).map(Value::from).collect()),
        Kind::Numbers => items(text)
            .map(|item| {
                item.parse::<f32>()
                    .map(Value::from)
                    .map_err(|e| invalid(e.to_string()))
            })
            .collect(),
        Kind::Filter => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        Kind::Strategy if STRATEGIES.contains(&text) => Ok(Value::from(text)),
        Kind::Strategy => {
            let accepted = expected_one_of(text, &STRATEGIES);
            Err(ApiError::new(
                *code,
                format!("Unknown value `{text}` for parameter `{name}`: {accepted}"),
            ))
        }
        Kind::Threshold => unit(name, name, *code, text),
    }
}

fn unit(parameter: &str, name: &str, code: Code, text: &str) -> Result<Value, ApiError> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(Value::from(number)),
        _ => Err(ApiError::new(
            code,
            format!(
                "Invalid value in parameter `{parameter}`: {}",
                outside_unit(name)
            ),
        )),
    }
}

/// Comma-separated items, empty ones left out.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|item| !item.is_empty())
}

/// Splits at commas that are not inside `_geoPoint(lat,lng)`.
fn split_sort(text: &str) -> Vec<String> {
    let mut expressions = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.trim_matches('"').chars() {
        match c {
            ',' if depth == 0 => {
                expressions.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = expressions.last_mut() {
            last.push(c);
        }
    }
    expressions
        .into_iter()
        .map(|e| e.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_parameters_keep_geo_points_together() {
        let table = [
            ("a:asc", vec!["a:asc"]),
            ("a:asc, b:desc", vec!["a:asc", "b:desc"]),
            (
                "a:asc,_geoPoint(1.5, 2):asc,b:asc",
                vec!["a:asc", "_geoPoint(1.5, 2):asc", "b:asc"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(split_sort(text), expected);
        }
    }
}
