//! What to ask the nodes for one search.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::{MergeError, hits_of};
use super::query::{Pagination, SearchQuery};
use super::settings::SearchSettings;
use super::unseen::{Unseen, covers};
use crate::api_error::ApiError;
use crate::hidden_field::and_filter;

/// A search over some nodes of an index. Makes the nodes' requests and merges their answers.
///
/// With one node the request is the client's own. With several, each is asked for all hits up
/// to the end of the wanted window, because any node may hold all of them, and for the
/// details by which hits are ranked.
///
/// What is not displayed and decides the order or the distinctness of hits is read from the
/// documents ([`values_request`](Self::values_request)).
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) query: SearchQuery,
    pub(super) settings: SearchSettings,
    pub(super) direct: bool,
    /// Attributes that the merge must ask for beyond the client's.
    pub(super) added: Vec<String>,
    /// What hits do not show and the merge needs.
    pub(super) unseen: Option<Unseen>,
    /// How much meaning would weigh in the search that this is the first half of.
    pub(super) half_of: Option<f64>,
}

impl Plan {
    /// Plans `query` on `node_count` nodes.
    #[must_use]
    pub fn new(query: SearchQuery, settings: SearchSettings, node_count: usize) -> Self {
        let direct = node_count == 1;
        let mut settings = settings;
        if settings.orders_all_alike && query.facets().any(|facet| facet == "*") {
            let orders = &mut settings.sort_facet_values_by;
            orders.retain(|facet, _| facet == "*");
        }
        let mut plan = Self {
            query,
            settings,
            direct,
            added: Vec::new(),
            unseen: None,
            half_of: None,
        };
        if !direct {
            plan.unseen = Unseen::new(&plan.query, &plan.settings);
            let by_id = plan.unseen.as_ref().map(|unseen| &*unseen.primary_key);
            let pinned = plan.settings.pinned_by();
            let added = plan.distinct().into_iter().chain(by_id).chain(pinned);
            let added: BTreeSet<&str> = added.collect();
            plan.added = added
                .into_iter()
                .filter(|path| plan.must_ask_for(path))
                .map(str::to_owned)
                .collect();
        }
        plan
    }

    /// The attribute by which hits must differ: the query's, else the index's.
    pub(super) fn distinct(&self) -> Option<&str> {
        self.query.distinct().or(self.settings.distinct.as_deref())
    }

    fn must_ask_for(&self, path: &str) -> bool {
        self.query.attributes_to_retrieve().is_some_and(|wanted| {
            !wanted
                .iter()
                .any(|name| *name == "*" || covers(name, path) || covers(path, name))
        })
    }

    /// The JSON body for a node. `hidden_filter` selects the shards that it answers for; a
    /// node that answers for all it holds needs none.
    ///
    /// # Errors
    /// `invalid_search_filter` when the client's filter has the wrong type.
    pub fn body(&self, hidden_filter: Option<&str>) -> Result<Value, ApiError> {
        let mut body = self.query.members().clone();
        if let Some(hidden) = hidden_filter {
            body.insert(
                "filter".to_owned(),
                and_filter(self.query.filter(), hidden)?,
            );
        }
        if !self.direct {
            self.widen(&mut body);
        }
        Ok(Value::Object(body))
    }

    /// Whether nothing comes before the wanted hits.
    #[must_use]
    pub fn is_first_page(&self) -> bool {
        self.query.pagination().window(u64::MAX).0 == 0
    }

    /// The end of the wanted window. None of the hits before an empty one are wanted either: a node
    /// that is asked for none ranks none, and leaves none out for its rank.
    pub(super) fn end(&self) -> u64 {
        match self.query.pagination().window(self.settings.max_total_hits) {
            (_, 0) => 0,
            (offset, limit) => offset + limit,
        }
    }

    /// The distinct attribute if its values can be counted: exact totals are wanted, which are then
    /// the numbers of these values, and nodes tell them as those of a facet.
    pub(super) fn counted_by(&self) -> Option<&str> {
        let path = self.distinct()?;
        let paged = matches!(self.query.pagination(), Pagination::Page { .. });
        let by_words = self.query.semantic_ratio().is_none();
        (paged && by_words && !self.direct && self.settings.facetable.contains(path))
            .then_some(path)
    }

    /// Whether the client asks for the facet of the distinct attribute itself.
    pub(super) fn counts_for_client(&self) -> bool {
        let mut facets = self.query.facets();
        facets.any(|facet| facet == "*" || Some(facet) == self.distinct())
    }

    /// The search by words that is the first half of this one by words and meaning. One node does
    /// without the other half when the words alone find enough, which takes all nodes' hits to say.
    #[must_use]
    pub fn first_half(&self) -> Option<Self> {
        let ratio = self.query.hybrid_ratio().filter(|_| !self.direct)?;
        // What cannot be asked for at all is for nodes to refuse.
        let dimensions = self.settings.embedders.get(self.query.embedder()?)?;
        let given = self.query.vector_length();
        if given.is_some_and(|given| dimensions.is_some_and(|known| known != given)) {
            return None;
        }
        let mut half = Self::new(self.query.without_meaning(), self.settings.clone(), 2);
        half.half_of = Some(ratio);
        Some(half)
    }

    /// Asks for everything the merge needs.
    fn widen(&self, body: &mut Map<String, Value>) {
        let end = self.settings.with_pins(self.end());
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        match self.query.pagination() {
            Pagination::Offset { .. } => {
                set("offset", Value::from(0));
                set("limit", Value::from(end));
            }
            // Page mode makes a node count all its hits, so that the sum is exact.
            Pagination::Page { .. } => {
                set("page", Value::from(1));
                set("hitsPerPage", Value::from(end));
            }
        }
        set("showRankingScoreDetails", Value::Bool(true));
        if self.query.semantic_ratio().is_some() || self.half_of.is_some() {
            set("showRankingScore", Value::Bool(true));
        }
        if let Some(path) = self.counted_by() {
            let facets = body
                .entry("facets")
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Some(facets) = facets.as_array_mut().filter(|_| !self.counts_for_client()) {
                facets.push(Value::from(path));
            }
        }
        if let Some(Value::Array(wanted)) = body.get_mut("attributesToRetrieve") {
            wanted.extend(self.added.iter().map(|path| Value::from(path.as_str())));
        }
    }

    /// What else to ask a node that gave this answer: a body for `documents/fetch` of the same
    /// index, whose answer goes into the merge beside it. `None` when nothing is missing.
    ///
    /// # Errors
    /// When the answer is not a search result.
    pub fn values_request(&self, answer: &[u8]) -> Result<Option<Value>, MergeError> {
        let Some(unseen) = &self.unseen else {
            return Ok(None);
        };
        let unreadable = |detail: String| MergeError::Unreadable {
            position: 0,
            detail,
        };
        let text = std::str::from_utf8(answer).map_err(|e| unreadable(e.to_string()))?;
        let hits: Vec<&RawValue> = hits_of(text).map_err(|e| unreadable(e.to_string()))?;
        Ok(unseen.request(&hits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(body: Value, settings: Value, nodes: usize) -> Plan {
        let query = SearchQuery::from_json(body.to_string().as_bytes()).expect("valid");
        Plan::new(query, SearchSettings::from_settings(&settings), nodes)
    }

    #[test]
    fn one_node_gets_the_clients_query() {
        let query = json!({"q": "a", "offset": 5, "limit": 2, "filter": "x = 1 OR y = 2"});
        let direct = plan(query.clone(), json!({}), 1);
        assert_eq!(direct.body(None), Ok(query));
        assert_eq!(
            direct.body(Some("H")),
            Ok(json!({"q": "a", "offset": 5, "limit": 2, "filter": ["H", "x = 1 OR y = 2"]}))
        );
    }

    #[test]
    fn several_nodes_are_asked_up_to_the_end_of_the_window() {
        let small = json!({"pagination": {"maxTotalHits": 30}});
        let table = [
            (
                json!({}),
                json!({}),
                json!({"offset": 0, "limit": 20, "showRankingScoreDetails": true}),
            ),
            (
                json!({"offset": 15, "limit": 10}),
                json!({}),
                json!({"offset": 0, "limit": 25, "showRankingScoreDetails": true}),
            ),
            (
                json!({"offset": 15, "limit": 100}),
                small.clone(),
                json!({"offset": 0, "limit": 30, "showRankingScoreDetails": true}),
            ),
            (
                json!({"limit": 0}),
                json!({}),
                json!({"offset": 0, "limit": 0, "showRankingScoreDetails": true}),
            ),
            (
                json!({"page": 3, "hitsPerPage": 5}),
                json!({}),
                json!({"page": 1, "hitsPerPage": 15, "showRankingScoreDetails": true}),
            ),
            (
                json!({"page": 3}),
                small,
                json!({"page": 1, "hitsPerPage": 0, "showRankingScoreDetails": true}),
            ),
            (
                json!({"page": 0}),
                json!({}),
                json!({"page": 1, "hitsPerPage": 0, "showRankingScoreDetails": true}),
            ),
            (
                json!({"hybrid": {"embedder": "e"}, "showRankingScore": false}),
                json!({}),
                json!({"hybrid": {"embedder": "e"}, "offset": 0, "limit": 20, "showRankingScore": true, "showRankingScoreDetails": true}),
            ),
        ];
        for (query, settings, expected) in table {
            assert_eq!(
                plan(query.clone(), settings, 2).body(None),
                Ok(expected),
                "{query}"
            );
        }
    }

    #[test]
    fn the_distinct_attribute_is_asked_for_when_it_would_be_missing() {
        let sku = json!({"distinctAttribute": "sku"});
        let table = [
            (json!({}), &sku, None),
            (json!({"attributesToRetrieve": ["*"]}), &sku, None),
            (json!({"attributesToRetrieve": ["sku"]}), &sku, None),
            (
                json!({"attributesToRetrieve": ["id"]}),
                &sku,
                Some(json!(["id", "sku"])),
            ),
            (
                json!({"attributesToRetrieve": []}),
                &sku,
                Some(json!(["sku"])),
            ),
            (
                json!({"attributesToRetrieve": ["a"], "distinct": "a.b"}),
                &sku,
                None,
            ),
            (
                json!({"attributesToRetrieve": ["ab"], "distinct": "a"}),
                &sku,
                Some(json!(["ab", "a"])),
            ),
        ];
        for (query, settings, expected) in table {
            let body = plan(query.clone(), settings.clone(), 2)
                .body(None)
                .expect("valid");
            let asked = body.get("attributesToRetrieve").cloned();
            let unchanged = query.get("attributesToRetrieve").cloned();
            assert_eq!(asked, expected.or(unchanged), "{query}");
        }
        let direct = plan(json!({"attributesToRetrieve": ["id"]}), sku, 1).body(None);
        assert_eq!(direct, Ok(json!({"attributesToRetrieve": ["id"]})));
    }
}
