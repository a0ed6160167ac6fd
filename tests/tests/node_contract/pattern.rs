//! Comparing answers: with what a test expects, and between two nodes.

use serde_json::{Map, Value};

/// Matches anything, but must be there.
pub const ANY: &str = "<any>";
/// Matches only a key that is not there.
pub const ABSENT: &str = "<absent>";
/// Matches an RFC 3339 time in UTC with a fraction, as the SDKs parse it.
pub const TIME: &str = "<time>";
/// Matches an ISO 8601 duration.
pub const DURATION: &str = "<duration>";
/// As a key of a pattern object: the actual object has no other keys.
pub const EXACTLY: &str = "<exactly>";

/// What of `actual` does not fit `pattern`, one line each. An object pattern names the
/// keys it cares about; arrays have equal length.
pub fn mismatches(pattern: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(pattern, actual, "", &mut found);
    found
}

fn compare(pattern: &Value, actual: &Value, at: &str, found: &mut Vec<String>) {
    match (pattern, actual) {
        (Value::String(text), _) if is_placeholder(text) => {
            if !placeholder_fits(text, actual) {
                found.push(format!("{at}: {actual} is not {text}"));
            }
        }
        (Value::Object(pattern), Value::Object(actual)) => objects(pattern, actual, at, found),
        (Value::Array(pattern), Value::Array(actual)) if pattern.len() == actual.len() => {
            for (number, (pattern, actual)) in pattern.iter().zip(actual).enumerate() {
                compare(pattern, actual, &format!("{at}/{number}"), found);
            }
        }
        (Value::Number(_), Value::Number(_)) if close(pattern, actual) => {}
        _ if pattern == actual => {}
        _ => found.push(format!("{at}: expected {pattern}, found {actual}")),
    }
}

fn objects(
    pattern: &Map<String, Value>,
    actual: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    for (key, pattern) in pattern.iter().filter(|(key, _)| *key != EXACTLY) {
        match actual.get(key) {
            Some(_) if pattern == ABSENT => found.push(format!("{at}/{key}: should be absent")),
            Some(actual) => compare(pattern, actual, &format!("{at}/{key}"), found),
            None if pattern == ABSENT => {}
            None => found.push(format!("{at}/{key}: missing, expected {pattern}")),
        }
    }
    if pattern.contains_key(EXACTLY) {
        for key in actual.keys().filter(|key| !pattern.contains_key(*key)) {
            found.push(format!("{at}/{key}: should not be there"));
        }
    }
}

fn is_placeholder(text: &str) -> bool {
    [ANY, TIME, DURATION].contains(&text)
}

fn placeholder_fits(placeholder: &str, actual: &Value) -> bool {
    let text = actual.as_str().unwrap_or_default();
    match placeholder {
        TIME => text.ends_with('Z') && text.contains('T') && text.contains('.'),
        DURATION => text.starts_with("PT") && text.ends_with('S'),
        _ => true,
    }
}

fn close(a: &Value, b: &Value) -> bool {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a == b,
        _ => (a.as_f64().unwrap_or(f64::NAN) - b.as_f64().unwrap_or(f64::NAN)).abs() < 1e-9,
    }
}

/// Where two nodes' answers differ, one line each, without what `known` names (JSON
/// pointers, `*` for any one step; what lies below is left out too).
pub fn differences(left: &Value, right: &Value, known: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    differ(left, right, "", known, &mut found);
    found
}

fn differ(left: &Value, right: &Value, at: &str, known: &[&str], found: &mut Vec<String>) {
    if known.iter().any(|pointer| covers(pointer, at)) {
        return;
    }
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for key in left
                .keys()
                .chain(right.keys().filter(|k| !left.contains_key(*k)))
            {
                let of =
                    |side: &Map<String, Value>| side.get(key).cloned().unwrap_or(ABSENT.into());
                differ(&of(left), &of(right), &format!("{at}/{key}"), known, found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                differ(left, right, &format!("{at}/{number}"), known, found);
            }
        }
        (Value::Number(_), Value::Number(_)) if close(left, right) => {}
        _ if left == right => {}
        _ => found.push(format!("{at}: {left} against {right}")),
    }
}

fn covers(pointer: &str, at: &str) -> bool {
    let mut steps = at.split('/');
    pointer.split('/').all(|wanted| {
        steps
            .next()
            .is_some_and(|step| wanted == "*" || wanted == step)
    })
}

/// Puts placeholders where two right answers differ: times, durations, sizes, request ids.
pub fn normalise(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "enqueuedAt" | "startedAt" | "finishedAt" | "createdAt" | "updatedAt"
                    | "lastUpdate"
                        if placeholder_fits(TIME, value) =>
                    {
                        *value = TIME.into();
                    }
                    "duration" if placeholder_fits(DURATION, value) => *value = DURATION.into(),
                    "processingTimeMs" | "batchUid" | "databaseSize" | "usedDatabaseSize"
                    | "rawDocumentDbSize" | "avgDocumentSize" | "requestUid" | "pkgVersion"
                    | "commitSha" | "commitDate"
                        if !value.is_null() =>
                    {
                        *value = ANY.into();
                    }
                    _ => normalise(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_match_what_they_should() {
        let actual =
            json!({ "a": 1, "b": [1.0, "x"], "t": "2026-01-01T00:00:00.1Z", "d": "PT0.1S" });
        let table = [
            (json!({}), true),
            (json!({ "a": 1 }), true),
            (json!({ "a": 1.0 }), true),
            (json!({ "a": 2 }), false),
            (json!({ "a": "1" }), false),
            (json!({ "a": ANY, "c": ABSENT }), true),
            (json!({ "a": ABSENT }), false),
            (json!({ "c": ANY }), false),
            (json!({ "b": [1, "x"] }), true),
            (json!({ "b": [1] }), false),
            (json!({ "t": TIME, "d": DURATION }), true),
            (json!({ "a": TIME }), false),
            (json!({ "a": 1, EXACTLY: true }), false),
            (
                json!({ "a": 1, "b": ANY, "t": ANY, "d": ANY, EXACTLY: true }),
                true,
            ),
        ];
        for (pattern, fits) in table {
            let found = mismatches(&pattern, &actual);
            assert_eq!(found.is_empty(), fits, "{pattern}: {found:?}");
        }
    }

    #[test]
    fn known_differences_are_left_out() {
        let left = json!({ "hits": [{ "a": 1 }, { "a": 2 }], "n": 1 });
        let right = json!({ "hits": [{ "a": 3 }, { "a": 4 }], "n": 2, "m": 0 });
        assert_eq!(differences(&left, &right, &[]).len(), 4);
        assert_eq!(differences(&left, &right, &["/hits/*/a", "/m"]).len(), 1);
        assert_eq!(differences(&left, &right, &["/hits", "/m", "/n"]).len(), 0);
    }
}
