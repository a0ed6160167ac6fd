//! Listing documents in a client's order over several nodes.
//!
//! Every node sorts its own documents. The merge compares what the documents hold, as Meilisearch
//! compares facets: numbers before text, in both directions, and documents without the value last.
//! Of several values that a document has, the first in the order counts.

use std::cmp::Ordering;

use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::{MergeError, prune_member};
use super::documents::read_results;
use super::facet_value::normalise;
use super::merge::interleave;
use crate::hidden_field::strip_document;
use crate::raw_json::{self, Members};

const EARTH_RADIUS_M: f64 = 6_371_000.0;
const GEO: &str = "_geo";

/// The order that a client wants.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentSort {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq)]
struct Key {
    by: By,
    ascending: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum By {
    Attribute(String),
    /// The distance from a point: latitude and longitude in degrees.
    Distance(f64, f64),
}

/// What one key is compared by. `None` for a document without it.
type KeyValue = Option<SortValue>;

#[derive(Debug, Clone, PartialEq)]
enum SortValue {
    Number(f64),
    Text(String),
}

/// A document of a node's page.
struct Listed<'a> {
    members: Members<'a>,
    values: Vec<KeyValue>,
}

impl DocumentSort {
    /// Reads expressions like `year:asc` or `_geoPoint(48.8, 2.3):desc`. Those that are none are left
    /// out: nodes refuse them.
    #[must_use]
    pub fn parse(expressions: &[String]) -> Self {
        let keys = expressions.iter().filter_map(|text| {
            let (field, direction) = text.rsplit_once(':')?;
            let ascending = match direction {
                "asc" => true,
                "desc" => false,
                _ => return None,
            };
            let by = match field.trim().strip_prefix("_geoPoint(") {
                Some(point) => {
                    let (lat, lng) = point.strip_suffix(')')?.split_once(',')?;
                    By::Distance(lat.trim().parse().ok()?, lng.trim().parse().ok()?)
                }
                None => By::Attribute(field.to_owned()),
            };
            Some(Key { by, ascending })
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// The attributes that nodes must be asked for beyond `fields`, the client's own.
    #[must_use]
    pub fn beyond<'a>(&'a self, fields: &[String]) -> Vec<&'a str> {
        let covers = |wanted: &str, path: &str| {
            path.strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut beyond: Vec<&str> = Vec::new();
        for key in &self.keys {
            let path = key.path();
            let asked = fields.iter().any(|name| name == "*" || covers(name, path));
            if !asked && !beyond.contains(&path) {
                beyond.push(path);
            }
        }
        beyond
    }

    /// The client's page from the nodes' pages, each from its beginning, in the nodes' fixed order.
    /// `total` is the sum of the nodes' totals, `without` what was asked for beyond the client's
    /// fields.
    ///
    /// # Errors
    /// When a page is not a list of documents.
    pub fn merge(
        &self,
        pages: &[&[u8]],
        without: &[&str],
        (offset, limit): (u64, u64),
        total: u64,
    ) -> Result<String, MergeError> {
        let mut lists = Vec::new();
        for (position, page) in pages.iter().enumerate() {
            let documents = read_results(page).and_then(|documents| self.listed(&documents));
            lists.push(documents.map_err(|error| MergeError::Unreadable {
                position,
                detail: error.to_string(),
            })?);
        }
        let lists: Vec<&[Listed<'_>]> = lists.iter().map(Vec::as_slice).collect();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let results: Vec<String> = interleave(&lists, |a, b| self.compare(a, b))
            .skip(count(offset))
            .take(count(limit))
            .map(|document| document.write(without))
            .collect();
        let results = results.join(",");
        Ok(format!(
            r#"{{"results":[{results}],"offset":{offset},"limit":{limit},"total":{total}}}"#
        ))
    }

    fn listed<'a>(&self, documents: &[&'a RawValue]) -> Result<Vec<Listed<'a>>, serde_json::Error> {
        let listed = |document: &&'a RawValue| {
            let members = raw_json::members(document.get())?;
            let values = self.keys.iter().map(|key| key.value_of(&members));
            Ok(Listed {
                values: values.collect(),
                members,
            })
        };
        documents.iter().map(listed).collect()
    }

    /// `Greater` when `a` goes first.
    fn compare(&self, a: &Listed<'_>, b: &Listed<'_>) -> Ordering {
        let keys = self.keys.iter().zip(a.values.iter().zip(&b.values));
        keys.map(|(key, (a, b))| compare(a, b, key.ascending))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Key {
    fn path(&self) -> &str {
        match &self.by {
            By::Attribute(path) => path,
            By::Distance(..) => GEO,
        }
    }

    fn value_of(&self, members: &Members<'_>) -> KeyValue {
        match self.by {
            By::Attribute(ref path) => {
                let mut values = Vec::new();
                for (name, raw) in members {
                    if let Some(rest) = below(path, name)
                        && let Ok(value) = serde_json::from_str(raw.get())
                    {
                        collect(&value, rest, &mut values);
                    }
                }
                let best = values
                    .into_iter()
                    .map(Some)
                    .max_by(|a, b| compare(a, b, self.ascending));
                best.flatten()
            }
            By::Distance(lat, lng) => {
                let (_, raw) = members.iter().find(|(name, _)| name == GEO)?;
                let point: Value = serde_json::from_str(raw.get()).ok()?;
                let degrees = |name: &str| match point.get(name)? {
                    Value::Number(number) => number.as_f64(),
                    Value::String(text) => text.parse().ok(),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
                };
                let other = (degrees("lat")?, degrees("lng")?);
                Some(SortValue::Number(distance_m((lat, lng), other)))
            }
        }
    }
}

impl Listed<'_> {
    fn write(&self, without: &[&str]) -> String {
        let mut kept: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.members {
            let mut value = Some(value.get().to_owned());
            for path in without {
                value = value.and_then(|value| prune_member(name, &value, path));
            }
            kept.extend(value.map(|value| (name.as_ref(), value)));
        }
        let object = raw_json::object(kept.iter().map(|(name, value)| (*name, value.as_str())));
        strip_document(&object).into_owned()
    }
}

/// What remains of `path` below a member: empty for the path itself, `None` beside it.
fn below<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    match path.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

fn collect(value: &Value, path: &str, values: &mut Vec<SortValue>) {
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
        Value::Number(number) => values.extend(number.as_f64().map(SortValue::Number)),
        Value::String(text) => values.push(SortValue::Text(normalise(text))),
        Value::Bool(flag) => values.push(SortValue::Text(flag.to_string())),
        Value::Null | Value::Object(_) => {}
    }
}

/// `Greater` when `a` goes first.
fn compare(a: &KeyValue, b: &KeyValue, ascending: bool) -> Ordering {
    let directed = |order: Ordering| if ascending { order.reverse() } else { order };
    let class = |value: &KeyValue| match value {
        None => 0,
        Some(SortValue::Text(_)) => 1,
        Some(SortValue::Number(_)) => 2,
    };
    match (a, b) {
        (Some(SortValue::Number(a)), Some(SortValue::Number(b))) => directed(a.total_cmp(b)),
        (Some(SortValue::Text(a)), Some(SortValue::Text(b))) => directed(a.cmp(b)),
        _ => class(a).cmp(&class(b)),
    }
}

/// The distance along the surface of a sphere, in metres.
fn distance_m((lat_a, lng_a): (f64, f64), (lat_b, lng_b): (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (lat_a.to_radians(), lat_b.to_radians());
    let lat = ((lat_b - lat_a) / 2.0).sin().powi(2);
    let lng = ((lng_b - lng_a).to_radians() / 2.0).sin().powi(2);
    let chord = lat + lat_a.cos() * lat_b.cos() * lng;
    2.0 * EARTH_RADIUS_M * chord.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sort(expressions: &[&str]) -> DocumentSort {
        let owned: Vec<String> = expressions.iter().map(|e| (*e).to_owned()).collect();
        DocumentSort::parse(&owned)
    }

    fn page(documents: &[Value]) -> Vec<u8> {
        let total = documents.len();
        let page = json!({"results": documents, "offset": 0, "limit": total, "total": total});
        page.to_string().into_bytes()
    }

    fn order_of(expressions: &[&str], mut documents: Vec<Value>) -> Vec<u64> {
        // One document a node, so that only the merge decides; ties keep the order given.
        let pages: Vec<Vec<u8>> = documents.drain(..).map(|d| page(&[d])).collect();
        let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
        let merged = sort(expressions).merge(&pages, &[], (0, 100), 9);
        let merged: Value = serde_json::from_str(&merged.expect("pages")).expect("JSON");
        let results = merged["results"].as_array().expect("results");
        let id = |document: &Value| document["id"].as_u64().expect("an id");
        results.iter().map(id).collect()
    }

    #[test]
    fn documents_come_in_the_order_of_one_node() {
        let documents = || {
            vec![
                json!({"id": 1, "v": "b"}),
                json!({"id": 2}),
                json!({"id": 3, "v": 10}),
                json!({"id": 4, "v": ["A", "z"]}),
                json!({"id": 5, "v": 9}),
                json!({"id": 6, "v": null}),
                json!({"id": 7, "v": [2, 30]}),
            ]
        };
        assert_eq!(order_of(&["v:asc"], documents()), [7, 5, 3, 4, 1, 2, 6]);
        assert_eq!(order_of(&["v:desc"], documents()), [7, 3, 5, 4, 1, 2, 6]);
        let nested = vec![
            json!({"id": 1, "a": {"b": 2}, "c": 1}),
            json!({"id": 2, "a": {"b": 1}, "c": 2}),
            json!({"id": 3, "a": [{"b": 1}], "c": 3}),
        ];
        assert_eq!(order_of(&["a.b:asc", "c:desc"], nested), [3, 2, 1]);
        let places = vec![
            json!({"id": 1, "_geo": {"lat": 50, "lng": 0}}),
            json!({"id": 2, "_geo": {"lat": "48.9", "lng": "2.3"}}),
            json!({"id": 3}),
        ];
        let near = "_geoPoint(48.8, 2.3):asc";
        assert_eq!(order_of(&[near], places.clone()), [2, 1, 3]);
        assert_eq!(order_of(&["_geoPoint(48.8, 2.3):desc"], places), [1, 2, 3]);
    }

    #[test]
    fn what_only_the_merge_asked_for_does_not_show() {
        let sort = sort(&["a.b:asc", "year:desc", "year:asc"]);
        let fields = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let table = [
            (fields(&["id"]), vec!["a.b", "year"]),
            (fields(&["a", "year"]), vec![]),
            (fields(&["a.c"]), vec!["a.b", "year"]),
            (fields(&["*"]), vec![]),
        ];
        for (fields, expected) in table {
            assert_eq!(sort.beyond(&fields), expected, "{fields:?}");
        }
        let page =
            page(&[json!({"id": 1, "a": {"b": 1, "c": 2}, "year": 3, "_miroir_shard": "†"})]);
        let merged = sort.merge(&[&page], &["a.b", "year"], (0, 1), 4);
        assert_eq!(
            merged.as_deref(),
            Ok(r#"{"results":[{"id":1,"a":{"c":2}}],"offset":0,"limit":1,"total":4}"#)
        );
        assert!(sort.merge(&[b"[]"], &[], (0, 1), 0).is_err());
    }

    proptest! {
        /// Pages of the merge are parts of the sorted whole.
        #[test]
        fn pages_cut_the_sorted_whole(
            documents in proptest::collection::vec((0_usize..4, 0_u32..20), 0..40),
            offset in 0_u64..45,
            limit in 0_u64..45,
            ascending in any::<bool>(),
        ) {
            let expression = if ascending { "v:asc" } else { "v:desc" };
            let ordered = |mut values: Vec<u32>| {
                values.sort_unstable();
                if !ascending {
                    values.reverse();
                }
                values
            };
            let pages: Vec<Vec<u8>> = (0..4)
                .map(|node| {
                    let own = documents.iter().filter(|(n, _)| *n == node);
                    let own = ordered(own.map(|(_, v)| *v).collect());
                    page(&own.iter().map(|v| json!({"v": v})).collect::<Vec<_>>())
                })
                .collect();
            let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
            let merged = sort(&[expression]).merge(&pages, &[], (offset, limit), 0);
            let merged: Value = serde_json::from_str(&merged.expect("pages")).expect("JSON");
            let whole = ordered(documents.iter().map(|(_, v)| *v).collect());
            let wanted: Vec<Value> = whole
                .into_iter()
                .skip(offset as usize)
                .take(limit as usize)
                .map(|v| json!({"v": v}))
                .collect();
            prop_assert_eq!(merged["results"].clone(), Value::Array(wanted));
        }
    }
}
