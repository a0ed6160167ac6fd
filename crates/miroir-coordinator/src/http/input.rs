//! What requests say: numbers in paths, queries, bodies. Whatever is not known is refused, by name.

use axum::extract::{FromRequest, Query, Request};
use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use miroir_proto::v1;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::answer::Error;

/// A number in a path.
pub(super) fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|_| Error::bad_request(format!("`{text}` is no {what}: it must be a number")))
}

/// The query of a request.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    Query::try_from_uri(uri)
        .map(|Query(parsed)| parsed)
        .map_err(|error| {
            Error::bad_request(format!("the query cannot be read: {}", error.body_text()))
        })
}

/// The whole body of a request, of whatever type it calls itself.
#[derive(Debug)]
pub(super) struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let read = Bytes::from_request(request, state).await;
        read.map(Self)
            .map_err(|error| Error::new(error.status(), "bad_request", error.body_text()))
    }
}

/// What a body says. One that is empty is an empty object.
pub(super) fn body<T: DeserializeOwned>(Body(bytes): &Body) -> Result<T, Error> {
    let text: &[u8] = if bytes.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        bytes
    };
    serde_json::from_slice(text).map_err(|error| {
        Error::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("the body cannot be read: {error}"),
        )
    })
}

/// How every change may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct How {
    /// Change nothing; answer what would be done.
    pub dry_run: bool,
    /// A UUID: the same request sent again is carried out once.
    pub request_id: String,
    /// Of a removal: the node is dead.
    pub force: bool,
}

/// A body that must be empty, or `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A node to be added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNode {
    url: String,
    group: Option<u32>,
    zone: Option<String>,
    weight: Option<u32>,
}

impl From<NewNode> for v1::NewNode {
    fn from(new: NewNode) -> Self {
        Self {
            url: new.url,
            group: new.group,
            zone: new.zone,
            weight: new.weight,
        }
    }
}

/// A group to be added.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGroup {
    pub nodes: Vec<NewNode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Factor {
    pub replication_factor: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    pub index: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FromTo {
    pub from: u64,
    pub to: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Copy {
    pub node: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Throttle {
    docs_per_s: Option<u32>,
    bytes_per_s: Option<u64>,
}

impl From<Throttle> for v1::Throttle {
    fn from(limits: Throttle) -> Self {
        Self {
            docs_per_s: limits.docs_per_s,
            bytes_per_s: limits.bytes_per_s,
        }
    }
}

/// A change of the policy: what is absent stays, and `null` lifts a throttle.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyChange {
    default_shards: Option<u32>,
    default_replication_factor: Option<u32>,
    min_in_sync: Option<u32>,
    reverse_window_ms: Option<u64>,
    max_concurrent_migrations: Option<u32>,
    max_migrations_per_target: Option<u32>,
    max_migrations_per_source: Option<u32>,
    #[serde(deserialize_with = "limit")]
    throttle_docs_per_s: Option<v1::Limit>,
    #[serde(deserialize_with = "limit")]
    throttle_bytes_per_s: Option<v1::Limit>,
    finished_tasks_max: Option<u32>,
    finished_migrations_max: Option<u32>,
    idempotency_keys_max: Option<u32>,
    idempotency_ttl_ms: Option<u64>,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<v1::Limit>, D::Error> {
    let per_s = Option::<u64>::deserialize(deserializer)?;
    Ok(Some(v1::Limit { per_s }))
}

impl From<PolicyChange> for v1::PolicyChange {
    fn from(change: PolicyChange) -> Self {
        Self {
            default_shards: change.default_shards,
            default_replication_factor: change.default_replication_factor,
            min_in_sync: change.min_in_sync,
            reverse_window_ms: change.reverse_window_ms,
            max_concurrent_migrations: change.max_concurrent_migrations,
            max_migrations_per_target: change.max_migrations_per_target,
            max_migrations_per_source: change.max_migrations_per_source,
            throttle_docs_per_s: change.throttle_docs_per_s,
            throttle_bytes_per_s: change.throttle_bytes_per_s,
            finished_tasks_max: change.finished_tasks_max,
            finished_migrations_max: change.finished_migrations_max,
            idempotency_keys_max: change.idempotency_keys_max,
            idempotency_ttl_ms: change.idempotency_ttl_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_are_told_apart_where_it_matters() {
        let parsed = |text: &'static str| {
            v1::PolicyChange::from(
                body::<PolicyChange>(&Body(Bytes::from_static(text.as_bytes()))).expect(text),
            )
        };
        assert_eq!(parsed("").throttle_docs_per_s, None);
        let lifted = parsed(r#"{"throttle_docs_per_s": null}"#);
        assert_eq!(lifted.throttle_docs_per_s, Some(v1::Limit { per_s: None }));
        let set = parsed(r#"{"throttle_bytes_per_s": 5}"#);
        assert_eq!(set.throttle_bytes_per_s, Some(v1::Limit { per_s: Some(5) }));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let uri = |query: &str| format!("/x?{query}").parse::<Uri>().expect("a URI");
        assert!(query::<How>(&uri("dry_run=true")).expect("known").dry_run);
        for bad in ["dryrun=true", "dry_run=maybe", "dry_run=true&dry_run=false"] {
            query::<How>(&uri(bad)).expect_err(bad);
        }
        for bad in [r#"{"reason": "x", "until": 3}"#, "[]", "{}", "nonsense"] {
            body::<Reason>(&Body(Bytes::from_static(bad.as_bytes()))).expect_err(bad);
        }
        for bad in ["-1", "0.5", "4294967296", "\"3\""] {
            let text = format!("{{\"docs_per_s\": {bad}}}");
            body::<Throttle>(&Body(Bytes::from(text))).expect_err(bad);
        }
        number::<u64>("node", "-1").expect_err("negative");
    }
}
