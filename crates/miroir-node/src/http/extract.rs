//! Reading what a request carries: path, query parameters and body.

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, Uri, header};
use deserr::Deserr;
use futures::StreamExt;
use serde_json::Value;

use super::App;
use crate::error::{ApiError, Code};
use crate::validate::{self, FromParam, InvalidJson, InvalidQuery, Problem};

/// Longest index uid, bytes.
const MAX_UID_BYTES: usize = 400;

/// Checks an index uid.
pub fn index_uid(uid: &str) -> Result<String, ApiError> {
    IndexUid::from_param(uid)
        .map(|uid| uid.0)
        .map_err(|problem| ApiError::new(Code::InvalidIndexUid, problem.0))
}

/// A valid index uid.
#[derive(Debug, Clone)]
pub struct IndexUid(pub String);

impl FromParam for IndexUid {
    fn from_param(uid: &str) -> Result<Self, Problem> {
        let valid = !uid.is_empty()
            && uid.len() <= MAX_UID_BYTES
            && uid
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if valid {
            return Ok(Self(uid.to_owned()));
        }
        Err(Problem(format!(
            "`{uid}` is not a valid index uid. Index uid can be an integer or a string containing \
             only alphanumeric characters, hyphens (-) and underscores (_), and can not be more \
             than 512 bytes."
        )))
    }
}

/// Validates the request's query parameters.
pub fn parameters<T: Deserr<InvalidQuery>>(uri: &Uri) -> Result<T, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| ApiError::new(Code::BadRequest, error.body_text()))?;
    validate::query(pairs)
}

impl App {
    /// Reads a body of at most the configured size.
    pub(super) async fn body(&self, body: Body) -> Result<Vec<u8>, ApiError> {
        let limit = self.inner.payload_limit_bytes;
        let mut content = Vec::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| {
                ApiError::new(
                    Code::BadRequest,
                    "The provided payload is incomplete and cannot be parsed",
                )
            })?;
            if content.len() + chunk.len() > limit {
                return Err(ApiError::new(
                    Code::PayloadTooLarge,
                    format!(
                        "The provided payload reached the size limit. The maximum accepted \
                         payload size is {}.",
                        human_bytes(limit)
                    ),
                ));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    /// Reads a body that must say it is JSON and not be empty.
    pub(super) async fn json_bytes(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Vec<u8>, ApiError> {
        let accepted = "application/json";
        match media_type(headers) {
            Some(media) if media == accepted => (),
            Some(media) => return Err(invalid_content_type(&media, &[accepted])),
            None => return Err(missing_content_type(&[accepted])),
        }
        let content = self.body(body).await?;
        if content.is_empty() {
            return Err(ApiError::new(
                Code::MissingPayload,
                "A json payload is missing.",
            ));
        }
        Ok(content)
    }

    /// Reads a JSON body, whatever its shape.
    pub(super) async fn json(&self, headers: &HeaderMap, body: Body) -> Result<Value, ApiError> {
        let content = self.json_bytes(headers, body).await?;
        serde_json::from_slice(&content).map_err(|error| malformed_json(&error))
    }

    /// Reads and validates a JSON body.
    pub(super) async fn validated<T: Deserr<InvalidJson>>(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, ApiError> {
        validate::json(self.json(headers, body).await?)
    }
}

/// 400 for a body that is not JSON.
pub fn malformed_json(error: &serde_json::Error) -> ApiError {
    let message = format!("The json payload provided is malformed. `{error}`.");
    ApiError::new(Code::MalformedPayload, message)
}

/// The media type of the body, without parameters, in lower case.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let media = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    Some(media)
}

/// 415 for a body of another type.
pub fn invalid_content_type(media: &str, accepted: &[&str]) -> ApiError {
    let message = format!(
        "The Content-Type `{media}` is invalid. Accepted values for the Content-Type header are: {}",
        quoted(accepted)
    );
    ApiError::new(Code::InvalidContentType, message)
}

/// 415 for a body that does not say its type.
pub fn missing_content_type(accepted: &[&str]) -> ApiError {
    let message = format!(
        "A Content-Type header is missing. Accepted values for the Content-Type header are: {}",
        quoted(accepted)
    );
    ApiError::new(Code::MissingContentType, message)
}

fn quoted(values: &[&str]) -> String {
    values
        .iter()
        .map(|value| format!("`{value}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn human_bytes(bytes: usize) -> String {
    let (unit, factor) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..1_048_576 => ("KiB", 1024.0),
        1_048_576..1_073_741_824 => ("MiB", 1_048_576.0),
        _ => ("GiB", 1_073_741_824.0),
    };
    format!("{} {unit}", bytes as f64 / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_uids_are_plain_ascii() {
        for valid in ["movies", "a", "A-b_9", &"x".repeat(400)] {
            assert!(index_uid(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "a b", "é", "a.b", &"x".repeat(401)] {
            let error = index_uid(invalid).unwrap_err();
            assert_eq!(error.code, Code::InvalidIndexUid, "{invalid}");
            assert!(
                error
                    .message
                    .starts_with(&format!("`{invalid}` is not a valid index uid."))
            );
        }
    }

    #[test]
    fn media_types_ignore_parameters_and_case() {
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), None);
        headers.insert(
            header::CONTENT_TYPE,
            "Application/JSON; charset=utf-8".parse().unwrap(),
        );
        assert_eq!(media_type(&headers).as_deref(), Some("application/json"));
    }
}
