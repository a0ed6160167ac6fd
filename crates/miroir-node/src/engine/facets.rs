//! Facet distributions and statistics of a search's candidates.

use std::collections::BTreeMap;

use milli_core::heed::RoTxn;
use milli_core::{DEFAULT_VALUES_PER_FACET, Index};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// `facetDistribution` and `facetStats` of a search.
#[derive(Debug)]
pub struct Facets {
    /// Per facet, each value and how many candidates have it, in the index's order.
    pub distribution: Value,
    /// Per facet with numbers, the least and the greatest.
    pub stats: Value,
}

/// Counts the values of these facets (`*` means all) among the candidates.
pub fn compute(
    index: &Index,
    rtxn: &RoTxn<'_>,
    names: &[String],
    candidates: RoaringBitmap,
) -> Result<Facets, ApiError> {
    let orders = index.sort_facet_values_by(rtxn)?;
    let most = index
        .max_values_per_facet(rtxn)?
        .map_or(DEFAULT_VALUES_PER_FACET, |n| n as usize);
    let mut counter = index.facets_distribution(rtxn);
    counter.max_values_per_facet(most);
    if names.iter().all(|name| name != "*") {
        counter.facets(
            names
                .iter()
                .map(|name| (name, orders.get(name)))
                .collect::<Vec<_>>(),
        );
    }
    counter
        .candidates(candidates)
        .default_order_by(orders.get("*"));
    let counts = counter.execute()?;
    let mut distribution = Map::new();
    for (facet, values) in counts {
        let values: Map<String, Value> = values
            .into_iter()
            .map(|(value, count)| (value, json!(count)))
            .collect();
        distribution.insert(facet, Value::Object(values));
    }
    let stats: BTreeMap<String, Value> = counter
        .compute_stats()?
        .into_iter()
        .map(|(facet, (min, max))| (facet, json!({ "min": min, "max": max })))
        .collect();
    Ok(Facets {
        distribution: Value::Object(distribution),
        stats: json!(stats),
    })
}
