//! Real text: answers against a plain computation, and shards against the whole.

use super::script::{Step, check, patch, post, post_raw};
use super::target::{Target, each_target};
use miroir_core::hidden_field::{NAME, encode, filter_for, shard_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SAMPLE: &str = include_str!("../../../crates/miroir-dev/data/packages-sample.ndjson");
const SHARDS: u16 = 16;

/// Words, prefixes, typos, phrases, several words, and some that find nothing.
const QUERIES: [&str; 28] = [
    "library",
    "game",
    "real-time strategy",
    "python",
    "pyhton",
    "develop",
    "development files",
    "transitional dummy package",
    "\"development files\"",
    "perl module for",
    "x",
    "lib",
    "gnu",
    "fonts",
    "documentation -library",
    "kde plasma desktop",
    "haskell",
    "gstreamer plugins",
    "common lisp",
    "debug symbols",
    "the",
    "12",
    "2.0",
    "qt5",
    "translates music",
    "zzzznothing",
    "c++",
    "",
];

fn documents() -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("the sample is NDJSON");
    SAMPLE.lines().map(parse).collect()
}

/// The sample as the proxy would store it.
fn setup() -> Vec<Step> {
    let lines: Vec<String> = documents()
        .into_iter()
        .map(|mut document| {
            let id = document["id"].as_str().expect("ids are texts").to_owned();
            document[NAME] = encode(shard_of(&id, SHARDS)).into();
            document.to_string()
        })
        .collect();
    let rule = json!({
        "attributePatterns": [NAME],
        "features": { "facetSearch": false, "filter": { "equality": true, "comparison": true } }
    });
    let settings = json!({
        "filterableAttributes": [rule, "section", "priority", "tags", "installed_size"],
        "sortableAttributes": ["installed_size", "name"],
        "searchableAttributes": ["name", "summary"],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "faceting": { "maxValuesPerFacet": 100_000 },
        "pagination": { "maxTotalHits": 100_000 }
    });
    vec![
        patch("/indexes/i/settings", settings).succeeds(),
        post_raw(
            "/indexes/i/documents?primaryKey=id",
            "application/x-ndjson",
            &lines.join("\n"),
        )
        .succeeds(),
    ]
}

fn search(body: Value) -> Step {
    post("/indexes/i/search", body)
}

fn size(document: &Value) -> u64 {
    document["installed_size"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn filters_and_facets_are_those_of_a_plain_count() {
    let documents = documents();
    let count = |fits: &dyn Fn(&Value) -> bool| documents.iter().filter(|d| fits(d)).count();
    let mut sections: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for document in &documents {
        *sections
            .entry(document["section"].as_str().expect("text"))
            .or_default() += 1;
        for tag in document["tags"].as_array().into_iter().flatten() {
            *tags.entry(tag.as_str().expect("text")).or_default() += 1;
        }
    }
    let mut script = setup();
    script.push(
        search(json!({ "facets": ["section", "tags"], "limit": 0 })).is(json!({
            "estimatedTotalHits": documents.len(),
            "facetDistribution": { "section": sections, "tags": tags }
        })),
    );
    for (section, found) in &sections {
        let body = json!({ "filter": format!("section = \"{section}\""), "limit": 0 });
        script.push(search(body).is(json!({ "estimatedTotalHits": found })));
    }
    for bound in [0, 20, 100, 1000, 10_000] {
        let body = json!({ "filter": format!("installed_size > {bound}"), "limit": 0 });
        let found = count(&|document| size(document) > bound);
        script.push(search(body).is(json!({ "estimatedTotalHits": found })));
        let body = json!({
            "filter": [format!("installed_size {bound} TO 5000"), ["section = libs", "section = games"]],
            "limit": 0
        });
        let found = count(&|document| {
            (bound..=5000).contains(&size(document))
                && ["libs", "games"]
                    .iter()
                    .any(|section| document["section"] == *section)
        });
        script.push(search(body).is(json!({ "estimatedTotalHits": found })));
    }
    let mut sorted: Vec<&Value> = documents
        .iter()
        .filter(|d| d["section"] == "libs")
        .collect();
    sorted.sort_by_key(|document| (std::cmp::Reverse(size(document)), document["name"].as_str()));
    let hits: Vec<Value> = sorted
        .iter()
        .map(|document| json!({ "id": document["id"] }))
        .collect();
    script.push(
        search(json!({
            "filter": "section = libs", "sort": ["installed_size:desc", "name:asc"], "limit": 1000
        }))
        .is(json!({ "hits": hits })),
    );
    check(script).await;
}

#[tokio::test]
async fn queries_rank_alike() {
    let mut script = setup();
    for q in QUERIES {
        for sort in [json!(null), json!(["installed_size:desc"])] {
            let body = json!({
                "q": q, "sort": sort, "limit": 40, "attributesToRetrieve": ["id"],
                "showRankingScoreDetails": true, "facets": ["section"]
            });
            script.push(search(body));
        }
    }
    check(script).await;
}

async fn found(target: &Target, mut body: Value) -> Value {
    body["limit"] = 100_000.into();
    body["attributesToRetrieve"] = json!(["id"]);
    target.post_json("/indexes/i/search", &body).await
}

fn ids(answer: &Value) -> BTreeSet<String> {
    let hits = answer["hits"].as_array().into_iter().flatten();
    hits.map(|hit| hit["id"].as_str().expect("ids are texts").to_owned())
        .collect()
}

/// What makes one answer out of several nodes' answers right: searches that each see some
/// of the shards find, together and without overlap, what one search of all shards finds.
#[tokio::test]
async fn shards_add_up_to_the_whole() {
    for target in each_target().await {
        target.apply(setup()).await;
        for q in QUERIES {
            let facets = json!({ "q": q, "facets": ["section"] });
            let whole = found(&target, facets.clone()).await;
            let (mut total, mut union, mut sections) = (0, BTreeSet::new(), BTreeMap::new());
            for part in [0..3, 3..4, 4..11, 11..SHARDS] {
                let mut body = facets.clone();
                body["filter"] = json!([filter_for(&part.collect())]);
                let answer = found(&target, body).await;
                total += answer["estimatedTotalHits"].as_u64().expect("a total");
                union.extend(ids(&answer));
                let counts = answer["facetDistribution"]["section"].as_object().cloned();
                for (section, count) in counts.unwrap_or_default() {
                    *sections.entry(section).or_insert(0) += count.as_u64().expect("a count");
                }
            }
            let name = target.name;
            assert_eq!(json!(total), whole["estimatedTotalHits"], "{name}: {q}");
            assert_eq!(union, ids(&whole), "{name}: {q}");
            assert_eq!(
                json!(sections),
                whole["facetDistribution"]["section"],
                "{name}: {q}"
            );
            assert_eq!(
                union.len() as u64,
                total,
                "{name}: {q}: a document counted twice"
            );
        }
    }
}
