//! Passing a write on, unread, to the proxy that orders the index's writes.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use bytes::Bytes;
use miroir_core::cluster::TaskKind;
use miroir_core::id::{Epoch, IndexUid, TaskUid};
use miroir_meili::Secret;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Accepted, WriteError, WriteRequest};

/// Marks a forwarded request; its value is the epoch of the table by which it was.
pub const FORWARDED_HEADER: &str = "miroir-forwarded";
/// The cluster token by which a proxy knows another.
pub const TOKEN_HEADER: &str = "miroir-token";
/// Tells a repeated request from a new one: a UUID.
pub const REQUEST_ID_HEADER: &str = "miroir-request-id";
/// Passes the digests of a client's `Idempotency-Key` and of its request on.
pub const IDEMPOTENCY_HEADER: &str = "miroir-idempotency";
/// On an answer 421: the proxy does not order the index's writes.
pub const MOVED_HEADER: &str = "miroir-moved";

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How a forwarded request ended.
pub(super) enum Forwarded {
    /// The writer answered.
    Answered(Result<Accepted, WriteError>),
    /// It was certainly not carried out; a newer table may know another writer.
    NotTaken,
    /// The answer was lost. The same request may be sent to the same writer again.
    Lost(String),
}

/// A client of other proxies.
#[derive(Clone)]
pub(super) struct Forwarder {
    http: reqwest::Client,
    token: Secret,
    timeout: Duration,
}

impl Forwarder {
    /// Answers may take `timeout`.
    pub(super) fn new(http: reqwest::Client, token: Secret, timeout: Duration) -> Self {
        Self {
            http,
            token,
            timeout,
        }
    }

    /// Sends the request to the writer at `url`, which was found in the table of `epoch`.
    pub(super) async fn send(&self, url: &str, epoch: Epoch, request: &WriteRequest) -> Forwarded {
        let raw = &request.raw;
        let mut sending = self
            .http
            .request(raw.method.clone(), format!("{url}{}", raw.path_and_query))
            .headers(raw.headers.clone())
            .header(FORWARDED_HEADER, epoch.0)
            .header(TOKEN_HEADER, self.token.expose())
            .header(REQUEST_ID_HEADER, request.request_id.to_string())
            .timeout(self.timeout)
            .body(raw.body.clone());
        if let Some(write) = &request.idempotency {
            let text = format!("{}-{}", write.key, write.request);
            sending = sending.header(IDEMPOTENCY_HEADER, text);
        }
        let answer = match sending.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => return Forwarded::NotTaken,
            Err(error) => return Forwarded::Lost(crate::catalog::chain(&error.without_url())),
        };
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        if status == 421 && headers.contains_key(MOVED_HEADER) {
            return Forwarded::NotTaken;
        }
        match answer.bytes().await {
            Ok(body) if body.len() <= ANSWER_BYTES_MAX => {
                read(status, &headers, body, &request.index)
            }
            Ok(body) => Forwarded::Lost(format!("its answer has {} bytes", body.len())),
            Err(error) => Forwarded::Lost(crate::catalog::chain(&error.without_url())),
        }
    }
}

/// Meilisearch's summarised task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    task_uid: u32,
    #[serde(rename = "type")]
    kind: String,
    enqueued_at: String,
    #[serde(default)]
    custom_metadata: Option<String>,
}

fn read(status: u16, headers: &HeaderMap, body: Bytes, index: &IndexUid) -> Forwarded {
    if status != 202 {
        let retry_after = headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let retry_after_s = retry_after.and_then(|value| value.trim().parse().ok());
        return Forwarded::Answered(Err(WriteError::Answer {
            status,
            retry_after_s,
            body,
        }));
    }
    let accepted = serde_json::from_slice::<Summary>(&body)
        .ok()
        .and_then(|summary| {
            Some(Accepted {
                task_uid: TaskUid(summary.task_uid),
                index_uid: index.clone(),
                kind: TaskKind::parse(&summary.kind)?,
                enqueued_at_ms: unix_ms(&summary.enqueued_at)?,
                custom_metadata: summary.custom_metadata,
            })
        });
    match accepted {
        Some(accepted) => Forwarded::Answered(Ok(accepted)),
        None => Forwarded::Answered(Err(WriteError::unknown(
            "the index's writer gave an answer that makes no sense",
        ))),
    }
}

fn unix_ms(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// How long to wait before the same writer is asked again, if that is still worth it.
pub(super) fn pause(deadline: Instant) -> Option<Duration> {
    const PAUSE: Duration = Duration::from_millis(100);
    (Instant::now() + PAUSE < deadline).then_some(PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_passed_on() {
        let uid = IndexUid::parse("x").expect("a uid");
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "3".parse().expect("a value"));
        let body = r#"{"taskUid":7,"indexUid":"x","status":"enqueued","type":"documentDeletion","enqueuedAt":"2026-01-02T03:04:05.678Z"}"#;
        let read =
            |status, body: &str| match read(status, &headers, Bytes::from(body.to_owned()), &uid) {
                Forwarded::Answered(answer) => answer,
                Forwarded::NotTaken | Forwarded::Lost(_) => panic!("answered"),
            };
        let accepted = read(202, body).expect("accepted");
        assert_eq!(
            (accepted.task_uid, accepted.kind),
            (TaskUid(7), TaskKind::DocumentDeletion)
        );
        assert_eq!(accepted.enqueued_at_ms, 1_767_323_045_678);
        let error = read(503, "{}").expect_err("an error");
        assert_eq!(
            (error.status(), error.retry_after_s(), &error.body()[..]),
            (503, Some(3), &b"{}"[..])
        );
        assert!(read(202, "{}").expect_err("nonsense").outcome_unknown());
    }
}
