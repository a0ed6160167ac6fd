//! Documents: written in every format, read back, deleted.

use crate::common::{TestNode, movies};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn documents_make_a_round_trip() {
    let node = TestNode::start().await;
    let api = &node.api;
    let accepted = api
        .post("/indexes/movies/documents?customMetadata=tag-7", movies())
        .await;
    assert_eq!(accepted.body["status"], "enqueued");
    assert_eq!(accepted.body["type"], "documentAdditionOrUpdate");
    assert_eq!(accepted.body["customMetadata"], "tag-7");
    let task = api.succeeded(accepted).await;
    assert_eq!(
        task["details"],
        json!({ "receivedDocuments": 5, "indexedDocuments": 5 })
    );
    assert_eq!(task["customMetadata"], "tag-7");
    assert_eq!(task["error"], Value::Null);
    for stamp in ["enqueuedAt", "startedAt", "finishedAt"] {
        let stamp = task[stamp].as_str().unwrap();
        assert!(stamp.ends_with('Z') && stamp.contains('.'), "{stamp}");
    }

    let one = api.get("/indexes/movies/documents/2").await.expect(200);
    assert_eq!(one, movies()[1]);
    let some = api
        .get("/indexes/movies/documents/2?fields=id,title")
        .await
        .expect(200);
    assert_eq!(some, json!({ "id": 2, "title": "A slow brown bear" }));
    let page = api
        .get("/indexes/movies/documents?offset=1&limit=2")
        .await
        .expect(200);
    assert_eq!(
        (&page["total"], &page["offset"], &page["limit"]),
        (&json!(5), &json!(1), &json!(2))
    );
    assert_eq!(page["results"], json!([movies()[1], movies()[2]]));
    let fetched = api
        .post(
            "/indexes/movies/documents/fetch",
            json!({ "ids": [5, "1", "nobody"], "fields": ["id"] }),
        )
        .await
        .expect(200);
    assert_eq!(fetched["results"], json!([{ "id": 1 }, { "id": 5 }]));
    assert_eq!(fetched["total"], 2);
}

#[tokio::test]
async fn updates_merge_and_replacements_replace() {
    let node = TestNode::start().await;
    let api = &node.api;
    let path = "/indexes/t/documents";
    api.succeeded(
        api.post(path, json!([{ "id": 1, "a": { "x": 1 }, "b": 2 }]))
            .await,
    )
    .await;
    api.succeeded(
        api.put(path, json!({ "id": "1", "a": { "y": 2 }, "c": 3 }))
            .await,
    )
    .await;
    let merged = api.get("/indexes/t/documents/1").await.expect(200);
    assert_eq!(
        merged,
        json!({ "id": "1", "a": { "y": 2 }, "b": 2, "c": 3 })
    );
    api.succeeded(api.post(path, json!({ "id": 1, "z": 0 })).await)
        .await;
    let replaced = api.get("/indexes/t/documents/1").await.expect(200);
    assert_eq!(replaced, json!({ "id": 1, "z": 0 }));
    let stats = api.get("/indexes/t/stats").await.expect(200);
    assert_eq!(stats["numberOfDocuments"], 1);
    assert_eq!(stats["fieldDistribution"], json!({ "id": 1, "z": 1 }));
}

#[tokio::test]
async fn every_format_is_read_and_numbers_keep_their_value() {
    let node = TestNode::start().await;
    let api = &node.api;
    let path = "/indexes/f/documents?primaryKey=id";
    let ndjson = "{\"id\":1,\"n\":9007199254740993}\n{\"id\":2,\"n\":-0.5}\n";
    let accepted = api
        .raw(Method::POST, path, Some("application/x-ndjson"), ndjson)
        .await;
    assert_eq!(
        api.succeeded(accepted).await["details"]["indexedDocuments"],
        2
    );
    let csv = "id:number;name;ok:boolean\n3;\"a;b\";true\n4;;\n";
    let path = format!("{path}&csvDelimiter=;");
    let accepted = api
        .raw(Method::POST, &path, Some("text/csv; charset=utf-8"), csv)
        .await;
    assert_eq!(
        api.succeeded(accepted).await["details"]["indexedDocuments"],
        2
    );
    let all = api.get("/indexes/f/documents").await.expect(200);
    assert_eq!(
        all["results"],
        json!([
            { "id": 1, "n": 9_007_199_254_740_993_u64 },
            { "id": 2, "n": -0.5 },
            { "id": 3, "name": "a;b", "ok": true },
            { "id": 4, "name": null, "ok": null },
        ])
    );
}

#[tokio::test]
async fn bad_payloads_are_refused_at_once() {
    let node = TestNode::with(|config| config.http_payload_limit_bytes = 1000).await;
    let api = &node.api;
    let path = "/indexes/bad/documents";
    let cases: [(&str, Option<&str>, &str, u16, &str); 8] = [
        (path, None, "[]", 415, "missing_content_type"),
        (
            path,
            Some("application/pdf"),
            "[]",
            415,
            "invalid_content_type",
        ),
        (path, Some("application/json"), "", 400, "missing_payload"),
        (
            path,
            Some("application/json"),
            "[{",
            400,
            "malformed_payload",
        ),
        (
            path,
            Some("application/x-ndjson"),
            "{\"id\":1}\nnope",
            400,
            "malformed_payload",
        ),
        (
            "/indexes/b%20d/documents",
            Some("application/json"),
            "[]",
            400,
            "invalid_index_uid",
        ),
        (
            "/indexes/bad/documents?csvDelimiter=;",
            Some("application/json"),
            "[]",
            415,
            "invalid_content_type",
        ),
        (
            "/indexes/bad/documents?primarykey=id",
            Some("application/json"),
            "[]",
            400,
            "bad_request",
        ),
    ];
    for (path, media, body, status, code) in cases {
        api.raw(Method::POST, path, media, body)
            .await
            .error(status, code);
    }
    let long = format!("[{{\"id\":1,\"text\":\"{}\"}}]", "x".repeat(1000));
    api.raw(Method::POST, path, Some("application/json"), long)
        .await
        .error(413, "payload_too_large");
    api.get("/indexes/bad").await.error(404, "index_not_found");
    assert_eq!(api.get("/tasks").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn one_bad_document_fails_its_whole_task_and_is_named() {
    let node = TestNode::start().await;
    let api = &node.api;
    let path = "/indexes/t/documents?primaryKey=id";
    let mut documents: Vec<Value> = (0..1000).map(|id| json!({ "id": id })).collect();
    documents[617] = json!({ "id": "not valid!" });
    let good = api.post(path, json!([{ "id": 5000 }])).await;
    let bad = api.post(path, Value::Array(documents.clone())).await;
    documents[617] = json!({ "name": "anonymous" });
    let nameless = api.post(path, Value::Array(documents)).await;
    let last = api
        .post(path, json!([{ "id": 5001 }, { "id": "5001" }]))
        .await;

    api.succeeded(good).await;
    let task = api.finished(bad).await;
    assert_eq!(
        task["details"],
        json!({ "receivedDocuments": 1000, "indexedDocuments": 0 })
    );
    assert_eq!(task["error"]["code"], "invalid_document_id");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Document identifier `\"not valid!\"` is invalid."),
        "{message}"
    );
    let message = api.failed(nameless, "missing_document_id").await;
    assert_eq!(
        message,
        "Document doesn't have a `id` attribute: `{\"name\":\"anonymous\"}`."
    );
    assert_eq!(api.succeeded(last).await["details"]["indexedDocuments"], 1);
    let all = api.get("/indexes/t/documents").await.expect(200);
    assert_eq!(all["results"], json!([{ "id": 5000 }, { "id": "5001" }]));
}

#[tokio::test]
async fn the_primary_key_is_inferred_or_refused() {
    let node = TestNode::start().await;
    let api = &node.api;
    let add = |index: &str, body: Value| {
        let path = format!("/indexes/{index}/documents");
        async move { api.post(&path, body).await }
    };
    api.succeeded(add("one", json!([{ "name": "x", "bookId": 7 }])).await)
        .await;
    assert_eq!(
        api.get("/indexes/one").await.expect(200)["primaryKey"],
        "bookId"
    );
    let none = add("none", json!([{ "name": "x" }])).await;
    api.failed(none, "index_primary_key_no_candidate_found")
        .await;
    // The index is there, as with Meilisearch, but empty.
    assert_eq!(
        api.get("/indexes/none").await.expect(200)["primaryKey"],
        Value::Null
    );
    let two = add("two", json!([{ "id": 1, "uid": 2 }])).await;
    let message = api
        .failed(two, "index_primary_key_multiple_candidates_found")
        .await;
    assert!(message.contains("'id' and 'uid'"), "{message}");
    let other = api
        .post(
            "/indexes/one/documents?primaryKey=isbn",
            json!([{ "isbn": 1 }]),
        )
        .await;
    let message = api.failed(other, "index_primary_key_already_exists").await;
    assert_eq!(message, "Index already has a primary key: `bookId`.");
    let nested = api.post(
        "/indexes/deep/documents?primaryKey=a.b",
        json!([{ "a": { "b": "k" } }]),
    );
    api.succeeded(nested.await).await;
    assert_eq!(
        api.get("/indexes/deep/documents/k").await.expect(200),
        json!({ "a": { "b": "k" } })
    );
}

#[tokio::test]
async fn documents_are_deleted_by_id_by_filter_and_all_at_once() {
    let node = TestNode::start().await;
    let api = &node.api;
    api.post("/indexes/movies/documents", movies())
        .await
        .expect(202);
    let settings = json!({ "filterableAttributes": ["year"] });
    api.succeeded(api.patch("/indexes/movies/settings", settings).await)
        .await;

    let task = api
        .succeeded(api.delete("/indexes/movies/documents/1").await)
        .await;
    assert_eq!(
        task["details"],
        json!({ "providedIds": 1, "deletedDocuments": 1, "originalFilter": null })
    );
    let batch = api
        .post(
            "/indexes/movies/documents/delete-batch",
            json!([1, "2", 99]),
        )
        .await;
    let task = api.succeeded(batch).await;
    assert_eq!(task["details"]["providedIds"], 3);
    assert_eq!(task["details"]["deletedDocuments"], 1);

    let path = "/indexes/movies/documents/delete";
    let task = api
        .succeeded(api.post(path, json!({ "filter": "year < 2000" })).await)
        .await;
    assert_eq!(
        task["details"],
        json!({ "providedIds": 0, "deletedDocuments": 1, "originalFilter": "\"year < 2000\"" })
    );
    api.post(path, json!({ "filter": "year <" }))
        .await
        .error(400, "invalid_document_filter");
    api.post(path, json!({}))
        .await
        .error(400, "missing_document_filter");
    api.post(path, json!({ "filter": "" }))
        .await
        .error(400, "invalid_document_filter");
    let message = api
        .failed(
            api.post(path, json!({ "filter": "title = x" })).await,
            "invalid_document_filter",
        )
        .await;
    assert!(
        message.contains("Attribute `title` is not filterable"),
        "{message}"
    );

    let task = api
        .succeeded(api.delete("/indexes/movies/documents").await)
        .await;
    assert_eq!(task["details"], json!({ "deletedDocuments": 2 }));
    assert_eq!(
        api.get("/indexes/movies/documents").await.expect(200)["total"],
        0
    );
    api.get("/indexes/movies/documents/5")
        .await
        .error(404, "document_not_found");
}

#[tokio::test]
async fn deleting_from_an_index_that_is_not_there_fails() {
    let node = TestNode::start().await;
    let api = &node.api;
    let gone = api.delete("/indexes/nowhere/documents/1").await;
    assert_eq!(
        api.failed(gone, "index_not_found").await,
        "Index `nowhere` not found."
    );
}

#[tokio::test]
async fn fetching_filters_and_names_what_is_wrong() {
    let node = TestNode::start().await;
    let api = &node.api;
    let settings = json!({ "filterableAttributes": ["year"] });
    api.patch("/indexes/movies/settings", settings)
        .await
        .expect(202);
    api.succeeded(api.post("/indexes/movies/documents", movies()).await)
        .await;
    let fetch = |body: Value| async { api.post("/indexes/movies/documents/fetch", body).await };
    let found = fetch(
        json!({ "filter": ["year > 2000", ["year < 2006", "year = 2020"]], "fields": ["id"] }),
    );
    assert_eq!(
        found.await.expect(200)["results"],
        json!([{ "id": 2 }, { "id": 5 }])
    );
    let by_get = api
        .get("/indexes/movies/documents?filter=year%20%3E%202006&fields=id")
        .await
        .expect(200);
    assert_eq!(by_get["results"], json!([{ "id": 3 }, { "id": 5 }]));
    fetch(json!({ "filter": "genre = x" }))
        .await
        .error(400, "invalid_document_filter");
    fetch(json!({ "filter": "year ==== 1" }))
        .await
        .error(400, "invalid_document_filter");
    fetch(json!({ "ids": ["bad id"] }))
        .await
        .error(400, "invalid_document_ids");
    fetch(json!({ "limits": 1 }))
        .await
        .error(400, "bad_request");
    api.get("/indexes/nowhere/documents")
        .await
        .error(404, "index_not_found");
}

#[tokio::test]
async fn vectors_are_stored_and_returned_only_when_asked_for() {
    let node = TestNode::start().await;
    let api = &node.api;
    let embedders =
        json!({ "embedders": { "mine": { "source": "userProvided", "dimensions": 2 } } });
    api.succeeded(api.patch("/indexes/v/settings", embedders).await)
        .await;
    let documents = json!([
        { "id": 1, "_vectors": { "mine": [1.0, 0.0] } },
        { "id": 2, "_vectors": { "mine": { "embeddings": [[0.0, 1.0]], "regenerate": false } } },
    ]);
    api.succeeded(api.post("/indexes/v/documents", documents).await)
        .await;
    assert_eq!(
        api.get("/indexes/v/documents/1").await.expect(200),
        json!({ "id": 1 })
    );
    let shown = api
        .get("/indexes/v/documents/1?retrieveVectors=true")
        .await
        .expect(200);
    assert_eq!(
        shown["_vectors"],
        json!({ "mine": { "embeddings": [[1.0, 0.0]], "regenerate": false } })
    );
    let search =
        json!({ "vector": [0.1, 0.9], "hybrid": { "embedder": "mine", "semanticRatio": 1.0 } });
    assert_eq!(api.ids("v", search).await, [json!(2), json!(1)]);
    let bad = api
        .post(
            "/indexes/v/documents",
            json!([{ "id": 3, "_vectors": { "mine": [1.0] } }]),
        )
        .await;
    api.failed(bad, "invalid_vector_dimensions").await;
    let stats = api.get("/indexes/v/stats").await.expect(200);
    assert_eq!(stats["numberOfEmbeddings"], 2);
}
