//! Requests and keys of every kind.

use axum::http::HeaderValue;
use miroir_core::registry::{Entry, IndexPattern};
use serde_json::{Value, json};

use super::token::tests::signed;
use super::*;

const MASTER: &str = "masterKey";
const SEARCH: &str = "00000000-0000-4000-8000-000000000001";
const MOVIES: &str = "00000000-0000-4000-8000-000000000002";
const EXPIRED: &str = "00000000-0000-4000-8000-000000000003";
const GONE: &str = "00000000-0000-4000-8000-000000000004";

fn headers(authorization: Option<&str>) -> HeaderMap {
    let value = authorization.map(|text| HeaderValue::from_str(text).expect("a header value"));
    value
        .into_iter()
        .map(|value| (header::AUTHORIZATION, value))
        .collect()
}

fn registry() -> Arc<Registry> {
    let key = |uid: &str, actions: &[Action], indexes: &[&str], expires_at_ms| {
        let key = ApiKey {
            name: None,
            description: None,
            actions: actions.to_vec(),
            indexes: indexes
                .iter()
                .map(|pattern| IndexPattern::parse(pattern).expect("valid"))
                .collect(),
            expires_at: None,
            expires_at_ms,
        };
        let entry = Entry {
            value: serde_json::to_value(key).expect("plain data"),
            version: 1,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        (Collection::Keys, uid.to_owned(), entry)
    };
    let movies = [Action::Search, Action::DocumentsAll, Action::TasksGet];
    Arc::new(Registry::of(
        1,
        true,
        [
            key(SEARCH, &[Action::Search], &["*"], None),
            key(MOVIES, &movies, &["mov*", "a"], None),
            key(EXPIRED, &[Action::All], &["*"], Some(1)),
        ],
    ))
}

fn keys() -> Keys {
    Keys::new(Some(Secret::new(MASTER)), None)
}

fn value(uid: &str) -> String {
    keys().value_of(uid).expect("a master key")
}

fn tenant_token(uid: &str, rules: Value) -> String {
    let claims = json!({ "apiKeyUid": uid, "searchRules": rules });
    signed(&json!({ "alg": "HS256" }), &claims, &value(uid))
}

fn judge(
    authorization: Option<&str>,
    action: Action,
    index: Option<&str>,
) -> Result<Allowed, String> {
    let judged = keys().authorize(&headers(authorization), &registry(), action, index);
    judged.map_err(|error| error.to_string())
}

const MISSING: &str = "The Authorization header is missing. It must use the bearer authorization method. (missing_authorization_header)";
const INVALID: &str = "The provided API key is invalid. (invalid_api_key)";

#[test]
fn only_a_bearer_is_looked_at() {
    let master = format!("Bearer {MASTER}");
    let table = [
        (None, Err(MISSING)),
        (Some(MASTER), Err(MISSING)),
        (Some("Basic masterKey"), Err(MISSING)),
        (Some("bearer masterKey"), Err(MISSING)),
        (Some("Bearer"), Err(INVALID)),
        (Some("Bearer "), Err(INVALID)),
        (Some("Bearer masterKe"), Err(INVALID)),
        (Some("Bearer masterKeyy"), Err(INVALID)),
        (Some("Bearer  masterKey"), Err(INVALID)),
        (Some(master.as_str()), Ok(())),
    ];
    for (authorization, expected) in table {
        let got = judge(authorization, Action::IndexesGet, Some("movies")).map(drop);
        assert_eq!(got, expected.map_err(str::to_owned), "{authorization:?}");
    }
}

#[test]
fn keys_open_what_they_name() {
    let not_movies = "The API key cannot acces the index `books`, authorized indexes are [\"a\", \"mov*\"]. (invalid_api_key)";
    let table = [
        (SEARCH, Action::Search, Some("books"), Ok(())),
        (SEARCH, Action::Search, None, Ok(())),
        (SEARCH, Action::DocumentsGet, Some("books"), Err(INVALID)),
        (MOVIES, Action::Search, Some("movies"), Ok(())),
        (MOVIES, Action::DocumentsAdd, Some("a"), Ok(())),
        (MOVIES, Action::DocumentsAdd, Some("books"), Err(not_movies)),
        (MOVIES, Action::Search, Some("books"), Err(not_movies)),
        (MOVIES, Action::TasksGet, None, Ok(())),
        (MOVIES, Action::IndexesGet, Some("movies"), Err(INVALID)),
        (EXPIRED, Action::Search, Some("movies"), Err(INVALID)),
        (GONE, Action::Search, Some("movies"), Err(INVALID)),
    ];
    for (uid, action, index, expected) in table {
        let shown = format!("Bearer {}", value(uid));
        let got = judge(Some(&shown), action, index).map(drop);
        assert_eq!(
            got,
            expected.map_err(str::to_owned),
            "{uid} {action} {index:?}"
        );
    }
}

#[test]
fn tenant_tokens_search_what_they_and_their_key_name() {
    let movies = json!({ "movies": { "filter": "user = 1" }, "books": null });
    let of_rules = "The provided tenant token cannot acces the index `a`, allowed indexes are [\"books\", \"movies\"]. (invalid_api_key)";
    let of_key = "The API key used to generate this tenant token cannot acces the index `books`. (invalid_api_key)";
    let table = [
        (
            MOVIES,
            Action::Search,
            Some("movies"),
            Ok(Some(json!("user = 1"))),
        ),
        (MOVIES, Action::Search, Some("books"), Err(of_key)),
        (MOVIES, Action::Search, Some("a"), Err(of_rules)),
        (SEARCH, Action::Search, Some("books"), Ok(None)),
        (SEARCH, Action::Search, None, Ok(Some(json!("user = 1")))),
        (MOVIES, Action::DocumentsGet, Some("movies"), Err(INVALID)),
        (EXPIRED, Action::Search, Some("movies"), Err(INVALID)),
        (GONE, Action::Search, Some("movies"), Err(INVALID)),
    ];
    for (uid, action, index, expected) in table {
        let shown = format!("Bearer {}", tenant_token(uid, movies.clone()));
        let got = judge(Some(&shown), action, index);
        let got = got.map(|allowed| allowed.filter(index.unwrap_or("movies")).cloned());
        assert_eq!(
            got,
            expected.map_err(str::to_owned),
            "{uid} {action} {index:?}"
        );
    }
}

#[test]
fn routes_that_look_themselves_are_told_what_is_allowed() {
    let shown = format!("Bearer {}", tenant_token(MOVIES, json!(["*"])));
    let allowed = judge(Some(&shown), Action::Search, None).expect("allowed");
    assert!(allowed.index("movies") && !allowed.index("books") && !allowed.all_indexes());
    assert_eq!(allowed.require_index("movies"), Ok(()));
    let refused = allowed.require_index("books").expect_err("not named");
    assert_eq!(refused.to_string(), INVALID);
    assert!(
        !allowed.may_create("movies"),
        "the key has no `indexes.create`"
    );
    let everything = Allowed::everything();
    assert!(everything.all_indexes() && everything.may_create("x"));
}

#[test]
fn without_a_master_key_everything_but_keys_is_open() {
    let keys = Keys::new(None, None);
    for authorization in [None, Some("Bearer anything")] {
        let headers = headers(authorization);
        let judge = |action| keys.authorize(&headers, &registry(), action, None);
        assert!(judge(Action::Search).is_ok() && judge(Action::DumpsCreate).is_ok());
        let refused = judge(Action::KeysGet).expect_err("there are no keys");
        assert_eq!(refused.code(), "missing_master_key");
        assert!(keys.is_master(&headers));
    }
}

#[test]
fn a_new_registry_counts_at_once() {
    let keys = keys();
    let shown = headers(Some(&format!("Bearer {}", value(SEARCH))));
    let judge = |registry: &Arc<Registry>| {
        let judged = keys.authorize(&shown, registry, Action::Search, None);
        judged.is_ok()
    };
    assert!(judge(&registry()));
    assert!(!judge(&Arc::default()));
    assert!(judge(&registry()));
}

#[test]
fn only_the_token_makes_a_proxy() {
    let with = |token: &'static str| -> HeaderMap {
        let name = axum::http::HeaderName::from_static(TOKEN_HEADER);
        [(name, HeaderValue::from_static(token))]
            .into_iter()
            .collect()
    };
    let keys = Keys::new(None, Some(Secret::new("token")));
    assert!(keys.is_proxy(&with("token")));
    assert!(!keys.is_proxy(&with("toke")));
    assert!(!keys.is_proxy(&HeaderMap::new()));
    assert!(!Keys::new(None, None).is_proxy(&with("")));
}
