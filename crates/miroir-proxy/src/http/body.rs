//! Request bodies: bounded, and of a type that the route takes.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use miroir_core::api_error::{ApiError, Code};

const JSON: &str = "application/json";

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// `payload_too_large`; `unsupported_media_type` for a compressed body; `bad_request` when the
/// client breaks off.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    check_encoding(headers)?;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|n| n > limit as u64)
    {
        return Err(too_large(limit));
    }
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(inner) = cause {
            if inner.to_string().contains("length limit exceeded") {
                return too_large(limit);
            }
            cause = inner.source();
        }
        ApiError::new(
            Code::BadRequest,
            format!("The request's body ended early: {error}"),
        )
    })
}

fn too_large(limit: usize) -> ApiError {
    let mebibytes = limit as f64 / f64::from(1 << 20);
    ApiError::new(
        Code::PayloadTooLarge,
        format!(
            "The provided payload reached the size limit. The maximum accepted payload size is {mebibytes:.2} MiB."
        ),
    )
}

fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?"));
    match encoding {
        None | Some("" | "identity") => Ok(()),
        Some(other) => Err(ApiError::new(
            Code::UnsupportedMediaType,
            format!("A body with Content-Encoding `{other}` is not taken. Send it uncompressed."),
        )),
    }
}

/// Checks that the body is announced as JSON.
///
/// # Errors
/// `missing_content_type` or `invalid_content_type`.
pub fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("unknown"));
    let accepted = format!("Accepted values for the Content-Type header are: `{JSON}`");
    let Some(given) = given else {
        let message = format!("A Content-Type header is missing. {accepted}");
        return Err(ApiError::new(Code::MissingContentType, message));
    };
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let message = format!("The Content-Type `{given}` is invalid. {accepted}");
    Err(ApiError::new(Code::InvalidContentType, message))
}

/// The text of a header, if it has one that is text.
#[must_use]
pub fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[tokio::test]
    async fn bodies_are_bounded_with_and_without_a_length() {
        let chunks = || futures::stream::iter(["12345"; 3].map(Ok::<_, std::io::Error>));
        let whole = read(&HeaderMap::new(), Body::from_stream(chunks()), 15).await;
        assert_eq!(whole.as_deref(), Ok(b"123451234512345".as_slice()));
        let announced = headers(&[(header::CONTENT_LENGTH, "16")]);
        for (headers, limit) in [(HeaderMap::new(), 14), (announced, 15)] {
            let error = read(&headers, Body::from_stream(chunks()), limit)
                .await
                .expect_err("long");
            assert_eq!(error.code, Code::PayloadTooLarge);
        }
        let error = too_large(100 << 20);
        assert!(error.message.ends_with("size is 100.00 MiB."), "{error}");
    }

    #[tokio::test]
    async fn compressed_and_broken_bodies_are_refused() {
        let gzip = headers(&[(header::CONTENT_ENCODING, "gzip")]);
        let error = read(&gzip, Body::empty(), 10)
            .await
            .expect_err("compressed");
        assert_eq!(error.code, Code::UnsupportedMediaType);
        let broken = futures::stream::iter([Ok("12"), Err(std::io::Error::other("reset"))]);
        let error = read(&HeaderMap::new(), Body::from_stream(broken), 10)
            .await
            .expect_err("broken");
        assert_eq!(error.code, Code::BadRequest);
    }

    #[test]
    fn json_is_required_in_meilisearchs_words() {
        let table = [
            (Some("application/json"), None),
            (Some("Application/JSON; charset=utf-8"), None),
            (None, Some(Code::MissingContentType)),
            (Some("text/plain"), Some(Code::InvalidContentType)),
            (Some(""), Some(Code::InvalidContentType)),
        ];
        for (given, refused) in table {
            let headers = given
                .map(|value| headers(&[(header::CONTENT_TYPE, value)]))
                .unwrap_or_default();
            assert_eq!(
                require_json(&headers).err().map(|error| error.code),
                refused,
                "{given:?}"
            );
        }
    }
}
