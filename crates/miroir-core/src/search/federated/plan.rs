//! What to ask the nodes for several searches that are merged.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::request::{Federation, MultiQuery};
use crate::api_error::ApiError;
use crate::hidden_field::and_filter;
use crate::id::IndexUid;
use crate::search::query::Pagination;
use crate::search::settings::SearchSettings;

/// Several searches and how to merge them. Makes the nodes' requests and merges their answers.
///
/// Every node of an index is asked for all hits up to the end of the wanted window, for every query
/// of that index in one federated search, with the details by which hits are ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Federated {
    pub(super) queries: Vec<MultiQuery>,
    pub(super) federation: Federation,
}

impl Federated {
    /// Merges these queries.
    #[must_use]
    pub fn new(queries: Vec<MultiQuery>, federation: Federation) -> Self {
        Self {
            queries,
            federation,
        }
    }

    /// The filter of the query at a position.
    #[must_use]
    pub fn filter(&self, position: usize) -> Option<&Value> {
        self.queries.get(position)?.query.filter()
    }

    /// Every index that must be asked, and the positions of the queries that search it: none for an
    /// index that only has facets to check.
    #[must_use]
    pub fn indexes(&self) -> BTreeMap<IndexUid, Vec<usize>> {
        let mut indexes: BTreeMap<IndexUid, Vec<usize>> = BTreeMap::new();
        for (position, query) in self.queries.iter().enumerate() {
            indexes
                .entry(query.index.clone())
                .or_default()
                .push(position);
        }
        for index in self.federation.facets_by_index.keys() {
            indexes.entry(index.clone()).or_default();
        }
        indexes
    }

    /// Whether no hits are skipped.
    #[must_use]
    pub fn is_first_page(&self) -> bool {
        self.federation.pagination.window(u64::MAX).0 == 0
    }

    /// The JSON body for a node of `index`. `hidden_filter` selects the shards that it answers for; a
    /// node that answers for all it holds needs none.
    ///
    /// # Errors
    /// `invalid_search_filter` when a filter has the wrong type, with the position of its query.
    pub fn body(
        &self,
        index: &IndexUid,
        settings: &SearchSettings,
        hidden_filter: Option<&str>,
    ) -> Result<Value, (usize, ApiError)> {
        let positions = self.indexes().remove(index).unwrap_or_default();
        let name = settings.alias.as_ref().map_or(index, |alias| &alias.name);
        let queries = positions
            .into_iter()
            .map(|position| {
                self.query(position, (name, settings), hidden_filter)
                    .map_err(|error| (position, error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(json!({"federation": self.federation_for((index, name), settings), "queries": queries}))
    }

    fn query(
        &self,
        position: usize,
        (name, settings): (&IndexUid, &SearchSettings),
        hidden_filter: Option<&str>,
    ) -> Result<Map<String, Value>, ApiError> {
        let MultiQuery { query, weight, .. } = &self.queries[position];
        let mut body = query.members().clone();
        body.remove("facets");
        if let Some(hidden) = hidden_filter {
            let filter = and_filter(query.filter(), hidden)?;
            body.insert("filter".to_owned(), filter);
        }
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("indexUid", json!(name));
        set("showRankingScoreDetails", json!(true));
        if query.semantic_ratio().is_some() {
            set("showRankingScore", json!(true));
        }
        set("federationOptions", json!({"weight": weight}));
        if let Some(Value::Array(wanted)) = body.get_mut("attributesToRetrieve") {
            let added = self.added(position, settings).into_iter();
            wanted.extend(added.map(Value::from));
        }
        Ok(body)
    }

    fn federation_for(
        &self,
        (index, name): (&IndexUid, &IndexUid),
        settings: &SearchSettings,
    ) -> Value {
        let federation = &self.federation;
        let (offset, limit) = federation.pagination.window(settings.max_total_hits);
        // Every query has its own pins.
        let of_index = self.queries.iter().filter(|query| query.index == *index);
        let end = of_index.fold(offset + limit, |end, _| settings.with_pins(end));
        let mut body = match federation.pagination {
            Pagination::Offset { .. } => json!({"offset": 0, "limit": end}),
            // Page mode makes a node count all its hits, so that the sum is exact.
            Pagination::Page { .. } => json!({"page": 1, "hitsPerPage": end}),
        };
        if let Some(facets) = federation.facets_by_index.get(index) {
            body["facetsByIndex"] = json!({name.as_str(): facets});
        }
        if let Some(distinct) = &federation.distinct {
            body["distinct"] = json!(distinct);
        }
        if federation.shows_performance {
            body["showPerformanceDetails"] = json!(true);
        }
        body
    }

    /// The attribute by which the hits of a query must differ: the request's, else the query's, else
    /// the index's.
    pub(super) fn distinct<'a>(
        &'a self,
        position: usize,
        settings: &'a SearchSettings,
    ) -> Option<&'a str> {
        let of_all = self.federation.distinct.as_deref();
        of_all
            .or_else(|| self.queries[position].query.distinct())
            .or(settings.distinct.as_deref())
    }

    /// What the merge must ask for beyond the client's attributes: the distinct one, and that of the ids of pinned hits.
    pub(super) fn added<'a>(
        &'a self,
        position: usize,
        settings: &'a SearchSettings,
    ) -> Vec<&'a str> {
        let Some(wanted) = self.queries[position].query.attributes_to_retrieve() else {
            return Vec::new();
        };
        let covers = |wanted: &str, path: &str| {
            path.strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let asked = |path: &str| {
            let mut wanted = wanted.iter();
            wanted.any(|name| *name == "*" || covers(name, path) || covers(path, name))
        };
        let needed = self.distinct(position, settings).into_iter();
        let mut added: Vec<&str> = needed
            .chain(settings.pinned_by())
            .filter(|path| !asked(path))
            .collect();
        added.dedup();
        added
    }
}
