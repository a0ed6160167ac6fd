//! Facets of several indexes, each by itself or counted together.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api_error::{ApiError, Code};
use crate::id::IndexUid;
use crate::search::facets::{merge_distributions, merge_stats};
use crate::search::settings::{FacetOrder, SearchSettings};

/// The facets of one index, merged from its nodes.
pub(super) struct IndexFacets<'a> {
    pub(super) index: &'a IndexUid,
    pub(super) settings: &'a SearchSettings,
    pub(super) distribution: Map<String, Value>,
    pub(super) stats: BTreeMap<String, Value>,
}

impl<'a> IndexFacets<'a> {
    /// Adds up what the nodes of `index` tell in `facetsByIndex`; `None` if they tell nothing.
    /// `found` is how many documents they found.
    pub(super) fn of(
        index: &'a IndexUid,
        settings: &'a SearchSettings,
        nodes: &[Map<String, Value>],
        found: u64,
    ) -> Option<Self> {
        let name = settings.alias.as_ref().map_or(index, |alias| &alias.name);
        let told: Vec<&Value> = nodes
            .iter()
            .filter_map(|node| node.get(name.as_str()))
            .collect();
        if told.is_empty() {
            return None;
        }
        let part = |name: &str| -> Vec<Map<String, Value>> {
            let parts = told.iter().filter_map(|facets| facets.get(name));
            parts.filter_map(Value::as_object).cloned().collect()
        };
        let stats = merge_stats(&part("stats"));
        Some(Self {
            index,
            settings,
            distribution: merge_distributions(&part("distribution"), &stats, settings, found),
            stats,
        })
    }

    /// The value of the index in `facetsByIndex`.
    pub(super) fn view(&self) -> Value {
        json!({"distribution": self.distribution, "stats": self.stats})
    }
}

/// Facets counted over indexes: `facetDistribution` and `facetStats`.
type Together = (Map<String, Value>, BTreeMap<String, Value>);

/// The facets of all indexes counted together, each cut to `max_values`: `facetDistribution` and
/// `facetStats`.
///
/// # Errors
/// `invalid_multi_search_facet_order` when two indexes order the values of one facet differently.
pub(super) fn together(
    indexes: &[IndexFacets<'_>],
    max_values: Option<usize>,
) -> Result<Together, ApiError> {
    let mut orders: BTreeMap<&str, (&IndexUid, FacetOrder)> = BTreeMap::new();
    let mut counts: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for facets in indexes {
        for (name, values) in &facets.distribution {
            let order = facets.settings.order_of(name);
            let (first, known) = *orders.entry(name).or_insert((facets.index, order));
            if known != order {
                return Err(inconsistent(name, (first, known), (facets.index, order)));
            }
            let sums = counts.entry(name).or_default();
            for (value, count) in values.as_object().into_iter().flatten() {
                let count = count.as_u64().unwrap_or(0);
                match sums.iter_mut().find(|(known, _)| known == value) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((value, count)),
                }
            }
        }
    }
    let stats: Vec<Map<String, Value>> = indexes
        .iter()
        .map(|facets| facets.stats.clone().into_iter().collect())
        .collect();
    let distribution = counts.into_iter().map(|(name, mut values)| {
        match orders.get(name) {
            Some((_, FacetOrder::Count)) => values.sort_by(|(_, a), (_, b)| b.cmp(a)),
            Some((_, FacetOrder::Alpha)) | None => values.sort_by_key(|(value, _)| *value),
        }
        values.truncate(max_values.unwrap_or(usize::MAX));
        let values = values
            .into_iter()
            .map(|(value, count)| (value.to_owned(), count.into()))
            .collect();
        (name.to_owned(), Value::Object(values))
    });
    Ok((distribution.collect(), merge_stats(&stats)))
}

fn inconsistent(
    facet: &str,
    (first, first_order): (&IndexUid, FacetOrder),
    (second, second_order): (&IndexUid, FacetOrder),
) -> ApiError {
    let order = |order| match order {
        FacetOrder::Alpha => "alphabetically",
        FacetOrder::Count => "by count",
    };
    let (first_order, second_order) = (order(first_order), order(second_order));
    ApiError::new(
        Code::InvalidMultiSearchFacetOrder,
        format!(
            "Inside `.federation.facetsByIndex.{second}`: Inconsistent order for values in facet `{facet}`: index `{first}` orders {first_order}, but index `{second}` orders {second_order}.\n - Hint: Remove `federation.mergeFacets` or change `faceting.sortFacetValuesBy` to be consistent in settings."
        ),
    )
}
