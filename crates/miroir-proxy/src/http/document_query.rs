//! Which documents a client wants to list.

use axum::http::Uri;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::body;
use miroir_core::hidden_field;
use miroir_core::request::{parse_json, unknown_field, wrong_type};
use serde_json::{Map, Value, json};

use super::params::Params;
use crate::read::DocumentsQuery;

const DEFAULT_LIMIT: u64 = 20;
const NAMES: [&str; 7] = [
    "offset",
    "limit",
    "fields",
    "retrieveVectors",
    "ids",
    "filter",
    "sort",
];

/// Reads the parameters of a GET.
///
/// # Errors
/// Meilisearch's, by parameter.
pub fn from_uri(uri: &Uri) -> Result<DocumentsQuery, ApiError> {
    let params = Params::only(uri, &NAMES)?;
    let mut passed = Map::new();
    if let Some(flag) = params.flag("retrieveVectors", Code::InvalidDocumentRetrieveVectors)? {
        passed.insert("retrieveVectors".to_owned(), flag.into());
    }
    if let Some(fields) = params
        .list("fields")
        .filter(|fields| !fields.iter().any(|f| f == "*"))
    {
        passed.insert("fields".to_owned(), json!(fields));
    }
    let filter = params.text("filter");
    let filter =
        filter.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
    checked(DocumentsQuery {
        offset: params
            .number("offset", Code::InvalidDocumentOffset)?
            .unwrap_or(0),
        limit: params
            .number("limit", Code::InvalidDocumentLimit)?
            .unwrap_or(DEFAULT_LIMIT),
        filter,
        ids: params.list("ids"),
        sort: params
            .text("sort")
            .map(sort_expressions)
            .unwrap_or_default(),
        passed,
    })
}

/// Reads the body of a fetch.
///
/// # Errors
/// Meilisearch's, by member.
pub fn from_json(body: &[u8]) -> Result<DocumentsQuery, ApiError> {
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
    let mut query = DocumentsQuery {
        offset: 0,
        limit: DEFAULT_LIMIT,
        filter: None,
        ids: None,
        sort: Vec::new(),
        passed: Map::new(),
    };
    for (name, value) in members {
        match name.as_str() {
            "offset" => query.offset = count(&value, ".offset", Code::InvalidDocumentOffset)?,
            "limit" => query.limit = count(&value, ".limit", Code::InvalidDocumentLimit)?,
            "filter" => query.filter = Some(value).filter(|filter| !filter.is_null()),
            "sort" if value.is_null() => {}
            "sort" => query.sort = body::texts(&value, ".sort", Code::InvalidDocumentSort)?,
            "ids" if value.is_null() => {}
            "ids" => query.ids = Some(ids(&value)?),
            "fields" if value.is_null() => {}
            "fields" => {
                check_texts(&value, ".fields", Code::InvalidDocumentFields)?;
                query.passed.insert(name, value);
            }
            "retrieveVectors" => {
                if !value.is_boolean() {
                    let code = Code::InvalidDocumentRetrieveVectors;
                    return Err(wrong_type(code, ".retrieveVectors", "a boolean", &value));
                }
                query.passed.insert(name, value);
            }
            _ => return Err(unknown_field("", &name, &NAMES)),
        }
    }
    checked(query)
}

fn checked(query: DocumentsQuery) -> Result<DocumentsQuery, ApiError> {
    if let Some(filter) = &query.filter {
        check_filter(filter)?;
    }
    let sort = query.sort.iter().map(String::as_str);
    hidden_field::check_sort(sort, Code::InvalidDocumentSort)?;
    Ok(query)
}

/// Checks a filter's types, and that it does not name the hidden field.
///
/// # Errors
/// `invalid_document_filter`.
pub fn check_filter(filter: &Value) -> Result<(), ApiError> {
    let code = Code::InvalidDocumentFilter;
    hidden_field::and_filter(Some(filter), "").map_err(|error| ApiError { code, ..error })?;
    hidden_field::check_filter(filter, code)
}

/// Expressions between commas; those within parentheses belong to a point.
fn sort_expressions(text: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let outside = |c: char| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        c == ',' && depth <= 0
    };
    text.split(outside)
        .map(|item| item.trim().to_owned())
        .collect()
}

fn count(value: &Value, path: &str, code: Code) -> Result<u64, ApiError> {
    value
        .as_u64()
        .ok_or_else(|| wrong_type(code, path, "a positive integer", value))
}

fn check_texts(value: &Value, path: &str, code: Code) -> Result<(), ApiError> {
    let items = value
        .as_array()
        .ok_or_else(|| wrong_type(code, path, "an array", value))?;
    match items.iter().enumerate().find(|(_, item)| !item.is_string()) {
        None => Ok(()),
        Some((at, item)) => Err(wrong_type(code, &format!("{path}[{at}]"), "a string", item)),
    }
}

/// Ids are strings; a number is its digits.
fn ids(value: &Value) -> Result<Vec<String>, ApiError> {
    let code = Code::InvalidDocumentIds;
    let items = value
        .as_array()
        .ok_or_else(|| wrong_type(code, ".ids", "an array", value))?;
    let id = |(at, item): (usize, &Value)| match item {
        Value::String(id) => Ok(id.clone()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        Value::Number(number) => Err(ApiError::new(
            code,
            format!(
                "In `.ids[{at}]`: Document identifier `{number}` is invalid. A document identifier can be of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than 511 bytes."
            ),
        )),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong_type(code, &format!(".ids[{at}]"), "a string", item))
        }
    };
    items.iter().enumerate().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(query: &str) -> Result<DocumentsQuery, ApiError> {
        from_uri(
            &format!("/indexes/i/documents?{query}")
                .parse()
                .expect("a URI"),
        )
    }

    #[test]
    fn parameters_and_bodies_mean_the_same() {
        let from_get = get(
            "offset=3&limit=2&sort=a:asc,_geoPoint(1,2):desc&fields=a,b&ids=1,x&filter=%5B%22a%20%3D%201%22%5D&retrieveVectors=true",
        );
        let body = json!({
            "offset": 3, "limit": 2, "fields": ["a", "b"], "ids": [1, "x"], "filter": ["a = 1"],
            "retrieveVectors": true, "sort": ["a:asc", "_geoPoint(1,2):desc"],
        });
        let from_post = from_json(body.to_string().as_bytes());
        assert_eq!(from_get, from_post);
        let query = from_get.expect("valid");
        assert_eq!((query.offset, query.limit), (3, 2));
        assert_eq!(query.ids, Some(vec!["1".to_owned(), "x".to_owned()]));
        assert_eq!(get("fields=*").expect("valid").passed, Map::new());
        assert_eq!(get("").expect("valid").limit, 20);
        assert_eq!(from_json(b"{}"), get(""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (
                get("offset=x"),
                Code::InvalidDocumentOffset,
                "parameter `offset`",
            ),
            (
                get("limit=-1"),
                Code::InvalidDocumentLimit,
                "parameter `limit`",
            ),
            (
                get("retrieveVectors=1"),
                Code::InvalidDocumentRetrieveVectors,
                "`retrieveVectors`",
            ),
            (
                get("filter=_miroir_shard%20%3D%20a"),
                Code::InvalidDocumentFilter,
                "_miroir_shard",
            ),
            (
                get("sort=_miroir_shard:asc"),
                Code::InvalidDocumentSort,
                "_miroir_shard",
            ),
            (
                from_json(br#"{"sort":["a:asc",1]}"#),
                Code::InvalidDocumentSort,
                "`.sort[1]`",
            ),
            (get("ofset=1"), Code::BadRequest, "did you mean `offset`?"),
            (from_json(b"[]"), Code::BadRequest, "expected an object"),
            (
                from_json(br#"{"offset":null}"#),
                Code::InvalidDocumentOffset,
                "`.offset`",
            ),
            (
                from_json(br#"{"fields":["a",1]}"#),
                Code::InvalidDocumentFields,
                "`.fields[1]`",
            ),
            (
                from_json(br#"{"ids":[true]}"#),
                Code::InvalidDocumentIds,
                "`.ids[0]`",
            ),
            (
                from_json(br#"{"ids":[1.5]}"#),
                Code::InvalidDocumentIds,
                "In `.ids[0]`: Document identifier `1.5` is invalid.",
            ),
            (
                from_json(br#"{"filter":1}"#),
                Code::InvalidDocumentFilter,
                "found: 1",
            ),
            (
                from_json(br#"{"x":1}"#),
                Code::BadRequest,
                "Unknown field `x`",
            ),
            (from_json(b""), Code::MissingPayload, "missing"),
            (from_json(b"{"), Code::MalformedPayload, "malformed"),
        ];
        for (result, code, text) in table {
            let error = result.expect_err(text);
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
    }
}
