//! Document writes that are refused, at once or by their task.

use super::script::{check, get, post, post_raw, put};
use serde_json::{Value, json};

const DOCUMENTS: &str = "/indexes/i/documents";

#[tokio::test]
async fn bad_bodies_are_refused_at_once() {
    const JSON: &str = "application/json";
    const NDJSON: &str = "application/x-ndjson";
    const CSV: &str = "text/csv";
    //            type                body                  code
    let table = [
        ("", "{\"id\":1}", 415, "missing_content_type"),
        ("text/plain", "{\"id\":1}", 415, "invalid_content_type"),
        ("application/xml", "<a/>", 415, "invalid_content_type"),
        (JSON, "", 400, "missing_payload"),
        (NDJSON, "", 400, "missing_payload"),
        (CSV, "", 400, "missing_payload"),
        (JSON, "{", 400, "malformed_payload"),
        (JSON, "[{\"id\":1}", 400, "malformed_payload"),
        (JSON, "[{\"id\":1},]", 400, "malformed_payload"),
        (JSON, "1", 400, "malformed_payload"),
        (JSON, "\"text\"", 400, "malformed_payload"),
        (JSON, "null", 400, "malformed_payload"),
        (JSON, "{\"id\":1,\"a\":\"\u{1}\"}", 400, "malformed_payload"),
        (JSON, "{\"id\":1}\n{\"id\":2}", 400, "malformed_payload"),
        (NDJSON, "{\"id\":1}\n{", 400, "malformed_payload"),
        (NDJSON, "{\"id\":1}\nx\n", 400, "malformed_payload"),
        (CSV, "id,a\n1\n", 400, "malformed_payload"),
        (CSV, "id,a:number\n1,x\n", 400, "malformed_payload"),
    ];
    let mut script: Vec<_> = table
        .into_iter()
        .map(|(kind, body, status, code)| post_raw(DOCUMENTS, kind, body).refused(status, code))
        .collect();
    script.extend([
        post_raw("/indexes/a%20b/documents", JSON, "[]").refused(400, "invalid_index_uid"),
        post_raw("/indexes/i/documents?other=1", JSON, "[]").refused(400, "bad_request"),
        post_raw("/indexes/i/documents?csvDelimiter=;", JSON, "[]")
            .refused(415, "invalid_content_type"),
        post_raw("/indexes/i/documents?csvDelimiter=;;", CSV, "a")
            .refused(400, "invalid_document_csv_delimiter"),
        // Meilisearch 1.50 answers these with 500.
        post_raw(DOCUMENTS, JSON, "[1]").refused_somehow(),
        post_raw(DOCUMENTS, JSON, "[[]]").refused_somehow(),
        post_raw(DOCUMENTS, NDJSON, "[{\"id\":1}]").refused_somehow(),
        // Nothing was enqueued and no index was made.
        get("/tasks").is(json!({ "total": 0 })),
        get("/indexes").is(json!({ "total": 0 })),
    ]);
    check(script).await;
}

#[tokio::test]
async fn one_bad_document_fails_the_whole_task() {
    let good = json!({ "id": 1 });
    let long = "x".repeat(512);
    let table: Vec<(Value, &str)> = vec![
        (json!({ "a": 1 }), "missing_document_id"),
        (json!({}), "missing_document_id"),
        (json!({ "id": null }), "invalid_document_id"),
        (json!({ "id": "" }), "invalid_document_id"),
        (json!({ "id": "a b" }), "invalid_document_id"),
        (json!({ "id": "é" }), "invalid_document_id"),
        (json!({ "id": "a.b" }), "invalid_document_id"),
        (json!({ "id": long }), "invalid_document_id"),
        (json!({ "id": 1.5 }), "invalid_document_id"),
        (json!({ "id": 2.0 }), "invalid_document_id"),
        (json!({ "id": true }), "invalid_document_id"),
        (json!({ "id": [1] }), "invalid_document_id"),
        (json!({ "id": { "x": 1 } }), "invalid_document_id"),
    ];
    let mut script = vec![post("/indexes", json!({ "uid": "i", "primaryKey": "id" })).succeeds()];
    for (bad, code) in table {
        let batch = json!([good, bad, { "id": 3 }]);
        script.push(post(DOCUMENTS, batch.clone()).task(json!({
            "status": "failed", "error": { "code": code, "type": "invalid_request" },
            "details": { "receivedDocuments": 3, "indexedDocuments": 0 }
        })));
        script.push(put(DOCUMENTS, batch).fails(code));
    }
    script.push(get("/indexes/i/stats").is(json!({ "numberOfDocuments": 0 })));
    let fine = ["a", "-", "_", "A-1_b", "007", &"x".repeat(511)].map(|id| json!({ "id": id }));
    script.push(post(DOCUMENTS, json!(fine)).task(json!({ "details": { "indexedDocuments": 6 } })));
    let numbers = json!([{ "id": 0 }, { "id": -5 }, { "id": "-5" }, { "id": u64::MAX }]);
    script.push(post(DOCUMENTS, numbers).task(json!({
        "status": "succeeded", "details": { "receivedDocuments": 4, "indexedDocuments": 3 }
    })));
    check(script).await;
}

#[tokio::test]
async fn bad_special_fields_fail_the_task() {
    let mut script = super::script::index(
        "i",
        json!({ "filterableAttributes": ["_geo"], "sortableAttributes": ["_geo"] }),
    );
    let table = [
        (json!({ "lat": 1 }), "invalid_document_geo_field"),
        (
            json!({ "lat": "x", "lng": 1 }),
            "invalid_document_geo_field",
        ),
        (
            json!({ "lat": 1, "lng": 2, "alt": 3 }),
            "invalid_document_geo_field",
        ),
        (json!("1,2"), "invalid_document_geo_field"),
    ];
    for (geo, code) in table {
        script.push(post(DOCUMENTS, json!([{ "id": 1, "_geo": geo }])).fails(code));
    }
    script.push(post(DOCUMENTS, json!([{ "id": 1, "_geo": null }])).succeeds());
    script.push(
        post(
            DOCUMENTS,
            json!([{ "id": 2, "_geo": { "lat": "1.5", "lng": 2 } }]),
        )
        .succeeds(),
    );
    check(script).await;
}

#[tokio::test]
async fn the_primary_key_is_inferred_or_asked_for() {
    let add = |uid: &str, document: Value| post(&format!("/indexes/{uid}/documents"), document);
    let key = |uid: &str, key: Value| {
        get(&format!("/indexes/{uid}")).is(json!({ "uid": uid, "primaryKey": key }))
    };
    check(vec![
        add("a", json!([{ "movieID": 1, "t": 1 }])).succeeds(),
        key("a", json!("movieID")),
        add("b", json!([{ "title": 1 }])).fails("index_primary_key_no_candidate_found"),
        // The index exists all the same, without a key.
        key("b", Value::Null),
        add("b", json!([{ "id": 1, "uuid": 2 }]))
            .fails("index_primary_key_multiple_candidates_found"),
        add("b", json!([{ "x": { "id": 1 } }])).fails("index_primary_key_no_candidate_found"),
        // Only the first document counts.
        add("b", json!([{ "isbnid": 1 }, { "isbnid": 2, "otherid": 3 }])).succeeds(),
        key("b", json!("isbnid")),
        add("b", json!([{ "id": 1 }])).fails("missing_document_id"),
        post(
            "/indexes/c/documents?primaryKey=title",
            json!([{ "title": "x", "id": 1 }]),
        )
        .succeeds(),
        key("c", json!("title")),
        post(
            "/indexes/c/documents?primaryKey=title",
            json!([{ "title": "y" }]),
        )
        .succeeds(),
        post(
            "/indexes/c/documents?primaryKey=id",
            json!([{ "id": 1, "title": "z" }]),
        )
        .fails("index_primary_key_already_exists"),
        post(
            "/indexes/d/documents?primaryKey=a.b",
            json!([{ "a": { "b": 1 } }]),
        )
        .succeeds(),
        key("d", json!("a.b")),
        get("/indexes/d/documents/1").is(json!({ "a": { "b": 1 } })),
        post(
            "/indexes/e/documents?primaryKey=a.b",
            json!([{ "a": { "b": "" } }]),
        )
        .fails("invalid_document_id"),
        post("/indexes/f/documents?primaryKey=none", json!([{ "id": 1 }]))
            .fails("missing_document_id"),
    ])
    .await;
}
