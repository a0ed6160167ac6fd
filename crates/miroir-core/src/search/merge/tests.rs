use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{SearchQuery, SearchSettings};
use super::*;
use crate::api_error::Code;

fn plan(query: &Value, settings: &Value, nodes: usize) -> Plan {
    let query = SearchQuery::from_json(query.to_string().as_bytes()).expect("valid");
    Plan::new(query, SearchSettings::from_settings(settings), nodes)
}

fn merge(query: &Value, settings: &Value, answers: &[Value]) -> String {
    let answers: Vec<String> = answers.iter().map(Value::to_string).collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|answer| answer.as_bytes()).collect();
    plan(query, settings, bodies.len())
        .merge(&bodies, &BTreeMap::new())
        .expect("answers")
}

fn hit(id: u32, words: u32) -> Value {
    json!({
        "_miroir_shard": "†††", "id": id, "_rankingScore": 0.5,
        "_rankingScoreDetails": {"words": {"order": 0, "matchingWords": words, "score": 0.1}},
    })
}

#[test]
fn several_answers_become_one_in_meilisearchs_form() {
    let answers = [
        json!({"hits": [hit(1, 3), hit(2, 1)], "query": "a", "processingTimeMs": 2, "limit": 20, "offset": 0,
            "estimatedTotalHits": 2, "facetDistribution": {"g": {"x": 1}}, "facetStats": {}, "requestUid": "u1"}),
        json!({"hits": [hit(3, 2)], "query": "a", "processingTimeMs": 5, "limit": 20, "offset": 0,
            "estimatedTotalHits": 7, "facetDistribution": {"g": {"X": 2}}, "facetStats": {}, "requestUid": "u2"}),
    ];
    assert_eq!(
        merge(&json!({"q": "a", "facets": ["g"]}), &json!({}), &answers),
        r#"{"hits":[{"id":1},{"id":3},{"id":2}],"query":"a","processingTimeMs":5,"limit":20,"offset":0,"estimatedTotalHits":9,"facetDistribution":{"g":{"x":3}},"facetStats":{},"requestUid":"u1"}"#
    );
}

#[test]
fn one_answer_passes_without_what_is_miroirs() {
    let answer = r#"{"hits":[{"_miroir_shard":"†††","id":1.10,"_rankingScore":0.50}],"query":"a","processingTimeMs":2,"hitsPerPage":1,"page":2,"totalPages":9,"totalHits":9,"facetDistribution":{"_miroir_shard":{"†††":9},"g":{}},"facetStats":{}}"#;
    let plan = plan(
        &json!({"q": "a", "page": 2, "hitsPerPage": 1, "showRankingScore": true}),
        &json!({}),
        1,
    );
    assert_eq!(
        plan.merge(&[answer.as_bytes()], &BTreeMap::new())
            .expect("an answer"),
        r#"{"hits":[{"id":1.10,"_rankingScore":0.50}],"query":"a","processingTimeMs":2,"hitsPerPage":1,"page":2,"totalPages":9,"totalHits":9,"facetDistribution":{"g":{}},"facetStats":{}}"#
    );
}

#[test]
fn one_answers_facets_are_cut_to_what_the_client_set() {
    let answer = r#"{"hits":[],"estimatedTotalHits":3,"facetDistribution":{"g":{"a":1,"b":3,"c":2}},"facetStats":{}}"#;
    let settings =
        json!({"faceting": {"maxValuesPerFacet": 2, "sortFacetValuesBy": {"*": "count"}}});
    assert_eq!(
        plan(&json!({"facets": ["g"]}), &settings, 1)
            .merge(&[answer.as_bytes()], &BTreeMap::new())
            .expect("an answer"),
        r#"{"hits":[],"estimatedTotalHits":3,"facetDistribution":{"g":{"b":3,"c":2}},"facetStats":{}}"#
    );
}

#[test]
fn totals_of_both_paginations() {
    let pages = |totals: [u64; 2]| totals.map(|total| json!({"hits": [], "totalHits": total}));
    let offsets =
        |totals: [u64; 2]| totals.map(|total| json!({"hits": [], "estimatedTotalHits": total}));
    let table = [
        (
            json!({"hitsPerPage": 4}),
            pages([5, 6]),
            r#""hitsPerPage":4,"page":1,"totalPages":3,"totalHits":11"#,
        ),
        (
            json!({"page": 2}),
            pages([0, 0]),
            r#""hitsPerPage":20,"page":2,"totalPages":0,"totalHits":0"#,
        ),
        (
            json!({"hitsPerPage": 0}),
            pages([5, 6]),
            r#""hitsPerPage":0,"page":1,"totalPages":0,"totalHits":11"#,
        ),
        (
            json!({"page": 1}),
            pages([900, 900]),
            r#""hitsPerPage":20,"page":1,"totalPages":50,"totalHits":1000"#,
        ),
        (
            json!({"offset": 2000, "limit": 7}),
            offsets([5, 6]),
            r#""limit":7,"offset":1000,"estimatedTotalHits":11"#,
        ),
        (
            json!({}),
            offsets([1000, 3]),
            r#""limit":20,"offset":0,"estimatedTotalHits":1000"#,
        ),
    ];
    for (query, answers, expected) in table {
        let merged = merge(&query, &json!({}), &answers);
        assert!(merged.contains(expected), "{query}: {merged}");
    }
    let mut uncapped = plan(&json!({"offset": 2000}), &json!({}), 2);
    uncapped.settings.caps_totals = false;
    let answers = offsets([4000, 96]).map(|answer| answer.to_string());
    let merged = uncapped.merge(
        &[answers[0].as_bytes(), answers[1].as_bytes()],
        &BTreeMap::new(),
    );
    assert!(
        merged
            .expect("answers")
            .contains(r#""offset":2000,"estimatedTotalHits":4096"#)
    );
}

#[test]
fn distinct_holds_across_nodes() {
    let with = |id: u32, words: u32, sku: Value| {
        let mut hit = hit(id, words);
        hit["sku"] = sku;
        hit
    };
    let answers = [
        json!({"hits": [with(1, 9, json!("A")), with(2, 5, json!(null)), with(3, 4, json!(["B", "C"]))], "estimatedTotalHits": 3}),
        json!({"hits": [with(4, 8, json!("a")), with(5, 7, json!("c")), with(6, 1, json!(1))], "estimatedTotalHits": 3}),
    ];
    let query = json!({"attributesToRetrieve": ["id"], "limit": 3});
    assert_eq!(
        merge(&query, &json!({"distinctAttribute": "sku"}), &answers),
        r#"{"hits":[{"id":1},{"id":5},{"id":2}],"query":"","processingTimeMs":0,"limit":3,"offset":0,"estimatedTotalHits":4}"#
    );
}

#[test]
fn semantic_hits_of_the_window_are_counted() {
    let semantic = json!({"id": 1, "_rankingScore": 0.9, "_rankingScoreDetails": {"vectorSort": {"order": 0, "similarity": 0.9}}});
    let answers = [
        json!({"hits": [semantic], "estimatedTotalHits": 1, "semanticHitCount": 1}),
        json!({"hits": [hit(2, 1)], "estimatedTotalHits": 1, "semanticHitCount": 0}),
    ];
    let query = json!({"q": "a", "hybrid": {"embedder": "e"}, "limit": 1});
    assert!(
        merge(&query, &json!({}), &answers)
            .ends_with(r#""estimatedTotalHits":2,"semanticHitCount":1}"#)
    );
}

#[test]
fn missing_shards_are_told() {
    let failures = BTreeMap::from([(
        "shard 7".to_owned(),
        ApiError::new(Code::RemoteTimeout, "no replica answered"),
    )]);
    let merged = plan(&json!({}), &json!({}), 2).merge(&[br#"{"hits":[]}"#], &failures);
    assert!(merged.expect("an answer").ends_with(
        r#""remoteErrors":{"shard 7":{"message":"no replica answered","code":"remote_timeout","type":"system","link":"https://docs.meilisearch.com/errors#remote_timeout"}}}"#
    ));
}

#[test]
fn an_unreadable_answer_is_an_error() {
    let error =
        plan(&json!({}), &json!({}), 2).merge(&[br#"{"hits":[]}"#, b"<html>"], &BTreeMap::new());
    assert!(matches!(
        error,
        Err(MergeError::Unreadable { position: 1, .. })
    ));
}

/// Hits with few different ranks, so that ties are common, in a node's order.
fn ranked_hits() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((0_u32..4, 0_u32..3), 0..60).prop_map(|mut ranks| {
        ranks.sort_by(|a, b| b.cmp(a));
        ranks
    })
}

fn ranked(id: usize, (words, typos): (u32, u32)) -> Value {
    json!({"id": id, "_rankingScoreDetails": {
        "typo": {"order": 1, "typoCount": 2 - typos, "maxTypoCount": 2},
        "words": {"order": 0, "matchingWords": words, "maxMatchingWords": 3},
    }})
}

/// What a node that holds `hits` answers to `body`.
fn node_answer(body: &Value, hits: &[Value]) -> Value {
    let limit = body
        .get("hitsPerPage")
        .or(body.get("limit"))
        .and_then(Value::as_u64)
        .unwrap_or(20);
    let shown: Vec<&Value> = hits.iter().take(limit as usize).collect();
    json!({"hits": shown, "estimatedTotalHits": hits.len(), "totalHits": hits.len()})
}

fn search(query: &Value, nodes: &[Vec<Value>]) -> Value {
    let plan = plan(query, &json!({}), nodes.len());
    let body = plan.body(None).expect("valid");
    let answers: Vec<String> = nodes
        .iter()
        .map(|hits| node_answer(&body, hits).to_string())
        .collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|answer| answer.as_bytes()).collect();
    let merged = plan.merge(&bodies, &BTreeMap::new()).expect("answers");
    serde_json::from_str(&merged).expect("JSON")
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().expect("hits");
    hits.iter()
        .map(|hit| hit["id"].as_u64().expect("an id"))
        .collect()
}

proptest! {
    /// Deal a ranked list to nodes; merging gives every rank back in order, each node's own
    /// order kept, and with one hit a rank the very list.
    #[test]
    fn merging_a_partition_returns_the_order(
        ranks in ranked_hits(),
        dealt in proptest::collection::vec(0_usize..4, 60),
    ) {
        let mut nodes = vec![Vec::new(); 4];
        for (id, rank) in ranks.iter().enumerate() {
            nodes[dealt[id]].push(ranked(id, *rank));
        }
        let merged = ids(&search(&json!({"limit": 100}), &nodes));
        prop_assert_eq!(merged.len(), ranks.len());
        let merged_ranks: Vec<(u32, u32)> = merged.iter().map(|id| ranks[*id as usize]).collect();
        prop_assert_eq!(&merged_ranks, &ranks);
        for node in &nodes {
            let own: Vec<u64> = node.iter().map(|hit| hit["id"].as_u64().expect("an id")).collect();
            let kept: Vec<u64> = merged.iter().copied().filter(|id| own.contains(id)).collect();
            prop_assert_eq!(kept, own);
        }
    }

    /// Pages one after the other are the whole list once, also when a node's order is not
    /// the order of what it tells (ties broken inside the node).
    #[test]
    fn paging_never_repeats_or_skips(
        nodes in proptest::collection::vec(proptest::collection::vec((0_u32..3, 0_u32..3), 0..20), 2..5),
        size in 1_usize..9,
        by_page in any::<bool>(),
    ) {
        let total: usize = nodes.iter().map(Vec::len).sum();
        let mut next = 0_usize..;
        let nodes: Vec<Vec<Value>> = nodes
            .iter()
            .map(|node| node.iter().zip(next.by_ref()).map(|(rank, id)| ranked(id, *rank)).collect())
            .collect();
        let mut seen = Vec::new();
        for page in 0..total.div_ceil(size) {
            let query = if by_page {
                json!({"page": page + 1, "hitsPerPage": size})
            } else {
                json!({"offset": page * size, "limit": size})
            };
            let answer = search(&query, &nodes);
            let count = if by_page { &answer["totalHits"] } else { &answer["estimatedTotalHits"] };
            prop_assert_eq!(count.as_u64(), Some(total as u64));
            seen.extend(ids(&answer));
        }
        prop_assert_eq!(&seen, &ids(&search(&json!({"limit": 1000}), &nodes)));
        prop_assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), total);
        prop_assert_eq!(seen.len(), total);
    }

    /// Without query and sort there is nothing to rank by: node after node.
    #[test]
    fn unranked_hits_keep_the_nodes_order(sizes in proptest::collection::vec(0_usize..6, 2..5)) {
        let mut next = 0_usize..;
        let nodes: Vec<Vec<Value>> = sizes
            .iter()
            .map(|size| next.by_ref().take(*size).map(|id| json!({"id": id, "_rankingScoreDetails": {}})).collect())
            .collect();
        let total = sizes.iter().sum::<usize>() as u64;
        prop_assert_eq!(ids(&search(&json!({"limit": 100}), &nodes)), (0..total).collect::<Vec<_>>());
    }
}
