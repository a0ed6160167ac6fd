//! Values that decide the order or the distinctness of hits and that a node does not show in them: those of attributes
//! that are not displayed. They are read from the documents themselves, by id, after the search.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::distinct::{DistinctValue, values_of};
use super::query::SearchQuery;
use super::settings::SearchSettings;
use crate::raw_json::{self, Members};

/// How a node names a rule whose value it does not tell.
const HIDDEN_RULE: &str = "<hidden-rule-";

/// One thing that hits are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey {
    /// The attribute, which may be `a.b`, or `_geoPoint(lat, lng)`.
    pub(super) field: String,
    pub(super) ascending: bool,
}

impl SortKey {
    fn parse(text: &str) -> Option<Self> {
        let (field, direction) = text.rsplit_once(':')?;
        let ascending = match direction {
            "asc" => true,
            "desc" => false,
            _ => return None,
        };
        Some(Self {
            field: field.to_owned(),
            ascending,
        })
    }

    fn is_geo(&self) -> bool {
        self.field.starts_with("_geoPoint(")
    }
}

/// What has to be read from documents for one search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unseen {
    /// What hits are sorted by, in the order in which nodes tell it.
    pub(super) keys: Vec<SortKey>,
    /// The attribute of the ids.
    pub(super) primary_key: String,
    /// The attributes to read.
    fields: BTreeSet<String>,
    /// Whether hits are told apart by one of them, which no answer shows.
    distinct: bool,
}

impl Unseen {
    /// What `query` needs beyond what nodes show; `None` when they show everything, or when hits
    /// do not show their ids, by which documents are read.
    pub(super) fn new(query: &SearchQuery, settings: &SearchSettings) -> Option<Self> {
        let shown = settings.displayed.as_ref()?;
        let primary_key = settings.primary_key.clone()?;
        if !shown.contains(&primary_key) {
            return None;
        }
        let keys = sort_keys(query, settings);
        let sorted = keys.iter().filter(|key| !key.is_geo());
        let mut fields: BTreeSet<String> = sorted
            .map(|key| key.field.clone())
            .filter(|field| !shown.contains(field))
            .collect();
        let distinct = query.distinct().or(settings.distinct.as_deref());
        let distinct = distinct.filter(|path| !shown.iter().any(|name| covers(name, path)));
        fields.extend(distinct.map(str::to_owned));
        (!fields.is_empty()).then_some(Self {
            keys,
            primary_key,
            fields,
            distinct: distinct.is_some(),
        })
    }

    /// The body for `documents/fetch` that reads what these hits do not show; `None` when nothing
    /// is missing.
    pub(super) fn request(&self, hits: &[&RawValue]) -> Option<Value> {
        let missing = self.distinct || hits.iter().any(|hit| hit.get().contains(HIDDEN_RULE));
        if !missing || hits.is_empty() {
            return None;
        }
        let ids: Vec<Value> = hits
            .iter()
            .filter_map(|hit| {
                let members = raw_json::members(hit.get()).ok()?;
                let id = members.iter().find(|(name, _)| *name == self.primary_key);
                serde_json::from_str(id?.1.get()).ok()
            })
            .collect();
        let fields: Vec<&str> = std::iter::once(self.primary_key.as_str())
            .chain(self.fields.iter().map(String::as_str))
            .collect();
        Some(json!({"ids": ids, "limit": ids.len(), "fields": fields}))
    }
}

/// Whether showing `name` shows `path`.
pub(super) fn covers(name: &str, path: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What hits are sorted by: the index's own rules, with the query's where they come in. What is
/// sorted by twice counts once.
fn sort_keys(query: &SearchQuery, settings: &SearchSettings) -> Vec<SortKey> {
    let asked: Vec<&str> = query.sort().collect();
    let rules = settings.ranking_rules.iter().flat_map(|rule| {
        if rule == "sort" {
            asked.clone()
        } else {
            vec![rule.as_str()]
        }
    });
    let mut known = BTreeSet::new();
    rules
        .filter_map(SortKey::parse)
        .filter(|key| {
            let name = if key.is_geo() {
                "_geoPoint("
            } else {
                &key.field
            };
            known.insert(name.to_owned())
        })
        .collect()
}

/// Documents as they were read, by the text of their ids.
pub(super) struct Values<'a>(BTreeMap<&'a str, Members<'a>>);

impl<'a> Values<'a> {
    /// Reads what `documents/fetch` answered.
    ///
    /// # Errors
    /// When it is no list of documents.
    pub(super) fn read(body: &'a str, primary_key: &str) -> Result<Self, serde_json::Error> {
        let answer = raw_json::members(body)?;
        let results = answer.iter().find(|(name, _)| name == "results");
        let results: Vec<&RawValue> =
            serde_json::from_str(results.map_or("null", |(_, results)| results.get()))?;
        let mut documents = BTreeMap::new();
        for document in results {
            let members = raw_json::members(document.get())?;
            let id = members.iter().find(|(name, _)| name == primary_key);
            if let Some(id) = id.map(|(_, id)| id.get()) {
                documents.insert(id, members);
            }
        }
        Ok(Self(documents))
    }

    /// What was read of the hit that shows these members.
    pub(super) fn take(&mut self, hit: &Members<'_>, primary_key: &str) -> Option<Members<'a>> {
        let (_, id) = hit.iter().find(|(name, _)| name == primary_key)?;
        self.0.remove(id.get())
    }
}

/// The value a document is sorted by: of several the first in the direction, numbers before text.
pub(super) fn sort_value(document: &Members<'_>, key: &SortKey) -> Option<DistinctValue> {
    let values = values_of(document, &key.field);
    let (numbers, texts): (Vec<_>, Vec<_>) = values
        .into_iter()
        .partition(|value| matches!(value, DistinctValue::Number(_)));
    let number = |value: &DistinctValue| match value {
        DistinctValue::Number(bits) => f64::from_bits(*bits),
        DistinctValue::Text(_) => 0.0,
    };
    let numbers = numbers.into_iter();
    let first = if key.ascending {
        numbers.min_by(|a, b| number(a).total_cmp(&number(b)))
    } else {
        numbers.max_by(|a, b| number(a).total_cmp(&number(b)))
    };
    first.or_else(|| {
        let mut texts = texts.into_iter();
        if key.ascending {
            texts.next()
        } else {
            texts.next_back()
        }
    })
}

/// Whether a node tells this rule's name but not its value.
pub(super) fn is_hidden_rule(name: &str) -> bool {
    name.starts_with(HIDDEN_RULE)
}

/// Whether the rule sorts by values, told or not.
pub(super) fn is_sort_rule(name: &str) -> bool {
    is_hidden_rule(name) || SortKey::parse(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unseen(query: Value, settings: Value) -> Option<Unseen> {
        let query = SearchQuery::from_json(query.to_string().as_bytes()).expect("valid");
        let mut settings = SearchSettings::from_settings(&settings);
        settings.primary_key = Some("id".to_owned());
        Unseen::new(&query, &settings)
    }

    #[test]
    fn only_what_is_not_displayed_is_read() {
        let table = [
            (json!({"sort": ["b:asc"]}), json!({}), None),
            (
                json!({"sort": ["b:asc"]}),
                json!({"displayedAttributes": ["*"]}),
                None,
            ),
            (
                json!({"sort": ["b:asc"]}),
                json!({"displayedAttributes": ["id", "b"]}),
                None,
            ),
            (
                json!({"sort": ["b:asc"]}),
                json!({"displayedAttributes": ["b"]}),
                None,
            ),
            (
                json!({"sort": ["b:asc"]}),
                json!({"displayedAttributes": ["c"]}),
                None,
            ),
            (
                json!({"sort": ["b:asc", "_geoPoint(1, 2):asc", "c.d:desc"]}),
                json!({"displayedAttributes": ["id", "c"]}),
                Some(vec!["b", "c.d"]),
            ),
            (
                json!({}),
                json!({"displayedAttributes": ["id"], "rankingRules": ["words", "r:desc"]}),
                Some(vec!["r"]),
            ),
            (
                json!({}),
                json!({"displayedAttributes": ["id"], "distinctAttribute": "sku"}),
                Some(vec!["sku"]),
            ),
            (
                json!({"distinct": "a.b"}),
                json!({"displayedAttributes": ["id", "a"], "distinctAttribute": "sku"}),
                None,
            ),
        ];
        for (query, settings, expected) in table {
            let found = unseen(query.clone(), settings.clone());
            let fields = found.map(|unseen| unseen.fields.into_iter().collect::<Vec<_>>());
            let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(fields, expected, "{query} {settings}");
        }
    }

    #[test]
    fn keys_come_in_the_order_of_the_rules_and_once() {
        let found = unseen(
            json!({"sort": ["a:desc", "_geoPoint(1, 2):asc", "b:asc", "_geoPoint(3, 4):asc"]}),
            json!({"displayedAttributes": ["id"], "rankingRules": ["b:desc", "sort", "a:asc", "c:asc"]}),
        );
        let keys = found.expect("hidden").keys;
        let told: Vec<(&str, bool)> = keys
            .iter()
            .map(|k| (k.field.as_str(), k.ascending))
            .collect();
        assert_eq!(
            told,
            [
                ("b", false),
                ("a", false),
                ("_geoPoint(1, 2)", true),
                ("c", true)
            ]
        );
    }

    #[test]
    fn a_document_is_sorted_by_its_first_value() {
        let text = |text: &str| Some(DistinctValue::Text(text.to_owned()));
        let number = |number: f64| Some(DistinctValue::Number(number.to_bits()));
        let table = [
            (r#"{"a":[3,-1,"x"]}"#, number(-1.0), number(3.0)),
            (r#"{"a":["Y","x",null]}"#, text("x"), text("y")),
            (r#"{"a":true}"#, text("true"), text("true")),
            (r#"{"b":1}"#, None, None),
        ];
        for (raw, ascending, descending) in table {
            let document = raw_json::members(raw).expect("an object");
            for (ascending, expected) in [(true, ascending), (false, descending)] {
                let key = SortKey {
                    field: "a".to_owned(),
                    ascending,
                };
                assert_eq!(sort_value(&document, &key), expected, "{raw} {ascending}");
            }
        }
    }

    #[test]
    fn documents_are_asked_for_only_when_something_is_hidden() {
        let unseen = unseen(
            json!({"sort": ["s:asc"]}),
            json!({"displayedAttributes": ["id"]}),
        );
        let unseen = unseen.expect("hidden");
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let plain = raw(r#"{"id":1,"_rankingScoreDetails":{"words":{"order":0}}}"#);
        let hidden = raw(
            r#"{"id":"b","_rankingScoreDetails":{"<hidden-rule-0>":{"order":0,"value":"<hidden>"}}}"#,
        );
        assert_eq!(unseen.request(&[&plain]), None);
        assert_eq!(
            unseen.request(&[&plain, &hidden]),
            Some(json!({"ids": [1, "b"], "limit": 2, "fields": ["id", "s"]}))
        );
        let body = r#"{"results":[{"id":"b","s":7}]}"#;
        let mut values = Values::read(body, "id").expect("documents");
        let hit = raw_json::members(hidden.get()).expect("an object");
        let document = values.take(&hit, "id").expect("read");
        assert!(sort_value(&document, &unseen.keys[0]).is_some());
    }
}
