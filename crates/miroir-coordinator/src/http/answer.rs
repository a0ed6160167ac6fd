//! Answers: JSON, and errors in Meilisearch's shape.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use miroir_proto::REJECTION_METADATA;
use serde::Serialize;
use tonic::{Code, Status};

/// How long a client waits before it asks again while nobody leads, in seconds.
const RETRY_AFTER_S: &str = "1";

/// What every handler gives.
pub(super) type Answer = Result<Response, Error>;

/// A value as the answer.
pub(super) fn ok(value: &impl Serialize) -> Answer {
    Ok(Json(value).into_response())
}

/// An error as the answer.
#[derive(Debug)]
pub(super) struct Error {
    status: StatusCode,
    code: String,
    message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    code: &'a str,
    r#type: &'static str,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// A request that makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Nobody can answer now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// Meilisearch's four kinds of error.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "auth",
            StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => "system",
            StatusCode::INTERNAL_SERVER_ERROR => "internal",
            _ => "invalid_request",
        }
    }
}

impl From<Status> for Error {
    /// The same error as over gRPC. One from the log has its own code.
    fn from(status: Status) -> Self {
        let (http, code) = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => (StatusCode::BAD_REQUEST, "bad_request"),
            Code::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Code::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
            // Of a node that refuses the master key: the caller's own token was right.
            Code::FailedPrecondition | Code::PermissionDenied | Code::Aborted => {
                (StatusCode::CONFLICT, "precondition_failed")
            }
            Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "invalid_cluster_token"),
            Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "unknown_outcome"),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let code = refusal(&status).unwrap_or_else(|| code.to_owned());
        Self {
            status: http,
            code,
            message: status.message().to_owned(),
        }
    }
}

/// The name of the refusal that a status carries, in snake case.
fn refusal(status: &Status) -> Option<String> {
    let bytes = status
        .metadata()
        .get_bin(REJECTION_METADATA)?
        .to_bytes()
        .ok()?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let name = match &json {
        serde_json::Value::String(name) => name,
        serde_json::Value::Object(fields) => fields.keys().next()?,
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_) => return None,
    };
    let mut code = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            code.push('_');
        }
        code.push(letter.to_ascii_lowercase());
    }
    Some(code)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = Body {
            message: &self.message,
            code: &self.code,
            r#type: self.kind(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let again = match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Some((header::RETRY_AFTER, RETRY_AFTER_S))
            }
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = again {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use miroir_core::cluster::Rejection;
    use miroir_core::id::{GroupId, NodeId};

    use super::*;
    use crate::grpc::status;

    #[test]
    fn a_refusal_keeps_its_name_and_its_words() {
        let last = Rejection::LastNode {
            node: NodeId(1),
            group: GroupId(1),
        };
        let table = [
            (last, StatusCode::CONFLICT, "last_node"),
            (
                Rejection::UnknownNode(NodeId(7)),
                StatusCode::NOT_FOUND,
                "unknown_node",
            ),
            (
                Rejection::NotInitialised,
                StatusCode::CONFLICT,
                "not_initialised",
            ),
            (
                Rejection::Invalid("no".to_owned()),
                StatusCode::BAD_REQUEST,
                "invalid",
            ),
        ];
        for (rejection, http, code) in table {
            let error = Error::from(status::of_rejection(&rejection));
            assert_eq!((error.status, error.code.as_str()), (http, code));
            assert_eq!(error.message, rejection.to_string());
            assert_eq!(error.kind(), "invalid_request");
        }
    }

    #[test]
    fn who_cannot_answer_says_when_to_ask_again() {
        let response = Error::from(Status::unavailable("no leader")).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
