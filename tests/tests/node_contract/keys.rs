//! API keys, which the leader makes the same on every node.

use super::pattern::{ANY, EXACTLY, TIME};
use super::script::{Step, check, delete, get, index, post};
use serde_json::{Value, json};

/// A key's value is the HMAC-SHA256 of its uid under the master key, in hexadecimal: the
/// same uid makes the same key on every node. These two belong together.
const UID: &str = "01234567-89ab-4cde-8f01-23456789abcd";
const KEY: &str = "a8de3e7f2b6958357fe4b06bf27ffe6c9caa0e43ad8dcc20c43bb4b38639b613";

fn with_key(step: Step) -> Step {
    step.header("authorization", &format!("Bearer {KEY}"))
}

fn new_key(actions: Value, indexes: Value) -> Step {
    let body = json!({
        "uid": UID, "actions": actions, "indexes": indexes, "expiresAt": null, "name": "mine"
    });
    post("/keys", body).status(201)
}

#[tokio::test]
async fn a_key_opens_what_it_names() {
    let search = |uid: &str| post(&format!("/indexes/{uid}/search"), json!({}));
    let mut script = index("a1", json!({}));
    script.extend(index("b", json!({})));
    script.extend([
        with_key(search("a1")).refused(403, "invalid_api_key"),
        new_key(json!(["search", "documents.get"]), json!(["a*"])).is(json!({
            "name": "mine", "description": null, "key": KEY, "uid": UID,
            "actions": ["search", "documents.get"], "indexes": ["a*"], "expiresAt": null,
            "createdAt": ANY, "updatedAt": ANY, EXACTLY: true
        })),
        with_key(search("a1")).is(json!({ "hits": [] })),
        with_key(get("/indexes/a1/search?q=")).is(json!({ "hits": [] })),
        with_key(get("/indexes/a1/documents")).is(json!({ "total": 0 })),
        with_key(post("/indexes/a1/documents/fetch", json!({}))).is(json!({ "total": 0 })),
        // What it does not name: another index, another action.
        with_key(search("b")).refused(403, "invalid_api_key"),
        with_key(get("/indexes/b/documents")).refused(403, "invalid_api_key"),
        with_key(post("/indexes/a1/documents", json!([]))).refused(403, "invalid_api_key"),
        with_key(get("/indexes/a1/settings")).refused(403, "invalid_api_key"),
        with_key(get("/indexes/a1/stats")).refused(403, "invalid_api_key"),
        with_key(get("/tasks")).refused(403, "invalid_api_key"),
        with_key(get("/keys")).refused(403, "invalid_api_key"),
        with_key(get("/version")).refused(403, "invalid_api_key"),
        with_key(get("/health")).is(json!({ "status": "available" })),
        // An index it may not see and one that is not there look alike.
        with_key(search("c")).refused(403, "invalid_api_key"),
        with_key(search("a2")).refused(404, "index_not_found"),
        get(&format!("/keys/{UID}")).is(json!({ "key": KEY })),
        get(&format!("/keys/{KEY}")).is(json!({ "uid": UID })),
        delete(&format!("/keys/{UID}")).status(204),
        with_key(search("a1")).refused(403, "invalid_api_key"),
        get(&format!("/keys/{UID}")).refused(404, "api_key_not_found"),
    ]);
    check(script).await;
}

#[tokio::test]
async fn keys_expire_and_are_unique() {
    let long = json!({
        "uid": UID, "actions": ["*"], "indexes": ["*"], "expiresAt": "2099-01-01T00:00:00Z"
    });
    let past = json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": "2001-01-01T00:00:00Z" });
    check(vec![
        post("/keys", long.clone())
            .status(201)
            .is(json!({ "key": KEY, "createdAt": ANY, "expiresAt": ANY }))
            .may_differ("/answer/expiresAt"),
        post("/keys", long).refused(409, "api_key_already_exists"),
        post("/keys", past).refused(400, "invalid_api_key_expires_at"),
        post("/keys", json!({ "indexes": ["*"], "expiresAt": null }))
            .refused(400, "missing_api_key_actions"),
        post("/keys", json!({ "actions": ["*"], "expiresAt": null }))
            .refused(400, "missing_api_key_indexes"),
        post(
            "/keys",
            json!({ "actions": ["x"], "indexes": ["*"], "expiresAt": null }),
        )
        .refused(400, "invalid_api_key_actions"),
        with_key(post("/indexes", json!({ "uid": "made-with-key" }))).succeeds(),
        with_key(get("/indexes")).is(json!({
            "results": [{ "uid": "made-with-key", "createdAt": TIME }]
        })),
        with_key(get("/tasks?limit=1")).is(json!({ "total": 1 })),
    ])
    .await;
}
