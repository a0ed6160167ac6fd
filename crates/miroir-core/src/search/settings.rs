//! The settings of an index that decide how answers are merged.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pins::Pins;
use crate::called::Alias;
use crate::settings::node_max_values;

/// The ranking rules of an index that does not set them, as far as all versions agree.
const RANKING_RULES: [&str; 6] = [
    "words",
    "typo",
    "proximity",
    "attribute",
    "sort",
    "exactness",
];

/// The order of the values of one facet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FacetOrder {
    /// By value: numbers first, then text.
    #[default]
    Alpha,
    /// By how many documents have it, most first.
    Count,
}

/// What a merge needs to know of an index's settings, as its clients see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchSettings {
    /// `pagination.maxTotalHits`: no hit beyond it can be reached.
    pub max_total_hits: u64,
    /// Whether the nodes' engine also limits totals to `max_total_hits`. Meilisearch did
    /// until searches became federated ones, and 1.50 does not.
    pub caps_totals: bool,
    /// Whether the nodes' engine, asked for all facets at once, lists all in the order of `*`.
    /// Meilisearch did, and 1.50 keeps the order of each.
    pub orders_all_alike: bool,
    /// `faceting.maxValuesPerFacet`.
    pub max_values_per_facet: usize,
    /// `faceting.sortFacetValuesBy`; `*` stands for the facets that are not named.
    pub sort_facet_values_by: BTreeMap<String, FacetOrder>,
    /// `distinctAttribute`.
    pub distinct: Option<String>,
    /// `displayedAttributes`; `None` when all are.
    pub displayed: Option<Vec<String>>,
    /// `rankingRules`.
    pub ranking_rules: Vec<String>,
    /// Attributes whose values are counted as facets, as far as they are named and not matched.
    pub facetable: BTreeSet<String>,
    /// `embedders`, with the dimensions of those that set them.
    pub embedders: BTreeMap<String, Option<u64>>,
    /// The attribute of the ids, which is no setting: who knows it sets it.
    pub primary_key: Option<String>,
    /// What dynamic search rules pin in the index, no setting either.
    pub pins: Pins,
    /// What nodes call the index where clients call it otherwise, which is no setting either.
    pub alias: Option<Alias>,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            max_total_hits: 1000,
            caps_totals: true,
            orders_all_alike: true,
            max_values_per_facet: 100,
            sort_facet_values_by: BTreeMap::new(),
            distinct: None,
            displayed: None,
            ranking_rules: RANKING_RULES.map(str::to_owned).to_vec(),
            facetable: BTreeSet::new(),
            embedders: BTreeMap::new(),
            primary_key: None,
            pins: Pins::default(),
            alias: None,
        }
    }
}

impl SearchSettings {
    /// The attribute by which pinned hits are told apart, if there can be any.
    pub(super) fn pinned_by(&self) -> Option<&str> {
        let primary_key = self.primary_key.as_deref();
        primary_key.filter(|_| !self.pins.is_empty())
    }

    /// How many hits to ask a node for whose first `end` ones may be wanted. One that is pinned on its node to a place
    /// before the end may come after it in the whole, and another takes its place.
    pub(super) fn with_pins(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { end + self.pins.most() }
    }

    /// Reads an index's settings object. What is missing or null has Meilisearch's default.
    #[must_use]
    pub fn from_settings(settings: &Value) -> Self {
        let default = Self::default();
        let max_total_hits = settings
            .pointer("/pagination/maxTotalHits")
            .and_then(Value::as_u64);
        let max_values = settings
            .pointer("/faceting/maxValuesPerFacet")
            .and_then(Value::as_u64);
        let orders = settings
            .pointer("/faceting/sortFacetValuesBy")
            .and_then(Value::as_object);
        Self {
            max_total_hits: max_total_hits.unwrap_or(default.max_total_hits),
            caps_totals: default.caps_totals,
            orders_all_alike: default.orders_all_alike,
            max_values_per_facet: max_values
                .and_then(|max| usize::try_from(max).ok())
                .unwrap_or(default.max_values_per_facet),
            sort_facet_values_by: orders
                .into_iter()
                .flatten()
                .map(|(facet, order)| (facet.clone(), facet_order(order)))
                .collect(),
            distinct: settings
                .get("distinctAttribute")
                .and_then(Value::as_str)
                .map(str::to_owned),
            displayed: texts(settings, "displayedAttributes")
                .filter(|names| !names.iter().any(|name| name == "*")),
            ranking_rules: texts(settings, "rankingRules").unwrap_or(default.ranking_rules),
            embedders: settings
                .get("embedders")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, embedder)| (name.clone(), embedder["dimensions"].as_u64()))
                .collect(),
            facetable: texts(settings, "filterableAttributes")
                .into_iter()
                .flatten()
                .collect(),
            primary_key: None,
            pins: Pins::default(),
            alias: None,
        }
    }

    /// How many values of a facet nodes list at most.
    #[must_use]
    pub fn node_max_values(&self) -> u64 {
        node_max_values(self.max_values_per_facet as u64)
    }

    /// The order of the values of `facet`.
    #[must_use]
    pub fn order_of(&self, facet: &str) -> FacetOrder {
        let orders = &self.sort_facet_values_by;
        orders
            .get(facet)
            .or_else(|| orders.get("*"))
            .copied()
            .unwrap_or_default()
    }
}

/// A setting that is a list of texts; `None` when it has its default.
fn texts(settings: &Value, name: &str) -> Option<Vec<String>> {
    let texts = settings.get(name)?.as_array()?.iter();
    Some(texts.filter_map(Value::as_str).map(str::to_owned).collect())
}

fn facet_order(order: &Value) -> FacetOrder {
    if order.as_str() == Some("count") {
        FacetOrder::Count
    } else {
        FacetOrder::Alpha
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_read_with_meilisearchs_defaults() {
        assert_eq!(
            SearchSettings::from_settings(&json!({})),
            SearchSettings::default()
        );
        assert_eq!(
            SearchSettings::from_settings(
                &json!({"pagination": null, "faceting": {"maxValuesPerFacet": null}, "distinctAttribute": null})
            ),
            SearchSettings::default()
        );
        let settings = SearchSettings::from_settings(&json!({
            "pagination": {"maxTotalHits": 50},
            "faceting": {"maxValuesPerFacet": 7, "sortFacetValuesBy": {"*": "count", "a": "alpha"}},
            "distinctAttribute": "sku",
        }));
        assert_eq!(settings.max_total_hits, 50);
        assert_eq!(settings.max_values_per_facet, 7);
        assert_eq!(
            (settings.order_of("a"), settings.order_of("b")),
            (FacetOrder::Alpha, FacetOrder::Count)
        );
        assert_eq!(settings.distinct.as_deref(), Some("sku"));
    }
}
