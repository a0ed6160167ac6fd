//! Digests of documents, and what differs between two copies of a shard.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use twox_hash::XxHash3_64;

/// Digests by canonical id.
pub type Digests = BTreeMap<String, u64>;

/// What has to be done to C to make it equal to A.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Ids that are missing or different on C.
    pub copy: Vec<String>,
    /// Ids that only C has.
    pub delete: Vec<String>,
}

/// Compares both ways: what A has and C lacks, and what C has and A lacks.
#[must_use]
pub fn difference(a: &Digests, c: &Digests) -> Difference {
    Difference {
        copy: a
            .iter()
            .filter(|(id, digest)| c.get(*id) != Some(digest))
            .map(|(id, _)| id.clone())
            .collect(),
        delete: c
            .keys()
            .filter(|id| !a.contains_key(*id))
            .cloned()
            .collect(),
    }
}

/// A document that does not say what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the node answered a document without a usable `{primary_key}`: {reason}")]
pub struct NoId {
    /// The field that should identify it.
    pub primary_key: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// A document's id as text: 1 and "1" are the same document to Meilisearch.
///
/// # Errors
/// [`NoId`] when the node answered something that is no document of this index.
pub fn id_of(document: &RawValue, primary_key: &str) -> Result<String, NoId> {
    let wrong = |reason| NoId {
        primary_key: primary_key.to_owned(),
        reason,
    };
    let value: Value = serde_json::from_str(document.get()).map_err(|_| wrong("not JSON"))?;
    id_in(&value, primary_key).ok_or_else(|| wrong("no such field, or no id in it"))
}

/// The id, also in a nested field (`a.b`), which documents may spell flat or nested.
fn id_in(document: &Value, primary_key: &str) -> Option<String> {
    if let Some(id) = document.get(primary_key) {
        return match id {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) if !id.is_f64() => Some(id.to_string()),
            Value::Number(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        };
    }
    let (outer, inner) = primary_key.split_once('.')?;
    id_in(document.get(outer)?, inner)
}

/// The digest of a document's content. Order of top-level fields differs between nodes that saw fields in
/// another order, so it does not count; nested order does not either.
///
/// # Errors
/// [`NoId`] when the document is not JSON.
pub fn digest_of(document: &RawValue, primary_key: &str) -> Result<u64, NoId> {
    let wrong = |_| NoId {
        primary_key: primary_key.to_owned(),
        reason: "not JSON",
    };
    let value: Value = serde_json::from_str(document.get()).map_err(wrong)?;
    let mut text = String::with_capacity(document.get().len());
    write_sorted(&value, &mut text);
    Ok(XxHash3_64::oneshot(text.as_bytes()))
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (name, field) in sorted {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_sorted(field, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_sorted(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("valid JSON")
    }

    fn digests(pairs: &[(&str, u64)]) -> Digests {
        pairs
            .iter()
            .map(|(id, digest)| ((*id).to_owned(), *digest))
            .collect()
    }

    #[test]
    fn differences_are_found_both_ways() {
        let a = digests(&[("same", 1), ("changed", 2), ("missing", 3)]);
        let c = digests(&[("same", 1), ("changed", 9), ("extra", 4)]);
        let found = difference(&a, &c);
        assert_eq!(found.copy, ["changed", "missing"]);
        assert_eq!(found.delete, ["extra"]);
        assert_eq!(difference(&a, &a), Difference::default());
    }

    #[test]
    fn field_order_does_not_count_but_everything_else_does() {
        let digest = |text: &str| digest_of(&raw(text), "id").expect("JSON");
        let one = digest(r#"{"id":1,"a":{"x":1,"y":[1,2]}}"#);
        assert_eq!(one, digest(r#"{"a":{"y":[1,2],"x":1},"id":1}"#));
        for other in [
            r#"{"id":1,"a":{"x":1,"y":[2,1]}}"#,
            r#"{"id":1,"a":{"x":1,"y":["1",2]}}"#,
            r#"{"id":1,"a":{"x":1}}"#,
            r#"{"id":1,"a":{"x":1,"y":[1,2]},"b":null}"#,
            r#"{"id":1,"a":{"x":1.0,"y":[1,2]}}"#,
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
    }

    #[test]
    fn ids_are_canonical_and_may_be_nested() {
        assert_eq!(id_of(&raw(r#"{"id":7}"#), "id").as_deref(), Ok("7"));
        assert_eq!(id_of(&raw(r#"{"id":"7"}"#), "id").as_deref(), Ok("7"));
        assert_eq!(id_of(&raw(r#"{"a":{"b":"x"}}"#), "a.b").as_deref(), Ok("x"));
        assert_eq!(id_of(&raw(r#"{"a.b":"x"}"#), "a.b").as_deref(), Ok("x"));
        assert!(id_of(&raw(r#"{"x":1}"#), "id").is_err());
        assert!(id_of(&raw("[]"), "id").is_err());
    }
}
