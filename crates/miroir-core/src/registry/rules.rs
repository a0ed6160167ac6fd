//! The rules of a tenant token: which indexes it may search, and by which filter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::IndexPattern;

/// The rule of one index or pattern.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexRule {
    /// A filter that every search is narrowed by, in any of Meilisearch's forms.
    pub filter: Option<Value>,
}

/// The `searchRules` of a tenant token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchRules {
    /// These indexes, without a filter.
    Set(BTreeSet<IndexPattern>),
    /// These indexes, each with its rule.
    Map(BTreeMap<IndexPattern, Option<IndexRule>>),
}

impl SearchRules {
    /// Whether an index may be searched.
    #[must_use]
    pub fn allows(&self, uid: &str) -> bool {
        match self {
            Self::Set(set) => set.iter().any(|pattern| pattern.matches(uid)),
            Self::Map(map) => map.keys().any(|pattern| pattern.matches(uid)),
        }
    }

    /// Whether every index may be searched.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        match self {
            Self::Set(set) => set.iter().any(IndexPattern::is_all),
            Self::Map(map) => map.keys().any(IndexPattern::is_all),
        }
    }

    /// The filter that searches of an index are narrowed by: that of the pattern which names it most closely.
    #[must_use]
    pub fn filter(&self, uid: &str) -> Option<&Value> {
        let Self::Map(map) = self else {
            return None;
        };
        let matching = map.iter().filter(|(pattern, _)| pattern.matches(uid));
        let closest =
            matching.max_by_key(|(pattern, _)| (pattern.is_exact(), pattern.as_str().len()));
        closest?.1.as_ref()?.filter.as_ref()
    }

    /// The patterns, sorted, for messages.
    #[must_use]
    pub fn patterns(&self) -> Vec<&str> {
        match self {
            Self::Set(set) => set.iter().map(IndexPattern::as_str).collect(),
            Self::Map(map) => map.keys().map(IndexPattern::as_str).collect(),
        }
    }
}

/// A client's filter and that of a rule, both required. Members of a list are all required and each is read by
/// itself, so nothing in the client's filter reaches the rule.
#[must_use]
pub fn narrowed(client: Option<Value>, rule: &Value) -> Value {
    let members = |filter: Value| match filter {
        Value::Array(members) => members,
        // No filter at all; as a member it would be a faulty one.
        Value::Null => Vec::new(),
        Value::String(text) if text.trim().is_empty() => Vec::new(),
        filter @ (Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            vec![filter]
        }
    };
    let mut both = members(client.unwrap_or(Value::Null));
    if both.is_empty() {
        return rule.clone();
    }
    both.extend(members(rule.clone()));
    Value::Array(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(rules: Value) -> SearchRules {
        serde_json::from_value(rules).expect("valid rules")
    }

    #[test]
    fn the_closest_pattern_decides() {
        let rules = rules(json!({
            "*": { "filter": "a = 1" },
            "mov*": { "filter": ["b = 1"] },
            "movies": null,
            "movies-*": {},
        }));
        let table = [
            ("books", Some(json!("a = 1"))),
            ("movers", Some(json!(["b = 1"]))),
            ("movies", None),
            ("movies-2", None),
        ];
        for (uid, filter) in table {
            assert_eq!(rules.filter(uid), filter.as_ref(), "{uid}");
            assert!(rules.allows(uid));
        }
        assert!(rules.allows_all());
    }

    #[test]
    fn a_list_of_indexes_has_no_filter() {
        let rules = rules(json!(["movies", "book*"]));
        assert!(rules.allows("movies") && rules.allows("books") && !rules.allows("movies2"));
        assert_eq!((rules.filter("movies"), rules.allows_all()), (None, false));
        assert_eq!(rules.patterns(), ["book*", "movies"]);
    }

    #[test]
    fn filters_are_both_required() {
        let table = [
            (None, json!("a = 1"), json!("a = 1")),
            (Some(json!(null)), json!("a = 1"), json!("a = 1")),
            (Some(json!(" ")), json!(["a = 1"]), json!(["a = 1"])),
            (
                Some(json!("b = 2 OR c = 3")),
                json!("a = 1"),
                json!(["b = 2 OR c = 3", "a = 1"]),
            ),
            (
                Some(json!([["b = 2", "c = 3"]])),
                json!([["a = 1", "a = 2"]]),
                json!([["b = 2", "c = 3"], ["a = 1", "a = 2"]]),
            ),
        ];
        for (client, rule, expected) in table {
            assert_eq!(
                narrowed(client.clone(), &rule),
                expected,
                "{client:?} {rule}"
            );
        }
    }

    #[test]
    fn what_is_neither_list_nor_object_is_refused() {
        for wrong in [json!("*"), json!(1), json!({ "movies": 1 }), json!(null)] {
            assert!(
                serde_json::from_value::<SearchRules>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
