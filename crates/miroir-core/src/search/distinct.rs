//! One hit for each value of an attribute, over all nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::facet_value::normalise;
use crate::raw_json::Members;

/// A value by which hits must differ. The number 1 and the text `1` differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DistinctValue {
    /// The bits of a number.
    Number(u64),
    /// A normalised text.
    Text(String),
}

/// The values that a hit has for `path`, which may be `a.b`. None when it has none, and then
/// it differs from every other hit.
pub(super) fn values_of(members: &Members<'_>, path: &str) -> BTreeSet<DistinctValue> {
    let mut values = BTreeSet::new();
    for (name, raw) in members {
        if let Some(rest) = below(path, name)
            && let Ok(value) = serde_json::from_str(raw.get())
        {
            collect(&value, rest, &mut values);
        }
    }
    values
}

/// What remains of `path` below a member: empty for the path itself, `None` beside it.
fn below<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    match path.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

fn collect(value: &Value, path: &str, values: &mut BTreeSet<DistinctValue>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, values)),
        Value::Object(members) if !path.is_empty() => {
            for (name, member) in members {
                if let Some(rest) = below(path, name) {
                    collect(member, rest, values);
                }
            }
        }
        _ if !path.is_empty() => {}
        Value::Number(number) => {
            // -0.0 and 0.0 are one facet.
            let number = number.as_f64().unwrap_or(0.0) + 0.0;
            values.insert(DistinctValue::Number(number.to_bits()));
        }
        Value::String(text) => {
            values.insert(DistinctValue::Text(normalise(text)));
        }
        Value::Bool(flag) => {
            values.insert(DistinctValue::Text(flag.to_string()));
        }
        Value::Null | Value::Object(_) => {}
    }
}

/// The values of the hits taken so far.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<DistinctValue>);

impl Seen {
    /// Whether a hit with these values is the first with all of them; if so they are taken.
    pub(super) fn admit(&mut self, values: BTreeSet<DistinctValue>) -> bool {
        if !self.0.is_disjoint(&values) {
            return false;
        }
        self.0.extend(values);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw_json;

    fn count(raw: &str, path: &str) -> usize {
        values_of(&raw_json::members(raw).expect("an object"), path).len()
    }

    #[test]
    fn values_are_found_along_the_path() {
        let table = [
            (r#"{"a":1}"#, "a", 1),
            (r#"{"a":[1,"1",1.0,"A","a"]}"#, "a", 3),
            (r#"{"a":null}"#, "a", 0),
            (r#"{"b":1}"#, "a", 0),
            (r#"{"a":{"b":1}}"#, "a", 0),
            (r#"{"a":{"b":true}}"#, "a.b", 1),
            (r#"{"a.b":1}"#, "a.b", 1),
            (r#"{"a":[{"b":1},{"b":2},{"c":3}]}"#, "a.b", 2),
            (r#"{"a":1}"#, "a.b", 0),
            (r#"{"ab":1}"#, "a", 0),
        ];
        for (raw, path, expected) in table {
            assert_eq!(count(raw, path), expected, "{raw} {path}");
        }
    }

    #[test]
    fn any_shared_value_rejects_and_none_admits() {
        let text = |t: &str| DistinctValue::Text(t.to_owned());
        let mut seen = Seen::default();
        assert!(seen.admit([text("a"), text("b")].into()));
        assert!(!seen.admit([text("b"), text("c")].into()));
        assert!(
            seen.admit([text("c")].into()),
            "a rejected hit takes nothing"
        );
        assert!(seen.admit(BTreeSet::new()));
        assert!(seen.admit(BTreeSet::new()));
        assert!(seen.admit([DistinctValue::Number(1.0_f64.to_bits())].into()));
    }
}
