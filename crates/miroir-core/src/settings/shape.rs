//! The type of each setting, and what Meilisearch says when a value has another.

use serde_json::Value;

use crate::api_error::{ApiError, Code};
use crate::request::{expected_one_of, unknown_field, wrong_type};

/// The type of a value.
pub(super) enum Shape {
    Text,
    Flag,
    Count,
    /// From 0 to 255.
    Byte,
    /// A count above zero.
    Positive,
    OneOf(&'static [&'static str]),
    List(&'static Shape),
    /// An object with any names.
    Map(&'static Shape),
    /// An object with these fields, each of which may be null.
    Fields(&'static [(&'static str, Shape)]),
    /// An object with these fields, all of them required.
    Required(&'static [(&'static str, Shape)]),
    /// An attribute, or an object with patterns and features.
    FilterableRule,
    RankingRule,
    /// Whatever JSON there is; the node checks it.
    Anything,
    /// An object of a setting that is not offered.
    AnyObject,
    /// As the shape, or null.
    Nullable(&'static Shape),
}

const TEXTS: Shape = Shape::List(&Shape::Text);

const TYPO_TOLERANCE: Shape = Shape::Fields(&[
    ("enabled", Shape::Flag),
    (
        "minWordSizeForTypos",
        Shape::Fields(&[("oneTypo", Shape::Byte), ("twoTypos", Shape::Byte)]),
    ),
    ("disableOnWords", TEXTS),
    ("disableOnAttributes", TEXTS),
    ("disableOnNumbers", Shape::Flag),
]);

const FACETING: Shape = Shape::Fields(&[
    ("maxValuesPerFacet", Shape::Count),
    (
        "sortFacetValuesBy",
        Shape::Map(&Shape::OneOf(&["alpha", "count"])),
    ),
]);

/// What an embedder may have. Which source takes which of them is for the node to say.
const EMBEDDER: Shape = Shape::Fields(&[
    (
        "source",
        Shape::OneOf(&[
            "openAi",
            "huggingFace",
            "ollama",
            "userProvided",
            "rest",
            "composite",
        ]),
    ),
    ("model", Shape::Text),
    ("revision", Shape::Text),
    (
        "pooling",
        Shape::OneOf(&["useModel", "forceCls", "forceMean"]),
    ),
    ("apiKey", Shape::Text),
    ("dimensions", Shape::Count),
    ("binaryQuantized", Shape::Flag),
    ("documentTemplate", Shape::Text),
    ("documentTemplateMaxBytes", Shape::Count),
    ("url", Shape::Text),
    ("indexingFragments", Shape::Anything),
    ("searchFragments", Shape::Anything),
    ("request", Shape::Anything),
    ("response", Shape::Anything),
    ("headers", Shape::Map(&Shape::Text)),
    ("searchEmbedder", Shape::Anything),
    ("indexingEmbedder", Shape::Anything),
    ("distribution", Shape::Anything),
]);

/// The languages that Meilisearch knows, by their ISO 639-1 and 639-3 codes.
const LOCALES: &[&str] = &[
    "af", "ak", "am", "ar", "az", "be", "bn", "bg", "ca", "cs", "da", "de", "el", "en", "eo", "et",
    "fi", "fr", "gu", "he", "hi", "hr", "hu", "hy", "id", "it", "jv", "ja", "kn", "ka", "km", "ko",
    "la", "lv", "lt", "ml", "mr", "mk", "my", "ne", "nl", "nb", "or", "pa", "fa", "pl", "pt", "ro",
    "ru", "si", "sk", "sl", "sn", "es", "sr", "sv", "ta", "te", "tl", "th", "tk", "tr", "uk", "ur",
    "uz", "vi", "yi", "zh", "zu", "afr", "aka", "amh", "ara", "aze", "bel", "ben", "bul", "cat",
    "ces", "dan", "deu", "ell", "eng", "epo", "est", "fin", "fra", "guj", "heb", "hin", "hrv",
    "hun", "hye", "ind", "ita", "jav", "jpn", "kan", "kat", "khm", "kor", "lat", "lav", "lit",
    "mal", "mar", "mkd", "mya", "nep", "nld", "nob", "ori", "pan", "pes", "pol", "por", "ron",
    "rus", "sin", "slk", "slv", "sna", "spa", "srp", "swe", "tam", "tel", "tgl", "tha", "tuk",
    "tur", "ukr", "urd", "uzb", "vie", "yid", "zho", "zul", "cmn",
];

const LOCALIZED: Shape = Shape::List(&Shape::Required(&[
    ("attributePatterns", TEXTS),
    ("locales", Shape::List(&Shape::OneOf(LOCALES))),
]));

/// The shape of a setting and the code of its errors.
pub(super) fn of_setting(name: &str) -> Option<(Shape, Code)> {
    Some(match name {
        "displayedAttributes" => (TEXTS, Code::InvalidSettingsDisplayedAttributes),
        "searchableAttributes" => (TEXTS, Code::InvalidSettingsSearchableAttributes),
        "filterableAttributes" => (
            Shape::List(&Shape::FilterableRule),
            Code::InvalidSettingsFilterableAttributes,
        ),
        "sortableAttributes" => (TEXTS, Code::InvalidSettingsSortableAttributes),
        "rankingRules" => (
            Shape::List(&Shape::RankingRule),
            Code::InvalidSettingsRankingRules,
        ),
        "stopWords" => (TEXTS, Code::InvalidSettingsStopWords),
        "nonSeparatorTokens" => (TEXTS, Code::InvalidSettingsNonSeparatorTokens),
        "separatorTokens" => (TEXTS, Code::InvalidSettingsSeparatorTokens),
        "dictionary" => (TEXTS, Code::InvalidSettingsDictionary),
        "synonyms" => (Shape::Map(&TEXTS), Code::InvalidSettingsSynonyms),
        "distinctAttribute" => (Shape::Text, Code::InvalidSettingsDistinctAttribute),
        "proximityPrecision" => (
            Shape::OneOf(&["byWord", "byAttribute"]),
            Code::InvalidSettingsProximityPrecision,
        ),
        "typoTolerance" => (TYPO_TOLERANCE, Code::InvalidSettingsTypoTolerance),
        "faceting" => (FACETING, Code::InvalidSettingsFaceting),
        "pagination" => (
            Shape::Fields(&[("maxTotalHits", Shape::Positive)]),
            Code::InvalidSettingsPagination,
        ),
        "embedders" => (
            Shape::Map(&Shape::Nullable(&EMBEDDER)),
            Code::InvalidSettingsEmbedders,
        ),
        "searchCutoffMs" => (Shape::Count, Code::InvalidSettingsSearchCutoffMs),
        "localizedAttributes" => (LOCALIZED, Code::InvalidSettingsLocalizedAttributes),
        "facetSearch" => (Shape::Flag, Code::InvalidSettingsFacetSearch),
        "prefixSearch" => (
            Shape::OneOf(&["indexingTime", "disabled"]),
            Code::InvalidSettingsPrefixSearch,
        ),
        "chat" => (Shape::AnyObject, Code::InvalidSettingsIndexChat),
        "foreignKeys" => (
            Shape::List(&Shape::Required(&[
                ("foreignIndexUid", Shape::Text),
                ("fieldName", Shape::Text),
            ])),
            Code::InvalidSettingsForeignKeys,
        ),
        _ => return None,
    })
}

/// Checks `value`, which stands at `path` (`.faceting.maxValuesPerFacet`).
pub(super) fn check(shape: &Shape, path: &str, code: Code, value: &Value) -> Result<(), ApiError> {
    let wrong = |expected: &str| Err(wrong_type(code, path, expected, value));
    match (shape, value) {
        (Shape::Anything, _)
        | (Shape::Nullable(_), Value::Null)
        | (Shape::Text, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::AnyObject, Value::Object(_)) => Ok(()),
        (Shape::Nullable(inner), _) => check(inner, path, code, value),
        (Shape::Text, _) => wrong("a string"),
        (Shape::Flag, _) => wrong("a boolean"),
        (Shape::Count | Shape::Byte | Shape::Positive, Value::Number(number)) => {
            match number.as_u64() {
                Some(number) => check_range(shape, path, code, number),
                None => wrong("a positive integer"),
            }
        }
        (Shape::Count | Shape::Byte | Shape::Positive, _) => wrong("a positive integer"),
        (Shape::OneOf(accepted), Value::String(text)) => {
            if accepted.contains(&text.as_str()) {
                return Ok(());
            }
            let accepted = expected_one_of(text, accepted);
            Err(ApiError::new(
                code,
                format!("Unknown value `{text}`{}: {accepted}", at(path)),
            ))
        }
        (
            Shape::OneOf(_) | Shape::RankingRule,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        ) => wrong("a string"),
        (Shape::List(item), Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check(item, &format!("{path}[{index}]"), code, value)),
        (Shape::List(_), _) => wrong("an array"),
        (Shape::Map(member), Value::Object(members)) => members
            .iter()
            .try_for_each(|(name, value)| check(member, &format!("{path}.{name}"), code, value)),
        (Shape::Fields(fields), Value::Object(_)) => check_fields(fields, path, code, value, true),
        (Shape::Required(fields), Value::Object(_)) => {
            check_fields(fields, path, code, value, false)?;
            check_present(fields.iter().map(|(name, _)| *name), path, code, value)
        }
        (Shape::Map(_) | Shape::Fields(_) | Shape::Required(_) | Shape::AnyObject, _) => {
            wrong("an object")
        }
        (Shape::FilterableRule, Value::Object(_)) => check_filterable(path, code, value),
        (Shape::FilterableRule, _) => check(&Shape::Text, path, code, value),
        (Shape::RankingRule, Value::String(rule)) => check_ranking_rule(path, code, rule),
    }
}

/// Where a value stands, for a message; the whole body stands nowhere.
fn at(path: &str) -> String {
    match path {
        "" => String::new(),
        _ => format!(" at `{path}`"),
    }
}

fn check_range(shape: &Shape, path: &str, code: Code, number: u64) -> Result<(), ApiError> {
    let problem = if matches!(shape, Shape::Byte) && number > 255 {
        format!(
            "value: `{number}` is too large to be deserialized, maximum value authorized is `255`"
        )
    } else if matches!(shape, Shape::Positive) && number == 0 {
        "a non-zero integer value lower than `18446744073709551615` was expected, but found a zero"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(ApiError::new(
        code,
        format!("Invalid value{}: {problem}", at(path)),
    ))
}

fn check_fields(
    fields: &'static [(&'static str, Shape)],
    path: &str,
    code: Code,
    value: &Value,
    nullable: bool,
) -> Result<(), ApiError> {
    for (name, value) in value.as_object().into_iter().flatten() {
        match fields.iter().find(|(known, _)| known == name) {
            Some(_) if nullable && value.is_null() => {}
            Some((_, shape)) => check(shape, &format!("{path}.{name}"), code, value)?,
            None => {
                let accepted: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
                return Err(ApiError {
                    code,
                    ..unknown_field(path, name, &accepted)
                });
            }
        }
    }
    Ok(())
}

fn check_present<'a>(
    names: impl IntoIterator<Item = &'a str>,
    path: &str,
    code: Code,
    value: &Value,
) -> Result<(), ApiError> {
    let inside = match path {
        "" => String::new(),
        _ => format!(" inside `{path}`"),
    };
    match names.into_iter().find(|name| value.get(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(ApiError::new(
            code,
            format!("Missing field `{name}`{inside}"),
        )),
    }
}

fn check_filterable(path: &str, code: Code, value: &Value) -> Result<(), ApiError> {
    const FILTER: Shape = Shape::Fields(&[("equality", Shape::Flag), ("comparison", Shape::Flag)]);
    const FIELDS: [(&str, Shape); 2] = [
        ("attributePatterns", TEXTS),
        (
            "features",
            Shape::Fields(&[("facetSearch", Shape::Flag), ("filter", FILTER)]),
        ),
    ];
    check_fields(&FIELDS, path, code, value, false)?;
    check_present(["attributePatterns"], path, code, value)
}

fn check_ranking_rule(path: &str, code: Code, rule: &str) -> Result<(), ApiError> {
    const BUILT_IN: [&str; 8] = [
        "words",
        "typo",
        "proximity",
        "attribute",
        "attributeRank",
        "wordPosition",
        "sort",
        "exactness",
    ];
    let field = rule
        .strip_suffix(":asc")
        .or_else(|| rule.strip_suffix(":desc"));
    let problem = match field {
        _ if BUILT_IN.contains(&rule) => return Ok(()),
        None => format!(
            "`{rule}` ranking rule is invalid. Valid ranking rules are words, typo, sort, proximity, attribute, exactness and custom ranking rules."
        ),
        Some(field) => match reserved(field) {
            Some(problem) => problem,
            None => return Ok(()),
        },
    };
    Err(ApiError::new(
        code,
        format!("Invalid value{}: {problem}", at(path)),
    ))
}

/// Why a field cannot be ranked by, when its name is a function's.
fn reserved(field: &str) -> Option<String> {
    let of = |name: &str| field == name || field.starts_with(&format!("{name}("));
    let reserved = |name: &str| {
        format!("`{name}` is a reserved keyword and thus can't be used as a ranking rule")
    };
    if ["_geo", "_geoDistance", "_geojson"].contains(&field) {
        return Some(reserved(field));
    }
    let uses = [
        ("_geoPoint", "sorting"),
        ("_geoRadius", "filtering"),
        ("_geoBoundingBox", "filtering"),
    ];
    let (name, used) = uses.into_iter().find(|(name, _)| of(name))?;
    let reserved = reserved(name);
    Some(format!(
        "{reserved}. `{name}` can only be used for {used} at search time"
    ))
}
