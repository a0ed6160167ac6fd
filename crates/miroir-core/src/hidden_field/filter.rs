//! Filters on the hidden field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{NAME, encode};
use crate::api_error::{ApiError, Code};

/// Shorter runs go into the `IN` list: a range costs 44 bytes of filter text, a listed shard 13.
const MIN_RANGE: usize = 4;

/// A filter expression that selects exactly the documents of `shards`.
///
/// Runs of neighbours become ranges, the rest one `IN` list, because a node's time for `IN`
/// grows faster than the list. For no shards at all it selects nothing.
///
/// # Panics
/// When a shard has no code, see [`encode`].
#[must_use]
pub fn filter_for(shards: &BTreeSet<u16>) -> String {
    let mut ranges = Vec::new();
    let mut singles = Vec::new();
    for run in runs(shards) {
        if run.len() >= MIN_RANGE {
            let (first, last) = (encode(run[0]), encode(run[run.len() - 1]));
            ranges.push(format!("{NAME} \"{first}\" TO \"{last}\""));
        } else {
            singles.extend(
                run.into_iter()
                    .map(|shard| format!("\"{}\"", encode(shard))),
            );
        }
    }
    match singles.as_slice() {
        [] if !ranges.is_empty() => {}
        [single] => ranges.push(format!("{NAME} = {single}")),
        _ => ranges.push(format!("{NAME} IN [{}]", singles.join(", "))),
    }
    ranges.join(" OR ")
}

/// Splits a set into its maximal runs of consecutive numbers.
fn runs(shards: &BTreeSet<u16>) -> Vec<Vec<u16>> {
    let mut runs: Vec<Vec<u16>> = Vec::new();
    for &shard in shards {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| last + 1 == shard) => run.push(shard),
            _ => runs.push(vec![shard]),
        }
    }
    runs
}

/// The client's filter and the hidden one, both required.
///
/// In Meilisearch the members of a filter array are ANDed and each string is parsed by
/// itself. Putting the hidden filter in front of the client's members therefore keeps it
/// outside whatever the client wrote: an `OR` or an unbalanced parenthesis in the client's
/// string cannot reach it.
///
/// # Errors
/// `invalid_search_filter`, in Meilisearch's words, when the client's filter is neither a
/// string nor an array of strings and arrays of strings.
pub fn and_filter(client: Option<&Value>, hidden: &str) -> Result<Value, ApiError> {
    let hidden = Value::String(hidden.to_owned());
    match client {
        None | Some(Value::Null) => Ok(hidden),
        Some(Value::String(expression)) if expression.trim().is_empty() => Ok(hidden),
        Some(Value::String(_)) => Ok(Value::Array(client.into_iter().fold(vec![hidden], push))),
        Some(Value::Array(members)) => {
            check_members(members)?;
            Ok(Value::Array(members.iter().fold(vec![hidden], push)))
        }
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => {
            Err(wrong_type("String, Array", other))
        }
    }
}

fn push(mut members: Vec<Value>, member: &Value) -> Vec<Value> {
    members.push(member.clone());
    members
}

fn check_members(members: &[Value]) -> Result<(), ApiError> {
    for member in members {
        match member {
            Value::String(_) => {}
            Value::Array(alternatives) => {
                if let Some(wrong) = alternatives.iter().find(|inner| !inner.is_string()) {
                    return Err(wrong_type("String", wrong));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(wrong_type("String, [String]", member));
            }
        }
    }
    Ok(())
}

fn wrong_type(expected: &str, found: &Value) -> ApiError {
    ApiError::new(
        Code::InvalidSearchFilter,
        format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(shards: &[u16]) -> BTreeSet<u16> {
        shards.iter().copied().collect()
    }

    #[test]
    fn expressions_are_short() {
        let table = [
            (set(&[]), "_miroir_shard IN []"),
            (set(&[1]), "_miroir_shard = \"††‡\""),
            (set(&[0, 1]), "_miroir_shard IN [\"†††\", \"††‡\"]"),
            (set(&[0, 1, 2, 3]), "_miroir_shard \"†††\" TO \"††⁌\""),
            (
                set(&[0, 1, 2, 3, 7]),
                "_miroir_shard \"†††\" TO \"††⁌\" OR _miroir_shard = \"††⁑\"",
            ),
            (
                set(&[0, 2, 4, 5, 6, 7, 8]),
                "_miroir_shard \"††⁍\" TO \"††⁓\" OR _miroir_shard IN [\"†††\", \"††⁂\"]",
            ),
        ];
        for (shards, expected) in table {
            assert_eq!(filter_for(&shards), expected, "{shards:?}");
        }
    }

    /// Reads an expression of `filter_for` back, independently of how it was built.
    fn selected(expression: &str) -> BTreeSet<u16> {
        let mut shards = BTreeSet::new();
        for clause in expression.split(" OR ") {
            let codes: Vec<u16> = clause
                .split('"')
                .skip(1)
                .step_by(2)
                .filter_map(super::super::decode)
                .collect();
            if clause.contains(" TO ") {
                shards.extend(codes[0]..=codes[1]);
            } else {
                shards.extend(codes);
            }
        }
        shards
    }

    proptest! {
        #[test]
        fn selects_exactly_the_set(shards in proptest::collection::btree_set(0_u16..256, 0..200)) {
            prop_assert_eq!(selected(&filter_for(&shards)), shards);
        }
    }

    #[test]
    fn the_clients_filter_stays_inside() {
        let table = [
            (None, json!("H")),
            (Some(json!(null)), json!("H")),
            (Some(json!("")), json!("H")),
            (Some(json!("  ")), json!("H")),
            (
                Some(json!("a = 1 OR b = 2")),
                json!(["H", "a = 1 OR b = 2"]),
            ),
            (
                Some(json!("a = 1) OR (b = 2")),
                json!(["H", "a = 1) OR (b = 2"]),
            ),
            (Some(json!([])), json!(["H"])),
            (
                Some(json!(["a = 1", "b = 2"])),
                json!(["H", "a = 1", "b = 2"]),
            ),
            (
                Some(json!([["a = 1", "b = 2"], "c = 3"])),
                json!(["H", ["a = 1", "b = 2"], "c = 3"]),
            ),
        ];
        for (client, expected) in table {
            assert_eq!(and_filter(client.as_ref(), "H"), Ok(expected), "{client:?}");
        }
    }

    #[test]
    fn other_types_are_refused_in_meilisearchs_words() {
        let table = [
            (json!(true), "expected String, Array, found: true"),
            (json!({"a": 1}), "expected String, Array, found: {\"a\":1}"),
            (json!([1]), "expected String, [String], found: 1"),
            (
                json!([["a = 1", ["b = 2"]]]),
                "expected String, found: [\"b = 2\"]",
            ),
        ];
        for (client, expected) in table {
            let error = and_filter(Some(&client), "H").expect_err("refused");
            assert_eq!(error.code, Code::InvalidSearchFilter);
            assert_eq!(
                error.message,
                format!("Invalid syntax for the filter parameter: `{expected}`.")
            );
        }
    }
}
