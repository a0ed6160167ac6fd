use super::*;
use serde_json::json;

fn post(body: Value) -> Result<SearchQuery, ApiError> {
    SearchQuery::from_json(body.to_string().as_bytes())
}

#[test]
fn bodies_and_parameters_mean_the_same() {
    let from_get = SearchQuery::from_parameters([
        ("q", "a cat"),
        ("page", "2"),
        ("hitsPerPage", "5"),
        ("attributesToRetrieve", "id,,title"),
        ("filter", "a = 1"),
        ("sort", "a:asc,_geoPoint(1, 2):desc"),
        ("facets", "a,b"),
        ("showRankingScore", "true"),
        ("matchingStrategy", "all"),
        ("rankingScoreThreshold", "0.5"),
        ("hybridEmbedder", "e"),
        ("hybridSemanticRatio", "0.25"),
        ("vector", "1,2.5"),
        ("useNetwork", "true"),
        ("showPerformanceDetails", "true"),
    ]);
    let from_post = post(json!({
        "q": "a cat", "page": 2, "hitsPerPage": 5, "attributesToRetrieve": ["id", "title"],
        "filter": "a = 1", "sort": ["a:asc", "_geoPoint(1, 2):desc"], "facets": ["a", "b"],
        "showRankingScore": true, "matchingStrategy": "all", "rankingScoreThreshold": 0.5,
        "hybrid": {"embedder": "e", "semanticRatio": 0.25}, "vector": [1.0, 2.5],
        "useNetwork": false, "distinct": null, "showPerformanceDetails": true,
    }));
    assert_eq!(from_get, from_post);
    let query = from_get.expect("valid");
    assert_eq!(
        query.pagination(),
        Pagination::Page {
            page: 2,
            hits_per_page: 5
        }
    );
    assert_eq!(query.semantic_ratio(), Some(0.25));
    assert!(query.shows_score() && !query.shows_details());
}

#[test]
fn a_filter_parameter_may_be_json() {
    let query = SearchQuery::from_parameters([("filter", r#"["a = 1", ["b = 2"]]"#)]);
    assert_eq!(
        query.expect("valid").filter(),
        Some(&json!(["a = 1", ["b = 2"]]))
    );
}

#[test]
fn windows_follow_meilisearch() {
    let table = [
        (json!({}), (0, 20)),
        (json!({"offset": 5, "limit": 3}), (5, 3)),
        (json!({"limit": 5000}), (0, 1000)),
        (json!({"offset": 990, "limit": 20}), (990, 10)),
        (json!({"offset": 5000}), (1000, 0)),
        (json!({"page": 3}), (40, 20)),
        (json!({"hitsPerPage": 7}), (0, 7)),
        (json!({"page": 0, "hitsPerPage": 7}), (0, 0)),
        (json!({"page": 2, "hitsPerPage": 0}), (0, 0)),
        (
            json!({"page": u64::MAX, "hitsPerPage": u64::MAX, "offset": 3}),
            (1000, 0),
        ),
    ];
    for (body, window) in table {
        let query = post(body.clone()).expect("valid");
        assert_eq!(query.pagination().window(1000), window, "{body}");
    }
}

#[test]
fn wrong_bodies_get_meilisearchs_answer() {
    let table = [
        (
            json!([]),
            Code::BadRequest,
            "Invalid value type: expected an object, but found an array: `[]`",
        ),
        (
            json!({"q": ["doggo"]}),
            Code::InvalidSearchQ,
            "Invalid value type at `.q`: expected a string, but found an array: `[\"doggo\"]`",
        ),
        (
            json!({"offset": "doggo"}),
            Code::InvalidSearchOffset,
            "Invalid value type at `.offset`: expected a positive integer, but found a string: `\"doggo\"`",
        ),
        (
            json!({"limit": -1}),
            Code::InvalidSearchLimit,
            "Invalid value type at `.limit`: expected a positive integer, but found a negative integer: `-1`",
        ),
        (
            json!({"limit": null}),
            Code::InvalidSearchLimit,
            "Invalid value type at `.limit`: expected a positive integer, but found null",
        ),
        (
            json!({"page": 1.5}),
            Code::InvalidSearchPage,
            "Invalid value type at `.page`: expected a positive integer, but found a number: `1.5`",
        ),
        (
            json!({"attributesToRetrieve": "doggo"}),
            Code::InvalidSearchAttributesToRetrieve,
            "Invalid value type at `.attributesToRetrieve`: expected an array, but found a string: `\"doggo\"`",
        ),
        (
            json!({"facets": ["a", 1]}),
            Code::InvalidSearchFacets,
            "Invalid value type at `.facets[1]`: expected a string, but found a positive integer: `1`",
        ),
        (
            json!({"showMatchesPosition": "doggo"}),
            Code::InvalidSearchShowMatchesPosition,
            "Invalid value type at `.showMatchesPosition`: expected a boolean, but found a string: `\"doggo\"`",
        ),
        (
            json!({"matchingStrategy": "doggo"}),
            Code::InvalidSearchMatchingStrategy,
            "Unknown value `doggo` at `.matchingStrategy`: expected one of `last`, `all`, `frequency`",
        ),
        (
            json!({"rankingScoreThreshold": 42}),
            Code::InvalidSearchRankingScoreThreshold,
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`.",
        ),
        (
            json!({"hybrid": {"semanticRatio": 0.5}}),
            Code::InvalidSearchHybridQuery,
            "Missing field `embedder` inside `.hybrid`",
        ),
        (
            json!({"hybrid": {"embedder": "e", "x": 1}}),
            Code::InvalidSearchHybridQuery,
            "Unknown field `x` inside `.hybrid`: expected one of `semanticRatio`, `embedder`",
        ),
        (
            json!({"hybrid": {"embedder": "e", "semanticRatio": 2}}),
            Code::InvalidSearchSemanticRatio,
            "Invalid value at `.hybrid.semanticRatio`: the value of `semanticRatio` is invalid, expected a float between `0.0` and `1.0`.",
        ),
        (
            json!({"vector": [1]}),
            Code::MissingSearchHybrid,
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        ),
        (
            json!({"personalize": {}}),
            Code::FeatureNotEnabled,
            "`personalize` is not available in a search through Miroir. Remove it from the query.",
        ),
    ];
    for (body, code, message) in table {
        let error = post(body.clone()).expect_err("refused");
        assert_eq!(
            (error.code, error.message.as_str()),
            (code, message),
            "{body}"
        );
    }
    let error = post(json!({"marin": "hello"})).expect_err("unknown");
    assert_eq!(error.code, Code::BadRequest);
    assert!(error.message.starts_with("Unknown field `marin`: expected one of `q`, `offset`, `limit`, `page`, `hitsPerPage`, `attributesToRetrieve`"));
    assert!(
        error
            .message
            .ends_with("`showRankingScore`, `showRankingScoreDetails`, `showPerformanceDetails`")
    );
}

#[test]
fn wrong_parameters_get_meilisearchs_answer() {
    let table = [
        (
            "offset",
            "doggo",
            Code::InvalidSearchOffset,
            "Invalid value in parameter `offset`: could not parse `doggo` as a positive integer",
        ),
        (
            "retrieveVectors",
            "",
            Code::InvalidSearchRetrieveVectors,
            "Invalid value in parameter `retrieveVectors`: could not parse `` as a boolean, expected either `true` or `false`",
        ),
        (
            "matchingStrategy",
            "doggo",
            Code::InvalidSearchMatchingStrategy,
            "Unknown value `doggo` for parameter `matchingStrategy`: expected one of `last`, `all`, `frequency`",
        ),
        (
            "hybridSemanticRatio",
            "0.5",
            Code::InvalidSearchHybridQuery,
            "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
        ),
        (
            "vector",
            "1",
            Code::MissingSearchHybrid,
            "`hybridEmbedder` is mandatory when `vector` is present",
        ),
    ];
    for (name, text, code, message) in table {
        let error = SearchQuery::from_parameters([(name, text)]).expect_err(name);
        assert_eq!((error.code, error.message.as_str()), (code, message));
    }
    let error = SearchQuery::from_parameters([("ofset", "1")]).expect_err("unknown");
    assert!(
        error
            .message
            .starts_with("Unknown parameter `ofset`: did you mean `offset`? expected one of `q`, ")
    );
}

#[test]
fn the_hidden_field_cannot_be_used() {
    let table = [
        (
            json!({"filter": "_miroir_shard = a"}),
            Code::InvalidSearchFilter,
        ),
        (
            json!({"filter": [["a = 1", "_miroir_shard = a"]]}),
            Code::InvalidSearchFilter,
        ),
        (
            json!({"sort": ["_miroir_shard:asc"]}),
            Code::InvalidSearchSort,
        ),
        (
            json!({"distinct": "_miroir_shard"}),
            Code::InvalidSearchDistinct,
        ),
        (
            json!({"facets": ["_miroir_shard"]}),
            Code::InvalidSearchFacets,
        ),
        (
            json!({"attributesToRetrieve": ["_miroir_shard"]}),
            Code::InvalidSearchAttributesToRetrieve,
        ),
        (
            json!({"attributesToHighlight": ["_miroir_shard"]}),
            Code::InvalidSearchAttributesToHighlight,
        ),
        (
            json!({"attributesToCrop": ["_miroir_shard:3"]}),
            Code::InvalidSearchAttributesToCrop,
        ),
        (
            json!({"attributesToSearchOn": ["_miroir_shard"]}),
            Code::InvalidSearchAttributesToSearchOn,
        ),
    ];
    for (body, code) in table {
        let error = post(body.clone()).expect_err("refused");
        assert_eq!(error.code, code, "{body}");
    }
}
