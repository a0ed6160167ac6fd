//! Health, version, keys, indexes and stats.

use super::pattern::{ABSENT, ANY, EXACTLY, TIME};
use super::script::{check, delete, get, index, patch, post, put};
use serde_json::json;

#[tokio::test]
async fn health_and_version_answer() {
    check(vec![
        get("/health").is(json!({ "status": "available", EXACTLY: true })),
        get("/health")
            .header("authorization", "Bearer wrong")
            .is(json!({ "status": "available" })),
        get("/version").is(json!({
            "commitSha": ANY, "commitDate": ANY, "pkgVersion": ANY, EXACTLY: true
        })),
        get("/stats").is(json!({ "databaseSize": ANY, "lastUpdate": null, "indexes": {} })),
    ])
    .await;
}

#[tokio::test]
async fn keys_are_asked_for() {
    let wrong = |step: super::script::Step| step.header("authorization", "Bearer wrong");
    let none = |step: super::script::Step| step.header("authorization", "");
    check(vec![
        wrong(get("/version")).refused(403, "invalid_api_key"),
        wrong(get("/tasks")).refused(403, "invalid_api_key"),
        wrong(get("/stats")).refused(403, "invalid_api_key"),
        wrong(get("/indexes/i")).refused(403, "invalid_api_key"),
        wrong(post("/indexes/i/search", json!({}))).refused(403, "invalid_api_key"),
        wrong(post("/indexes/i/documents", json!([]))).refused(403, "invalid_api_key"),
        none(get("/version")).refused(401, "missing_authorization_header"),
        none(post("/indexes/i/search", json!({}))).refused(401, "missing_authorization_header"),
        none(delete("/indexes/i")).refused(401, "missing_authorization_header"),
    ])
    .await;
}

#[tokio::test]
async fn indexes_are_created_listed_and_deleted() {
    let movies = json!({
        "uid": "movies", "primaryKey": "id", "createdAt": TIME, "updatedAt": TIME, EXACTLY: true
    });
    let books = json!({ "uid": "books", "primaryKey": null });
    check(vec![
        get("/indexes").is(json!({ "results": [], "offset": 0, "limit": 20, "total": 0 })),
        get("/indexes/movies").refused(404, "index_not_found"),
        post("/indexes", json!({ "uid": "movies", "primaryKey": "id" })).task(json!({
            "status": "succeeded", "type": "indexCreation", "indexUid": "movies",
            "details": { "primaryKey": "id" }
        })),
        post("/indexes", json!({ "uid": "books" })).task(json!({
            "status": "succeeded", "details": { "primaryKey": null }
        })),
        post("/indexes", json!({ "uid": "movies" })).fails("index_already_exists"),
        get("/indexes/movies").is(movies.clone()),
        get("/indexes").is(json!({ "results": [books, movies], "total": 2 })),
        get("/indexes?offset=1&limit=1").is(json!({
            "results": [{ "uid": "movies" }], "offset": 1, "limit": 1, "total": 2
        })),
        patch("/indexes/books", json!({ "primaryKey": "isbn" })).succeeds(),
        get("/indexes/books").is(json!({ "primaryKey": "isbn" })),
        delete("/indexes/books").task(json!({
            "status": "succeeded", "type": "indexDeletion", "details": { "deletedDocuments": 0 }
        })),
        delete("/indexes/books")
            .fails("index_not_found")
            .may_differ("/task/details"),
        post("/indexes", json!({})).refused(400, "missing_index_uid"),
        post("/indexes", json!({ "uid": "a b" })).refused(400, "invalid_index_uid"),
        post("/indexes", json!({ "uid": 1 })).refused(400, "invalid_index_uid"),
        post("/indexes", json!({ "uid": "x", "primaryKey": 1 }))
            .refused(400, "invalid_index_primary_key"),
        post("/indexes", json!({ "uid": "x", "other": 1 })).refused(400, "bad_request"),
        get("/indexes/a%20b").refused(400, "invalid_index_uid"),
        get("/indexes/movies/nothing-here")
            .status(404)
            .may_differ("/answer"),
        put("/indexes/movies", json!({}))
            .status(405)
            .may_differ("/answer"),
    ])
    .await;
}

#[tokio::test]
async fn stats_count_documents_and_fields() {
    let mut script = index("i", json!({}));
    script.extend([
        get("/indexes/nothing/stats").refused(404, "index_not_found"),
        get("/indexes/i/stats").is(json!({
            "numberOfDocuments": 0, "isIndexing": false, "fieldDistribution": {}
        })),
        post(
            "/indexes/i/documents",
            json!([{ "id": 1, "a": 1, "n": { "b": 1 } }, { "id": 2 }]),
        )
        .succeeds(),
        // Only top-level fields are counted.
        get("/indexes/i/stats").is(json!({
            "numberOfDocuments": 2, "isIndexing": false,
            "rawDocumentDbSize": ANY, "avgDocumentSize": ANY,
            "numberOfEmbeddings": 0, "numberOfEmbeddedDocuments": 0,
            "fieldDistribution": { "id": 2, "a": 1, "n": 1, EXACTLY: true }
        })),
        get("/stats").is(json!({
            "databaseSize": ANY, "usedDatabaseSize": ANY, "lastUpdate": TIME,
            "indexes": { "i": { "numberOfDocuments": 2 } }
        })),
        delete("/indexes/i/documents").succeeds(),
        get("/indexes/i/stats").is(json!({
            "numberOfDocuments": 0, "fieldDistribution": { "a": ABSENT }
        })),
    ]);
    check(script).await;
}
