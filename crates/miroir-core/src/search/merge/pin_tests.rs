//! Pins of several nodes. What is expected is what Meilisearch 1.50 does with all of the documents on one node.

use serde_json::{Value, json};

use super::super::{Pins, SearchQuery, SearchSettings};
use super::*;
use crate::registry::{Collection, DYNAMIC_SEARCH_RULES, Entry, FEATURES, Registry};

/// The documents that one rule pins, in this order.
fn settings(pins: &[(&str, u64)]) -> SearchSettings {
    let entry = |value: Value| Entry {
        value,
        version: 1,
        created_at_ms: 0,
        updated_at_ms: 0,
    };
    let pin = |(id, position): &(&str, u64)| json!({ "selector": { "id": id }, "action": { "type": "pin", "position": position } });
    let actions: Vec<Value> = pins.iter().map(pin).collect();
    let registry = Registry::of(
        1,
        true,
        [
            (
                Collection::ExperimentalFeatures,
                FEATURES.to_owned(),
                entry(json!({ DYNAMIC_SEARCH_RULES: true })),
            ),
            (
                Collection::DynamicSearchRules,
                "r".to_owned(),
                entry(json!({ "actions": actions })),
            ),
        ],
    );
    SearchSettings {
        primary_key: Some("id".to_owned()),
        pins: Pins::of(&registry, "books"),
        ..SearchSettings::default()
    }
}

fn pinned(id: &str, position: u64) -> Value {
    json!({ "id": id, "g": id, "_rankingScoreDetails": { "pin": { "order": 0, "position": position } } })
}

fn ranked(number: u32) -> Value {
    json!({
        "id": number.to_string(), "g": number % 4,
        "_rankingScoreDetails": { "n:asc": { "order": 0, "value": number } },
    })
}

/// Asks three nodes, of which each has a third of the ranked documents, 10 to 39, and those of the pins that are its own.
fn ids(query: &Value, pins: &[(&str, u64)]) -> Vec<String> {
    let query = SearchQuery::from_json(query.to_string().as_bytes()).expect("valid");
    let plan = Plan::new(query, settings(pins), 3);
    let node = |node: usize| {
        let own = pins.iter().enumerate().filter(|(at, _)| at % 3 == node);
        let own = own.map(|(_, (id, position))| pinned(id, *position));
        let hits = (10..40).filter(|number| number % 3 == u32::try_from(node).expect("small"));
        let hits: Vec<Value> = own.chain(hits.map(ranked)).collect();
        json!({ "hits": hits, "estimatedTotalHits": hits.len() }).to_string()
    };
    let bodies: Vec<String> = (0..3).map(node).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(String::as_bytes).collect();
    let answer = plan.merge(&bodies, &BTreeMap::new()).expect("answers");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let hits = answer["hits"].as_array().expect("hits");
    hits.iter()
        .map(|hit| hit["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn pins_of_different_nodes_share_one_page() {
    type Case<'a> = (Value, &'a [(&'a str, u64)], &'a str);
    let three: &[(&str, u64)] = &[("a", 3), ("b", 12), ("c", 11)];
    let table: [Case<'_>; 9] = [
        (json!({ "limit": 5 }), three, "10 11 12 a 13"),
        // `c` waits for `b`, which does not come into the page.
        (json!({ "offset": 10, "limit": 3 }), three, "19 20 b"),
        (json!({ "offset": 10, "limit": 5 }), three, "19 c b 20 21"),
        // Two at one place come in the order of the rule.
        (
            json!({ "limit": 4 }),
            &[("x", 1), ("y", 1), ("z", 1)],
            "10 x y z",
        ),
        (
            json!({ "limit": 4 }),
            &[("z", 1), ("y", 1), ("x", 1)],
            "10 z y x",
        ),
        // The first takes the others along beyond the page.
        (json!({ "limit": 3 }), &[("x", 8), ("y", 0)], "10 11 12"),
        (
            json!({ "limit": 10 }),
            &[("x", 8), ("y", 0)],
            "y 10 11 12 13 14 15 16 x 17",
        ),
        // One that is pinned is not told apart from others.
        (
            json!({ "limit": 7, "distinct": "g" }),
            &[("x", 0), ("y", 2)],
            "x 10 y 11 12 13",
        ),
        (json!({ "limit": 0 }), three, ""),
    ];
    for (query, pins, expected) in table {
        assert_eq!(ids(&query, pins).join(" "), expected, "{query} {pins:?}");
    }
}

#[test]
fn pages_fit_together() {
    let pins: &[(&str, u64)] = &[("a", 0), ("b", 4), ("c", 4), ("d", 9), ("e", 21)];
    let whole = ids(&json!({ "limit": 40 }), pins);
    for size in [1_usize, 3, 7] {
        let page = |at: usize| ids(&json!({ "offset": at, "limit": size }), pins);
        let pages = (0..whole.len()).step_by(size).flat_map(page);
        assert_eq!(pages.collect::<Vec<_>>(), whole, "{size}");
    }
}

#[test]
fn nodes_are_asked_for_more_where_hits_are_pinned() {
    let body = |query: Value, pins: &[(&str, u64)]| {
        let query = SearchQuery::from_json(query.to_string().as_bytes()).expect("valid");
        Plan::new(query, settings(pins), 2)
            .body(None)
            .expect("valid")
    };
    let asked = body(
        json!({ "offset": 2, "limit": 5, "attributesToRetrieve": ["t"] }),
        &[("a", 0), ("b", 3)],
    );
    assert_eq!(
        (&asked["limit"], &asked["attributesToRetrieve"]),
        (&json!(9), &json!(["t", "id"]))
    );
    let paged = body(json!({ "page": 2, "hitsPerPage": 5 }), &[("a", 0)]);
    assert_eq!(paged["hitsPerPage"], 11);
    let none = body(json!({ "limit": 5, "attributesToRetrieve": ["t"] }), &[]);
    assert_eq!(
        (&none["limit"], &none["attributesToRetrieve"]),
        (&json!(5), &json!(["t"]))
    );
}
