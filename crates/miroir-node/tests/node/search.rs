//! Searching: filters, sorts, facets, pages, formatting, scores, and Miroir's hidden field.

use crate::common::{Api, TestNode, movies};
use serde_json::{Value, json};

async fn movie_node() -> TestNode {
    let node = TestNode::start().await;
    let api = &node.api;
    let settings = json!({
        "filterableAttributes": ["genre", "year", "tags"],
        "sortableAttributes": ["year"],
    });
    api.patch("/indexes/movies/settings", settings)
        .await
        .expect(202);
    api.succeeded(api.post("/indexes/movies/documents", movies()).await)
        .await;
    node
}

async fn search(api: &Api, query: Value) -> Value {
    api.post("/indexes/movies/search", query).await.expect(200)
}

#[tokio::test]
async fn filters_and_sorts_select_and_order() {
    let node = movie_node().await;
    let api = &node.api;
    for (query, expected) in [
        (
            json!({ "q": "bear", "sort": ["year:desc"], "filter": "year > 0" }),
            vec![5, 2],
        ),
        (
            json!({ "filter": "genre = action", "sort": ["year:asc"] }),
            vec![1, 3],
        ),
        (
            json!({ "filter": ["genre = drama", "year < 2000"] }),
            vec![4],
        ),
        (
            json!({ "filter": [["year = 1995", "year = 2020"]], "sort": ["year:desc"] }),
            vec![5, 4],
        ),
        (
            json!({ "filter": "tags IN [b, c]", "sort": ["year:asc"] }),
            vec![1, 2, 5],
        ),
        (json!({ "filter": "tags NOT EXISTS" }), vec![4]),
        (json!({ "filter": "genre IS NULL" }), vec![5]),
        (
            json!({ "filter": "year 1996 TO 2005", "sort": ["year:asc"] }),
            vec![1, 2],
        ),
        (
            json!({ "q": "bear", "matchingStrategy": "all", "filter": "" }),
            vec![5, 2],
        ),
    ] {
        let expected: Vec<Value> = expected.into_iter().map(Value::from).collect();
        let mut found = api.ids("movies", query.clone()).await;
        if query.get("sort").is_none() {
            found.sort_by_key(|id| id.as_u64());
            let mut expected = expected.clone();
            expected.sort_by_key(|id| id.as_u64());
            assert_eq!(found, expected, "{query}");
            continue;
        }
        assert_eq!(found, expected, "{query}");
    }
    let by_get = "/indexes/movies/search?sort=year:desc&limit=2&filter=year%20%3E%201999";
    let body = api.get(by_get).await.expect(200);
    assert_eq!(body["hits"][0]["id"], 5);
    assert_eq!(body["estimatedTotalHits"], 3);
}

#[tokio::test]
async fn both_styles_of_paging_answer_their_own_totals() {
    let node = movie_node().await;
    let body = search(
        &node.api,
        json!({ "sort": ["year:asc"], "offset": 1, "limit": 2 }),
    )
    .await;
    assert_eq!(body["hits"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&body["offset"], &body["limit"], &body["estimatedTotalHits"]),
        (&json!(1), &json!(2), &json!(5))
    );
    assert!(body.get("totalHits").is_none() && body.get("page").is_none());

    let body = search(
        &node.api,
        json!({ "sort": ["year:asc"], "page": 2, "hitsPerPage": 2 }),
    )
    .await;
    let ids: Vec<_> = body["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| &hit["id"])
        .collect();
    assert_eq!(ids, [2, 3]);
    assert_eq!(
        json!([
            body["page"],
            body["hitsPerPage"],
            body["totalHits"],
            body["totalPages"]
        ]),
        json!([2, 2, 5, 3])
    );
    assert!(body.get("estimatedTotalHits").is_none() && body.get("limit").is_none());
    let nothing = search(&node.api, json!({ "hitsPerPage": 0 })).await;
    assert_eq!(
        (&nothing["totalPages"], &nothing["totalHits"]),
        (&json!(0), &json!(5))
    );
}

#[tokio::test]
async fn facets_count_values_and_measure_numbers() {
    let node = movie_node().await;
    let body = search(&node.api, json!({ "facets": ["*"], "limit": 0 })).await;
    assert_eq!(
        body["facetDistribution"],
        json!({
            "genre": { "action": 2, "drama": 2 },
            "tags": { "a": 1, "b": 2, "c": 1 },
            "year": { "1995": 1, "1999": 1, "2005": 1, "2010": 1, "2020": 1 },
        })
    );
    assert_eq!(
        body["facetStats"],
        json!({ "year": { "min": 1995.0, "max": 2020.0 } })
    );
    let one = search(&node.api, json!({ "q": "fox", "facets": ["genre"] })).await;
    assert_eq!(
        one["facetDistribution"],
        json!({ "genre": { "action": 2 } })
    );
    node.api
        .post("/indexes/movies/search", json!({ "facets": ["title"] }))
        .await
        .error(400, "invalid_search_facets");
}

#[tokio::test]
async fn hits_are_formatted_and_scored_on_demand() {
    let node = movie_node().await;
    let body = search(
        &node.api,
        json!({
            "q": "brown fox",
            "attributesToRetrieve": ["id"],
            "attributesToHighlight": ["title"],
            "attributesToCrop": ["title:2"],
            "showMatchesPosition": true,
            "showRankingScore": true,
            "showRankingScoreDetails": true,
            "limit": 1,
        }),
    )
    .await;
    let hit = &body["hits"][0];
    assert_eq!(hit["id"], 1);
    assert!(hit.get("title").is_none());
    assert_eq!(hit["_formatted"]["id"], "1");
    assert_eq!(hit["_formatted"]["title"], "…<em>brown</em> <em>fox</em>");
    assert_eq!(
        hit["_matchesPosition"]["title"],
        json!([{ "start": 10, "length": 5 }, { "start": 16, "length": 3 }])
    );
    assert!(hit["_rankingScore"].as_f64().unwrap() > 0.9);
    let details = &hit["_rankingScoreDetails"];
    assert_eq!(
        details["words"],
        json!({ "order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0 })
    );
    assert_eq!(details["typo"]["typoCount"], 0);
    assert_eq!(details["exactness"]["matchType"], "noExactMatch");
    let plain = search(&node.api, json!({ "q": "fox", "limit": 1 })).await;
    let keys: Vec<&String> = plain["hits"][0].as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|key| !key.starts_with('_')), "{keys:?}");
}

#[tokio::test]
async fn wrong_searches_say_what_is_wrong() {
    let node = movie_node().await;
    let api = &node.api;
    for (query, code, part) in [
        (
            json!({ "filter": "title = x" }),
            "invalid_search_filter",
            "Index `movies`: Attribute `title` is not filterable. Available filterable attribute patterns are: `genre`, `tags`, `year`.",
        ),
        (
            json!({ "filter": "year =" }),
            "invalid_search_filter",
            "Was expecting a value",
        ),
        (
            json!({ "filter": 7 }),
            "invalid_search_filter",
            "expected String, Array, found: 7",
        ),
        (
            json!({ "sort": ["title:asc"] }),
            "invalid_search_sort",
            "Attribute `title` is not sortable.",
        ),
        (
            json!({ "sort": ["year"] }),
            "invalid_search_sort",
            "Invalid syntax for the sort parameter",
        ),
        (json!({ "limit": -1 }), "invalid_search_limit", "`.limit`"),
        (
            json!({ "distinct": "title" }),
            "invalid_search_distinct",
            "title",
        ),
        (
            json!({ "vector": [1.0] }),
            "missing_search_hybrid",
            "hybrid",
        ),
        (
            json!({ "q": "x", "hybrid": { "embedder": "x" } }),
            "invalid_search_embedder",
            "Cannot find embedder with name `x`",
        ),
        (
            json!({ "locales": ["xx"] }),
            "invalid_search_locales",
            "Unknown value `xx` at `.locales[0]`",
        ),
        (
            json!({ "query": "x" }),
            "bad_request",
            "Unknown field `query`: expected one of `q`, `vector`, `hybrid`, `offset`",
        ),
    ] {
        let message = api
            .post("/indexes/movies/search", query.clone())
            .await
            .error(400, code);
        assert!(message.contains(part), "{query}: {message}");
    }
    api.post("/indexes/nowhere/search", json!({}))
        .await
        .error(404, "index_not_found");
    api.get("/indexes/movies/search?limit=x")
        .await
        .error(400, "invalid_search_limit");
}

#[tokio::test]
async fn distances_are_answered_when_sorted_by_a_point() {
    let node = TestNode::start().await;
    let api = &node.api;
    let settings = json!({ "filterableAttributes": ["_geo"], "sortableAttributes": ["_geo"] });
    api.patch("/indexes/places/settings", settings)
        .await
        .expect(202);
    let places = json!([
        { "id": "paris", "_geo": { "lat": 48.8566, "lng": 2.3522 } },
        { "id": "lyon", "_geo": { "lat": 45.764, "lng": 4.8357 } },
        { "id": "nowhere" },
    ]);
    api.succeeded(api.post("/indexes/places/documents", places).await)
        .await;
    let near = json!({ "sort": ["_geoPoint(48.8566, 2.3522):asc"] });
    let body = api.post("/indexes/places/search", near).await.expect(200);
    assert_eq!(body["hits"][0]["_geoDistance"], 0);
    let metres = body["hits"][1]["_geoDistance"].as_u64().unwrap();
    assert!((391_000..393_000).contains(&metres), "{metres}");
    assert!(body["hits"][2].get("_geoDistance").is_none());
    let inside = json!({ "filter": "_geoRadius(45.7, 4.8, 20000)" });
    assert_eq!(api.ids("places", inside).await, [json!("lyon")]);
    let bad = api
        .post(
            "/indexes/places/documents",
            json!([{ "id": "x", "_geo": "here" }]),
        )
        .await;
    api.failed(bad, "invalid_document_geo_field").await;
}

/// Miroir marks each document with its shard in a field whose value is made of separators: it
/// must be filterable, and no query may find it.
#[tokio::test]
async fn a_field_of_separators_is_filterable_but_not_searchable() {
    let node = TestNode::start().await;
    let api = &node.api;
    let rule = json!({
        "attributePatterns": ["_miroir_shard"],
        "features": { "facetSearch": false, "filter": { "equality": true, "comparison": true } },
    });
    let settings = json!({ "filterableAttributes": [rule, "genre"] });
    api.patch("/indexes/s/settings", settings.clone())
        .await
        .expect(202);
    let symbols = ["⁂", "⁌", "⁍", "⁎"];
    let code = |at: usize| format!("{}{}{}", symbols[at / 4 % 4], symbols[at % 4], symbols[0]);
    let documents: Vec<Value> = (0..16)
        .map(|at| json!({ "id": at, "title": format!("title {}", at % 3), "_miroir_shard": code(at) }))
        .collect();
    api.succeeded(
        api.post("/indexes/s/documents", Value::Array(documents))
            .await,
    )
    .await;

    for at in 0..16 {
        let filter = json!({ "filter": format!("_miroir_shard = \"{}\"", code(at)) });
        assert_eq!(api.ids("s", filter).await, [json!(at)]);
    }
    let some = format!("_miroir_shard IN [\"{}\", \"{}\"]", code(3), code(9));
    let mut found = api
        .ids("s", json!({ "filter": some.clone(), "q": "title" }))
        .await;
    found.sort_by_key(|id| id.as_u64());
    assert_eq!(found, [json!(3), json!(9)]);
    let others = format!("_miroir_shard NOT IN [\"{}\", \"{}\"]", code(3), code(9));
    assert_eq!(api.ids("s", json!({ "filter": others })).await.len(), 14);
    let range = format!("_miroir_shard \"{}\" TO \"{}\"", code(4), code(7));
    assert_eq!(api.ids("s", json!({ "filter": range })).await.len(), 4);

    let on_field = json!({ "q": code(3), "attributesToSearchOn": ["_miroir_shard"] });
    for q in ["_miroir_shard", "miroir", "shard"] {
        assert_eq!(
            api.ids("s", json!({ "q": q })).await,
            [] as [Value; 0],
            "{q}"
        );
    }
    let all = api.ids("s", json!({ "q": code(3), "limit": 100 })).await;
    // A query without words is a placeholder: it matches all documents alike, or none.
    assert!(all.len() == 16 || all.is_empty(), "{all:?}");
    let on_field = api.ids("s", on_field).await;
    assert!(on_field.len() == 16 || on_field.is_empty(), "{on_field:?}");
    let shown = api.get("/indexes/s/settings").await.expect(200);
    assert_eq!(
        shown["filterableAttributes"],
        settings["filterableAttributes"]
    );
}
