//! Who may do what, by routes and kinds of keys; and keys, features and webhooks as clients manage them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use miroir_core::registry::{
    Action, ApiKey, Collection, Entry, IndexPattern, IndexScope, Registry,
};
use miroir_proxy::http::routes::{self, Access};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Answer, FakeNode, INDEX, KEY, Layout, Proxy, Seen, answer};

/// A key of a test: its number makes its uid.
struct Kind {
    actions: Vec<Action>,
    indexes: &'static [&'static str],
    expires_at_ms: Option<i64>,
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The value of a key, as every Meilisearch computes it.
fn value(uid: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
    mac.update(uid.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn token(uid: &str, rules: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "apiKeyUid": uid, "searchRules": rules });
    let message = format!("{}.{}", encode(json!({ "alg": "HS256" })), encode(claims));
    let mac = Hmac::<Sha256>::new_from_slice(value(uid).as_bytes()).expect("any length");
    let signature = mac.chain_update(message.as_bytes()).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn registry(kinds: &[Kind]) -> Registry {
    let entry = |(number, kind): (usize, &Kind)| {
        let key = ApiKey {
            name: None,
            description: None,
            actions: kind.actions.clone(),
            indexes: kind
                .indexes
                .iter()
                .map(|pattern| IndexPattern::parse(pattern).expect("valid"))
                .collect(),
            expires_at: None,
            expires_at_ms: kind.expires_at_ms,
        };
        let entry = Entry {
            value: json!(key),
            version: 1,
            created_at_ms: 1_700_000_000_000,
            updated_at_ms: 1_700_000_000_000,
        };
        (Collection::Keys, uid(number), entry)
    };
    Registry::of(1, true, kinds.iter().enumerate().map(entry))
}

/// A proxy whose node has nothing to say.
async fn proxy(kinds: &[Kind]) -> (FakeNode, Proxy) {
    let node = FakeNode::start(|_| {
        Answer::Json(
            200,
            json!({ "hits": [], "estimatedTotalHits": 0, "results": [], "total": 0 }),
        )
    })
    .await;
    let layout = Layout::new(&[node.address])
        .shard(&[1])
        .registry(registry(kinds));
    let proxy = Proxy::start(layout.build()).await;
    (node, proxy)
}

/// A path of a route that names an index which there is.
fn concrete(path: &str) -> String {
    path.replace("/indexes/{uid}", &format!("/indexes/{INDEX}"))
        .replace("{uid}", "1")
        .replace("{id}", "1")
        .replace("{setting}", "synonyms")
        .replace("{key}", &uid(999))
        .replace("{uuid}", &uid(999))
        .replace("{workspace}", "w")
}

/// Whether the sender of a request without a body was let through, to be told what is wrong with it otherwise.
async fn lets_through(proxy: &Proxy, route: &routes::Route, key: &str) -> bool {
    let method = Method::from_bytes(route.method.as_bytes()).expect("a method");
    let request = proxy.anonymous(method, &concrete(route.path));
    let (status, body) = answer(request.bearer_auth(key)).await;
    let refused = status == 403 && body["code"] == "invalid_api_key";
    assert!(
        refused || status != 401 && status != 403,
        "{route:?} {status} {body}"
    );
    !refused
}

/// Whether a key that names some indexes is asked for this route about no index of its path.
fn is_checked_by_route(route: &routes::Route, action: Action) -> bool {
    action.scope() == IndexScope::CheckedByRoute && !route.path.starts_with("/indexes/{uid}")
}

#[tokio::test]
async fn every_route_takes_the_keys_that_allow_it_and_no_other() {
    let mut kinds = Vec::new();
    let mut add = |actions: Vec<Action>, indexes, expires_at_ms| {
        kinds.push(Kind {
            actions,
            indexes,
            expires_at_ms,
        });
        value(&uid(kinds.len() - 1))
    };
    let all = add(vec![Action::All], &["*"], None);
    let expired = add(vec![Action::All], &["*"], Some(1));
    let by_action: Vec<[String; 4]> = Action::ALL_ACTIONS
        .iter()
        .map(|action| {
            let others = Action::ALL_ACTIONS.iter().copied();
            let others = others.filter(|other| !other.grants(*action)).collect();
            [
                add(vec![*action], &["*"], None),
                add(others, &["*"], None),
                add(vec![*action], &["mov*"], None),
                add(vec![*action], &["books"], None),
            ]
        })
        .collect();
    let (_node, proxy) = proxy(&kinds).await;
    // What would be carried out: this coordinator commits nothing, and the proxy would wait for it.
    let commits = |route: &routes::Route| route.method == "DELETE";
    // It asks for a second action beside the one of the table.
    let asks_twice = |route: &routes::Route| route.path == "/render-template";
    for route in routes::SUPPORTED {
        if commits(route) || asks_twice(route) {
            continue;
        }
        let Access::Key(action) = route.access else {
            continue;
        };
        let at = Action::ALL_ACTIONS.iter().position(|one| *one == action);
        let [exact, others, here, elsewhere] = &by_action[at.expect("listed")];
        let table = [
            ("the master key", KEY, true),
            ("every action", &all, true),
            ("its action", exact, true),
            ("an expired key", &expired, false),
            ("every other action", others, false),
            (
                "its action on this index",
                here,
                action.scope() != IndexScope::Global
                    && (route.path.starts_with("/indexes/{uid}")
                        || is_checked_by_route(route, action)),
            ),
            (
                "its action on another index",
                elsewhere,
                is_checked_by_route(route, action),
            ),
        ];
        for (kind, key, expected) in table {
            let got = lets_through(&proxy, route, key).await;
            assert_eq!(got, expected, "{} {} with {kind}", route.method, route.path);
        }
        let token = token(&uid(0), json!(["*"]));
        let takes_tokens = action == Action::Search;
        let got = lets_through(&proxy, route, &token).await;
        assert_eq!(
            got, takes_tokens,
            "{} {} with a tenant token",
            route.method, route.path
        );
    }
}

#[tokio::test]
async fn a_tenants_filter_is_required_beside_the_clients_own() {
    let kinds = [Kind {
        actions: vec![Action::Search],
        indexes: &["*"],
        expires_at_ms: None,
    }];
    let (node, proxy) = proxy(&kinds).await;
    let tenant = token(
        &uid(0),
        json!({ INDEX: { "filter": ["user = 1", "x = 2"] } }),
    );
    let path = format!("/indexes/{INDEX}/search");
    let own = json!({ "filter": "a = 1 OR b = 2" });
    let post = proxy.anonymous(Method::POST, &path).json(&own);
    assert_eq!(answer(post.bearer_auth(&tenant)).await.0, 200);
    let get = proxy.anonymous(Method::GET, &path);
    assert_eq!(answer(get.bearer_auth(&tenant)).await.0, 200);
    let seen = node.seen("/search");
    assert_eq!(
        seen[0].body["filter"],
        json!(["a = 1 OR b = 2", "user = 1", "x = 2"])
    );
    assert_eq!(seen[1].body["filter"], json!(["user = 1", "x = 2"]));
    for one in seen {
        let shown = one.headers["authorization"].to_str().expect("text");
        assert_eq!(
            shown,
            format!("Bearer {KEY}"),
            "the cluster asks, not its client"
        );
    }
}

#[tokio::test]
async fn what_is_similar_to_a_hidden_document_is_hidden() {
    let kinds = [Kind {
        actions: vec![Action::Search],
        indexes: &["*"],
        expires_at_ms: None,
    }];
    let (node, proxy) = proxy(&kinds).await;
    let tenant = token(&uid(0), json!({ INDEX: { "filter": "user = 1" } }));
    let seen = |total: u64| {
        move |asked: &Seen| match asked.path.contains("/documents") {
            true => Answer::Json(
                200,
                json!({ "results": [], "offset": 0, "limit": 0, "total": total }),
            ),
            false => Answer::Json(
                200,
                json!({ "hits": [], "id": "1", "offset": 0, "limit": 20, "estimatedTotalHits": 0, "processingTimeMs": 0 }),
            ),
        }
    };
    let path = format!("/indexes/{INDEX}/similar");
    let ask = || {
        let body = json!({ "id": "1", "embedder": "e" });
        answer(
            proxy
                .anonymous(Method::POST, &path)
                .bearer_auth(&tenant)
                .json(&body),
        )
    };
    node.set(seen(1));
    assert_eq!(ask().await.0, 200);
    node.set(seen(0));
    let (status, body) = ask().await;
    assert_eq!(
        (status, &body["code"]),
        (400, &json!("not_found_similar_id"))
    );
    assert_eq!(body["message"], "Document `1` not found.");
    let looked = node.seen("/documents");
    assert!(
        looked
            .iter()
            .all(|one| one.body["filter"].to_string().contains("user = 1"))
    );
}

#[tokio::test]
async fn keys_are_managed_as_in_meilisearch() {
    let (_node, proxy) = proxy(&[]).await;
    let whole = json!({
        "uid": uid(7), "name": "n", "description": null, "actions": ["search"],
        "indexes": ["mov*"], "expiresAt": null,
    });
    let (status, made) = proxy.post("/keys", whole.clone()).await;
    assert_eq!(status, 201, "{made}");
    let mut expected = whole.clone();
    expected["key"] = json!(value(&uid(7)));
    for time in ["createdAt", "updatedAt"] {
        expected[time] = json!("2027-01-15T08:00:00.006Z");
    }
    assert_eq!(made, expected);
    let (status, again) = proxy.post("/keys", whole).await;
    assert_eq!(
        (status, &again["code"]),
        (409, &json!("api_key_already_exists"))
    );
    for name in [uid(7), value(&uid(7))] {
        assert_eq!(
            proxy.get(&format!("/keys/{name}")).await,
            (200, expected.clone())
        );
    }
    let (status, wrong) = proxy.post("/keys", json!({})).await;
    assert_eq!(
        (status, &wrong["code"]),
        (400, &json!("missing_api_key_actions"))
    );

    let path = format!("/keys/{}", value(&uid(7)));
    let patch = |body: Value| answer(proxy.request(Method::PATCH, &path).json(&body));
    let (status, patched) = patch(json!({ "name": null, "description": "d" })).await;
    assert_eq!(
        (status, &patched["name"], &patched["description"]),
        (200, &json!(null), &json!("d"))
    );
    assert_eq!(patched["createdAt"], expected["createdAt"]);
    assert_eq!(patched["updatedAt"], "2027-01-15T08:00:00.007Z");
    let (status, refused) = patch(json!({ "actions": [] })).await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("immutable_api_key_actions"))
    );

    let (_, second) = proxy
        .post(
            "/keys",
            json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": null }),
        )
        .await;
    let (_, page) = proxy.get("/keys?limit=1").await;
    assert_eq!(
        page,
        json!({ "results": [second], "offset": 0, "limit": 1, "total": 2 })
    );
    let (_, page) = proxy.get("/keys?offset=1").await;
    assert_eq!(
        page,
        json!({ "results": [patched], "offset": 1, "limit": 20, "total": 2 })
    );
    let (status, refused) = proxy.get("/keys?limit=x").await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("invalid_api_key_limit"))
    );

    let delete = || answer(proxy.request(Method::DELETE, &path));
    assert_eq!(delete().await, (204, Value::Null));
    let (status, gone) = delete().await;
    assert_eq!((status, &gone["code"]), (404, &json!("api_key_not_found")));
    assert_eq!(
        gone["message"],
        format!("API key `{}` not found.", value(&uid(7)))
    );
}

#[tokio::test]
async fn webhooks_are_managed_as_in_meilisearch() {
    let (_node, proxy) = proxy(&[]).await;
    let body = json!({ "url": "http://127.0.0.1:1/x", "headers": { "Authorization": "Bearer 1234567890" } });
    let (status, made) = proxy.post("/webhooks", body).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        made["headers"],
        json!({ "Authorization": "Bearer 12XXXX..." })
    );
    assert_eq!(made["isEditable"], true);
    let path = format!("/webhooks/{}", made["uuid"].as_str().expect("a uuid"));
    assert_eq!(proxy.get(&path).await, (200, made.clone()));
    assert_eq!(
        proxy.get("/webhooks").await,
        (200, json!({ "results": [made] }))
    );
    let patch = json!({ "headers": { "Authorization": null, "x": "y" } });
    let (status, patched) = answer(proxy.request(Method::PATCH, &path).json(&patch)).await;
    assert_eq!((status, &patched["headers"]), (200, &json!({ "x": "y" })));
    let delete = || answer(proxy.request(Method::DELETE, &path));
    assert_eq!(delete().await.0, 204);
    let (status, gone) = delete().await;
    assert_eq!((status, &gone["code"]), (404, &json!("webhook_not_found")));
    let table = [
        ("/webhooks/x", 400, "invalid_webhook_uuid"),
        (
            "/webhooks/00000000-0000-0000-0000-000000000000",
            400,
            "immutable_webhook",
        ),
    ];
    for (path, expected, code) in table {
        let (status, body) = answer(proxy.request(Method::DELETE, path)).await;
        assert_eq!((status, &body["code"]), (expected, &json!(code)), "{path}");
    }
    for number in 0..20 {
        let (status, _) = proxy.post("/webhooks", json!({ "url": "http://a" })).await;
        assert_eq!(status, 201, "{number}");
    }
    let (status, body) = proxy.post("/webhooks", json!({ "url": "http://a" })).await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid_webhooks")));
}

#[tokio::test]
async fn features_are_switched_and_some_refused() {
    let (_node, proxy) = proxy(&[]).await;
    let (status, features) = proxy.get("/experimental-features").await;
    assert_eq!((status, &features["metrics"]), (200, &json!(false)));
    let patch = |body: Value| {
        answer(
            proxy
                .request(Method::PATCH, "/experimental-features")
                .json(&body),
        )
    };
    let (status, features) = patch(json!({ "metrics": true, "multimodal": null })).await;
    assert_eq!((status, &features["metrics"]), (200, &json!(true)));
    let (status, features) = patch(json!({ "containsFilter": true })).await;
    assert_eq!(
        (status, &features["metrics"]),
        (200, &json!(true)),
        "it stays on"
    );
    let (status, refused) = patch(json!({ "network": true })).await;
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("feature_not_enabled"))
    );
}
