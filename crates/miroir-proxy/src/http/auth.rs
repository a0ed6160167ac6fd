//! Who may do what.
//!
//! Without a master key everything is open, as in Meilisearch. With one, searches and reads of
//! documents carry the client's own key to the nodes, which judge it; everything else asks for
//! the master key here.

use axum::http::{HeaderMap, HeaderValue, header};
use miroir_core::api_error::{ApiError, Code};
use miroir_meili::Secret;

use crate::error::HttpError;
use crate::write::TOKEN_HEADER;

/// The keys that this proxy knows.
#[derive(Debug, Clone)]
pub struct Keys {
    master: Option<Secret>,
    cluster_token: Option<Secret>,
}

impl Keys {
    /// Without `master` everything is open; without `cluster_token` no proxy is believed to be one.
    #[must_use]
    pub fn new(master: Option<Secret>, cluster_token: Option<Secret>) -> Self {
        Self {
            master,
            cluster_token,
        }
    }

    /// Lets through whoever holds the master key.
    ///
    /// # Errors
    /// `missing_authorization_header` or `invalid_api_key`.
    pub fn require_master(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        let Some(master) = &self.master else {
            return Ok(());
        };
        let given = bearer(headers).ok_or_else(missing)?;
        if same(given.as_bytes(), master.expose().as_bytes()) {
            Ok(())
        } else {
            Err(invalid())
        }
    }

    /// What to show the nodes in the client's name: its own header, or nothing when everything is
    /// open.
    ///
    /// # Errors
    /// `missing_authorization_header`: without this a request without a key would be sent with the
    /// nodes' master key.
    pub fn pass_through(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, HttpError> {
        if self.master.is_none() {
            return Ok(None);
        }
        bearer(headers).ok_or_else(missing)?;
        Ok(headers.get(header::AUTHORIZATION).cloned())
    }

    /// Whether the request comes from another proxy of the cluster.
    #[must_use]
    pub fn is_proxy(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(TOKEN_HEADER);
        match (&self.cluster_token, given) {
            (Some(token), Some(given)) => same(given.as_bytes(), token.expose().as_bytes()),
            (None, _) | (_, None) => false,
        }
    }

    /// Whether the request shows the master key, or none is needed.
    #[must_use]
    pub fn is_master(&self, headers: &HeaderMap) -> bool {
        self.require_master(headers).is_ok()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn missing() -> HttpError {
    ApiError::new(
        Code::MissingAuthorizationHeader,
        "The Authorization header is missing. It must use the bearer authorization method.",
    )
    .into()
}

fn invalid() -> HttpError {
    ApiError::new(Code::InvalidApiKey, "The provided API key is invalid.").into()
}

/// Compares in a time that depends on the lengths only, so that a key cannot be guessed byte by
/// byte from how long a refusal takes.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = expected
        .iter()
        .enumerate()
        .fold(0_u8, |differing, (at, byte)| {
            differing | (byte ^ given.get(at).copied().unwrap_or(0))
        });
    std::hint::black_box(differing) == 0 && given.len() == expected.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: Option<&str>) -> HeaderMap {
        let value = authorization.map(|text| HeaderValue::from_str(text).expect("a header value"));
        value
            .into_iter()
            .map(|value| (header::AUTHORIZATION, value))
            .collect()
    }

    #[test]
    fn who_may_what() {
        let keys = Keys::new(Some(Secret::new("master")), None);
        let table = [
            (
                None,
                Err("missing_authorization_header"),
                Err("missing_authorization_header"),
            ),
            (
                Some("master"),
                Err("missing_authorization_header"),
                Err("missing_authorization_header"),
            ),
            (
                Some("Basic master"),
                Err("missing_authorization_header"),
                Err("missing_authorization_header"),
            ),
            (Some("Bearer other"), Err("invalid_api_key"), Ok(true)),
            (Some("Bearer maste"), Err("invalid_api_key"), Ok(true)),
            (Some("Bearer masterr"), Err("invalid_api_key"), Ok(true)),
            (Some("Bearer "), Err("invalid_api_key"), Ok(true)),
            (Some("Bearer master"), Ok(()), Ok(true)),
        ];
        for (authorization, write, read) in table {
            let headers = headers(authorization);
            let code = |error: HttpError| error.code().to_owned();
            let got = keys.require_master(&headers).map_err(code);
            assert_eq!(got, write.map_err(str::to_owned), "{authorization:?}");
            let got = keys
                .pass_through(&headers)
                .map(|header| header.is_some())
                .map_err(code);
            assert_eq!(got, read.map_err(str::to_owned), "{authorization:?}");
        }
    }

    #[test]
    fn without_a_master_key_everything_is_open() {
        let keys = Keys::new(None, None);
        for authorization in [None, Some("Bearer anything")] {
            let headers = headers(authorization);
            assert_eq!(keys.require_master(&headers), Ok(()));
            assert_eq!(keys.pass_through(&headers), Ok(None));
        }
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
}
