//! What can go wrong between Miroir and a node, sorted by what it means for a write.

use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// An error answer of Meilisearch: the envelope of a refused request, and the
/// `error` of a failed task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeError {
    /// What is wrong, for people.
    pub message: String,
    /// The stable name of the error, for programs: `index_not_found`.
    pub code: String,
    /// `invalid_request`, `internal`, `auth` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where Meilisearch documents the error; empty when it does not.
    #[serde(default)]
    pub link: String,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// How an answer failed to arrive after its request had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The call's time ran out.
    Timeout,
    /// The connection broke before the answer was complete.
    Connection,
    /// Something between Miroir and the node answered in its place (502, 504).
    Gateway,
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Connection => "the connection broke before the answer was complete",
            Self::Gateway => "a gateway answered in the node's place",
        })
    }
}

/// Why a call to a node failed.
///
/// `call` is always the method and the full URL of the request, which holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MeiliError {
    /// The arguments cannot be put into a request. Nothing was sent.
    #[error("request for the node cannot be built: {what}")]
    Invalid {
        /// Which argument is wrong, and why.
        what: String,
    },

    /// No connection could be made, so the request was certainly not carried out.
    #[error("{call}: cannot connect: {detail}")]
    Connect {
        /// Method and URL.
        call: String,
        /// What the operating system said.
        detail: String,
    },

    /// The request may have left and no usable answer came back: the node may have
    /// carried it out, may be doing so now, or may never see it.
    #[error("{call}: outcome unknown, {how}: {detail}")]
    UnknownOutcome {
        /// Method and URL.
        call: String,
        /// What cut the call short.
        how: Interruption,
        /// The underlying error.
        detail: String,
    },

    /// The node refused for load and took nothing.
    #[error("{call}: node is busy (HTTP {status}): {detail}")]
    Busy {
        /// Method and URL.
        call: String,
        /// 503 or 429.
        status: u16,
        /// The node's `Retry-After`, when it sent one.
        retry_after: Option<Duration>,
        /// The node's message, or the beginning of its body.
        detail: String,
    },

    /// Meilisearch understood the request and refused it.
    #[error("{call}: HTTP {status}: {error}")]
    Api {
        /// Method and URL.
        call: String,
        /// The HTTP status.
        status: u16,
        /// What Meilisearch said.
        error: Box<NodeError>,
    },

    /// The answer is not one that Meilisearch gives: another server, or a version
    /// that speaks another protocol. The request may have been carried out.
    #[error("{call}: HTTP {status}: not an answer of Meilisearch: {detail}")]
    Protocol {
        /// Method and URL.
        call: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with the body, with its beginning.
        detail: String,
    },
}

impl MeiliError {
    /// Whether the same request may succeed later although nobody changes it.
    /// For a write, look at [`outcome_unknown`](Self::outcome_unknown) first.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::UnknownOutcome { .. } | Self::Busy { .. } => true,
            Self::Api { status, .. } => *status >= 500,
            Self::Invalid { .. } | Self::Protocol { .. } => false,
        }
    }

    /// Whether the node may have carried the request out in spite of the error. A
    /// write that ends so must be looked up on the node, never assumed.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::UnknownOutcome { .. } | Self::Protocol { .. } => true,
            // A 500 can come after the task was stored, so it proves nothing.
            Self::Api { status, .. } => *status >= 500,
            Self::Invalid { .. } | Self::Connect { .. } | Self::Busy { .. } => false,
        }
    }

    /// Meilisearch's error code, when Meilisearch refused the request.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { error, .. } => Some(&error.code),
            Self::Invalid { .. }
            | Self::Connect { .. }
            | Self::UnknownOutcome { .. }
            | Self::Busy { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// Whether the node says that it has no such index.
    pub fn is_index_not_found(&self) -> bool {
        self.code() == Some("index_not_found")
    }
}
