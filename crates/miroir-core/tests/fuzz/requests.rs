//! Bodies and parameters of searches, filters and settings.

use miroir_core::api_error::Code;
use miroir_core::hidden_field;
use miroir_core::search::{Plan, SearchQuery, SearchSettings};
use miroir_core::settings;
use rand::Rng;
use serde_json::{Value, json};

use crate::run::fuzz;

const SEARCHES: [&str; 7] = [
    r#"{"q":"carol","limit":10,"offset":3,"filter":["a = 1",["b = 2","c > 3"]],"sort":["price:asc"]}"#,
    r#"{"q":null,"page":2,"hitsPerPage":5,"facets":["*"],"attributesToRetrieve":["title"]}"#,
    r#"{"hybrid":{"embedder":"e","semanticRatio":0.5},"vector":[0.1,0.2],"retrieveVectors":true}"#,
    r#"{"attributesToCrop":["overview:20"],"cropLength":7,"attributesToHighlight":["*"],"matchingStrategy":"all"}"#,
    r#"{"distinct":"sku","rankingScoreThreshold":0.2,"locales":["jpn"],"showRankingScoreDetails":true}"#,
    r#"{"filter":"_geoRadius(45.4, 9.1, 2000) AND NOT (x IN [1, 'two'] OR y EXISTS)"}"#,
    "{}",
];

const PARAMETERS: [&str; 4] = [
    "q=carol&limit=10&offset=3&filter=a = 1&sort=price:asc,name:desc",
    "page=1&hitsPerPage=20&facets=a,b&attributesToRetrieve=*&showRankingScore=true",
    "hybridEmbedder=e&hybridSemanticRatio=0.5&vector=0.1,0.2&retrieveVectors=false",
    "q=&matchingStrategy=last&cropMarker=%E2%80%A6&attributesToSearchOn=title&locales=jpn,eng",
];

const FILTERS: [&str; 8] = [
    r#""a = 1 AND (b != 'x y' OR c 3 TO 5)""#,
    r#"["a = 1",["b = 2","NOT c EXISTS"]]"#,
    r#""_geoBoundingBox([1,2],[3,4])""#,
    r#""a IN [1,2,3] OR b NOT IN ['x']""#,
    r#""_miroir_shard = x""#,
    r#""name STARTS WITH \"a\" AND b CONTAINS c""#,
    r#"[[],[[]],null,1]"#,
    r#""a IS NULL OR b IS EMPTY""#,
];

const SETTINGS: [&str; 5] = [
    r#"{"filterableAttributes":["a",{"attributePatterns":["b*"],"features":{"facetSearch":true,"filter":{"equality":true,"comparison":false}}}],"sortableAttributes":["a"]}"#,
    r#"{"synonyms":{"a":["b","c"]},"stopWords":["the"],"nonSeparatorTokens":["@"],"separatorTokens":["|"],"dictionary":["J. R."]}"#,
    r#"{"faceting":{"maxValuesPerFacet":10,"sortFacetValuesBy":{"*":"count"}},"pagination":{"maxTotalHits":50}}"#,
    r#"{"typoTolerance":{"enabled":true,"minWordSizeForTypos":{"oneTypo":4,"twoTypos":9},"disableOnWords":[]},"distinctAttribute":null}"#,
    r#"{"embedders":{"e":{"source":"userProvided","dimensions":3},"f":{"source":"rest","documentTemplate":"{{doc.title}}"}},"rankingRules":["words","price:asc"]}"#,
];

/// Whether the hidden filter is all there is, or the first of those that all must hold: whatever the client wrote, it is
/// not inside of it.
fn stands_outside(sent: &Value, hidden: &str) -> bool {
    let first = sent.as_array().and_then(|parts| parts.first());
    first.unwrap_or(sent).as_str() == Some(hidden)
}

/// A search that is accepted asks every node for its own shards only.
fn check_plan(query: SearchQuery, nodes: usize) {
    let client = query.filter().cloned();
    let pagination = query.pagination();
    let plan = Plan::new(query, SearchSettings::default(), nodes);
    let hidden = hidden_field::filter_for(&[1, 2, 3].into());
    let Ok(body) = plan.body(Some(&hidden)) else {
        return;
    };
    assert!(stands_outside(&body["filter"], &hidden), "{client:?}");
    let (offset, limit) = pagination.window(1000);
    assert!(offset + limit <= 1000, "{pagination:?}");
}

#[test]
fn search_bodies() {
    let mut accepted = 0_u64;
    fuzz("search_bodies", &SEARCHES, |body, rng| {
        if let Ok(query) = SearchQuery::from_json(body) {
            accepted += 1;
            check_plan(query, rng.random_range(1..4));
        }
    });
    assert!(
        accepted > 0,
        "no mutation was a search: the mutations are too wild"
    );
}

#[test]
fn search_parameters() {
    let mut accepted = 0_u64;
    fuzz("search_parameters", &PARAMETERS, |text, rng| {
        let text = String::from_utf8_lossy(text);
        let pairs = text
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        if let Ok(query) = SearchQuery::from_parameters(pairs) {
            accepted += 1;
            check_plan(query, rng.random_range(1..4));
        }
    });
    assert!(
        accepted > 0,
        "no mutation was a search: the mutations are too wild"
    );
}

#[test]
fn filters() {
    fuzz("filters", &FILTERS, |text, _| {
        let text = String::from_utf8_lossy(text);
        let filter: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        let passes = hidden_field::check_filter(&filter, Code::InvalidSearchFilter).is_ok();
        if let Some(expression) = filter.as_str() {
            assert!(
                !(passes && hidden_field::mentions(expression)),
                "{expression}"
            );
        }
        let Ok(sent) = hidden_field::and_filter(Some(&filter), "hidden = x") else {
            return;
        };
        assert!(stands_outside(&sent, "hidden = x"), "{sent}");
    });
}

#[test]
fn settings_patches() {
    let mut desired = json!({});
    let mut accepted = 0_u64;
    fuzz("settings_patches", &SETTINGS, |text, _| {
        let Ok(patch) = serde_json::from_slice::<Value>(text) else {
            return;
        };
        if settings::validate(&patch).is_err() {
            return;
        }
        accepted += 1;
        let Ok(merged) = settings::merge(&desired, &patch) else {
            return;
        };
        let again = settings::merge(&merged, &patch).expect("what was accepted is accepted again");
        assert_eq!(merged, again, "the same patch twice is the same settings");
        let node = settings::to_node(&merged);
        let shielded = node["filterableAttributes"][0]["attributePatterns"][0].as_str();
        assert_eq!(shielded, Some(hidden_field::NAME), "{node}");
        // What a client can read back never shows the hidden field.
        let seen = settings::from_node(&node, &merged);
        let name = format!("\"{}\"", hidden_field::NAME);
        assert!(!seen.to_string().contains(&name), "{seen}");
        desired = if merged.to_string().len() > 4096 {
            json!({})
        } else {
            merged
        };
    });
    assert!(
        accepted > 0,
        "no mutation was a patch: the mutations are too wild"
    );
}
