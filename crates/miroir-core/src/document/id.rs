//! Finding and checking the id of a document.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api_error::{ApiError, Code};
use crate::raw_json::{self, Members};

const MAX_BYTES: usize = 511;

/// The canonical id of a document with these members: `1` and `"1"` are both `1`.
///
/// `raw` is the document's text, for the error.
pub(super) fn extract(members: &Members<'_>, key: &str, raw: &str) -> Result<String, ApiError> {
    let quoted = |what: String, code| {
        let document: Map<String, Value> = serde_json::from_str(raw).unwrap_or_default();
        ApiError::new(
            code,
            format!("{what} attribute: `{}`.", Value::Object(document)),
        )
    };
    match find(members, key) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(quoted(
            format!("Document doesn't have a `{key}`"),
            Code::MissingDocumentId,
        )),
        Err(Fault::Invalid(error)) => Err(error),
        Err(Fault::TooMany) => Err(quoted(
            format!("Document have too many matching `{key}`"),
            Code::InvalidDocumentId,
        )),
    }
}

enum Fault {
    Invalid(ApiError),
    TooMany,
}

/// A key `a.b` names both the member `a.b` and the member `b` of an object in `a`.
fn find(members: &Members<'_>, key: &str) -> Result<Option<String>, Fault> {
    let mut found = None;
    for (name, value) in members {
        let inner = match key.strip_prefix(name.as_ref()) {
            Some("") => Some(canonical(value).map_err(Fault::Invalid)?),
            Some(rest) => match rest.strip_prefix('.') {
                Some(rest) => match raw_json::members(value.get()) {
                    Ok(nested) => find(&nested, rest)?,
                    Err(_) => None,
                },
                None => None,
            },
            None => None,
        };
        if inner.is_some() && found.is_some() {
            return Err(Fault::TooMany);
        }
        found = found.or(inner);
    }
    Ok(found)
}

fn canonical(value: &RawValue) -> Result<String, ApiError> {
    let text = value.get();
    let id = match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<Cow<'_, str>>(text)
            .ok()
            .filter(|id| is_valid(id)),
        Some(b'-') => match text.parse::<i64>() {
            // `-0` is a float to every JSON reader that Meilisearch uses.
            Ok(number) if number != 0 => Some(Cow::Borrowed(text)),
            _ => None,
        },
        _ => text.parse::<u64>().is_ok().then_some(Cow::Borrowed(text)),
    };
    id.map(Cow::into_owned).ok_or_else(|| {
        let shown = serde_json::from_str::<Value>(text).map_or(text.to_owned(), |v| v.to_string());
        invalid(&shown)
    })
}

/// Whether a string may be an id: 1 to 511 bytes of letters, digits, hyphens, underscores.
pub(super) fn is_valid(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_BYTES
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The error for an id, shown as JSON.
pub(super) fn invalid(shown: &str) -> ApiError {
    ApiError::new(
        Code::InvalidDocumentId,
        format!(
            "Document identifier `{shown}` is invalid. A document identifier can be of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more than {MAX_BYTES} bytes."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(raw: &str, key: &str) -> Result<String, ApiError> {
        extract(&raw_json::members(raw).expect("an object"), key, raw)
    }

    #[test]
    fn ids_are_canonical() {
        let long = "a".repeat(511);
        let long_document = format!("{{\"id\":\"{long}\"}}");
        let table = [
            (r#"{"id":1}"#, "id", "1"),
            (r#"{"id":"1"}"#, "id", "1"),
            (r#"{"id":"007"}"#, "id", "007"),
            (r#"{"id":-5}"#, "id", "-5"),
            (r#"{"id":0}"#, "id", "0"),
            (
                r#"{"id":18446744073709551615}"#,
                "id",
                "18446744073709551615",
            ),
            (
                r#"{"id":-9223372036854775808}"#,
                "id",
                "-9223372036854775808",
            ),
            (r#"{"id":"A-b_9"}"#, "id", "A-b_9"),
            (r#"{"id":"\u0041b"}"#, "id", "Ab"),
            (r#"{"\u0069d":1}"#, "id", "1"),
            (r#"{"a":{"b":7}}"#, "a.b", "7"),
            (r#"{"a.b":7}"#, "a.b", "7"),
            (r#"{"a":{"b.c":7}}"#, "a.b.c", "7"),
            (r#"{"a.b":{"c":7}}"#, "a.b.c", "7"),
            (r#"{"a":3,"a.b":7}"#, "a.b", "7"),
            (r#"{"ab":3,"a":{"b":7}}"#, "a.b", "7"),
            (long_document.as_str(), "id", long.as_str()),
        ];
        for (raw, key, id) in table {
            assert_eq!(id_of(raw, key).as_deref(), Ok(id), "{raw}");
        }
    }

    #[test]
    fn invalid_ids_are_named() {
        let too_long = format!("\"{}\"", "a".repeat(512));
        let table = [
            ("1.0", "1.0"),
            ("1.5", "1.5"),
            ("1e2", "100.0"),
            ("-0", "-0.0"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("\"foo & bar\"", "\"foo & bar\""),
            ("\"\"", "\"\""),
            ("\"é\"", "\"é\""),
            ("null", "null"),
            ("true", "true"),
            ("[1]", "[1]"),
            ("{ \"a\": 1 }", "{\"a\":1}"),
            (too_long.as_str(), too_long.as_str()),
        ];
        for (value, shown) in table {
            let error = id_of(&format!("{{\"id\":{value}}}"), "id").expect_err(value);
            assert_eq!(error.code, Code::InvalidDocumentId);
            let start = format!("Document identifier `{shown}` is invalid. A document identifier");
            assert!(error.message.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn missing_and_doubled_ids_quote_the_document() {
        let table = [
            (
                r#"{"a": 1.10}"#,
                "id",
                Code::MissingDocumentId,
                "Document doesn't have a `id` attribute: `{\"a\":1.1}`.",
            ),
            (
                r#"{"a":{"c":1}}"#,
                "a.b",
                Code::MissingDocumentId,
                "Document doesn't have a `a.b` attribute: `{\"a\":{\"c\":1}}`.",
            ),
            (
                "{}",
                "id",
                Code::MissingDocumentId,
                "Document doesn't have a `id` attribute: `{}`.",
            ),
            (
                r#"{"a.b":1,"a":{"b":2}}"#,
                "a.b",
                Code::InvalidDocumentId,
                "Document have too many matching `a.b` attribute: `{\"a.b\":1,\"a\":{\"b\":2}}`.",
            ),
        ];
        for (raw, key, code, message) in table {
            let error = id_of(raw, key).expect_err(raw);
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }
}
