//! Searching: which documents are found, in which order, and how they are shown.

use super::pattern::{ABSENT, ANY, EXACTLY};
use super::script::{Step, check, get, index, post};
use serde_json::{Value, json};

fn search(body: Value) -> Step {
    post("/indexes/i/search", body)
}

/// These ids, in this order, and as many in all.
fn ids(ids: &[u32]) -> Value {
    let hits: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    json!({ "hits": hits, "estimatedTotalHits": ids.len() })
}

fn library() -> Vec<Step> {
    let mut script = index(
        "i",
        json!({
            "filterableAttributes": ["genre", "year", "tags", "author.name", "price"],
            "sortableAttributes": ["year", "title", "price"],
            "searchableAttributes": ["title", "text", "author"],
            // The defaults changed between versions; these rules are known to all.
            "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"]
        }),
    );
    let books = json!([
        { "id": 1, "title": "Sunflower fields", "text": "A yellow summer in the south.",
          "genre": "Novel", "year": 1990, "tags": ["sun", "field"], "author": { "name": "Ada" } },
        { "id": 2, "title": "The sun also rises", "text": "Spain, wine and bulls.",
          "genre": "novel", "year": 1926, "tags": ["spain"], "author": { "name": "Ernest" } },
        { "id": 3, "title": "Deep sea", "text": "The sun does not reach the flower of the deep.",
          "genre": "Science", "year": 2001, "tags": [], "price": 12.5 },
        { "id": 4, "title": "Winter", "text": "Snow, and more snow.",
          "genre": "Poetry", "year": 2001, "price": 3 },
        { "id": 5, "title": "Sun flower", "text": "Growing it.", "genre": null, "price": "free" }
    ]);
    script.push(post("/indexes/i/documents", books).succeeds());
    script
}

#[tokio::test]
async fn queries_find_words_prefixes_and_typos() {
    let mut script = library();
    let q = |q: &str, found: &[u32]| search(json!({ "q": q })).is(ids(found));
    script.extend([
        search(json!({})).is(json!({
            "hits": [{ "id": 1 }, { "id": 2 }, { "id": 3 }, { "id": 4 }, { "id": 5 }],
            "query": "", "processingTimeMs": ANY, "limit": 20, "offset": 0,
            "estimatedTotalHits": 5, "facetDistribution": ABSENT, "facetStats": ABSENT,
            "page": ABSENT, "totalHits": ABSENT
        })),
        q("snow", &[4]),
        q("SNÓW", &[4]),
        q("wint", &[4]),
        q("wintre", &[4]),
        q("winxer", &[4]),
        q("xyzzy", &[]),
        q("\"deep sea\"", &[3]),
        q("-sun winter", &[4]),
        q("sun", &[5, 1, 2, 3]),
        q("sun flower", &[5, 3, 1, 2]),
        search(json!({ "q": "sun snow", "matchingStrategy": "all" })).is(ids(&[])),
        search(json!({ "q": "spain bulls winter", "matchingStrategy": "last" })).is(ids(&[2])),
        search(json!({ "q": "snow sun", "matchingStrategy": "frequency" }))
            .is(json!({ "estimatedTotalHits": ANY })),
        search(json!({ "q": "snow", "attributesToSearchOn": ["title"] })).is(ids(&[])),
        search(json!({ "q": "sun", "attributesToSearchOn": ["text"] })).is(ids(&[3])),
        search(json!({ "q": null })).is(json!({ "estimatedTotalHits": 5 })),
        get("/indexes/i/search?q=snow&limit=1&attributesToRetrieve=id").is(json!({
            "hits": [{ "id": 4, EXACTLY: true }], "limit": 1
        })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn filters_select() {
    //                filter                                  ids
    let table: Vec<(Value, &[u32])> = vec![
        (json!("genre = NOVEL"), &[1, 2]),
        (json!("genre != novel"), &[3, 4, 5]),
        (json!("genre = 'Science'"), &[3]),
        (json!("genre = \"sci ence\""), &[]),
        (json!("year > 1990"), &[3, 4]),
        (json!("year >= 1990"), &[1, 3, 4]),
        (json!("year < 1990"), &[2]),
        (json!("year <= 1990 AND genre = novel"), &[1, 2]),
        (json!("year 1926 TO 1990"), &[1, 2]),
        (json!("year IN [1926, 2001]"), &[2, 3, 4]),
        (json!("year NOT IN [1926, 2001]"), &[1, 5]),
        (json!("NOT year = 2001"), &[1, 2, 5]),
        (json!("genre IS NULL"), &[5]),
        (json!("genre IS NOT NULL"), &[1, 2, 3, 4]),
        (json!("tags IS EMPTY"), &[3]),
        (json!("tags IS NOT EMPTY"), &[1, 2, 4, 5]),
        (json!("tags EXISTS"), &[1, 2, 3]),
        (json!("tags NOT EXISTS"), &[4, 5]),
        (json!("author.name = ada"), &[1]),
        (json!("price = 3 OR price = free"), &[4, 5]),
        (json!("price > 3"), &[3, 5]),
        (
            json!("(year = 2001 OR year = 1990) AND NOT genre = poetry"),
            &[1, 3],
        ),
        (json!(["year = 2001", "genre = poetry"]), &[4]),
        (json!([["year = 1926", "year = 1990"], "tags = sun"]), &[1]),
        (
            json!([["year = 1926 OR year = 1990", "year = 2001"]]),
            &[1, 2, 3, 4],
        ),
        (json!([]), &[1, 2, 3, 4, 5]),
        (json!(""), &[1, 2, 3, 4, 5]),
        (json!("genre IN []"), &[]),
    ];
    let mut script = library();
    for (filter, found) in table {
        script.push(search(json!({ "filter": filter })).is(ids(found)));
    }
    check(script).await;
}

#[tokio::test]
async fn hits_are_sorted_and_paged() {
    let sorted = |sort: Value, found: &[u32]| search(json!({ "sort": sort })).is(ids(found));
    let mut script = library();
    script.extend([
        sorted(json!(["year:asc"]), &[2, 1, 3, 4, 5]),
        sorted(json!(["year:desc"]), &[3, 4, 1, 2, 5]),
        sorted(json!(["year:desc", "title:desc"]), &[4, 3, 1, 2, 5]),
        // Numbers come before texts in both directions.
        sorted(json!(["price:asc"]), &[4, 3, 5, 1, 2]),
        sorted(json!(["price:desc"]), &[3, 4, 5, 1, 2]),
        sorted(json!([]), &[1, 2, 3, 4, 5]),
        search(json!({ "q": "sun", "sort": ["year:desc"] })),
        search(json!({ "offset": 1, "limit": 2 })).is(json!({
            "hits": [{ "id": 2 }, { "id": 3 }], "offset": 1, "limit": 2, "estimatedTotalHits": 5
        })),
        search(json!({ "limit": 0 })).is(json!({ "hits": [], "estimatedTotalHits": 5 })),
        search(json!({ "offset": 9 })).is(json!({ "hits": [], "estimatedTotalHits": 5 })),
        search(json!({ "page": 2, "hitsPerPage": 2 })).is(json!({
            "hits": [{ "id": 3 }, { "id": 4 }], "page": 2, "hitsPerPage": 2, "totalPages": 3,
            "totalHits": 5, "limit": ABSENT, "offset": ABSENT, "estimatedTotalHits": ABSENT
        })),
        search(json!({ "page": 1 }))
            .is(json!({ "hitsPerPage": 20, "totalPages": 1, "totalHits": 5 })),
        search(json!({ "hitsPerPage": 3 })).is(json!({ "page": 1, "totalPages": 2 })),
        search(json!({ "page": 9, "hitsPerPage": 2 })).is(json!({ "hits": [], "totalHits": 5 })),
        search(json!({ "page": 0, "hitsPerPage": 2 })).is(json!({ "hits": [], "page": 0 })),
        search(json!({ "hitsPerPage": 0 }))
            .is(json!({ "hits": [], "totalPages": 0, "totalHits": 5 })),
        get("/indexes/i/search?sort=year:asc,title:desc&page=1&hitsPerPage=1&filter=year%3E1990")
            .is(json!({ "hits": [{ "id": 4 }], "totalHits": 2 })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn facets_count() {
    let mut script = library();
    let facets = |facets: Value| search(json!({ "facets": facets, "limit": 0 }));
    script.extend([
        facets(json!(["genre"])).is(json!({
            "facetDistribution": { "genre": { "Novel": 2, "Poetry": 1, "Science": 1 } },
            "facetStats": {}
        })),
        facets(json!(["year", "tags"])).is(json!({
            "facetDistribution": {
                "year": { "1926": 1, "1990": 1, "2001": 2, EXACTLY: true },
                "tags": { "field": 1, "spain": 1, "sun": 1, EXACTLY: true }, EXACTLY: true
            },
            "facetStats": { "year": { "min": 1926, "max": 2001 }, EXACTLY: true }
        })),
        facets(json!(["price"])).is(json!({
            "facetDistribution": { "price": { "3": 1, "12.5": 1, "free": 1 } },
            "facetStats": { "price": { "min": 3, "max": 12.5 } }
        })),
        facets(json!(["*"])).is(json!({ "facetDistribution": {
            "genre": ANY, "year": ANY, "tags": ANY, "price": ANY, "author.name": ANY, EXACTLY: true
        } })),
        search(json!({ "facets": ["genre"], "filter": "year = 2001", "limit": 0 })).is(json!({
            "facetDistribution": { "genre": { "Poetry": 1, "Science": 1, EXACTLY: true } }
        })),
        search(json!({ "facets": ["genre"], "q": "snow" })).is(json!({
            "facetDistribution": { "genre": { "Poetry": 1, EXACTLY: true } }
        })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn facet_values_are_cut_and_ordered_by_the_settings() {
    let documents: Vec<Value> = (0..12)
        .map(|n| json!({ "id": n, "c": format!("v{:02}", n % 5), "n": n % 4 }))
        .collect();
    let mut script = index(
        "i",
        json!({
            "filterableAttributes": ["c", "n"],
            "faceting": { "maxValuesPerFacet": 2, "sortFacetValuesBy": { "n": "count" } }
        }),
    );
    script.extend([
        post("/indexes/i/documents", Value::Array(documents)).succeeds(),
        search(json!({ "facets": ["c", "n"], "limit": 0 })).is(json!({
            "facetDistribution": {
                "c": { "v00": 3, "v01": 3, EXACTLY: true }, "n": ANY
            },
            "facetStats": { "n": { "min": 0, "max": 3 } }
        })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn hits_show_what_is_asked_for() {
    let mut script = library();
    let first = |body: Value, hit: Value| search(body).is(json!({ "hits": [hit] }));
    script.extend([
        first(
            json!({ "q": "snow", "attributesToRetrieve": ["title", "none"] }),
            json!({ "title": "Winter", EXACTLY: true }),
        ),
        first(
            json!({ "filter": "year = 1990", "attributesToRetrieve": ["author.name"] }),
            json!({ "author": { "name": "Ada" }, EXACTLY: true }),
        ),
        first(
            json!({ "q": "snow", "attributesToRetrieve": [] }),
            json!({ EXACTLY: true }),
        ),
        first(
            json!({ "q": "snow", "attributesToRetrieve": ["id"], "attributesToHighlight": ["*"] }),
            json!({ "id": 4, EXACTLY: true, "_formatted": {
                "id": "4", "title": "Winter", "text": "<em>Snow</em>, and more <em>snow</em>."
            } }),
        ),
        first(
            json!({ "q": "snow", "attributesToHighlight": ["text"], "highlightPreTag": "[",
                    "highlightPostTag": "]" }),
            json!({ "text": "Snow, and more snow.",
                    "_formatted": { "id": "4", "text": "[Snow], and more [snow]." } }),
        ),
        first(
            json!({ "q": "flower deep", "matchingStrategy": "all", "attributesToCrop": ["text:3"],
                    "cropMarker": "~" }),
            json!({ "_formatted": { "text": ANY, "year": "2001" } }),
        ),
        first(
            json!({ "q": "snow", "attributesToCrop": ["*"], "cropLength": 1 }),
            json!({ "_formatted": { "title": "Winter", "text": "Snow…" } }),
        ),
        first(
            json!({ "q": "snow", "showMatchesPosition": true }),
            json!({ "_matchesPosition": { "text": [
                { "start": 0, "length": 4 }, { "start": 15, "length": 4 }
            ], EXACTLY: true } }),
        ),
        first(
            json!({ "filter": "tags = spain", "q": "spai", "showMatchesPosition": true }),
            json!({ "_matchesPosition": { "text": [{ "start": 0, "length": 4 }] } }),
        ),
    ]);
    check(script).await;
}

#[tokio::test]
async fn displayed_attributes_bound_what_is_shown() {
    let mut script = index("i", json!({ "displayedAttributes": ["title"] }));
    script.extend([
        post("/indexes/i/documents", json!([{ "id": 1, "title": "cat", "secret": "dog" }])).succeeds(),
        search(json!({ "q": "dog", "attributesToHighlight": ["*"] })).is(json!({
            "hits": [{ "title": "cat", "_formatted": { "title": "cat", EXACTLY: true }, EXACTLY: true }]
        })),
        search(json!({ "attributesToRetrieve": ["secret", "title"] })).is(json!({
            "hits": [{ "title": "cat", EXACTLY: true }]
        })),
    ]);
    check(script).await;
}

/// What the proxy merges the hits of several nodes by.
#[tokio::test]
async fn scores_say_why_a_hit_is_where_it_is() {
    let details = |q: &str, sort: Value, id: u32| {
        let mut body = json!({
            "q": q, "showRankingScoreDetails": true, "showRankingScore": true,
            "filter": format!("year = {id}"), "attributesToRetrieve": ["year"]
        });
        if !sort.is_null() {
            body["sort"] = sort;
        }
        search(body)
    };
    let words = |matching: u32, max: u32| json!({ "order": 0, "matchingWords": matching, "maxMatchingWords": max, "score": ANY });
    let mut script = library();
    script.extend([
        search(json!({ "q": "snow", "showRankingScore": true })).is(json!({
            "hits": [{ "id": 4, "_rankingScore": ANY, "_rankingScoreDetails": ABSENT }]
        })),
        details("winter", Value::Null, 2001).is(json!({ "hits": [{
            "_rankingScoreDetails": {
                "words": words(1, 1),
                "typo": { "order": 1, "typoCount": 0, "maxTypoCount": 1, "score": 1 },
                "proximity": { "order": 2, "score": 1 },
                "exactness": { "matchType": "exactMatch", "score": 1 }
            }
        }] })),
        details("winxer", Value::Null, 2001).is(json!({ "hits": [{
            "_rankingScoreDetails": { "typo": { "typoCount": 1, "maxTypoCount": 1, "score": 0.5 } }
        }] })),
        details("sun rises high", Value::Null, 1926).is(json!({ "hits": [{
            "_rankingScoreDetails": { "words": words(2, 3) }
        }] })),
        details("sun", json!(["year:desc", "title:asc"]), 1926).is(json!({ "hits": [{
            "_rankingScoreDetails": {
                "year:desc": { "order": ANY, "value": 1926 },
                "title:asc": { "order": ANY, "value": "the sun also rises" }
            }
        }] }))
        // The sum of the rules into one number changed; the proxy merges by the rules.
        .may_differ("/answer/hits/*/_rankingScore"),
        details("", json!(["price:asc"]), 1990).is(json!({ "hits": [{
            "_rankingScore": 1, "_rankingScoreDetails": { "price:asc": { "order": 0, "value": null } }
        }] })),
        search(json!({ "q": "sun", "rankingScoreThreshold": 0.999 })).is(json!({ "hits": ANY })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn distinct_keeps_one_of_each() {
    let mut script = index(
        "i",
        json!({
            "filterableAttributes": ["d"], "sortableAttributes": ["id"], "distinctAttribute": "d"
        }),
    );
    script.extend([
        post("/indexes/i/documents", json!([
            { "id": 1, "d": "a" }, { "id": 2, "d": "A" }, { "id": 3, "d": 1 }, { "id": 4, "d": "1" },
            { "id": 5 }, { "id": 6 }, { "id": 7, "d": ["a", "b"] }, { "id": 8, "d": "b" }
        ])).succeeds(),
        search(json!({})).is(json!({ "hits": [
            { "id": 1 }, { "id": 3 }, { "id": 4 }, { "id": 5 }, { "id": 6 }, { "id": 8 }
        ] })),
        search(json!({ "sort": ["id:desc"], "distinct": "d" })).is(json!({ "hits": ANY })),
        search(json!({ "distinct": "id" })).refused(400, "invalid_search_distinct"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn places_are_filtered_and_sorted_by_distance() {
    let mut script = index(
        "i",
        json!({
            "filterableAttributes": ["_geo"], "sortableAttributes": ["_geo"]
        }),
    );
    let at = |id: u32, lat: f64, lng: f64| json!({ "id": id, "_geo": { "lat": lat, "lng": lng } });
    let cities = json!([
        at(1, 48.8566, 2.3522), at(2, 51.5074, -0.1278), at(3, 40.7128, -74.0060),
        { "id": 4 }, { "id": 5, "_geo": { "lat": "52.52", "lng": "13.405" } }
    ]);
    script.extend([
        post("/indexes/i/documents", cities).succeeds(),
        search(json!({ "sort": ["_geoPoint(48.8566, 2.3522):asc"] })).is(json!({ "hits": [
            { "id": 1, "_geoDistance": 0 }, { "id": 2, "_geoDistance": ANY },
            { "id": 5, "_geoDistance": ANY }, { "id": 3, "_geoDistance": ANY },
            { "id": 4, "_geoDistance": ABSENT }
        ] })),
        search(json!({ "sort": ["_geoPoint(48.8566, 2.3522):desc"], "showRankingScoreDetails": true }))
            .is(json!({ "hits": [
                { "id": 3, "_rankingScoreDetails": {
                    "_geoPoint(48.8566, 2.3522):desc": {
                        "order": 0, "value": { "lat": 40.7128, "lng": -74.006 }, "distance": ANY
                    }
                } },
                { "id": 5 }, { "id": 2 }, { "id": 1 },
                { "id": 4, "_rankingScoreDetails": {
                    "_geoPoint(48.8566, 2.3522):desc": { "order": 0, "value": null, "distance": null }
                } }
            ] })),
        search(json!({ "filter": "_geoRadius(48.8566, 2.3522, 400000)" })).is(ids(&[1, 2])),
        search(json!({ "filter": "_geoBoundingBox([53, 14], [48, -1])" })).is(ids(&[1, 2, 5])),
        search(json!({ "filter": "_geoRadius(48, 2)" })).refused(400, "invalid_search_filter"),
        search(json!({ "sort": ["_geoPoint(200, 2):asc"] })).refused(400, "invalid_search_sort"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn bad_searches_are_refused() {
    let table = [
        (json!({ "q": 1 }), "invalid_search_q"),
        (json!({ "limit": "x" }), "invalid_search_limit"),
        (json!({ "limit": -1 }), "invalid_search_limit"),
        (json!({ "offset": "x" }), "invalid_search_offset"),
        (json!({ "page": -1 }), "invalid_search_page"),
        (
            json!({ "hitsPerPage": "x" }),
            "invalid_search_hits_per_page",
        ),
        (json!({ "filter": 1 }), "invalid_search_filter"),
        (json!({ "filter": "genre = " }), "invalid_search_filter"),
        (json!({ "filter": "text = a" }), "invalid_search_filter"),
        (
            json!({ "filter": [[["genre = a"]]] }),
            "invalid_search_filter",
        ),
        (json!({ "sort": "year:asc" }), "invalid_search_sort"),
        (json!({ "sort": ["year"] }), "invalid_search_sort"),
        (json!({ "sort": ["genre:asc"] }), "invalid_search_sort"),
        (json!({ "facets": "genre" }), "invalid_search_facets"),
        (json!({ "facets": ["text"] }), "invalid_search_facets"),
        (
            json!({ "attributesToRetrieve": "x" }),
            "invalid_search_attributes_to_retrieve",
        ),
        (
            json!({ "attributesToCrop": 1 }),
            "invalid_search_attributes_to_crop",
        ),
        (
            json!({ "attributesToHighlight": 1 }),
            "invalid_search_attributes_to_highlight",
        ),
        (
            json!({ "attributesToSearchOn": ["genre"] }),
            "invalid_search_attributes_to_search_on",
        ),
        (json!({ "cropLength": -1 }), "invalid_search_crop_length"),
        (
            json!({ "showMatchesPosition": 1 }),
            "invalid_search_show_matches_position",
        ),
        (
            json!({ "showRankingScore": 1 }),
            "invalid_search_show_ranking_score",
        ),
        (
            json!({ "showRankingScoreDetails": 1 }),
            "invalid_search_show_ranking_score_details",
        ),
        (
            json!({ "rankingScoreThreshold": 2 }),
            "invalid_search_ranking_score_threshold",
        ),
        (
            json!({ "matchingStrategy": "x" }),
            "invalid_search_matching_strategy",
        ),
        (json!({ "distinct": "text" }), "invalid_search_distinct"),
        (json!({ "unknown": 1 }), "bad_request"),
        (json!([]), "bad_request"),
    ];
    let mut script = library();
    script.extend(table.map(|(body, code)| search(body).refused(400, code)));
    script.extend([
        post("/indexes/nothing/search", json!({})).refused(404, "index_not_found"),
        super::script::post_raw("/indexes/i/search", "application/json", "{")
            .refused(400, "malformed_payload"),
        super::script::post_raw("/indexes/i/search", "", "{}").refused(415, "missing_content_type"),
        get("/indexes/i/search?limit=x").refused(400, "invalid_search_limit"),
        get("/indexes/i/search?unknown=x").refused(400, "bad_request"),
    ]);
    check(script).await;
}
