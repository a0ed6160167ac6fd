//! Takes the hidden field out of what nodes answer.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::Value;

use super::{NAME, is_reserved};
use crate::raw_json;

/// The members of a hit that repeat its fields.
const MIRRORS: [&str; 2] = ["_formatted", "_matchesPosition"];

/// A document or hit without the hidden field, also inside `_formatted` and
/// `_matchesPosition`. Values keep their text, so no number changes.
///
/// Costs one substring search when the field is absent, and one more when it is first and
/// there is no `_formatted`, as in most answers. Text that is not an object stays as it is.
#[must_use]
pub fn strip_document(raw: &str) -> Cow<'_, str> {
    if !contains_name(raw) {
        return Cow::Borrowed(raw);
    }
    if let Some(stripped) = strip_leading(raw) {
        return Cow::Owned(stripped);
    }
    rebuild(raw, |name, value| {
        if MIRRORS.contains(&name) {
            strip_facets(value)
        } else {
            Cow::Borrowed(value)
        }
    })
}

/// An object keyed by attribute (`facetDistribution`, `facetStats`, `fieldDistribution`)
/// without the hidden one. Text that is not an object stays as it is.
#[must_use]
pub fn strip_facets(raw: &str) -> Cow<'_, str> {
    if contains_name(raw) {
        rebuild(raw, |_, value| Cow::Borrowed(value))
    } else {
        Cow::Borrowed(raw)
    }
}

/// Removes the hidden field from every object inside `value`, and from arrays of attribute
/// names. For small answers such as stats, never for documents, where a nested member of
/// that name would be the client's own.
pub fn strip_value(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !is_reserved(name));
            members.values_mut().for_each(strip_value);
        }
        Value::Array(items) => {
            items.retain(|item| !item.as_str().is_some_and(is_reserved));
            items.iter_mut().for_each(strip_value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Nodes write names without escapes, so the plain bytes are there when the member is.
fn contains_name(raw: &str) -> bool {
    memmem::find(raw.as_bytes(), NAME.as_bytes()).is_some()
}

/// The common case: the field is the first member and appears nowhere else.
fn strip_leading(raw: &str) -> Option<String> {
    let value = raw
        .strip_prefix("{\"")?
        .strip_prefix(NAME)?
        .strip_prefix("\":\"")?;
    let (code, rest) = value.split_once('"')?;
    if code.contains('\\') || contains_name(rest) {
        return None;
    }
    let rest = rest.strip_prefix(',').unwrap_or(rest);
    Some(format!("{{{rest}"))
}

fn rebuild(raw: &str, mut keep: impl for<'v> FnMut(&str, &'v str) -> Cow<'v, str>) -> Cow<'_, str> {
    let Ok(members) = raw_json::members(raw) else {
        return Cow::Borrowed(raw);
    };
    let kept: Vec<(Cow<'_, str>, Cow<'_, str>)> = members
        .into_iter()
        .filter(|(name, _)| !is_reserved(name))
        .map(|(name, value)| {
            let value = keep(&name, value.get());
            (name, value)
        })
        .collect();
    Cow::Owned(raw_json::object(
        kept.iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_lose_only_the_hidden_field() {
        let table = [
            ("{}", "{}"),
            (r#"{"id":1}"#, r#"{"id":1}"#),
            (r#"{"_miroir_shard":"†††"}"#, "{}"),
            (r#"{"_miroir_shard":"†††","id":1.10}"#, r#"{"id":1.10}"#),
            (
                r#"{"id":1e400,"_miroir_shard":"†††","n":12345678901234567890123}"#,
                r#"{"id":1e400,"n":12345678901234567890123}"#,
            ),
            (r#"{"id":1,"_miroir_shard":"†††"}"#, r#"{"id":1}"#),
            (
                r#"{"_miroir_shard":"†††","id":1,"_formatted":{"_miroir_shard":"†††","id":"1"}}"#,
                r#"{"id":1,"_formatted":{"id":"1"}}"#,
            ),
            (
                r#"{"id":1,"_matchesPosition":{"_miroir_shard":[{"start":0,"length":1}],"t":[]}}"#,
                r#"{"id":1,"_matchesPosition":{"t":[]}}"#,
            ),
            // Text and nested members of that name are the client's own.
            (r#"{"t":"_miroir_shard"}"#, r#"{"t":"_miroir_shard"}"#),
            (
                r#"{"_miroir_shard":"†††","n":{"_miroir_shard":1},"t":"\"_miroir_shard\":"}"#,
                r#"{"n":{"_miroir_shard":1},"t":"\"_miroir_shard\":"}"#,
            ),
        ];
        for (raw, expected) in table {
            assert_eq!(strip_document(raw), expected, "{raw}");
        }
    }

    #[test]
    fn untouched_text_is_borrowed() {
        assert!(matches!(strip_document(r#"{"id":1}"#), Cow::Borrowed(_)));
        assert!(matches!(
            strip_document("not json _miroir_shard"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn facets_and_values() {
        assert_eq!(
            strip_facets(r#"{"_miroir_shard":{"†††":3},"a":{"x":1}}"#),
            r#"{"a":{"x":1}}"#
        );
        let mut stats = json!({"indexes": {"m": {"fieldDistribution": {"_miroir_shard": 2, "id": 2}}},
            "names": ["_miroir_shard", "id"]});
        strip_value(&mut stats);
        assert_eq!(
            stats,
            json!({"indexes": {"m": {"fieldDistribution": {"id": 2}}}, "names": ["id"]})
        );
    }
}
