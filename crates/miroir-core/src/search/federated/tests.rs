//! Several searches merged into one list.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api_error::Code;
use crate::id::IndexUid;
use crate::search::SearchSettings;

pub(super) fn uid(text: &str) -> IndexUid {
    IndexUid::parse(text).expect("a uid")
}

pub(super) fn federated(body: Value) -> Federated {
    let read = MultiSearch::from_json(body.to_string().as_bytes()).expect("valid");
    let queries = read.queries.into_iter().map(|q| q.expect("valid"));
    Federated::new(queries.collect(), read.federation.expect("federation"))
}

/// A hit as a node gives it: id, position among the node's queries, score, details.
fn hit(id: u32, position: usize, score: f64, details: Value) -> Value {
    json!({
        "id": id, "_miroir_shard": "†", "_rankingScoreDetails": details,
        "_federation": {"indexUid": "x", "queriesPosition": position, "weightedRankingScore": score},
    })
}

fn words(matching: u32, max: u32) -> Value {
    let score = f64::from(matching) / f64::from(max);
    json!({"words": {"order": 0, "matchingWords": matching, "maxMatchingWords": max, "score": score}})
}

fn node(hits: &[Value], total: usize) -> Vec<u8> {
    let node = json!({"hits": hits, "processingTimeMs": 1, "estimatedTotalHits": total, "requestUid": "r"});
    node.to_string().into_bytes()
}

fn merged(plan: &Federated, indexes: &[(&str, Vec<Vec<u8>>)]) -> Value {
    let answers: Vec<IndexAnswers<'_>> = indexes
        .iter()
        .map(|(index, bodies)| IndexAnswers {
            index: uid(index),
            settings: SearchSettings::default(),
            bodies: bodies.iter().map(Vec::as_slice).collect(),
        })
        .collect();
    let merged = plan.merge(&answers).expect("answers").expect("no refusal");
    serde_json::from_str(&merged).expect("JSON")
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().expect("hits");
    hits.iter()
        .map(|hit| hit["id"].as_u64().expect("an id"))
        .collect()
}

#[test]
fn hits_of_nodes_and_indexes_are_merged_and_named_by_the_clients_positions() {
    let plan = federated(json!({
        "federation": {"limit": 3},
        "queries": [{"indexUid": "b", "q": "x"}, {"indexUid": "a", "q": "x"}],
    }));
    let answer = merged(
        &plan,
        &[
            (
                "a",
                vec![node(
                    &[hit(1, 0, 0.9, words(2, 2)), hit(2, 0, 0.2, words(1, 2))],
                    2,
                )],
            ),
            (
                "b",
                vec![
                    node(&[hit(3, 0, 0.9, words(2, 2))], 5),
                    node(&[hit(4, 0, 0.5, words(1, 2))], 7),
                ],
            ),
        ],
    );
    assert_eq!(
        answer,
        json!({
            "hits": [
                {"id": 3, "_federation": {"indexUid": "b", "queriesPosition": 0, "weightedRankingScore": 0.9}},
                {"id": 1, "_federation": {"indexUid": "a", "queriesPosition": 1, "weightedRankingScore": 0.9}},
                {"id": 4, "_federation": {"indexUid": "b", "queriesPosition": 0, "weightedRankingScore": 0.5}},
            ],
            "processingTimeMs": 1, "limit": 3, "offset": 0, "estimatedTotalHits": 14, "requestUid": "r",
        })
    );
    let broken = IndexAnswers {
        index: uid("a"),
        settings: SearchSettings::default(),
        bodies: vec![br#"{"hits":[{"id":1}]}"#],
    };
    assert!(
        plan.merge(&[broken]).is_err(),
        "a hit without `_federation`"
    );
}

#[test]
fn different_queries_are_compared_by_weight_sorts_and_distances() {
    let sorted = |value: Value| json!({"year:asc": {"order": 0, "value": value}});
    let far = |distance: f64| json!({"_geoPoint(1, 2):asc": {"order": 0, "value": null, "distance": distance}});
    let between = |matching: u32, year: u32| {
        let mut details = words(matching, 2);
        details["year:asc"] = json!({"order": 1, "value": year});
        details["exactness"] = json!({"order": 2, "matchType": "noExactMatch", "score": 0.3});
        details
    };
    let similar = |similarity: f64| json!({"vectorSort": {"order": 0, "similarity": similarity}});
    // Each row: weights, then the hit of the first and of the second query, and which goes first.
    let table = [
        (
            (1.0, 1.0),
            hit(1, 0, 0.5, words(1, 2)),
            hit(2, 0, 0.6, words(1, 1)),
            2,
        ),
        (
            (3.0, 1.0),
            hit(1, 0, 1.5, words(1, 2)),
            hit(2, 0, 1.0, words(1, 1)),
            1,
        ),
        (
            (1.0, 1.0),
            hit(1, 0, 1.0, sorted(json!(3))),
            hit(2, 0, 1.0, sorted(json!(2))),
            2,
        ),
        (
            (1.0, 1.0),
            hit(1, 0, 1.0, sorted(json!("a"))),
            hit(2, 0, 1.0, sorted(json!(9))),
            2,
        ),
        (
            (1.0, 1.0),
            hit(1, 0, 1.0, sorted(Value::Null)),
            hit(2, 0, 1.0, sorted(json!("z"))),
            2,
        ),
        // The nearer one, which Meilisearch's own merge puts last.
        (
            (1.0, 1.0),
            hit(1, 0, 1.0, far(9.0)),
            hit(2, 0, 1.0, far(3.0)),
            2,
        ),
        // Equal words: the sort between decides, and not the score that holds what follows it.
        (
            (1.0, 1.0),
            hit(1, 0, 0.9, between(2, 2000)),
            hit(2, 0, 0.8, between(2, 1990)),
            2,
        ),
        (
            (1.0, 1.0),
            hit(1, 0, 0.4, between(1, 1980)),
            hit(2, 0, 0.8, between(2, 1990)),
            2,
        ),
        (
            (1.0, 1.0),
            hit(1, 0, 0.7, similar(0.7)),
            hit(2, 0, 0.6, words(1, 2)),
            1,
        ),
        // What cannot be compared is decided by the whole score.
        (
            (1.0, 1.0),
            hit(1, 0, 0.3, words(1, 2)),
            hit(2, 0, 1.0, sorted(json!(1))),
            2,
        ),
        // Nothing tells: the earlier query.
        (
            (1.0, 1.0),
            hit(1, 0, 0.5, words(1, 2)),
            hit(2, 0, 0.5, words(2, 4)),
            1,
        ),
    ];
    for ((a, b), first, second, best) in table {
        let plan = federated(json!({
            "federation": {},
            "queries": [
                {"indexUid": "b", "federationOptions": {"weight": a}},
                {"indexUid": "a", "federationOptions": {"weight": b}},
            ],
        }));
        let what = format!("{first} {second}");
        let answers = [
            ("a", vec![node(&[second], 1)]),
            ("b", vec![node(&[first], 1)]),
        ];
        assert_eq!(ids(&merged(&plan, &answers))[0], best, "{what}");
    }
}

#[test]
fn distinct_holds_over_everything_or_within_each_query() {
    let hits = |index: u32| -> Vec<Value> {
        let of = |id: u32, sku: &str| {
            let mut hit = hit(id, 0, 1.0, json!({}));
            hit["sku"] = json!(sku);
            hit
        };
        vec![of(index, "A"), of(index + 1, "b")]
    };
    let answers = [
        ("a", vec![node(&hits(10), 2), node(&hits(20), 2)]),
        ("b", vec![node(&hits(30), 2)]),
    ];
    let all = federated(json!({
        "federation": {"distinct": "sku"}, "queries": [{"indexUid": "a"}, {"indexUid": "b"}],
    }));
    let answer = merged(&all, &answers);
    assert_eq!(
        (ids(&answer), &answer["estimatedTotalHits"]),
        (vec![10, 11], &json!(2))
    );
    let each = federated(json!({
        "federation": {}, "queries": [{"indexUid": "a", "distinct": "sku"}, {"indexUid": "b", "distinct": "sku"}],
    }));
    let answer = merged(&each, &answers);
    assert_eq!(
        (ids(&answer), &answer["estimatedTotalHits"]),
        (vec![10, 11, 30, 31], &json!(4))
    );
}

#[test]
fn facets_are_counted_by_index_or_together() {
    let with_facets = |index: &str, genre: Value| {
        let mut node: Value = serde_json::from_slice(&node(&[], 3)).expect("JSON");
        let stats = json!({"n": {"min": 1.0, "max": 2.0}});
        node["facetsByIndex"] = json!({index: {"distribution": {"genre": genre}, "stats": stats}});
        node.to_string().into_bytes()
    };
    let answers = [
        (
            "a",
            vec![
                with_facets("a", json!({"x": 1, "y": 2})),
                with_facets("a", json!({"X": 2})),
            ],
        ),
        ("b", vec![with_facets("b", json!({"y": 5}))]),
    ];
    let facets = json!({"a": ["genre"], "b": ["genre"]});
    let queries = json!([{"indexUid": "a"}, {"indexUid": "b"}]);
    let plan = |federation: Value| federated(json!({"federation": federation, "queries": queries}));
    let stats = json!({"n": {"min": 1.0, "max": 2.0}});
    let answer = merged(&plan(json!({"facetsByIndex": facets})), &answers);
    assert_eq!(
        answer["facetsByIndex"],
        json!({
            "a": {"distribution": {"genre": {"x": 3, "y": 2}}, "stats": stats},
            "b": {"distribution": {"genre": {"y": 5}}, "stats": stats},
        })
    );
    let answer = merged(
        &plan(json!({"facetsByIndex": facets, "mergeFacets": {}})),
        &answers,
    );
    assert_eq!(
        answer["facetDistribution"],
        json!({"genre": {"x": 3, "y": 7}})
    );
    assert_eq!(
        (&answer["facetStats"], answer.get("facetsByIndex")),
        (&stats, None)
    );
    let one = plan(json!({"facetsByIndex": facets, "mergeFacets": {"maxValuesPerFacet": 1}}));
    assert_eq!(
        merged(&one, &answers)["facetDistribution"],
        json!({"genre": {"x": 3}})
    );
    let by_count = SearchSettings::from_settings(
        &json!({"faceting": {"sortFacetValuesBy": {"genre": "count"}}}),
    );
    let view = |at: usize, settings: SearchSettings| IndexAnswers {
        index: uid(answers[at].0),
        settings,
        bodies: answers[at].1.iter().map(Vec::as_slice).collect(),
    };
    let mixed = [view(0, SearchSettings::default()), view(1, by_count)];
    let error = one.merge(&mixed).expect("answers").expect_err("two orders");
    assert_eq!(error.code, Code::InvalidMultiSearchFacetOrder);
    assert!(
        error
            .message
            .contains("index `a` orders alphabetically, but index `b` orders by count"),
        "{error}"
    );
}

proptest! {
    /// However hits are spread over nodes, the page is cut from the same list.
    #[test]
    fn spreading_hits_over_nodes_changes_nothing(
        years in proptest::collection::vec((0_usize..3, 0_usize..2), 0..30),
        offset in 0_usize..12,
        limit in 0_usize..12,
    ) {
        let plan = federated(json!({
            "federation": {"offset": offset, "limit": limit},
            "queries": [{"indexUid": "a", "sort": ["y:asc"]}, {"indexUid": "a", "sort": ["y:asc"]}],
        }));
        let hits = |chosen: &dyn Fn(usize) -> bool| -> Vec<u8> {
            let hits = (0_u32..).zip(&years).filter(|(_, (node, _))| chosen(*node));
            let hits: Vec<Value> = hits
                .map(|(at, (_, query))| {
                    hit(at, *query, 1.0, json!({"y:asc": {"order": 0, "value": at}}))
                })
                .collect();
            node(&hits, hits.len())
        };
        let apart = (0..3).map(|node| hits(&|n| n == node)).collect();
        let together = vec![hits(&|_| true)];
        prop_assert_eq!(
            merged(&plan, &[("a", apart)]),
            merged(&plan, &[("a", together)])
        );
    }
}
