//! Request bodies: bounded, unpacked, and of a type that the route takes.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use brotli_decompressor::Decompressor;
use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use miroir_core::api_error::{ApiError, Code};

const JSON: &str = "application/json";
/// Bytes that are unpacked at a time.
const BROTLI_BUFFER: usize = 16 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Deflate,
    Brotli,
}

/// Reads a whole body and unpacks it; neither the packed nor the unpacked one may be longer than
/// `limit` bytes.
///
/// # Errors
/// `payload_too_large`; `unsupported_media_type` for a packing that is not known; `bad_request` when
/// the client breaks off, or the body is not packed as announced.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let packing = packing(headers)?;
    let announced = header_text(headers, header::CONTENT_LENGTH);
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|n| n > limit as u64)
    {
        return Err(too_large(limit));
    }
    let body = axum::body::to_bytes(body, limit).await.map_err(|error| {
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
    })?;
    if packing == Packing::Plain {
        return Ok(body);
    }
    // Unpacking a large body takes a while that other requests must not wait for.
    tokio::task::spawn_blocking(move || unpack(packing, &body, limit))
        .await
        .map_err(|error| {
            ApiError::new(Code::Internal, format!("Unpacking a body failed: {error}"))
        })?
}

fn packing(headers: &HeaderMap) -> Result<Packing, ApiError> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?"));
    match encoding {
        None | Some("" | "identity") => Ok(Packing::Plain),
        Some("gzip" | "x-gzip") => Ok(Packing::Gzip),
        Some("deflate") => Ok(Packing::Deflate),
        Some("br") => Ok(Packing::Brotli),
        Some(other) => Err(ApiError::new(
            Code::UnsupportedMediaType,
            format!(
                "A body with Content-Encoding `{other}` is not taken. Send it with `gzip`, `deflate`, `br` or none."
            ),
        )),
    }
}

fn unpack(packing: Packing, packed: &[u8], limit: usize) -> Result<Bytes, ApiError> {
    let mut unpacked = Vec::new();
    let bound = limit as u64 + 1;
    let read = match packing {
        Packing::Plain => return Ok(Bytes::copy_from_slice(packed)),
        Packing::Gzip => MultiGzDecoder::new(packed)
            .take(bound)
            .read_to_end(&mut unpacked),
        Packing::Deflate => ZlibDecoder::new(packed)
            .take(bound)
            .read_to_end(&mut unpacked),
        Packing::Brotli => Decompressor::new(packed, BROTLI_BUFFER)
            .take(bound)
            .read_to_end(&mut unpacked),
    };
    read.map_err(|error| {
        let message =
            format!("The request's body is not packed as its Content-Encoding says: {error}");
        ApiError::new(Code::BadRequest, message)
    })?;
    if unpacked.len() > limit {
        return Err(too_large(limit));
    }
    Ok(Bytes::from(unpacked))
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
    async fn packed_bodies_are_unpacked_within_the_limit() {
        use flate2::Compression;
        use flate2::write::{GzEncoder, ZlibEncoder};
        use std::io::Write as _;
        let text = vec![b'x'; 5000];
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&text).expect("in memory");
        zlib.write_all(&text).expect("in memory");
        let packed = [("gzip", gzip.finish()), ("deflate", zlib.finish())];
        for (encoding, packed) in packed {
            let packed = packed.expect("in memory");
            let headers = headers(&[(header::CONTENT_ENCODING, encoding)]);
            let read = |limit| read(&headers, Body::from(packed.clone()), limit);
            assert_eq!(
                read(5000).await.as_deref(),
                Ok(text.as_slice()),
                "{encoding}"
            );
            let error = read(4999).await.expect_err("too long");
            assert_eq!(error.code, Code::PayloadTooLarge, "{encoding}");
        }
    }

    #[tokio::test]
    async fn brotli_is_unpacked_within_the_limit() {
        let packed = Bytes::from_static(b"\x0b\x02\x80hello\x03");
        let headers = headers(&[(header::CONTENT_ENCODING, "br")]);
        let read = |limit| read(&headers, Body::from(packed.clone()), limit);
        assert_eq!(read(9).await.as_deref(), Ok(b"hello".as_slice()));
        let stored = unpack(Packing::Brotli, &packed, 4).expect_err("too long");
        assert_eq!(stored.code, Code::PayloadTooLarge);
    }

    #[tokio::test]
    async fn wrongly_packed_and_broken_bodies_are_refused() {
        let table = [
            ("zstd", Code::UnsupportedMediaType),
            ("gzip", Code::BadRequest),
            ("br", Code::BadRequest),
        ];
        for (encoding, code) in table {
            let headers = headers(&[(header::CONTENT_ENCODING, encoding)]);
            let error = read(&headers, Body::from("plain"), 10)
                .await
                .expect_err(encoding);
            assert_eq!(error.code, code);
        }
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
