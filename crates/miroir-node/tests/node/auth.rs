//! The master key, API keys, and what they allow.

use crate::common::{Api, TestNode, movies};
use serde_json::{Value, json};

const MASTER: &str = "a-master-key-for-tests";

async fn guarded() -> TestNode {
    TestNode::with(|config| config.master_key = Some(MASTER.to_owned())).await
}

fn with(api: &Api, key: Option<&str>) -> Api {
    Api::new(api.base.clone(), key)
}

#[tokio::test]
async fn nothing_but_health_is_open_once_there_is_a_master_key() {
    let node = guarded().await;
    let api = &node.api;
    let nobody = with(api, None);
    nobody.get("/health").await.expect(200);
    for path in [
        "/version",
        "/indexes",
        "/stats",
        "/tasks",
        "/keys",
        "/indexes/a/search",
    ] {
        nobody
            .get(path)
            .await
            .error(401, "missing_authorization_header");
        let message = with(api, Some("wrong"))
            .get(path)
            .await
            .error(403, "invalid_api_key");
        assert_eq!(message, "The provided API key is invalid.");
    }
    api.get("/version").await.expect(200);
}

#[tokio::test]
async fn without_a_master_key_everything_but_keys_is_open() {
    let node = TestNode::start().await;
    node.api.get("/indexes").await.expect(200);
    node.api.get("/keys").await.error(401, "missing_master_key");
}

#[tokio::test]
async fn a_fresh_node_has_a_search_key_and_an_admin_key() {
    let node = guarded().await;
    let api = &node.api;
    api.succeeded(api.post("/indexes/movies/documents", movies()).await)
        .await;
    let keys = api.get("/keys").await.expect(200);
    assert_eq!(keys["total"], 2);
    let named = |name: &str| -> String {
        let keys = keys["results"].as_array().unwrap();
        let key = keys.iter().find(|key| key["name"] == name).unwrap();
        key["key"].as_str().unwrap().to_owned()
    };
    let search = with(api, Some(&named("Default Search API Key")));
    assert_eq!(
        search.ids("movies", json!({ "q": "monkeys" })).await,
        [json!(4)]
    );
    search
        .get("/indexes/movies/documents")
        .await
        .error(403, "invalid_api_key");
    search.get("/keys").await.error(403, "invalid_api_key");
    let admin = with(api, Some(&named("Default Admin API Key")));
    admin.get("/keys").await.expect(200);
    admin
        .succeeded(admin.delete("/indexes/movies/documents").await)
        .await;
}

#[tokio::test]
async fn keys_have_a_life_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let master = |config: &mut miroir_node::NodeConfig| config.master_key = Some(MASTER.to_owned());
    let node = TestNode::at(directory.path(), master).await;
    let uid = "74c9c733-3368-4738-bbe5-1d18a5fecb37";
    let body = json!({
        "uid": uid,
        "name": "writer",
        "actions": ["documents.*", "indexes.get", "tasks.get"],
        "indexes": ["mov*"],
        "expiresAt": null,
    });
    let created = node.api.post("/keys", body.clone()).await.expect(201);
    let value = created["key"].as_str().unwrap().to_owned();
    assert_eq!(value.len(), 64);
    node.api
        .post("/keys", body)
        .await
        .error(409, "api_key_already_exists");
    for (change, code) in [
        (json!({ "actions": ["*"] }), "immutable_api_key_actions"),
        (json!({ "nam": "x" }), "bad_request"),
    ] {
        node.api
            .patch(&format!("/keys/{uid}"), change)
            .await
            .error(400, code);
    }
    let patched = node
        .api
        .patch(&format!("/keys/{uid}"), json!({ "name": null }))
        .await
        .expect(200);
    assert_eq!(patched["name"], Value::Null);
    node.stop().await;

    let node = TestNode::at(directory.path(), master).await;
    let api = &node.api;
    assert_eq!(
        api.get(&format!("/keys/{value}")).await.expect(200)["uid"],
        uid
    );
    assert_eq!(api.get("/keys").await.expect(200)["total"], 3);
    let writer = with(api, Some(&value));
    // The key may not create indexes, not even by writing into one.
    let implicit = writer.post("/indexes/movies/documents", movies()).await;
    writer.failed(implicit, "index_not_found").await;
    let create = api.post("/indexes", json!({ "uid": "movies" })).await;
    api.succeeded(create).await;
    let add = writer.post("/indexes/movies/documents", movies()).await;
    writer.succeeded(add).await;
    let message = writer
        .post("/indexes/books/documents", movies())
        .await
        .error(403, "invalid_api_key");
    assert!(message.contains("`books`"), "{message}");
    writer
        .post("/indexes/movies/search", json!({}))
        .await
        .error(403, "invalid_api_key");
    api.succeeded(api.post("/indexes", json!({ "uid": "books" })).await)
        .await;
    assert_eq!(writer.get("/indexes").await.expect(200)["total"], 1);
    assert_eq!(writer.get("/tasks").await.expect(200)["total"], 3);
    api.delete(&format!("/keys/{uid}")).await.expect(204);
    writer.get("/indexes").await.error(403, "invalid_api_key");
    api.get(&format!("/keys/{uid}"))
        .await
        .error(404, "api_key_not_found");
}

#[tokio::test]
async fn wrong_keys_are_refused() {
    let node = guarded().await;
    for (body, code) in [
        (
            json!({ "indexes": ["*"], "expiresAt": null }),
            "missing_api_key_actions",
        ),
        (
            json!({ "actions": ["*"], "expiresAt": null }),
            "missing_api_key_indexes",
        ),
        (
            json!({ "actions": ["*"], "indexes": ["*"] }),
            "missing_api_key_expires_at",
        ),
        (
            json!({ "actions": ["fly"], "indexes": ["*"], "expiresAt": null }),
            "invalid_api_key_actions",
        ),
        (
            json!({ "actions": ["*"], "indexes": ["a b"], "expiresAt": null }),
            "invalid_api_key_indexes",
        ),
        (
            json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": "2001-01-01" }),
            "invalid_api_key_expires_at",
        ),
        (
            json!({ "uid": "x", "actions": ["*"], "indexes": ["*"], "expiresAt": null }),
            "invalid_api_key_uid",
        ),
    ] {
        node.api.post("/keys", body).await.error(400, code);
    }
}
