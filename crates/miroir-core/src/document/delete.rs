//! Ids to delete.

use std::collections::BTreeMap;

use serde_json::Value;

use super::id;
use crate::api_error::ApiError;
use crate::hidden_field::shard_of;
use crate::request;

/// The ids of a `delete-batch` body, in order and with repeats (`providedIds`).
///
/// Strings are ids; anything else is its JSON text, as in Meilisearch, so `1.0` is the id
/// `1.0`, which no document has.
///
/// # Errors
/// `missing_payload`, `malformed_payload`, or `bad_request` when it is not an array.
pub fn parse_delete_batch(body: &[u8]) -> Result<Vec<String>, ApiError> {
    let ids: Vec<Value> = request::parse_json(body)?;
    Ok(ids
        .into_iter()
        .map(|value| match value {
            Value::String(id) => id,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => value.to_string(),
        })
        .collect())
}

/// Checks an id given in a URL or a list of ids.
///
/// # Errors
/// `invalid_document_id`, naming it.
pub fn parse_id(text: &str) -> Result<&str, ApiError> {
    if id::is_valid(text) {
        Ok(text)
    } else {
        Err(id::invalid(&Value::from(text).to_string()))
    }
}

/// The ids by shard, in order and with repeats.
#[must_use]
pub fn split_ids(ids: &[String], shard_count: u16) -> BTreeMap<u16, Vec<String>> {
    let mut parts: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for id in ids {
        parts
            .entry(shard_of(id, shard_count))
            .or_default()
            .push(id.clone());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_error::Code;

    #[test]
    fn ids_of_every_type() {
        assert_eq!(
            parse_delete_batch(br#"[1, "1", 1.0, -5, "a b", null, true, 18446744073709551615]"#),
            Ok([
                "1",
                "1",
                "1.0",
                "-5",
                "a b",
                "null",
                "true",
                "18446744073709551615"
            ]
            .map(str::to_owned)
            .to_vec())
        );
        assert_eq!(parse_delete_batch(b"[]"), Ok(Vec::new()));
    }

    #[test]
    fn bad_bodies() {
        let table: [(&[u8], Code, &str); 3] = [
            (b"", Code::MissingPayload, "A json payload is missing."),
            (
                b"[1,",
                Code::MalformedPayload,
                "The json payload provided is malformed. `EOF while parsing a value at line 1 column 3`.",
            ),
            (
                b"\"doggo\"",
                Code::BadRequest,
                "Json deserialize error: invalid type: string \"doggo\", expected a sequence at line 1 column 7",
            ),
        ];
        for (body, code, message) in table {
            let error = parse_delete_batch(body).expect_err("refused");
            assert_eq!((error.code, error.message.as_str()), (code, message));
        }
    }

    #[test]
    fn split_ids_keeps_every_id_in_order() {
        let ids: Vec<String> = (0..100).chain(0..3).map(|n| n.to_string()).collect();
        let parts = split_ids(&ids, 8);
        assert_eq!(parts.values().map(Vec::len).sum::<usize>(), ids.len());
        for (shard, part) in &parts {
            let expected: Vec<&String> =
                ids.iter().filter(|id| shard_of(id, 8) == *shard).collect();
            assert_eq!(part.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn ids_in_urls() {
        assert_eq!(parse_id("a-1_B"), Ok("a-1_B"));
        let error = parse_id("a b").expect_err("a space");
        assert!(
            error
                .message
                .starts_with("Document identifier `\"a b\"` is invalid."),
            "{error}"
        );
    }
}
