//! Tasks, indexes, stats and what is not there.

use crate::common::{TestNode, movies};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn indexes_are_created_changed_listed_and_deleted() {
    let node = TestNode::start().await;
    let api = &node.api;
    let create = |uid: &str, key: Value| {
        let body = json!({ "uid": uid, "primaryKey": key });
        async move { api.post("/indexes", body).await }
    };
    let task = api.succeeded(create("b", json!("id")).await).await;
    assert_eq!(task["type"], "indexCreation");
    assert_eq!(task["details"], json!({ "primaryKey": "id" }));
    api.succeeded(create("a", Value::Null).await).await;
    let message = api
        .failed(create("a", Value::Null).await, "index_already_exists")
        .await;
    assert_eq!(message, "Index `a` already exists.");
    api.post("/indexes", json!({ "uid": "no good" }))
        .await
        .error(400, "invalid_index_uid");
    api.post("/indexes", json!({}))
        .await
        .error(400, "missing_index_uid");

    let list = api.get("/indexes?limit=1").await.expect(200);
    assert_eq!(
        json!([list["total"], list["limit"], list["offset"]]),
        json!([2, 1, 0])
    );
    assert_eq!(list["results"][0]["uid"], "a");
    let created = api.get("/indexes/b").await.expect(200);
    assert_eq!(created["primaryKey"], "id");
    assert!(created["createdAt"].as_str().unwrap().ends_with('Z'));

    let update = api
        .patch("/indexes/a", json!({ "primaryKey": "isbn" }))
        .await;
    assert_eq!(api.succeeded(update).await["type"], "indexUpdate");
    assert_eq!(
        api.get("/indexes/a").await.expect(200)["primaryKey"],
        "isbn"
    );
    api.patch("/indexes/a", json!({ "uid": "c" }))
        .await
        .error(400, "immutable_index_uid");
    api.succeeded(api.post("/indexes/a/documents", json!({ "isbn": 1 })).await)
        .await;
    let update = api.patch("/indexes/a", json!({ "primaryKey": "id" })).await;
    api.failed(update, "index_primary_key_already_exists").await;

    let task = api.succeeded(api.delete("/indexes/a").await).await;
    assert_eq!(task["details"], json!({ "deletedDocuments": 1 }));
    api.get("/indexes/a").await.error(404, "index_not_found");
    let task = api.finished(api.delete("/indexes/a").await).await;
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("failed"), &json!("index_not_found"))
    );
    // A new index of the same name is another index.
    api.succeeded(create("a", Value::Null).await).await;
    assert_eq!(
        api.get("/indexes/a/stats").await.expect(200)["numberOfDocuments"],
        0
    );
}

#[tokio::test]
async fn tasks_are_dense_and_listed_by_page_and_filter() {
    let node = TestNode::start().await;
    let api = &node.api;
    for at in 0..4 {
        let path = format!("/indexes/i{}/documents", at % 2);
        let accepted = api.post(&path, json!([{ "id": at }])).await.expect(202);
        assert_eq!(accepted["taskUid"], at);
    }
    let last = api
        .patch("/indexes/i0/settings", json!({ "stopWords": ["a"] }))
        .await;
    api.succeeded(last).await;
    let uids = |list: &Value| -> Vec<u64> {
        list["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["uid"].as_u64().unwrap())
            .collect()
    };
    for (query, expected, total, from, next) in [
        ("", vec![4, 3, 2, 1, 0], 5, json!(4), json!(null)),
        ("?limit=2", vec![4, 3], 5, json!(4), json!(2)),
        ("?limit=2&from=2", vec![2, 1], 5, json!(2), json!(0)),
        (
            "?reverse=true&limit=1&from=1",
            vec![1],
            5,
            json!(1),
            json!(2),
        ),
        ("?indexUids=i1", vec![3, 1], 2, json!(3), json!(null)),
        (
            "?types=settingsUpdate,indexSwap",
            vec![4],
            1,
            json!(4),
            json!(null),
        ),
        (
            "?statuses=enqueued,processing",
            vec![],
            0,
            json!(null),
            json!(null),
        ),
        (
            "?uids=0,3,99&statuses=succeeded",
            vec![3, 0],
            2,
            json!(3),
            json!(null),
        ),
        ("?canceledBy=1", vec![], 0, json!(null), json!(null)),
        (
            "?afterEnqueuedAt=2020-01-01&beforeFinishedAt=2120-01-01T00:00:00Z&limit=1",
            vec![4],
            5,
            json!(4),
            json!(3),
        ),
        ("?limit=0", vec![], 5, json!(null), json!(4)),
    ] {
        let list = api.get(&format!("/tasks{query}")).await.expect(200);
        assert_eq!(uids(&list), expected, "{query}");
        assert_eq!(
            json!([list["total"], list["from"], list["next"]]),
            json!([total, from, next]),
            "{query}"
        );
    }
    for (query, code) in [
        ("?statuses=done", "invalid_task_statuses"),
        ("?types=x", "invalid_task_types"),
        ("?limit=x", "invalid_task_limit"),
        ("?afterStartedAt=x", "invalid_task_after_started_at"),
        ("?indexUid=x", "bad_request"),
    ] {
        api.get(&format!("/tasks{query}")).await.error(400, code);
    }
    api.get("/tasks/99").await.error(404, "task_not_found");
    api.get("/tasks/x").await.error(400, "invalid_task_uids");
}

#[tokio::test]
async fn concurrent_writes_get_dense_uids_and_are_done_in_order() {
    let node = TestNode::start().await;
    let api = &node.api;
    let writes = (0..40).map(|at| {
        let api = api.clone();
        tokio::spawn(async move {
            let body = json!([{ "id": at, "n": at }, { "id": "shared", "last": at }]);
            let accepted = api.post("/indexes/c/documents?primaryKey=id", body).await;
            (accepted.expect(202)["taskUid"].as_u64().unwrap(), at)
        })
    });
    let mut accepted = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        accepted.push(write.await.unwrap());
    }
    accepted.sort_unstable();
    assert!(
        accepted
            .iter()
            .enumerate()
            .all(|(at, (uid, _))| at as u64 == *uid)
    );
    api.wait(39).await;
    let shared = api.get("/indexes/c/documents/shared").await.expect(200);
    assert_eq!(
        shared["last"], accepted[39].1,
        "the last task accepted wins"
    );
    assert_eq!(
        api.get("/indexes/c/stats").await.expect(200)["numberOfDocuments"],
        41
    );
}

#[tokio::test]
async fn the_node_tells_about_itself() {
    let node = TestNode::start().await;
    let api = &node.api;
    assert_eq!(
        api.get("/health").await.expect(200),
        json!({ "status": "available" })
    );
    let version = api.get("/version").await.expect(200);
    assert_eq!(version["pkgVersion"], miroir_node::VERSION);
    assert!(version["commitSha"].is_string() && version["commitDate"].is_string());
    api.succeeded(api.post("/indexes/movies/documents", movies()).await)
        .await;
    let stats = api.get("/stats").await.expect(200);
    assert!(stats["databaseSize"].as_u64().unwrap() > 0);
    assert!(stats["usedDatabaseSize"].as_u64().unwrap() > 0);
    assert!(stats["lastUpdate"].is_string());
    let movies = &stats["indexes"]["movies"];
    assert_eq!(movies["numberOfDocuments"], 5);
    assert_eq!(movies["isIndexing"], false);
    assert_eq!(movies["fieldDistribution"]["title"], 5);
    assert!(movies["rawDocumentDbSize"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_errors_in_meilisearchs_shape() {
    let node = TestNode::start().await;
    let api = &node.api;
    let message = api.get("/nowhere").await.error(404, "not_found");
    assert!(message.contains("/nowhere"));
    api.send(Method::PUT, "/indexes/a", json!({}))
        .await
        .error(405, "method_not_allowed");
    api.raw(Method::POST, "/indexes", Some("text/plain"), "{}")
        .await
        .error(415, "invalid_content_type");
    api.raw(Method::POST, "/indexes", None, "{}")
        .await
        .error(415, "missing_content_type");
    api.raw(Method::POST, "/indexes", Some("application/json"), "{")
        .await
        .error(400, "malformed_payload");
    api.raw(Method::POST, "/indexes", Some("application/json"), "")
        .await
        .error(400, "missing_payload");
}

#[tokio::test]
async fn a_dump_holds_what_was_enqueued_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let dumps = directory.path().join("dumps");
    let node = TestNode::with(|config| config.dump_dir.clone_from(&dumps)).await;
    let api = &node.api;
    api.post(
        "/indexes/a/documents",
        json!([{"id": 1, "n": 1.50}, {"id": 2}]),
    )
    .await
    .expect(202);
    let dump = api.post("/dumps", json!({})).await;
    api.post("/indexes/a/documents", json!([{"id": 3}]))
        .await
        .expect(202);
    let task = api.succeeded(dump).await;
    assert_eq!(
        (&task["type"], &task["indexUid"]),
        (&json!("dumpCreation"), &Value::Null)
    );
    let uid = task["details"]["dumpUid"].as_str().expect("written");
    let file = dumps.join(format!("{uid}.dump"));
    let packed = std::fs::File::open(file).expect("where it is said to be");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut files = std::collections::BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("sound");
        let path = entry.path().expect("a path").display().to_string();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
        files.insert(path, text);
    }
    assert_eq!(
        files["indexes/a/documents.jsonl"],
        "{\"id\":1,\"n\":1.5}\n{\"id\":2}\n"
    );
    let json = |path: &str| serde_json::from_str::<Value>(&files[path]).expect("JSON");
    assert_eq!(json("metadata.json")["dumpVersion"], "V6");
    assert_eq!(json("indexes/a/metadata.json")["primaryKey"], "id");
    assert!(json("indexes/a/settings.json")["rankingRules"].is_array());
    assert_eq!(json("tasks/queue.jsonl")["uid"], task["uid"]);
    assert!(files.contains_key("keys.jsonl"));
}
