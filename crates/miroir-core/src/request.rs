//! How Meilisearch words what is wrong with a request.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::api_error::{ApiError, Code};

/// Reads a JSON body.
///
/// # Errors
/// `missing_payload` when empty, `malformed_payload` when it is not JSON, `bad_request` when
/// it is JSON of another type than `T`.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Eof if error.line() == 1 && error.column() == 0 => {
            ApiError::new(Code::MissingPayload, "A json payload is missing.")
        }
        Category::Data => {
            ApiError::new(Code::BadRequest, format!("Json deserialize error: {error}"))
        }
        Category::Io | Category::Syntax | Category::Eof => ApiError::new(
            Code::MalformedPayload,
            format!("The json payload provided is malformed. `{error}`."),
        ),
    })
}

/// The error for a value of the wrong type in a JSON body. `path` is like `.filter[0]`, empty
/// for the body itself; `expected` like `a string`.
#[must_use]
pub fn wrong_type(code: Code, path: &str, expected: &str, found: &Value) -> ApiError {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" at `{path}`")
    };
    let found = describe(found);
    ApiError::new(
        code,
        format!("Invalid value type{place}: expected {expected}, but found {found}"),
    )
}

fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{kind}: `{value}`")
}

/// The error for a member that a JSON object must not have. `path` as in [`wrong_type`].
#[must_use]
pub fn unknown_field(path: &str, name: &str, accepted: &[&str]) -> ApiError {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" inside `{path}`")
    };
    ApiError::new(
        Code::BadRequest,
        format!(
            "Unknown field `{name}`{place}: {}",
            expected_one_of(name, accepted)
        ),
    )
}

/// The error for a query parameter that a route does not have.
#[must_use]
pub fn unknown_parameter(name: &str, accepted: &[&str]) -> ApiError {
    ApiError::new(
        Code::BadRequest,
        format!(
            "Unknown parameter `{name}`: {}",
            expected_one_of(name, accepted)
        ),
    )
}

/// The list of accepted words, with the nearest one first when `found` looks like a typo.
#[must_use]
pub fn expected_one_of(found: &str, accepted: &[&str]) -> String {
    let list: Vec<String> = accepted.iter().map(|word| format!("`{word}`")).collect();
    let hint = did_you_mean(found, accepted);
    format!("{hint}expected one of {}", list.join(", "))
}

fn did_you_mean(found: &str, accepted: &[&str]) -> String {
    let allowed = match found.len() {
        0..=3 => return String::new(),
        4..=7 => 1,
        8..=12 => 2,
        13..=17 => 3,
        18..=24 => 4,
        _ => 5,
    };
    // Whoever sends megabytes as a name must not have them compared, letter by letter, with every word.
    let length = found.chars().count();
    accepted
        .iter()
        .filter(|word| word.chars().count().abs_diff(length) <= allowed)
        .map(|word| (edit_distance(found, word), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("did you mean `{word}`? "))
        .unwrap_or_default()
}

/// Damerau-Levenshtein with adjacent transpositions.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_types() {
        let table = [
            (json!(null), "null"),
            (json!(true), "a boolean: `true`"),
            (json!(3), "a positive integer: `3`"),
            (json!(-3), "a negative integer: `-3`"),
            (json!(1.5), "a number: `1.5`"),
            (json!("doggo"), "a string: `\"doggo\"`"),
            (json!(["a"]), "an array: `[\"a\"]`"),
            (json!({"a": 1}), "an object: `{\"a\":1}`"),
        ];
        for (value, shown) in table {
            assert_eq!(
                wrong_type(Code::InvalidSearchQ, ".q", "a string", &value).message,
                format!("Invalid value type at `.q`: expected a string, but found {shown}")
            );
        }
        assert_eq!(
            wrong_type(Code::BadRequest, "", "an object", &json!([])).message,
            "Invalid value type: expected an object, but found an array: `[]`"
        );
    }

    #[test]
    fn a_name_of_megabytes_is_like_no_word() {
        let name = "vector".repeat(1 << 20);
        let message = unknown_field("", &name, &["q", "vector", "offset"]).message;
        assert!(message.ends_with("`: expected one of `q`, `vector`, `offset`"));
    }

    #[test]
    fn unknown_names() {
        let table = [
            (
                "marin",
                "Unknown field `marin`: expected one of `q`, `vector`, `offset`",
            ),
            (
                "vectro",
                "Unknown field `vectro`: did you mean `vector`? expected one of `q`, `vector`, `offset`",
            ),
            (
                "ofset",
                "Unknown field `ofset`: did you mean `offset`? expected one of `q`, `vector`, `offset`",
            ),
            (
                "p",
                "Unknown field `p`: expected one of `q`, `vector`, `offset`",
            ),
        ];
        for (name, message) in table {
            assert_eq!(
                unknown_field("", name, &["q", "vector", "offset"]).message,
                message
            );
        }
        assert_eq!(
            unknown_field(".hybrid", "x", &["embedder"]).message,
            "Unknown field `x` inside `.hybrid`: expected one of `embedder`"
        );
        assert_eq!(
            unknown_parameter("x", &["q"]).message,
            "Unknown parameter `x`: expected one of `q`"
        );
    }
}
