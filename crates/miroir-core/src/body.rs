//! Members of a JSON body, read with the words that Meilisearch has for what is wrong.
//!
//! A path is like `.queries[0].limit`.

use serde_json::{Map, Value};

use crate::api_error::{ApiError, Code};
use crate::request::{parse_json, unknown_field, wrong_type};

/// Reads a body that must be an object.
///
/// # Errors
/// `missing_payload`, `malformed_payload`, or `bad_request` for another type.
pub fn parse_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let value: Value = parse_json(body)?;
    object(value, "", Code::BadRequest)
}

/// The members of an object.
///
/// # Errors
/// `code`, for another type.
pub fn object(value: Value, path: &str, code: Code) -> Result<Map<String, Value>, ApiError> {
    match value {
        Value::Object(members) => Ok(members),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => Err(wrong_type(code, path, "an object", &other)),
    }
}

/// The items of an array.
///
/// # Errors
/// `code`, for another type.
pub fn array<'a>(value: &'a Value, path: &str, code: Code) -> Result<&'a [Value], ApiError> {
    let items = value.as_array().map(Vec::as_slice);
    items.ok_or_else(|| wrong_type(code, path, "an array", value))
}

/// A text.
///
/// # Errors
/// `code`, for another type.
pub fn text(value: &Value, path: &str, code: Code) -> Result<String, ApiError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| wrong_type(code, path, "a string", value))
}

/// A whole number that is not negative.
///
/// # Errors
/// `code`, for anything else.
pub fn count(value: &Value, path: &str, code: Code) -> Result<u64, ApiError> {
    value
        .as_u64()
        .ok_or_else(|| wrong_type(code, path, "a positive integer", value))
}

/// A number.
///
/// # Errors
/// `code`, for another type.
pub fn number(value: &Value, path: &str, code: Code) -> Result<f64, ApiError> {
    value
        .as_f64()
        .ok_or_else(|| wrong_type(code, path, "a number", value))
}

/// `true` or `false`.
///
/// # Errors
/// `code`, for another type.
pub fn flag(value: &Value, path: &str, code: Code) -> Result<bool, ApiError> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type(code, path, "a boolean", value))
}

/// A list of texts.
///
/// # Errors
/// `code`, for another type of the list or of an item.
pub fn texts(value: &Value, path: &str, code: Code) -> Result<Vec<String>, ApiError> {
    array(value, path, code)?
        .iter()
        .enumerate()
        .map(|(at, item)| text(item, &format!("{path}[{at}]"), code))
        .collect()
}

/// Refuses members that `accepted` does not name.
///
/// # Errors
/// `code`, naming the first of them.
pub fn only(
    members: &Map<String, Value>,
    path: &str,
    accepted: &[&str],
    code: Code,
) -> Result<(), ApiError> {
    match members
        .keys()
        .find(|name| !accepted.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(ApiError {
            code,
            ..unknown_field(path, name, accepted)
        }),
    }
}

/// The refusal of what needs Meilisearch's experimental feature `network`, in its words. `what` is
/// like `passing `useNetwork` in a search query`.
#[must_use]
pub fn needs_network(what: &str) -> ApiError {
    ApiError::new(
        Code::FeatureNotEnabled,
        format!(
            "{what} requires enabling the `network` experimental feature. See https://github.com/orgs/meilisearch/discussions/805"
        ),
    )
}

/// As [`needs_network`], for the feature `personalization`.
#[must_use]
pub fn needs_personalization() -> ApiError {
    ApiError::new(
        Code::FeatureNotEnabled,
        "reranking search results requires enabling the `personalization` experimental feature. See https://github.com/orgs/meilisearch/discussions/866",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let code = Code::InvalidSearchLimit;
        let members = |value: Value| object(value, "", code).expect("an object");
        let table = [
            (
                count(&json!(-1), ".a", code).map(drop),
                "Invalid value type at `.a`: expected a positive integer, but found a negative integer: `-1`",
            ),
            (
                texts(&json!(["a", 1]), ".a", code).map(drop),
                "Invalid value type at `.a[1]`: expected a string, but found a positive integer: `1`",
            ),
            (
                flag(&json!(null), ".a", code).map(drop),
                "Invalid value type at `.a`: expected a boolean, but found null",
            ),
            (
                only(&members(json!({"b": 1})), ".a", &["c"], code),
                "Unknown field `b` inside `.a`: expected one of `c`",
            ),
            (
                object(json!([]), "", code).map(drop),
                "Invalid value type: expected an object, but found an array: `[]`",
            ),
        ];
        for (result, message) in table {
            let error = result.expect_err(message);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
        assert_eq!(number(&json!(1.5), "", code), Ok(1.5));
        assert_eq!(text(&json!("a"), "", code).as_deref(), Ok("a"));
        assert_eq!(
            parse_object(b"").map_err(|e| e.code),
            Err(Code::MissingPayload)
        );
    }
}
