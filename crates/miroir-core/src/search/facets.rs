//! Facet counts of several nodes as one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::facet_value::normalise;
use super::settings::{FacetOrder, SearchSettings};
use crate::hidden_field::is_reserved;

/// Meilisearch lists numbers by their text up to this many matching documents, and by their
/// value beyond.
const NUMBERS_AS_TEXT_UP_TO: u64 = 3000;

/// A node's `facetDistribution`: facet, then value, then count.
pub(super) type Distribution = Map<String, Value>;

/// Adds up the distributions of several nodes. `stats` are the merged facet stats, which
/// tell the facets that hold numbers; `total` is how many documents matched.
///
/// The result is what one node would list as long as the nodes did not cut their lists,
/// which is why they are configured with a higher limit than the client's (see
/// [`crate::settings::node_max_values`]). Nodes may cap `total`, and then the counts of
/// numbers say better how many documents there are.
pub(super) fn merge_distributions(
    nodes: &[Distribution],
    stats: &BTreeMap<String, Value>,
    settings: &SearchSettings,
    total: u64,
) -> Distribution {
    let mut facets: BTreeMap<&str, Facet<'_>> = BTreeMap::new();
    for (name, values) in nodes
        .iter()
        .flatten()
        .filter(|(name, _)| !is_reserved(name))
    {
        let has_numbers = stats.contains_key(name);
        let facet = facets.entry(name).or_default();
        let counts = values.as_object().into_iter().flatten();
        facet.add(
            counts.map(|(value, count)| (value.as_str(), count.as_u64().unwrap_or(0))),
            has_numbers,
        );
    }
    facets
        .into_iter()
        .map(|(name, facet)| {
            let order = settings.order_of(name);
            let values = facet.ordered(order, settings.max_values_per_facet, total);
            (name.to_owned(), Value::Object(values))
        })
        .collect()
}

/// The smallest minimum and the largest maximum of each facet. Numbers keep their text.
pub(super) fn merge_stats(nodes: &[Map<String, Value>]) -> BTreeMap<String, Value> {
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    for (name, stats) in nodes
        .iter()
        .flatten()
        .filter(|(name, _)| !is_reserved(name))
    {
        match merged.get_mut(name) {
            None => {
                merged.insert(name.clone(), stats.clone());
            }
            Some(known) => {
                keep(known, stats, "min", Ordering::Less);
                keep(known, stats, "max", Ordering::Greater);
            }
        }
    }
    merged
}

fn keep(known: &mut Value, stats: &Value, bound: &str, wanted: Ordering) {
    let (Some(ours), Some(theirs)) = (known.get_mut(bound), stats.get(bound)) else {
        return;
    };
    if let (Some(a), Some(b)) = (theirs.as_f64(), ours.as_f64())
        && a.total_cmp(&b) == wanted
    {
        *ours = theirs.clone();
    }
}

/// The values of one facet while they are added up.
#[derive(Default)]
struct Facet<'a> {
    /// By their text, which is canonical.
    numbers: BTreeMap<&'a str, (f64, u64)>,
    /// By their normalised text; the first spelling met is shown.
    texts: BTreeMap<String, (&'a str, u64)>,
    /// A node listed its numbers in another order than that of their text.
    by_value: bool,
}

impl<'a> Facet<'a> {
    fn add(&mut self, counts: impl Iterator<Item = (&'a str, u64)>, has_numbers: bool) {
        let mut previous: Option<&str> = None;
        for (value, count) in counts {
            match value.parse::<f64>() {
                Ok(number) if has_numbers && number.is_finite() && number.to_string() == value => {
                    self.by_value |= previous.is_some_and(|previous| previous > value);
                    previous = Some(value);
                    self.numbers.entry(value).or_insert((number, 0)).1 += count;
                }
                _ => self.texts.entry(normalise(value)).or_insert((value, 0)).1 += count,
            }
        }
    }

    fn ordered(self, order: FacetOrder, max_values: usize, total: u64) -> Map<String, Value> {
        let total = total.max(self.numbers.values().map(|(_, count)| count).sum());
        let mut numbers: Vec<(&str, (f64, u64))> = self.numbers.into_iter().collect();
        let mut texts: Vec<(String, (&str, u64))> = self.texts.into_iter().collect();
        match order {
            FacetOrder::Alpha if self.by_value || total > NUMBERS_AS_TEXT_UP_TO => {
                numbers.sort_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
            }
            FacetOrder::Alpha => {}
            FacetOrder::Count => {
                numbers.sort_by(|(_, (a, m)), (_, (b, n))| n.cmp(m).then(b.total_cmp(a)));
                texts.sort_by(|(a, (_, m)), (b, (_, n))| n.cmp(m).then_with(|| b.cmp(a)));
            }
        }
        let numbers = numbers.into_iter().map(|(text, (_, count))| (text, count));
        let texts = texts.into_iter().map(|(_, (text, count))| (text, count));
        numbers
            .chain(texts)
            .take(max_values)
            .map(|(text, count)| (text.to_owned(), Value::from(count)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn distribution(value: Value) -> Distribution {
        value.as_object().expect("an object").clone()
    }

    fn merge(nodes: &[Value], stats: Value, settings: &Value, total: u64) -> String {
        let nodes: Vec<Distribution> = nodes.iter().cloned().map(distribution).collect();
        let stats = merge_stats(&[distribution(stats)]);
        let settings = SearchSettings::from_settings(settings);
        Value::Object(merge_distributions(&nodes, &stats, &settings, total)).to_string()
    }

    #[test]
    fn distributions_add_up_in_one_nodes_order() {
        let none = json!({});
        let count = json!({"faceting": {"sortFacetValuesBy": {"*": "count"}}});
        let two = json!({"faceting": {"maxValuesPerFacet": 2}});
        let table = [
            // Facets by name; values by normalised text; the first spelling is shown.
            (
                vec![
                    json!({"b": {"Action": 1, "zed": 2}, "a": {"x": 1}}),
                    json!({"b": {"action": 3, "beta": 1}}),
                ],
                json!({}),
                &none,
                7,
                r#"{"a":{"x":1},"b":{"Action":4,"beta":1,"zed":2}}"#,
            ),
            // Numbers before text; as text for few documents, by value for many.
            (
                vec![
                    json!({"n": {"10": 1, "9": 1, "x": 1}}),
                    json!({"n": {"9": 2, "a": 1}}),
                ],
                json!({"n": {"min": 9.0, "max": 10.0}}),
                &none,
                5,
                r#"{"n":{"10":1,"9":3,"a":1,"x":1}}"#,
            ),
            (
                vec![json!({"n": {"10": 1, "9": 1}}), json!({"n": {"9": 2}})],
                json!({"n": {"min": 9.0, "max": 10.0}}),
                &none,
                3001,
                r#"{"n":{"9":3,"10":1}}"#,
            ),
            (
                vec![json!({"n": {"9": 1, "10": 1}}), json!({"n": {"2": 1}})],
                json!({"n": {"min": 2.0, "max": 10.0}}),
                &none,
                1000,
                r#"{"n":{"2":1,"9":1,"10":1}}"#,
            ),
            // Totals are capped, counts of numbers are not.
            (
                vec![
                    json!({"n": {"10": 2000, "9": 2}}),
                    json!({"n": {"9": 1999}}),
                ],
                json!({"n": {"min": 9.0, "max": 10.0}}),
                &none,
                2000,
                r#"{"n":{"9":2001,"10":2000}}"#,
            ),
            // Without stats the facet holds no numbers, only text that looks like some.
            (
                vec![json!({"n": {"10": 1, "9": 1, "1x": 1}})],
                json!({}),
                &none,
                3,
                r#"{"n":{"10":1,"1x":1,"9":1}}"#,
            ),
            // By count; of equals the larger first.
            (
                vec![
                    json!({"c": {"a": 2, "b": 1}}),
                    json!({"c": {"b": 1, "c": 5}}),
                ],
                json!({}),
                &count,
                9,
                r#"{"c":{"c":5,"b":2,"a":2}}"#,
            ),
            (
                vec![json!({"c": {"1": 2, "2": 2, "x": 9}})],
                json!({"c": {"min": 1.0, "max": 2.0}}),
                &count,
                9,
                r#"{"c":{"2":2,"1":2,"x":9}}"#,
            ),
            // Cut to the client's limit, after adding up.
            (
                vec![
                    json!({"c": {"a": 1, "c": 1}}),
                    json!({"c": {"b": 1, "d": 1}}),
                ],
                json!({}),
                &two,
                4,
                r#"{"c":{"a":1,"b":1}}"#,
            ),
            // The hidden field never shows; empty facets stay.
            (
                vec![json!({"_miroir_shard": {"†††": 3}, "e": {}})],
                json!({}),
                &none,
                3,
                r#"{"e":{}}"#,
            ),
        ];
        for (nodes, stats, settings, total, expected) in table {
            assert_eq!(merge(&nodes, stats, settings, total), expected, "{nodes:?}");
        }
    }

    #[test]
    fn stats_keep_the_extremes_and_their_text() {
        let nodes = [
            json!({"a": {"min": 1.0, "max": 5.5}, "_miroir_shard": {"min": 0.0, "max": 0.0}}),
            json!({"a": {"min": -2.0, "max": 5.0}, "b": {"min": 3.0, "max": 3.0}}),
        ];
        let merged = merge_stats(&nodes.map(distribution));
        assert_eq!(
            serde_json::to_string(&merged).expect("JSON"),
            r#"{"a":{"min":-2.0,"max":5.5},"b":{"min":3.0,"max":3.0}}"#
        );
    }

    proptest! {
        /// Counting documents apart and merging is counting them together.
        #[test]
        fn facets_of_a_partition_sum(
            documents in proptest::collection::vec((0_usize..4, "[a-d]{1,2}|[A-D]"), 0..60),
            by_count in any::<bool>(),
            max in 1_usize..12,
        ) {
            let order = if by_count { "count" } else { "alpha" };
            let settings = SearchSettings::from_settings(&json!({"faceting":
                {"maxValuesPerFacet": max, "sortFacetValuesBy": {"*": order}}}));
            let count = |chosen: &dyn Fn(usize) -> bool| {
                let mut counts: BTreeMap<String, u64> = BTreeMap::new();
                for (_, value) in documents.iter().filter(|(node, _)| chosen(*node)) {
                    *counts.entry(value.to_lowercase()).or_default() += 1;
                }
                distribution(json!({"f": counts}))
            };
            let apart: Vec<Distribution> = (0..4).map(|node| count(&|n| n == node)).collect();
            let together = [count(&|_| true)];
            let total = documents.len() as u64;
            prop_assert_eq!(
                merge_distributions(&apart, &BTreeMap::new(), &settings, total),
                merge_distributions(&together, &BTreeMap::new(), &settings, total)
            );
        }
    }
}
