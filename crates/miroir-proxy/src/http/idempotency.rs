//! `Idempotency-Key`: the name under which a client may send a write again (docs/adr/0016).
//!
//! Only digests leave this file. That of the key is made with whose it is, so that nobody learns of another's.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};
use miroir_core::cluster::{Digest, Idempotency};
use sha2::{Digest as _, Sha256};

use super::Allowed;
use crate::error::HttpError;
use crate::write::IDEMPOTENCY_HEADER;

const HEADER: &str = "idempotency-key";
const BYTES_MAX: usize = 255;
/// Bodies above this are hashed on another thread.
const LARGE_BODY_BYTES: usize = 1 << 20;

/// The key that a request brings, or that the proxy passed on which sends it.
///
/// # Errors
/// `invalid_idempotency_key`.
pub fn key(headers: &HeaderMap, allowed: &Allowed) -> Result<Option<Digest>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("it is there more than once"));
    }
    let key = unquoted(value.as_bytes())?;
    if key.is_empty() {
        return Err(invalid("it is empty"));
    }
    if key.len() > BYTES_MAX {
        return Err(invalid("it is longer than 255 bytes"));
    }
    if key.iter().any(u8::is_ascii_control) {
        return Err(invalid("it has control characters"));
    }
    let owner = allowed.key_uid().map(|uid| *uid.as_bytes());
    // An owner has 16 bytes, and the master key none: no two of both are spelt alike.
    let mut hash = Sha256::new();
    hash.update([u8::from(owner.is_some())]);
    hash.update(owner.unwrap_or_default());
    hash.update(&key);
    Ok(Some(digest(hash)))
}

/// The standard has a quoted string, most clients send a bare one: both mean what is between the quotes.
fn unquoted(value: &[u8]) -> Result<Vec<u8>, ApiError> {
    let [b'"', rest @ ..] = value else {
        return Ok(value.to_vec());
    };
    let [inner @ .., b'"'] = rest else {
        return Err(invalid("its quotes do not match"));
    };
    let mut key = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(*escaped),
                Some(_) | None => return Err(invalid("it has a wrong escape")),
            },
            b'"' => return Err(invalid("its quotes do not match")),
            other => key.push(*other),
        }
    }
    Ok(key)
}

fn invalid(why: &str) -> ApiError {
    let message = format!("The `Idempotency-Key` header is invalid: {why}.");
    ApiError::new(Code::InvalidIdempotencyKey, message)
}

/// What tells a request with this key from another.
///
/// # Errors
/// `internal`, when the body could not be hashed.
pub async fn of(
    key: Digest,
    (method, path_and_query): (&Method, &str),
    body: &Bytes,
) -> Result<Idempotency, HttpError> {
    let mut hash = Sha256::new();
    for part in [method.as_str(), path_and_query] {
        hash.update(part);
        // Neither can have one.
        hash.update(b"\n");
    }
    let request = if body.len() > LARGE_BODY_BYTES {
        let body = body.clone();
        let hashed = tokio::task::spawn_blocking(move || digest(hash.chain_update(&body))).await;
        hashed.map_err(|error| HttpError::internal(format!("hashing a body failed: {error}")))?
    } else {
        digest(hash.chain_update(body))
    };
    Ok(Idempotency { key, request })
}

fn digest(hash: Sha256) -> Digest {
    let hash: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Digest(bytes)
}

/// The client's key of a request whose body means nothing.
pub struct WithoutBody(pub Option<Idempotency>);

impl<S: Send + Sync> FromRequestParts<S> for WithoutBody {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let allowed = Allowed::from_request_parts(parts, state).await?;
        let Some(key) = key(&parts.headers, &allowed)? else {
            return Ok(Self(None));
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let write = of(key, (&parts.method, path), &Bytes::new()).await?;
        Ok(Self(Some(write)))
    }
}

/// What another proxy, which is believed, made of the header of a request that it passes on.
#[must_use]
pub fn passed_on(headers: &HeaderMap) -> Option<Idempotency> {
    let text = headers.get(IDEMPOTENCY_HEADER)?.to_str().ok()?;
    let (key, request) = text.split_once('-')?;
    Some(Idempotency {
        key: Digest::parse(key)?,
        request: Digest::parse(request)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(values: &[&[u8]]) -> Result<Option<Digest>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).expect("a header");
            headers.append(HEADER, value);
        }
        key(&headers, &Allowed::everything())
    }

    #[test]
    fn keys_are_bare_or_quoted_and_not_too_long() {
        assert_eq!(read(&[]), Ok(None));
        let bare = read(&[b"a-1"]).expect("valid");
        assert_eq!(read(&[b"\"a-1\""]), Ok(bare));
        assert_ne!(read(&[b"a-2"]), Ok(bare));
        assert_eq!(read(&[br#""a\"\\""#]), read(&[br#"a"\"#]));
        assert!(read(&["x".repeat(255).as_bytes()]).is_ok());
        let long = "x".repeat(256);
        let table: [&[&[u8]]; 8] = [
            &[b""],
            &[b"\"\""],
            &[long.as_bytes()],
            &[b"a\tb"],
            &[b"a", b"a"],
            &[b"\"a"],
            &[br#""a"b""#],
            &[br#""a\b""#],
        ];
        for values in table {
            let error = read(values).expect_err("refused");
            assert_eq!(error.code, Code::InvalidIdempotencyKey, "{values:?}");
        }
    }

    #[tokio::test]
    async fn every_part_of_a_request_counts() {
        let key = Digest([1; 16]);
        let body = Bytes::from_static(b"[]");
        let large = Bytes::from(vec![b' '; LARGE_BODY_BYTES + 1]);
        let table = [
            (Method::POST, "/a?b=1", body.clone()),
            (Method::PUT, "/a?b=1", body.clone()),
            (Method::POST, "/a?b=2", body.clone()),
            (Method::POST, "/a?b=1", Bytes::new()),
            (Method::POST, "/a?b=1", large),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (method, path, body) in &table {
            let one = of(key, (method, path), body).await.expect("hashed");
            let again = of(key, (method, path), body).await.expect("hashed");
            assert_eq!(one, again);
            assert!(seen.insert(one.request), "{method} {path}");
        }
    }

    #[test]
    fn what_is_passed_on_is_read_again() {
        let write = Idempotency {
            key: Digest([7; 16]),
            request: Digest([8; 16]),
        };
        let mut headers = HeaderMap::new();
        assert_eq!(passed_on(&headers), None);
        let text = format!("{}-{}", write.key, write.request);
        headers.insert(IDEMPOTENCY_HEADER, text.parse().expect("a value"));
        assert_eq!(passed_on(&headers), Some(write));
    }
}
