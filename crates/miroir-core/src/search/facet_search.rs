//! Searching the values of a facet over several nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::answer::MergeError;
use super::facet_value::normalise;
use super::query::SearchQuery;
use super::settings::{FacetOrder, SearchSettings};
use crate::api_error::{ApiError, Code};
use crate::body::{self, needs_network};
use crate::hidden_field::{and_filter, check_attributes};

/// The members of a search that also choose the documents whose values are counted. All others are
/// ignored, as Meilisearch does, so that clients can send the search that they show beside.
const OF_A_SEARCH: [&str; 8] = [
    "q",
    "vector",
    "hybrid",
    "filter",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "locales",
];

/// A search for values of one facet, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetSearch {
    facet_name: String,
    facet_query: Option<String>,
    exhaustive: Option<bool>,
    documents: SearchQuery,
}

/// What a node found.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    facet_hits: Vec<FacetHit>,
    processing_time_ms: u64,
}

/// A value and how many documents have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FacetHit {
    value: String,
    count: u64,
}

impl FacetSearch {
    /// Reads the body.
    ///
    /// # Errors
    /// What Meilisearch answers, with its code and words.
    pub fn from_json(content: &[u8]) -> Result<Self, ApiError> {
        let members = body::parse_object(content)?;
        let given = |name: &str| members.get(name).filter(|value| !value.is_null());
        let missing = || {
            let message = "Missing field `facetName`";
            ApiError::new(Code::MissingFacetSearchFacetName, message)
        };
        let name = members.get("facetName").ok_or_else(missing)?;
        let facet_name = body::text(name, ".facetName", Code::InvalidFacetSearchFacetName)?;
        let code = Code::InvalidFacetSearchFacetName;
        check_attributes("facetName", [facet_name.as_str()], code)?;
        let facet_query = given("facetQuery")
            .map(|value| body::text(value, ".facetQuery", Code::InvalidFacetSearchQuery))
            .transpose()?;
        let code = Code::InvalidFacetSearchExhaustiveFacetCount;
        let exhaustive = given("exhaustiveFacetCount")
            .map(|value| body::flag(value, ".exhaustiveFacetCount", code))
            .transpose()?;
        if let Some(value) = given("useNetwork") {
            body::flag(value, ".useNetwork", Code::InvalidSearchUseNetwork)?;
        }
        let mut kept = members.clone();
        kept.retain(|name, _| OF_A_SEARCH.contains(&name.as_str()));
        let documents = SearchQuery::checked(kept)?;
        if given("useNetwork").is_some() {
            return Err(needs_network("passing `useNetwork` in a search query"));
        }
        if given("media").is_some() {
            let message =
                "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.";
            return Err(ApiError::new(Code::MissingSearchHybrid, message));
        }
        Ok(Self {
            facet_name,
            facet_query,
            exhaustive,
            documents,
        })
    }

    /// Narrows the documents whose values count by the filter of a tenant token.
    ///
    /// # Errors
    /// As [`SearchQuery::narrow`].
    pub fn narrow(&mut self, rule: Option<&Value>) -> Result<(), ApiError> {
        self.documents.narrow(rule)
    }

    /// The JSON body for a node. `hidden_filter` selects the shards that it answers for; a node that
    /// answers for all it holds needs none.
    ///
    /// # Errors
    /// `invalid_search_filter` when the client's filter has the wrong type.
    pub fn body(&self, hidden_filter: Option<&str>) -> Result<Value, ApiError> {
        let mut body: Map<String, Value> = self.documents.members().clone();
        if let Some(hidden) = hidden_filter {
            let filter = and_filter(self.documents.filter(), hidden)?;
            body.insert("filter".to_owned(), filter);
        }
        body.insert("facetName".to_owned(), json!(self.facet_name));
        if let Some(query) = &self.facet_query {
            body.insert("facetQuery".to_owned(), json!(query));
        }
        if let Some(exhaustive) = self.exhaustive {
            body.insert("exhaustiveFacetCount".to_owned(), json!(exhaustive));
        }
        Ok(Value::Object(body))
    }

    /// The answer to the client. `answers` are the bodies of the nodes, in a fixed order: a value
    /// that nodes spell differently is shown as the first of them does.
    ///
    /// # Errors
    /// When an answer is not one to a facet search.
    pub fn merge(
        &self,
        answers: &[&[u8]],
        settings: &SearchSettings,
    ) -> Result<String, MergeError> {
        let mut sums: BTreeMap<(String, String), FacetHit> = BTreeMap::new();
        let mut slowest = 0;
        for (position, body) in answers.iter().enumerate() {
            let answer: Answer =
                serde_json::from_slice(body).map_err(|error| MergeError::Unreadable {
                    position,
                    detail: error.to_string(),
                })?;
            slowest = slowest.max(answer.processing_time_ms);
            for hit in answer.facet_hits {
                let known = sums.entry(self.order_key(&hit.value));
                known
                    .and_modify(|known| known.count += hit.count)
                    .or_insert(hit);
            }
        }
        let mut hits: Vec<FacetHit> = sums.into_values().collect();
        if settings.order_of(&self.facet_name) == FacetOrder::Count {
            hits.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| b.value.cmp(&a.value)));
        }
        hits.truncate(settings.max_values_per_facet);
        let answer = json!({
            "facetHits": hits, "facetQuery": self.facet_query, "processingTimeMs": slowest,
        });
        Ok(answer.to_string())
    }

    /// What values are ordered by, equal only for equal values. Those that match a query come in the
    /// order of their text without accents.
    fn order_key(&self, value: &str) -> (String, String) {
        let normal = normalise(value);
        match self.facet_query {
            Some(_) => {
                let plain = normal.nfkd().filter(|c| !is_combining_mark(*c));
                (plain.collect(), normal)
            }
            None => (normal, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(body: Value) -> Result<FacetSearch, ApiError> {
        FacetSearch::from_json(body.to_string().as_bytes())
    }

    fn answer(hits: &[(&str, u64)]) -> Vec<u8> {
        let hits = hits.iter().map(|(v, c)| json!({"value": v, "count": c}));
        let hits: Vec<Value> = hits.collect();
        let answer = json!({"facetHits": hits, "facetQuery": null, "processingTimeMs": 3});
        answer.to_string().into_bytes()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (
                json!({}),
                Code::MissingFacetSearchFacetName,
                "Missing field `facetName`",
            ),
            (
                json!({"facetName": 1}),
                Code::InvalidFacetSearchFacetName,
                "at `.facetName`",
            ),
            (
                json!({"facetName": "_miroir_shard"}),
                Code::InvalidFacetSearchFacetName,
                "reserved",
            ),
            (
                json!({"facetName": "a", "facetQuery": 1}),
                Code::InvalidFacetSearchQuery,
                "at `.facetQuery`",
            ),
            (
                json!({"facetName": "a", "exhaustiveFacetCount": 1}),
                Code::InvalidFacetSearchExhaustiveFacetCount,
                "expected a boolean",
            ),
            (
                json!({"facetName": "a", "useNetwork": true}),
                Code::FeatureNotEnabled,
                "`network`",
            ),
            (
                json!({"facetName": "a", "useNetwork": "x"}),
                Code::InvalidSearchUseNetwork,
                "at `.useNetwork`",
            ),
            (
                json!({"facetName": "a", "vector": [1]}),
                Code::MissingSearchHybrid,
                "missing `hybrid`",
            ),
            (
                json!({"facetName": "a", "media": {}}),
                Code::MissingSearchHybrid,
                "missing `hybrid`",
            ),
            (
                json!({"facetName": "a", "matchingStrategy": "x"}),
                Code::InvalidSearchMatchingStrategy,
                "Unknown value `x`",
            ),
            (
                json!({"facetName": "a", "filter": "_miroir_shard = a"}),
                Code::InvalidSearchFilter,
                "_miroir_shard",
            ),
        ];
        for (body, code, text) in table {
            let error = search(body).expect_err(text);
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains(text), "{error}");
        }
    }

    #[test]
    fn nodes_are_asked_for_what_matters() {
        let query = json!({
            "facetName": "genre", "facetQuery": "a", "q": "cat", "filter": "x = 1", "limit": "ignored",
            "sort": 7, "exhaustiveFacetCount": true,
        });
        let search = search(query).expect("valid");
        assert_eq!(
            search.body(Some("H")),
            Ok(json!({
                "q": "cat", "filter": ["H", "x = 1"], "facetName": "genre", "facetQuery": "a",
                "exhaustiveFacetCount": true,
            }))
        );
    }

    #[test]
    fn values_add_up_in_one_nodes_order() {
        let nodes = [
            answer(&[("Action", 1), ("ez", 1), ("Zed", 2)]),
            answer(&[("action", 3), ("éa", 2)]),
        ];
        let nodes: Vec<&[u8]> = nodes.iter().map(Vec::as_slice).collect();
        let alpha = json!({});
        let count = json!({"faceting": {"sortFacetValuesBy": {"genre": "count"}}});
        let two = json!({"faceting": {"maxValuesPerFacet": 2}});
        let table = [
            (
                None,
                &alpha,
                vec![("Action", 4), ("ez", 1), ("éa", 2), ("Zed", 2)],
            ),
            (
                Some("x"),
                &alpha,
                vec![("Action", 4), ("éa", 2), ("ez", 1), ("Zed", 2)],
            ),
            (
                None,
                &count,
                vec![("Action", 4), ("éa", 2), ("Zed", 2), ("ez", 1)],
            ),
            (None, &two, vec![("Action", 4), ("ez", 1)]),
        ];
        for (query, settings, expected) in table {
            let search = search(json!({"facetName": "genre", "facetQuery": query})).expect("valid");
            let settings = SearchSettings::from_settings(settings);
            let merged = search.merge(&nodes, &settings).expect("answers");
            let merged: Value = serde_json::from_str(&merged).expect("JSON");
            let hits = expected
                .iter()
                .map(|(v, c)| json!({"value": v, "count": c}));
            let hits: Vec<Value> = hits.collect();
            let whole = json!({"facetHits": hits, "facetQuery": query, "processingTimeMs": 3});
            assert_eq!(merged, whole);
        }
        let search = search(json!({"facetName": "genre"})).expect("valid");
        let settings = SearchSettings::default();
        assert!(search.merge(&[b"{}"], &settings).is_err());
    }

    proptest! {
        /// Counting documents apart and merging is counting them together.
        #[test]
        fn values_of_a_partition_sum(
            documents in proptest::collection::vec((0_usize..4, "[a-d]{1,2}"), 0..60),
            by_count in any::<bool>(),
            max in 1_usize..12,
        ) {
            let order = if by_count { "count" } else { "alpha" };
            let settings = SearchSettings::from_settings(&json!({"faceting":
                {"maxValuesPerFacet": max, "sortFacetValuesBy": {"*": order}}}));
            let count = |chosen: &dyn Fn(usize) -> bool| {
                let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
                for (_, value) in documents.iter().filter(|(node, _)| chosen(*node)) {
                    *counts.entry(value).or_default() += 1;
                }
                answer(&counts.into_iter().collect::<Vec<_>>())
            };
            let search = search(json!({"facetName": "f"})).expect("valid");
            let apart: Vec<Vec<u8>> = (0..4).map(|node| count(&|n| n == node)).collect();
            let apart: Vec<&[u8]> = apart.iter().map(Vec::as_slice).collect();
            let together = count(&|_| true);
            prop_assert_eq!(
                search.merge(&apart, &settings).expect("answers"),
                search.merge(&[&together], &settings).expect("an answer")
            );
        }
    }
}
