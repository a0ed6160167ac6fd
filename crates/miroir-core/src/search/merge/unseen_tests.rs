//! Merges that need more than hits show.

use serde_json::{Value, json};

use super::super::{SearchQuery, SearchSettings};
use super::*;

fn plan(query: &Value, settings: &Value) -> Plan {
    let query = SearchQuery::from_json(query.to_string().as_bytes()).expect("valid");
    let mut settings = SearchSettings::from_settings(settings);
    settings.primary_key = Some("id".to_owned());
    Plan::new(query, settings, 2)
}

/// Merges searches' answers and those to what they lack.
fn merge(plan: &Plan, answers: &[(Value, Option<Value>)]) -> Value {
    let texts: Vec<(String, Option<String>)> = answers
        .iter()
        .map(|(body, values)| (body.to_string(), values.as_ref().map(Value::to_string)))
        .collect();
    let answers: Vec<NodeAnswer<'_>> = texts
        .iter()
        .map(|(body, values)| NodeAnswer {
            body: body.as_bytes(),
            values: values.as_ref().map(String::as_bytes),
        })
        .collect();
    let merged = plan.merge_answers(&answers, &BTreeMap::new());
    serde_json::from_str(&merged.expect("answers")).expect("JSON")
}

fn sorted(ids: &[u32]) -> Value {
    let hit = |id: &u32| json!({"id": id, "_rankingScoreDetails": {"<hidden-rule-0>": {"order": 0, "value": "<hidden>"}}});
    let hits: Vec<Value> = ids.iter().map(hit).collect();
    json!({"hits": hits, "estimatedTotalHits": ids.len()})
}

#[test]
fn what_is_sorted_by_is_read_from_the_documents() {
    let settings = json!({"displayedAttributes": ["id", "t"]});
    let query = json!({"sort": ["s:desc"], "attributesToRetrieve": ["t"]});
    let plan = plan(&query, &settings);
    let asked = plan.body(None).expect("valid");
    assert_eq!(asked["attributesToRetrieve"], json!(["t", "id"]));
    let first = sorted(&[1, 2, 3]);
    assert_eq!(
        plan.values_request(first.to_string().as_bytes()),
        Ok(Some(
            json!({"ids": [1, 2, 3], "limit": 3, "fields": ["id", "s"]})
        ))
    );
    let read = |plan: &Plan| {
        let documents = json!([{"id": 1, "s": 9}, {"id": 2, "s": ["b", "a"]}]);
        let others = json!([{"id": 4, "s": 10}, {"id": 5, "s": "c"}]);
        let beside = |documents: Value| Some(json!({"results": documents}));
        let answers = [
            (sorted(&[1, 2, 3]), beside(documents)),
            (sorted(&[4, 5]), beside(others)),
        ];
        merge(plan, &answers)["hits"].clone()
    };
    assert_eq!(
        read(&plan),
        json!([{}, {}, {}, {}, {}]),
        "ids were not asked for"
    );
    let plan = self::plan(&json!({"sort": ["s:desc"]}), &settings);
    // 10 and 9, then c and b, then the one without.
    let expected = [4, 1, 5, 2, 3].map(|id| json!({"id": id}));
    assert_eq!(read(&plan), json!(expected));
}

#[test]
fn hits_are_distinct_by_what_they_do_not_show() {
    let settings = json!({"displayedAttributes": ["id"], "distinctAttribute": "sku"});
    let plan = plan(&json!({}), &settings);
    let answer = |ids: &[u32]| {
        let hits: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"hits": hits, "estimatedTotalHits": ids.len()})
    };
    let read = |pairs: &[(u32, &str)]| {
        let documents = pairs.iter().map(|(id, sku)| json!({"id": id, "sku": sku}));
        Some(json!({"results": documents.collect::<Vec<_>>()}))
    };
    let merged = merge(
        &plan,
        &[
            (answer(&[1, 2]), read(&[(1, "a"), (2, "b")])),
            (answer(&[3, 4, 5]), read(&[(3, "A "), (4, "c")])),
        ],
    );
    assert_eq!(
        merged["hits"],
        json!([{"id": 1}, {"id": 2}, {"id": 4}, {"id": 5}])
    );
    assert_eq!(merged["estimatedTotalHits"], 4);
}

#[test]
fn exact_totals_of_distinct_hits_are_counted_by_value() {
    let settings = json!({"distinctAttribute": "g", "filterableAttributes": ["g"]});
    let answer = |facets: Value, total: u32| {
        (
            json!({"hits": [], "totalHits": total, "facetDistribution": facets, "facetStats": {}}),
            None,
        )
    };
    let table = [
        // Three values on both nodes together, and one document without.
        (
            json!({"g": {"a": 1, "b": 1}}),
            3,
            json!({"g": {"B": 1, "c": 1}}),
            2,
            4,
        ),
        // One document with several values: nobody knows how many are left.
        (
            json!({"g": {"a": 2, "b": 1}}),
            2,
            json!({"g": {"b": 1}}),
            1,
            3,
        ),
    ];
    for (one, total, other, others, expected) in table {
        let query = json!({"page": 1, "hitsPerPage": 0});
        let plan = plan(&query, &settings);
        assert_eq!(plan.body(None).expect("valid")["facets"], json!(["g"]));
        let merged = merge(&plan, &[answer(one.clone(), total), answer(other, others)]);
        assert_eq!(merged["totalHits"], expected, "{one}");
        assert_eq!(merged.get("facetDistribution"), None, "not asked for");
    }
    let query = json!({"page": 1, "facets": ["g"]});
    let asked = plan(&query, &settings).body(None).expect("valid");
    assert_eq!(asked["facets"], json!(["g"]), "once is enough");
    let by_estimate = plan(&json!({"limit": 3}), &settings).body(None);
    assert_eq!(by_estimate.expect("valid").get("facets"), None);
}

#[test]
fn words_alone_answer_when_all_nodes_together_find_enough_good_hits() {
    let settings = json!({"embedders": {"e": {"source": "userProvided", "dimensions": 2}}});
    let query = json!({"q": "a", "limit": 2, "hybrid": {"embedder": "e", "semanticRatio": 0.5}});
    let half = plan(&query, &settings)
        .first_half()
        .expect("a hybrid search");
    let asked = half.body(None).expect("valid");
    assert_eq!(
        (asked.get("hybrid"), &asked["showRankingScore"]),
        (None, &json!(true))
    );
    let answer = |scores: &[f64]| {
        let hit = |score: &f64| json!({"id": 1, "_rankingScore": score});
        json!({"hits": scores.iter().map(hit).collect::<Vec<_>>(), "estimatedTotalHits": 1})
            .to_string()
    };
    for (one, other, enough) in [
        (vec![0.95], vec![0.9], true),
        (vec![0.95], vec![0.89], false),
        (vec![0.95], vec![], false),
    ] {
        let bodies = [answer(&one), answer(&other)];
        let answers = bodies.each_ref().map(|body| NodeAnswer {
            body: body.as_bytes(),
            values: None,
        });
        let merged = half.merge_half(&answers).expect("answers");
        assert_eq!(merged.is_some(), enough, "{one:?} {other:?}");
        if let Some(merged) = merged {
            assert!(merged.ends_with(r#","semanticHitCount":0}"#), "{merged}");
            assert!(!merged.contains("_rankingScore"), "{merged}");
        }
    }
    for without in [
        json!({"q": "a"}),
        json!({"q": " ", "vector": [1, 2], "hybrid": {"embedder": "e"}}),
        json!({"q": "a", "hybrid": {"embedder": "e", "semanticRatio": 1}}),
        json!({"q": "a", "hybrid": {"embedder": "unknown"}}),
        json!({"q": "a", "vector": [1], "hybrid": {"embedder": "e"}}),
    ] {
        assert_eq!(plan(&without, &settings).first_half(), None, "{without}");
    }
}

#[test]
fn a_window_without_hits_asks_for_none() {
    let settings = json!({"pagination": {"maxTotalHits": 30}});
    for (query, name) in [
        (json!({"offset": 50}), "limit"),
        (json!({"offset": 5, "limit": 0}), "limit"),
        (json!({"page": 9, "hitsPerPage": 20}), "hitsPerPage"),
    ] {
        let body = plan(&query, &settings).body(None).expect("valid");
        assert_eq!(body[name], 0, "{query}");
    }
}

#[test]
fn what_is_formatted_by_name_stays_formatted() {
    let settings = json!({"distinctAttribute": "g"});
    let query = json!({"attributesToRetrieve": ["t"], "attributesToCrop": ["g:5"]});
    let plan = plan(&query, &settings);
    let hits = json!([{"t": "x", "g": 1, "_formatted": {"t": "x", "g": "1"}}]);
    let merged = merge(
        &plan,
        &[(json!({"hits": hits}), None), (json!({"hits": []}), None)],
    );
    assert_eq!(
        merged["hits"],
        json!([{"t": "x", "_formatted": {"t": "x", "g": "1"}}])
    );
}
