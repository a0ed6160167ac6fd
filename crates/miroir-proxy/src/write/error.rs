//! Why a write was not accepted.

use bytes::Bytes;
use miroir_core::api_error::ApiError;
use miroir_core::id::TaskUid;
use serde_json::json;

/// Whether a write that was not acknowledged may have been applied all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No node was sent it.
    NotApplied,
    /// Some copies may have it, now or soon.
    Unknown,
}

/// A write that was not accepted. The HTTP answer is [`status`](Self::status),
/// [`retry_after_s`](Self::retry_after_s) and [`body`](Self::body).
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The request is wrong, in Meilisearch's words. Nothing was applied.
    #[error(transparent)]
    Refused(ApiError),
    /// It cannot be acknowledged now: 503 with `Retry-After`.
    #[error("{reason}")]
    Unavailable {
        /// What is missing, for people.
        reason: String,
        /// Whether it may have been applied.
        fate: Fate,
    },
    /// This proxy does not order the index's writes (any more): 421 with `miroir-moved: 1`, for the proxy that
    /// forwarded it. Nothing was applied.
    #[error("this proxy does not order the writes of the index")]
    Moved,
    /// It was registered before, under the client's key. [`Writes::submit`](super::Writes::submit) answers with that
    /// task, so nobody outside sees this.
    #[error("the write was registered before, as task {task}")]
    Repeated {
        /// Its task.
        task: TaskUid,
        /// When it was registered, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// An error answer of the index's writer or of a node, to be passed on.
    #[error("HTTP {status}")]
    Answer {
        /// Its HTTP status.
        status: u16,
        /// Its `Retry-After`, in seconds.
        retry_after_s: Option<u64>,
        /// Its JSON body.
        body: Bytes,
    },
}

impl WriteError {
    /// How long a client should wait before it asks again, in seconds.
    const RETRY_AFTER_S: u64 = 1;

    pub(super) fn held(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
            fate: Fate::NotApplied,
        }
    }

    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
            fate: Fate::Unknown,
        }
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(error) => error.retryable(),
            Self::Unavailable { .. } | Self::Moved => true,
            Self::Repeated { .. } => false,
            Self::Answer { status, .. } => *status >= 500 || *status == 429,
        }
    }

    /// Whether the write may have been applied in spite of the error.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Moved | Self::Repeated { .. } => false,
            Self::Unavailable { fate, .. } => *fate == Fate::Unknown,
            Self::Answer { status, .. } => *status >= 500,
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused(error) => error.status(),
            Self::Unavailable { .. } => 503,
            Self::Moved => 421,
            Self::Repeated { .. } => 409,
            Self::Answer { status, .. } => *status,
        }
    }

    /// The `Retry-After` of the answer, in seconds.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Unavailable { .. } => Some(Self::RETRY_AFTER_S),
            Self::Answer { retry_after_s, .. } => *retry_after_s,
            Self::Refused(_) | Self::Moved | Self::Repeated { .. } => None,
        }
    }

    /// The JSON body of the answer, in Meilisearch's shape.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let system = |code: &str, message: String| {
            let link = format!("https://docs.meilisearch.com/errors#{code}");
            json!({ "message": message, "code": code, "type": "system", "link": link })
        };
        let value = match self {
            Self::Answer { body, .. } => return body.clone(),
            Self::Refused(error) => json!(error),
            Self::Moved => system("writer_moved", self.to_string()),
            Self::Repeated { .. } => system("write_repeated", self.to_string()),
            Self::Unavailable {
                reason,
                fate: Fate::NotApplied,
            } => system(
                "writes_unavailable",
                format!("The write was not applied: {reason}. Send it again."),
            ),
            Self::Unavailable {
                reason,
                fate: Fate::Unknown,
            } => system(
                "write_outcome_unknown",
                format!(
                    "The write is not acknowledged and may still be applied: {reason}. Send it again."
                ),
            ),
        };
        Bytes::from(value.to_string())
    }
}

impl From<ApiError> for WriteError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::api_error::Code;
    use serde_json::Value;

    #[test]
    fn answers_have_meilisearchs_shape() {
        let table = [
            (
                WriteError::Refused(ApiError::new(Code::InvalidDocumentIds, "x")),
                400,
                None,
                "invalid_document_ids",
            ),
            (
                WriteError::held("no leader"),
                503,
                Some(1),
                "writes_unavailable",
            ),
            (
                WriteError::unknown("no leader"),
                503,
                Some(1),
                "write_outcome_unknown",
            ),
            (WriteError::Moved, 421, None, "writer_moved"),
        ];
        for (error, status, retry_after_s, code) in table {
            let body: Value = serde_json::from_slice(&error.body()).expect("JSON");
            assert_eq!(
                (error.status(), error.retry_after_s()),
                (status, retry_after_s)
            );
            assert_eq!(body["code"], code);
            for member in ["message", "type", "link"] {
                assert!(body[member].is_string(), "{body}");
            }
        }
        let body = Bytes::from_static(b"{}");
        let passed = WriteError::Answer {
            status: 404,
            retry_after_s: None,
            body: body.clone(),
        };
        assert_eq!(
            (passed.status(), passed.body(), passed.retryable()),
            (404, body, false)
        );
    }
}
