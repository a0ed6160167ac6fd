//! Settings: written, read back, reset, refused.

use crate::common::{TestNode, movies};
use serde_json::{Value, json};

fn defaults() -> Value {
    json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "sortableAttributes": [],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "stopWords": [],
        "nonSeparatorTokens": [],
        "separatorTokens": [],
        "dictionary": [],
        "synonyms": {},
        "distinctAttribute": null,
        "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": true,
            "minWordSizeForTypos": { "oneTypo": 5, "twoTypos": 9 },
            "disableOnWords": [],
            "disableOnAttributes": [],
            "disableOnNumbers": false,
        },
        "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha" } },
        "pagination": { "maxTotalHits": 1000 },
        "embedders": {},
        "searchCutoffMs": null,
        "localizedAttributes": null,
        "facetSearch": true,
        "prefixSearch": "indexingTime",
    })
}

fn everything() -> Value {
    json!({
        "displayedAttributes": ["id", "title"],
        "searchableAttributes": ["title", "genre"],
        "filterableAttributes": [
            "genre",
            {
                "attributePatterns": ["y*"],
                "features": { "facetSearch": false, "filter": { "equality": true, "comparison": true } },
            },
        ],
        "sortableAttributes": ["year"],
        "rankingRules": ["sort", "words", "year:desc"],
        "stopWords": ["the"],
        "nonSeparatorTokens": ["#"],
        "separatorTokens": ["|"],
        "dictionary": ["J. R. R."],
        "synonyms": { "fox": ["vixen"] },
        "distinctAttribute": "genre",
        "proximityPrecision": "byAttribute",
        "typoTolerance": {
            "enabled": false,
            "minWordSizeForTypos": { "oneTypo": 4, "twoTypos": 8 },
            "disableOnWords": ["abc"],
            "disableOnAttributes": ["title"],
            "disableOnNumbers": true,
        },
        "faceting": { "maxValuesPerFacet": 7, "sortFacetValuesBy": { "*": "count", "genre": "alpha" } },
        "pagination": { "maxTotalHits": 50 },
        "embedders": {
            "mine": { "source": "userProvided", "dimensions": 3 },
        },
        "searchCutoffMs": 150,
        "localizedAttributes": [{ "attributePatterns": ["*_ja"], "locales": ["jpn"] }],
        "facetSearch": false,
        "prefixSearch": "disabled",
    })
}

#[tokio::test]
async fn all_settings_make_a_round_trip_and_reset() {
    let node = TestNode::start().await;
    let api = &node.api;
    let path = "/indexes/movies/settings";
    api.succeeded(api.post("/indexes", json!({ "uid": "movies" })).await)
        .await;
    assert_eq!(api.get(path).await.expect(200), defaults());

    let task = api.succeeded(api.patch(path, everything()).await).await;
    assert_eq!(task["type"], "settingsUpdate");
    assert_eq!(task["details"], everything());
    assert_eq!(api.get(path).await.expect(200), everything());

    // Null resets one setting, at any depth, and absence leaves it alone.
    let some =
        json!({ "stopWords": null, "typoTolerance": { "enabled": null }, "pagination": null });
    api.succeeded(api.patch(path, some).await).await;
    let mut expected = everything();
    expected["stopWords"] = json!([]);
    expected["typoTolerance"]["enabled"] = json!(true);
    expected["pagination"] = json!({ "maxTotalHits": 1000 });
    assert_eq!(api.get(path).await.expect(200), expected);

    api.succeeded(api.delete(path).await).await;
    assert_eq!(api.get(path).await.expect(200), defaults());
}

#[tokio::test]
async fn settings_create_their_index_but_a_reset_does_not() {
    let node = TestNode::start().await;
    let api = &node.api;
    api.get("/indexes/new/settings")
        .await
        .error(404, "index_not_found");
    api.failed(api.delete("/indexes/new/settings").await, "index_not_found")
        .await;
    api.succeeded(
        api.patch("/indexes/new/settings", json!({ "stopWords": ["a"] }))
            .await,
    )
    .await;
    assert_eq!(api.get("/indexes/new").await.expect(200)["uid"], "new");
}

#[tokio::test]
async fn wrong_settings_are_refused_at_once() {
    let node = TestNode::start().await;
    let api = &node.api;
    for (settings, code, part) in [
        (
            json!({ "rankingRules": ["nope"] }),
            "invalid_settings_ranking_rules",
            "Invalid value at `.rankingRules[0]`: `nope` ranking rule is invalid.",
        ),
        (
            json!({ "stopWords": "the" }),
            "invalid_settings_stop_words",
            "`.stopWords`",
        ),
        (
            json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 9, "twoTypos": 3 } } }),
            "invalid_settings_typo_tolerance",
            "`oneTypo: 9` and twoTypos: 3`",
        ),
        (
            json!({ "pagination": { "maxTotalHits": 0 } }),
            "invalid_settings_pagination",
            "maxTotalHits",
        ),
        (
            json!({ "filterableAttributes": [{ "attributePatterns": ["a"], "feature": {} }] }),
            "invalid_settings_filterable_attributes",
            "Unknown field `feature`",
        ),
        (
            json!({ "embedders": { "e": { "source": "userProvided" } } }),
            "invalid_settings_embedders",
            "`.embedders.e`: Missing field `dimensions`",
        ),
        (
            json!({ "localizedAttributes": [{ "attributePatterns": ["a"], "locales": ["zz"] }] }),
            "invalid_settings_localized_attributes",
            "Unknown value `zz`",
        ),
        (
            json!({ "stopwords": [] }),
            "bad_request",
            "Unknown field `stopwords`: did you mean `stopWords`?",
        ),
    ] {
        let message = api
            .patch("/indexes/s/settings", settings.clone())
            .await
            .error(400, code);
        assert!(message.contains(part), "{settings}: {message}");
    }
    assert_eq!(api.get("/tasks").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn settings_change_what_a_search_finds() {
    let node = TestNode::start().await;
    let api = &node.api;
    api.succeeded(api.post("/indexes/movies/documents", movies()).await)
        .await;
    assert_eq!(
        api.ids("movies", json!({ "q": "vixen" })).await,
        [] as [Value; 0]
    );
    let settings = json!({
        "synonyms": { "vixen": ["fox"] },
        "displayedAttributes": ["id"],
        "sortableAttributes": ["year"],
        "rankingRules": ["words", "year:desc"],
    });
    api.succeeded(api.patch("/indexes/movies/settings", settings).await)
        .await;
    assert_eq!(
        api.ids("movies", json!({ "q": "vixen" })).await,
        [json!(5), json!(1)]
    );
    let body = api
        .post("/indexes/movies/search", json!({ "q": "vixen" }))
        .await
        .expect(200);
    assert_eq!(body["hits"][0], json!({ "id": 5 }));
}
