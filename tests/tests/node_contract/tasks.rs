//! The task queue: shapes, order and filters.

use super::pattern::{ANY, DURATION, EXACTLY, TIME};
use super::script::{Step, check, delete, get, patch, post};
use serde_json::{Value, json};

/// Five tasks with known uids: two indexes, one failure.
fn five_tasks() -> Vec<Step> {
    vec![
        post("/indexes", json!({ "uid": "a", "primaryKey": "id" })).succeeds(),
        post("/indexes/a/documents", json!([{ "id": 1 }, { "id": 2 }])).succeeds(),
        post("/indexes/b/documents", json!([{ "x": 1 }]))
            .fails("index_primary_key_no_candidate_found"),
        patch(
            "/indexes/b/settings",
            json!({ "sortableAttributes": ["x"] }),
        )
        .succeeds(),
        delete("/indexes/a/documents/1").succeeds(),
    ]
}

#[tokio::test]
async fn tasks_have_the_shape_the_sdks_read() {
    let finished = |uid: u32, index: &str, kind: &str, details: Value, error: Value| {
        json!({
            "uid": uid, "batchUid": ANY, "indexUid": index, "status": ANY, "type": kind,
            "canceledBy": null, "details": details, "error": error, "duration": DURATION,
            "enqueuedAt": TIME, "startedAt": TIME, "finishedAt": TIME, EXACTLY: true
        })
    };
    let no_key = json!({
        "message": ANY, "code": "index_primary_key_no_candidate_found", "type": "invalid_request",
        "link": "https://docs.meilisearch.com/errors#index_primary_key_no_candidate_found",
        EXACTLY: true
    });
    let documents = |received: u32, indexed: u32| json!({ "receivedDocuments": received, "indexedDocuments": indexed, EXACTLY: true });
    let ok = Value::Null;
    let mut script = five_tasks();
    script.extend([
        get("/tasks/0").is(finished(0, "a", "indexCreation", json!({ "primaryKey": "id" }), ok.clone()))
            .may_differ("/answer/details"),
        get("/tasks/1").is(finished(1, "a", "documentAdditionOrUpdate", documents(2, 2), ok.clone())),
        get("/tasks/2").is(finished(2, "b", "documentAdditionOrUpdate", documents(1, 0), no_key)),
        get("/tasks/3").is(finished(
            3, "b", "settingsUpdate", json!({ "sortableAttributes": ["x"], EXACTLY: true }), ok.clone(),
        )),
        get("/tasks/4").is(finished(
            4, "a", "documentDeletion",
            json!({ "providedIds": 1, "deletedDocuments": 1, "originalFilter": null, EXACTLY: true }),
            ok,
        )),
        get("/tasks/5").refused(404, "task_not_found"),
        get("/tasks/x").refused(400, "invalid_task_uids"),
        get("/tasks/-1").refused(400, "invalid_task_uids"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn tasks_are_filtered_and_paged() {
    let list = |query: &str, uids: &[u32], total: u32| {
        let results: Vec<Value> = uids.iter().map(|uid| json!({ "uid": uid })).collect();
        get(&format!("/tasks?{query}")).is(json!({ "results": results, "total": total }))
    };
    let mut script = five_tasks();
    script.extend([
        get("/tasks").is(json!({
            "results": [{ "uid": 4 }, { "uid": 3 }, { "uid": 2 }, { "uid": 1 }, { "uid": 0 }],
            "total": 5, "limit": 20, "from": 4, "next": null, EXACTLY: true
        })),
        get("/tasks?limit=2").is(json!({
            "results": [{ "uid": 4 }, { "uid": 3 }], "total": 5, "limit": 2, "from": 4, "next": 2
        })),
        get("/tasks?limit=2&from=2").is(json!({
            "results": [{ "uid": 2 }, { "uid": 1 }], "from": 2, "next": 0
        })),
        get("/tasks?limit=2&from=1").is(json!({
            "results": [{ "uid": 1 }, { "uid": 0 }], "from": 1, "next": null
        })),
        get("/tasks?limit=2&reverse=true").is(json!({
            "results": [{ "uid": 0 }, { "uid": 1 }], "from": 0, "next": 2
        })),
        get("/tasks?limit=2&from=3&reverse=true").is(json!({
            "results": [{ "uid": 3 }, { "uid": 4 }], "from": 3, "next": null
        })),
        get("/tasks?limit=0").is(json!({ "results": [], "total": 5, "limit": 0 })),
        list("uids=1,3,99", &[3, 1], 2),
        list("uids=*", &[4, 3, 2, 1, 0], 5),
        list("indexUids=a", &[4, 1, 0], 3),
        list("indexUids=a,b", &[4, 3, 2, 1, 0], 5),
        list("indexUids=nothing", &[], 0),
        list("statuses=failed", &[2], 1),
        list("statuses=failed,succeeded&indexUids=b", &[3, 2], 2),
        list("statuses=enqueued,processing", &[], 0),
        list("types=documentDeletion", &[4], 1),
        list("types=documentDeletion,indexCreation", &[4, 0], 2),
        list("indexUids=a&statuses=succeeded&limit=1", &[4], 3),
        list("indexUids=a&limit=1&reverse=true", &[0], 3),
        list("canceledBy=1", &[], 0),
        list("afterEnqueuedAt=2000-01-01", &[4, 3, 2, 1, 0], 5),
        list("beforeEnqueuedAt=2000-01-01T00:00:00Z", &[], 0),
        list("afterFinishedAt=2000-01-01&indexUids=b", &[3, 2], 2),
        get("/tasks?limit=x").refused(400, "invalid_task_limit"),
        get("/tasks?from=x").refused(400, "invalid_task_from"),
        get("/tasks?reverse=x").refused(400, "invalid_task_reverse"),
        get("/tasks?uids=x").refused(400, "invalid_task_uids"),
        get("/tasks?statuses=x").refused(400, "invalid_task_statuses"),
        get("/tasks?types=x").refused(400, "invalid_task_types"),
        get("/tasks?indexUids=a%20b").refused(400, "invalid_index_uid"),
        get("/tasks?afterEnqueuedAt=x").refused(400, "invalid_task_after_enqueued_at"),
        get("/tasks?other=x").refused(400, "bad_request"),
    ]);
    check(script).await;
}
