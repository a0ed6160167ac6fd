//! What a multi-search asks for, and what nodes are asked.

use serde_json::{Value, json};

use super::MultiSearch;
use super::tests::{federated, uid};
use crate::api_error::{ApiError, Code};
use crate::search::SearchSettings;

fn read(body: Value) -> Result<MultiSearch, ApiError> {
    MultiSearch::from_json(body.to_string().as_bytes())
}

#[test]
fn bodies_are_refused_in_meilisearchs_words() {
    let query = |name: &str, value: Value| {
        let mut query = json!({"indexUid": "a"});
        query[name] = value;
        json!({"queries": [{"indexUid": "b"}, query]})
    };
    let federation = |name: &str, value: Value| json!({"queries": [], "federation": {name: value}});
    let table = [
        (
            json!([]),
            Code::BadRequest,
            "Invalid value type: expected an object, but found an array: `[]`",
        ),
        (json!({}), Code::BadRequest, "Missing field `queries`"),
        (
            json!({"queries": [1]}),
            Code::BadRequest,
            "Invalid value type at `.queries[0]`: expected an object, but found a positive integer: `1`",
        ),
        (
            json!({"queries": [{}]}),
            Code::MissingIndexUid,
            "Missing field `indexUid` inside `.queries[0]`",
        ),
        (
            query("limit", json!("a")),
            Code::InvalidSearchLimit,
            "Invalid value type at `.queries[1].limit`: expected a positive integer, but found a string: `\"a\"`",
        ),
        (
            query("hybrid", json!({})),
            Code::InvalidSearchHybridQuery,
            "Missing field `embedder` inside `.queries[1].hybrid`",
        ),
        (
            query("matchingStrategy", json!("x")),
            Code::InvalidSearchMatchingStrategy,
            "Unknown value `x` at `.queries[1].matchingStrategy`: expected one of `last`, `all`, `frequency`",
        ),
        (
            query("federationOptions", json!({"weight": -1})),
            Code::InvalidMultiSearchWeight,
            "Invalid value at `.queries[1].federationOptions.weight`: the value of `weight` is invalid, expected a positive float (>= 0.0).",
        ),
        (
            query("federationOptions", json!({"remote": 1})),
            Code::InvalidMultiSearchRemote,
            "Invalid value type at `.queries[1].federationOptions.remote`: expected a string, but found a positive integer: `1`",
        ),
        (
            query("federationOptions", json!({"x": 1})),
            Code::BadRequest,
            "Unknown field `x` inside `.queries[1].federationOptions`: expected one of `weight`, `remote`, `queryPosition`",
        ),
        (
            query("useNetwork", json!(1)),
            Code::InvalidSearchUseNetwork,
            "Invalid value type at `.queries[1].useNetwork`: expected a boolean, but found a positive integer: `1`",
        ),
        (
            federation("limit", json!("a")),
            Code::InvalidSearchLimit,
            "Invalid value type at `.federation.limit`: expected a positive integer, but found a string: `\"a\"`",
        ),
        (
            federation("facetsByIndex", json!([])),
            Code::InvalidMultiSearchFacetsByIndex,
            "Invalid value type at `.federation.facetsByIndex`: expected an object, but found an array: `[]`",
        ),
        (
            federation("facetsByIndex", json!({"a": [1]})),
            Code::InvalidMultiSearchFacetsByIndex,
            "Invalid value type at `.federation.facetsByIndex.a[0]`: expected a string, but found a positive integer: `1`",
        ),
        (
            federation("mergeFacets", json!({"maxValuesPerFacet": "x"})),
            Code::InvalidMultiSearchMaxValuesPerFacet,
            "Invalid value type at `.federation.mergeFacets.maxValuesPerFacet`: expected a positive integer, but found a string: `\"x\"`",
        ),
        (
            federation("mergeFacets", json!({"x": 1})),
            Code::InvalidMultiSearchMergeFacets,
            "Unknown field `x` inside `.federation.mergeFacets`: expected one of `maxValuesPerFacet`",
        ),
        (
            federation("distinct", json!("_miroir_shard")),
            Code::InvalidSearchDistinct,
            "Attribute `_miroir_shard` is reserved and cannot be used in `distinct`.",
        ),
    ];
    for (body, code, message) in table {
        let error = read(body).expect_err(message);
        assert_eq!((error.code, error.message.as_str()), (code, message));
    }
}

#[test]
fn what_a_query_may_not_ask_is_told_with_its_position() {
    let refused = |query: Value, federation: Value| {
        let body = json!({"queries": [{"indexUid": "b"}, query], "federation": federation});
        let read = read(body).expect("well-formed");
        read.queries
            .into_iter()
            .nth(1)
            .expect("two")
            .expect_err("refused")
    };
    let with = |name: &str, value: Value| {
        let mut query = json!({"indexUid": "a"});
        query[name] = value;
        query
    };
    let options = |value: Value| with("federationOptions", value);
    let merged = || json!({});
    let table = [
        (
            with("limit", json!(1)),
            merged(),
            Code::InvalidMultiSearchQueryPagination,
            "remove `limit` from the query",
        ),
        (
            with("facets", json!(["x"])),
            merged(),
            Code::InvalidMultiSearchQueryFacets,
            "pass `federation.facetsByIndex.a: [\"x\"]`",
        ),
        (
            with("personalize", json!({})),
            merged(),
            Code::InvalidMultiSearchQueryPersonalization,
            "`.personalize`",
        ),
        (
            with("showPerformanceDetails", json!(false)),
            merged(),
            Code::InvalidMultiSearchQueryShowPerformanceDetails,
            "`.showPerformanceDetails`",
        ),
        (
            with("distinct", json!("x")),
            json!({"distinct": "y"}),
            Code::InvalidMultiSearchDistinct,
            "`distinct` options",
        ),
        (
            with("useNetwork", json!(false)),
            merged(),
            Code::FeatureNotEnabled,
            "passing `useNetwork`",
        ),
        (
            options(json!({"remote": "n"})),
            merged(),
            Code::FeatureNotEnabled,
            "remote federated search",
        ),
        (
            options(json!({"queryPosition": 1})),
            merged(),
            Code::FeatureNotEnabled,
            "`federationOptions.queryPosition`",
        ),
        (
            options(json!({})),
            Value::Null,
            Code::InvalidMultiSearchFederationOptions,
            "not allowed in a non-federated search",
        ),
        (
            with("useNetwork", json!(true)),
            Value::Null,
            Code::FeatureNotEnabled,
            "`network`",
        ),
        (
            with("vector", json!([1])),
            Value::Null,
            Code::MissingSearchHybrid,
            "missing `hybrid`",
        ),
        (
            with("filter", json!("_miroir_shard = a")),
            Value::Null,
            Code::InvalidSearchFilter,
            "_miroir_shard",
        ),
    ];
    for (query, federation, code, text) in table {
        let error = refused(query, federation);
        assert_eq!(error.code, code, "{error}");
        assert!(
            error.message.starts_with("Inside `.queries[1]`: "),
            "{error}"
        );
        assert!(error.message.contains(text), "{error}");
    }
}

#[test]
fn nodes_are_asked_for_all_queries_of_their_index() {
    let plan = federated(json!({
        "federation": {"offset": 4, "limit": 3, "facetsByIndex": {"a": ["x"], "c": ["y"]}},
        "queries": [
            {"indexUid": "a", "q": "cat", "filter": "x = 1", "facets": []},
            {"indexUid": "b"},
            {"indexUid": "a", "federationOptions": {"weight": 2.5}, "distinct": "sku", "attributesToRetrieve": ["id"]},
        ],
    }));
    let asked: Vec<(String, Vec<usize>)> = plan
        .indexes()
        .into_iter()
        .map(|(index, positions)| (index.to_string(), positions))
        .collect();
    let expected = [("a", vec![0, 2]), ("b", vec![1]), ("c", vec![])];
    assert_eq!(
        asked,
        expected.map(|(index, positions)| (index.to_owned(), positions))
    );
    let settings = SearchSettings {
        max_total_hits: 6,
        ..SearchSettings::default()
    };
    assert_eq!(
        plan.body(&uid("a"), &settings, Some("H")),
        Ok(json!({
            "federation": {"offset": 0, "limit": 6, "facetsByIndex": {"a": ["x"]}},
            "queries": [
                {
                    "indexUid": "a", "q": "cat", "filter": ["H", "x = 1"], "showRankingScoreDetails": true,
                    "federationOptions": {"weight": 1.0},
                },
                {
                    "indexUid": "a", "filter": "H", "showRankingScoreDetails": true, "distinct": "sku",
                    "attributesToRetrieve": ["id", "sku"], "federationOptions": {"weight": 2.5},
                },
            ],
        }))
    );
    let paged = federated(
        json!({"federation": {"page": 3, "hitsPerPage": 2}, "queries": [{"indexUid": "a"}]}),
    );
    let body = paged.body(&uid("a"), &SearchSettings::default(), None);
    assert_eq!(
        body.expect("valid")["federation"],
        json!({"page": 1, "hitsPerPage": 6})
    );
}
