//! Settings of an index, as a whole object.

use super::pattern::{ABSENT, ANY, EXACTLY};
use super::script::{Step, check, delete, get, index, patch, post};
use serde_json::{Value, json};

const SETTINGS: &str = "/indexes/i/settings";

fn settings_are(pattern: Value) -> Step {
    get(SETTINGS)
        .is(pattern)
        // What later versions added, and the rules they renamed.
        .may_differ("/answer/rankingRules")
        .may_differ("/answer/foreignKeys")
        .may_differ("/answer/chat")
}

fn change(body: Value) -> Step {
    patch(SETTINGS, body)
}

#[tokio::test]
async fn a_new_index_has_the_defaults() {
    check(vec![
        get(SETTINGS).refused(404, "index_not_found"),
        post("/indexes", json!({ "uid": "i" })).succeeds(),
        settings_are(json!({
            "displayedAttributes": ["*"], "searchableAttributes": ["*"],
            "filterableAttributes": [], "sortableAttributes": [], "rankingRules": ANY,
            "stopWords": [], "nonSeparatorTokens": [], "separatorTokens": [], "dictionary": [],
            "synonyms": {}, "distinctAttribute": null, "proximityPrecision": "byWord",
            "typoTolerance": {
                "enabled": true, "minWordSizeForTypos": { "oneTypo": 5, "twoTypos": 9 },
                "disableOnWords": [], "disableOnAttributes": [], "disableOnNumbers": false
            },
            "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha" } },
            "pagination": { "maxTotalHits": 1000 }, "embedders": {}, "searchCutoffMs": null,
            "localizedAttributes": null, "facetSearch": true, "prefixSearch": "indexingTime"
        })),
    ])
    .await;
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_reset() {
    let mut script = vec![
        // The first settings of an unknown index create it.
        change(json!({ "sortableAttributes": ["b", "a"], "stopWords": ["the", "a"] })).task(json!({
            "status": "succeeded", "type": "settingsUpdate", "indexUid": "i",
            "details": { "sortableAttributes": ["a", "b"], "stopWords": ["a", "the"], EXACTLY: true }
        })),
        settings_are(json!({ "sortableAttributes": ["a", "b"], "stopWords": ["a", "the"] })),
        change(json!({})).succeeds(),
    ];
    let table = [
        ("searchableAttributes", json!(["b", "a"]), json!(["*"])),
        ("displayedAttributes", json!(["a"]), json!(["*"])),
        (
            "rankingRules",
            json!(["sort", "words", "a:asc"]),
            Value::Null,
        ),
        ("distinctAttribute", json!("a"), Value::Null),
        ("synonyms", json!({ "x": ["y", "z"] }), json!({})),
        ("separatorTokens", json!(["|"]), json!([])),
        ("nonSeparatorTokens", json!(["#"]), json!([])),
        ("dictionary", json!(["J. R."]), json!([])),
        ("proximityPrecision", json!("byAttribute"), json!("byWord")),
        (
            "pagination",
            json!({ "maxTotalHits": 5 }),
            json!({ "maxTotalHits": 1000 }),
        ),
        ("searchCutoffMs", json!(150), Value::Null),
        ("facetSearch", json!(false), json!(true)),
        ("prefixSearch", json!("disabled"), json!("indexingTime")),
        (
            "localizedAttributes",
            json!([{ "attributePatterns": ["*_ja"], "locales": ["jpn"] }]),
            Value::Null,
        ),
    ];
    for (name, value, default) in table {
        script.push(change(json!({ name: value })).task(json!({
            "status": "succeeded", "details": { name: value, EXACTLY: true }
        })));
        script.push(settings_are(json!({ name: value })));
        script.push(change(json!({ name: null })).succeeds());
        let reset = if default.is_null() {
            json!({})
        } else {
            json!({ name: default })
        };
        script.push(settings_are(reset));
    }
    script.extend([
        change(json!({ "distinctAttribute": "a", "searchCutoffMs": 9 })).succeeds(),
        delete(SETTINGS)
            .task(json!({ "status": "succeeded", "type": "settingsUpdate" }))
            .may_differ("/task/details"),
        settings_are(json!({
            "sortableAttributes": [], "stopWords": [], "distinctAttribute": null,
            "searchCutoffMs": null
        })),
        delete("/indexes/nothing/settings")
            .fails("index_not_found")
            .may_differ("/task/details"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn parts_of_an_object_are_merged() {
    check(vec![
        change(json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 4 } } })).succeeds(),
        change(json!({ "typoTolerance": { "disableOnWords": ["x"] } })).succeeds(),
        settings_are(json!({ "typoTolerance": {
            "enabled": true, "minWordSizeForTypos": { "oneTypo": 4, "twoTypos": 9 },
            "disableOnWords": ["x"], "disableOnAttributes": []
        } })),
        change(json!({ "typoTolerance": { "disableOnWords": null } })).succeeds(),
        settings_are(json!({ "typoTolerance": {
            "minWordSizeForTypos": { "oneTypo": 4 }, "disableOnWords": []
        } })),
        change(json!({ "faceting": { "sortFacetValuesBy": { "g": "count" } } })).succeeds(),
        change(json!({ "faceting": { "maxValuesPerFacet": 3 } })).succeeds(),
        settings_are(json!({ "faceting": {
            "maxValuesPerFacet": 3, "sortFacetValuesBy": { "*": "alpha", "g": "count" }
        } })),
        change(json!({ "synonyms": { "a": ["b"] } })).succeeds(),
        change(json!({ "synonyms": { "c": ["d"] } })).succeeds(),
        settings_are(json!({ "synonyms": { "c": ["d"], "a": ABSENT } })),
    ])
    .await;
}

/// The form in which the hidden field is made filterable.
#[tokio::test]
async fn filterable_attributes_take_rules() {
    let rule = json!({
        "attributePatterns": ["_miroir_shard"],
        "features": { "facetSearch": false, "filter": { "equality": true, "comparison": true } }
    });
    let partial = json!({ "attributePatterns": ["n_*"], "features": { "facetSearch": true } });
    let completed = json!({
        "attributePatterns": ["n_*"],
        "features": { "facetSearch": true, "filter": { "equality": true, "comparison": false } }
    });
    let mut script = index("i", json!({}));
    script.extend([
        change(json!({ "filterableAttributes": [rule, "genre", partial] })).task(json!({
            "status": "succeeded",
            "details": { "filterableAttributes": [rule, "genre", completed] }
        })),
        settings_are(json!({ "filterableAttributes": [rule, "genre", completed] })),
        change(json!({ "filterableAttributes": [rule] })).succeeds(),
        settings_are(json!({ "filterableAttributes": [rule] })),
        change(json!({ "filterableAttributes": ["b", "a"] })).succeeds(),
        settings_are(json!({ "filterableAttributes": ["b", "a"] })),
        change(json!({ "filterableAttributes": null })).succeeds(),
        settings_are(json!({ "filterableAttributes": [] })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn bad_settings_are_refused_at_once() {
    let table = [
        (json!({ "unknown": 1 }), "bad_request"),
        (json!([]), "bad_request"),
        (
            json!({ "filterableAttributes": "a" }),
            "invalid_settings_filterable_attributes",
        ),
        (
            json!({ "filterableAttributes": [1] }),
            "invalid_settings_filterable_attributes",
        ),
        (
            json!({ "filterableAttributes": [{ "attributePatterns": "a" }] }),
            "invalid_settings_filterable_attributes",
        ),
        (
            json!({ "sortableAttributes": {} }),
            "invalid_settings_sortable_attributes",
        ),
        (
            json!({ "searchableAttributes": 1 }),
            "invalid_settings_searchable_attributes",
        ),
        (
            json!({ "displayedAttributes": 1 }),
            "invalid_settings_displayed_attributes",
        ),
        (
            json!({ "rankingRules": ["nonsense"] }),
            "invalid_settings_ranking_rules",
        ),
        (
            json!({ "rankingRules": "words" }),
            "invalid_settings_ranking_rules",
        ),
        (json!({ "stopWords": "a" }), "invalid_settings_stop_words"),
        (json!({ "synonyms": [] }), "invalid_settings_synonyms"),
        (
            json!({ "distinctAttribute": 1 }),
            "invalid_settings_distinct_attribute",
        ),
        (
            json!({ "proximityPrecision": "x" }),
            "invalid_settings_proximity_precision",
        ),
        (
            json!({ "typoTolerance": { "enabled": 1 } }),
            "invalid_settings_typo_tolerance",
        ),
        (
            json!({ "faceting": { "maxValuesPerFacet": "x" } }),
            "invalid_settings_faceting",
        ),
        (
            json!({ "pagination": { "maxTotalHits": -1 } }),
            "invalid_settings_pagination",
        ),
        (
            json!({ "searchCutoffMs": "x" }),
            "invalid_settings_search_cutoff_ms",
        ),
        (json!({ "facetSearch": 1 }), "invalid_settings_facet_search"),
        (
            json!({ "prefixSearch": "x" }),
            "invalid_settings_prefix_search",
        ),
        (
            json!({ "localizedAttributes": 1 }),
            "invalid_settings_localized_attributes",
        ),
        (json!({ "dictionary": 1 }), "invalid_settings_dictionary"),
        (
            json!({ "separatorTokens": 1 }),
            "invalid_settings_separator_tokens",
        ),
        (
            json!({ "nonSeparatorTokens": 1 }),
            "invalid_settings_non_separator_tokens",
        ),
    ];
    let mut script: Vec<Step> = table
        .into_iter()
        .map(|(body, code)| change(body).refused(400, code))
        .collect();
    script.push(get("/tasks").is(json!({ "total": 0 })));
    script.push(
        change(
            json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 9, "twoTypos": 5 } } }),
        )
        .refused(400, "invalid_settings_typo_tolerance"),
    );
    check(script).await;
}

#[tokio::test]
async fn settings_reach_documents_that_are_there_already() {
    let found = |total: u32| json!({ "estimatedTotalHits": total });
    let search = |body: Value| post("/indexes/i/search", body);
    let mut script = index("i", json!({}));
    script.extend([
        post(
            "/indexes/i/documents",
            json!([{ "id": 1, "g": "x", "t": "cat" }, { "id": 2, "g": "y" }]),
        )
        .succeeds(),
        search(json!({ "filter": "g = x" })).refused(400, "invalid_search_filter"),
        change(json!({ "filterableAttributes": ["g"], "stopWords": ["cat"] })).succeeds(),
        search(json!({ "filter": "g = x" })).is(found(1)),
        search(json!({ "q": "cat" })).is(found(0)),
        change(json!({ "searchableAttributes": ["g"], "stopWords": null })).succeeds(),
        search(json!({ "q": "cat" })).is(found(0)),
        change(json!({ "searchableAttributes": null })).succeeds(),
        search(json!({ "q": "cat" })).is(found(1)),
    ]);
    check(script).await;
}
