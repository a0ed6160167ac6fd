//! The hidden shard field: a filter finds it, a query never does.

use super::pattern::{ABSENT, ANY, EXACTLY};
use super::script::{Step, check, get, index, patch, post};
use miroir_core::hidden_field::{NAME, encode, filter_for};
use serde_json::{Value, json};

const SHARDS: u16 = 24;

fn rule() -> Value {
    json!({
        "attributePatterns": [NAME],
        "features": { "facetSearch": false, "filter": { "equality": true, "comparison": true } }
    })
}

/// One document a shard, its id the shard's number; the ids are words a query can hit.
fn one_document_a_shard() -> Vec<Step> {
    let documents: Vec<Value> = (0..SHARDS)
        .map(|shard| json!({ "id": shard, "word": "cat", NAME: encode(shard) }))
        .collect();
    let mut script = index("i", json!({ "filterableAttributes": [rule(), "word"] }));
    script.push(post("/indexes/i/documents", Value::Array(documents)).succeeds());
    script
}

fn search(body: Value) -> Step {
    post("/indexes/i/search", body)
}

fn finds(shards: impl IntoIterator<Item = u16>) -> Value {
    let hits: Vec<Value> = shards
        .into_iter()
        .map(|shard| json!({ "id": shard }))
        .collect();
    json!({ "estimatedTotalHits": hits.len(), "hits": hits })
}

#[tokio::test]
async fn filters_select_shards_exactly() {
    let mut script = one_document_a_shard();
    for shard in 0..SHARDS {
        let filter = filter_for(&[shard].into());
        script.push(search(json!({ "filter": filter })).is(finds([shard])));
    }
    let (two, nine) = (encode(2), encode(9));
    let every_other = (0..SHARDS).step_by(2);
    script.extend([
        search(json!({ "filter": filter_for(&(5..17).collect()) })).is(finds(5..17)),
        search(json!({ "filter": filter_for(&every_other.clone().collect()) }))
            .is(finds(every_other)),
        search(json!({ "filter": filter_for(&[1, 4, 5, 6, 7, 20].into()), "limit": 100 }))
            .is(finds([1, 4, 5, 6, 7, 20])),
        search(json!({ "filter": filter_for(&[].into()) })).is(finds([])),
        search(json!({ "filter": format!("{NAME} IN [\"{two}\", \"{nine}\"]") })).is(finds([2, 9])),
        search(json!({ "filter": format!("{NAME} \"{two}\" TO \"{nine}\"") })).is(finds(2..=9)),
        search(json!({ "filter": format!("NOT {NAME} \"{two}\" TO \"{nine}\""), "limit": 2 }))
            .is(json!({ "hits": [{ "id": 0 }, { "id": 1 }], "estimatedTotalHits": 16 })),
        // A client's filter and the hidden one, ANDed outside it.
        search(json!({ "filter": [filter_for(&[2, 3].into()), ["word = dog", "word = cat"]] }))
            .is(finds([2, 3])),
        search(json!({ "filter": [filter_for(&[2, 3].into()), "word = dog OR word = cat"] }))
            .is(finds([2, 3])),
        search(json!({ "filter": [filter_for(&[2].into()), "word = dog"] })).is(finds([])),
        search(json!({ "filter": filter_for(&[2, 3].into()), "facets": ["word"] }))
            .is(json!({ "facetDistribution": { "word": { "cat": 2 } } })),
        post(
            "/indexes/i/documents/fetch",
            json!({
                "filter": filter_for(&(2..6).collect()), "fields": ["id"], "limit": 1_000_000
            }),
        )
        .is(json!({
            "results": [
                { "id": 2, EXACTLY: true }, { "id": 3, EXACTLY: true }, { "id": 4, EXACTLY: true },
                { "id": 5, EXACTLY: true }
            ],
            "total": 4
        })),
        post(
            "/indexes/i/documents/delete",
            json!({ "filter": filter_for(&(0..20).collect()) }),
        )
        .task(json!({ "status": "succeeded", "details": { "deletedDocuments": 20 } })),
        search(json!({})).is(finds(20..SHARDS)),
    ]);
    check(script).await;
}

#[tokio::test]
async fn queries_do_not_see_it() {
    let code = encode(12);
    let mut script = one_document_a_shard();
    for q in ["12", "c", "_miroir_shard", "miroir", "shard"] {
        let found = match q {
            // The ids that are or begin with it, as on any node.
            "12" => finds([12]),
            "c" => json!({ "estimatedTotalHits": SHARDS }),
            _ => finds([]),
        };
        script.push(search(json!({ "q": q })).is(found));
    }
    // A query without words finds everything, whatever symbols it has.
    let all = json!({ "estimatedTotalHits": SHARDS });
    script.extend([
        search(json!({ "q": code })).is(all.clone()),
        search(json!({ "q": format!("\"{code}\"") })).is(json!({ "estimatedTotalHits": ANY })),
        search(json!({ "q": "12", "attributesToSearchOn": [NAME] })).is(finds([])),
        search(json!({ "q": "cat", "showMatchesPosition": true, "limit": 1 })).is(json!({
            "hits": [{ "_matchesPosition": { "word": ANY, EXACTLY: true } }]
        })),
        search(json!({ "q": "cat", "attributesToHighlight": ["*"], "limit": 1 })).is(json!({
            "hits": [{ "_formatted": { "word": "<em>cat</em>", NAME: encode(0) } }]
        })),
        patch(
            "/indexes/i/settings",
            json!({ "searchableAttributes": ["word"] }),
        )
        .succeeds(),
        search(json!({ "q": "12" })).is(finds([])),
        patch(
            "/indexes/i/settings",
            json!({
                "searchableAttributes": ["*"], "separatorTokens": ["|"], "stopWords": ["the"],
                "localizedAttributes": [{ "attributePatterns": ["*"], "locales": ["eng"] }]
            }),
        )
        .succeeds(),
        search(json!({ "q": "12" })).is(finds([12])),
        search(json!({ "q": code })).is(all),
    ]);
    check(script).await;
}

/// Where it shows on a node, so that the proxy has to strip it there and not elsewhere.
#[tokio::test]
async fn it_shows_where_the_proxy_strips_it() {
    let mut script = one_document_a_shard();
    script.extend([
        search(json!({ "limit": 1 })).is(json!({ "hits": [{ NAME: encode(0) }] })),
        get("/indexes/i/documents/3").is(json!({ NAME: encode(3) })),
        get("/indexes/i/stats").is(json!({ "fieldDistribution": { NAME: SHARDS } })),
        search(json!({ "facets": ["*"], "limit": 0 })).is(json!({
            "facetDistribution": { NAME: ANY, "word": { "cat": SHARDS } }
        })),
        patch(
            "/indexes/i/settings",
            json!({ "displayedAttributes": ["word"] }),
        )
        .succeeds(),
        search(json!({ "limit": 1, "attributesToHighlight": ["*"] })).is(json!({
            "hits": [{ "word": "cat", "_formatted": { NAME: ABSENT }, NAME: ABSENT }]
        })),
        get("/indexes/i/documents/3").is(json!({ NAME: encode(3) })),
        search(json!({ "filter": "none = 1" })).refused(400, "invalid_search_filter"),
    ]);
    check(script).await;
}

/// Without the rule a filtered read fails; so nobody may ever take it away.
#[tokio::test]
async fn the_rule_is_needed() {
    let mut script = one_document_a_shard();
    let filter = filter_for(&[1].into());
    script.extend([
        patch(
            "/indexes/i/settings",
            json!({ "filterableAttributes": ["word"] }),
        )
        .succeeds(),
        search(json!({ "filter": filter })).refused(400, "invalid_search_filter"),
        post("/indexes/i/documents/delete", json!({ "filter": filter }))
            .fails("invalid_document_filter"),
        // The first rule that matches counts: a client's own pattern cannot weaken it.
        patch(
            "/indexes/i/settings",
            json!({ "filterableAttributes": [
            rule(), { "attributePatterns": ["*"], "features": { "facetSearch": true, "filter": {
                "equality": true, "comparison": false } } }
        ] }),
        )
        .succeeds(),
        search(json!({ "filter": filter_for(&(1..7).collect()) })).is(finds(1..7)),
        search(json!({ "filter": filter })).is(finds([1])),
    ]);
    check(script).await;
}
