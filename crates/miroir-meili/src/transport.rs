//! One HTTP exchange: what is sent, how long it may take, and what its failure means.

use crate::error::{Interruption, MeiliError, NodeError};
use crate::raw::RawResponse;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

/// How much of an unexpected body an error message quotes, in bytes.
const QUOTED_BODY: usize = 160;

/// The HTTP client that every [`NodeClient`](crate::NodeClient) of a process shares.
///
/// It ignores proxy variables of the environment and follows no redirect: both would
/// send the fleet's master key to a machine nobody configured. `connect_timeout`
/// bounds the connection alone; a whole call is bounded per client.
pub fn http_client(connect_timeout: Duration) -> Result<reqwest::Client, MeiliError> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(Duration::from_secs(60))
        .build()
        .map_err(|error| MeiliError::Invalid {
            what: format!("the HTTP client cannot be set up: {}", chain(error)),
        })
}

/// A request, ready to leave.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Bounds connecting, sending and reading the whole answer.
    pub timeout: Duration,
    /// The longest answer that is read, in bytes.
    pub answer_limit: usize,
}

impl Exchange {
    /// Sends the request and reads the answer, whatever its status.
    pub async fn send(self, http: &reqwest::Client) -> Result<RawResponse, MeiliError> {
        let call = describe(&self.method, &self.url);
        let response = http
            .request(self.method, self.url)
            .headers(self.headers)
            .body(self.body)
            .timeout(self.timeout)
            .send()
            .await
            .map_err(|error| transport_error(&call, error))?;
        read_answer(call, response, self.answer_limit).await
    }
}

/// Method and URL without the query, which can be long and hold a client's filter.
fn describe(method: &Method, url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    format!("{method} {shown}")
}

async fn read_answer(
    call: String,
    mut response: reqwest::Response,
    limit: usize,
) -> Result<RawResponse, MeiliError> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let too_long = || MeiliError::Protocol {
        call: call.clone(),
        status: status.as_u16(),
        detail: format!("the answer is longer than the limit of {limit} bytes"),
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| transport_error(&call, error))?;
        let Some(chunk) = chunk else { break };
        if body.len() + chunk.len() > limit {
            return Err(too_long());
        }
        if body.is_empty() {
            // `announced` was checked against the limit above.
            body.reserve((announced as usize).max(chunk.len()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawResponse {
        status,
        headers,
        body: body.freeze(),
        call,
    })
}

/// Sorts a failure of the HTTP client by what it means for the request. Only a failed
/// connection proves that nothing was sent: the client reports every later failure,
/// on a reused connection too, after the first byte may have left.
fn transport_error(call: &str, error: reqwest::Error) -> MeiliError {
    let call = call.to_owned();
    if error.is_builder() {
        let what = format!("{call}: {}", chain(error));
        return MeiliError::Invalid { what };
    }
    if error.is_connect() {
        let detail = chain(error);
        return MeiliError::Connect { call, detail };
    }
    let how = if error.is_timeout() {
        Interruption::Timeout
    } else {
        Interruption::Connection
    };
    let detail = chain(error);
    MeiliError::UnknownOutcome { call, how, detail }
}

/// The error with all its causes: reqwest's own text hides the interesting one.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

impl RawResponse {
    /// The body as `T`, or the error that the answer is.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, MeiliError> {
        let answer = self.success()?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            let detail = format!("{error}: {}", quote(&answer.body));
            answer.protocol_error(detail)
        })
    }

    /// As [`parse`](Self::parse), with `None` for an error that has one of `codes`.
    pub(crate) fn parse_unless<T: DeserializeOwned>(
        self,
        codes: &[&str],
    ) -> Result<Option<T>, MeiliError> {
        match self.parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code().is_some_and(|code| codes.contains(&code)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// This answer, or the error that it is.
    pub(crate) fn success(self) -> Result<Self, MeiliError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let error = serde_json::from_slice::<NodeError>(&self.body).ok();
        Err(match (self.status, error) {
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, error) => {
                MeiliError::Busy {
                    status: self.status.as_u16(),
                    retry_after: retry_after(&self.headers),
                    detail: error.map_or_else(|| quote(&self.body), |error| error.to_string()),
                    call: self.call,
                }
            }
            (_, Some(error)) => MeiliError::Api {
                call: self.call,
                status: self.status.as_u16(),
                error: Box::new(error),
            },
            (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, None) => {
                MeiliError::UnknownOutcome {
                    how: Interruption::Gateway,
                    detail: format!("HTTP {}: {}", self.status.as_u16(), quote(&self.body)),
                    call: self.call,
                }
            }
            (_, None) => {
                let detail = quote(&self.body);
                self.protocol_error(detail)
            }
        })
    }

    pub(crate) fn protocol_error(self, detail: String) -> MeiliError {
        MeiliError::Protocol {
            call: self.call,
            status: self.status.as_u16(),
            detail,
        }
    }
}

/// `Retry-After` in seconds. Its other form, a date, is for caches; no node sends it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// The beginning of a body, for an error message.
fn quote(body: &[u8]) -> String {
    let cut = &body[..body.len().min(QUOTED_BODY)];
    let more = if cut.len() < body.len() { "…" } else { "" };
    format!("body {:?}{more}", String::from_utf8_lossy(cut))
}
