//! What a client is told when its request cannot be answered: always Meilisearch's error object.

use std::borrow::Cow;
use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::hidden_field::scrub_message;
use miroir_core::routing::IndexRoute;
use miroir_meili::{NodeError, RawResponse};
use serde_json::json;

/// Where Meilisearch documents its codes. Miroir's own are explained by their message.
const LINK: &str = "https://docs.meilisearch.com/errors#";

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    status: StatusCode,
    code: Cow<'static, str>,
    kind: Cow<'static, str>,
    message: String,
    /// Seconds after which trying again makes sense.
    retry_after_s: Option<u64>,
}

impl HttpError {
    fn own(status: StatusCode, code: &'static str, kind: &'static str, message: String) -> Self {
        Self {
            status,
            code: Cow::Borrowed(code),
            kind: Cow::Borrowed(kind),
            message,
            retry_after_s: None,
        }
    }

    /// Something is out of reach for now: 503 with `Retry-After: 1`.
    #[must_use]
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        let error = Self::own(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "system",
            message.into(),
        );
        Self {
            retry_after_s: Some(1),
            ..error
        }
    }

    /// A shard has no copy in sync that answers.
    #[must_use]
    pub fn unavailable_shards(index: &str, shards: &str, why: &str) -> Self {
        let message = format!(
            "No copy of {shards} of index `{index}` can be read now: {why}. Nothing is answered rather than a part."
        );
        Self::unavailable("unavailable_shards", message)
    }

    /// The index is unknown.
    #[must_use]
    pub fn index_not_found(index: &str) -> Self {
        ApiError::new(Code::IndexNotFound, format!("Index `{index}` not found.")).into()
    }

    /// An index whose writer is another proxy: 421, so that whoever forwarded the request knows that
    /// it was not carried out. A client never sees it.
    #[must_use]
    pub fn misdirected(message: String) -> Self {
        Self::own(
            StatusCode::MISDIRECTED_REQUEST,
            "miroir_moved",
            "system",
            message,
        )
    }

    /// A bug of this proxy.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        ApiError::new(Code::Internal, message).into()
    }

    /// A node's refusal, as one node without Miroir's hidden field would have put it.
    #[must_use]
    pub fn from_node(answer: &RawResponse) -> Self {
        let Ok(error) = serde_json::from_slice::<NodeError>(&answer.body) else {
            let message = format!(
                "A node answered HTTP {} without an error that Meilisearch gives.",
                answer.status.as_u16()
            );
            return ApiError::new(Code::RemoteBadResponse, message).into();
        };
        Self {
            status: StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY),
            code: Cow::Owned(error.code),
            kind: Cow::Owned(error.kind),
            message: scrub_message(&error.message).into_owned(),
            retry_after_s: None,
        }
    }

    /// A node's error about one of some indexes, which clients may call otherwise.
    #[must_use]
    pub fn about<'a>(mut self, indexes: impl IntoIterator<Item = &'a IndexRoute>) -> Self {
        let aliases = indexes.into_iter().filter_map(IndexRoute::alias);
        let mut told = aliases.map(|alias| alias.retell(&self.message));
        // What one is called on nodes may be what clients call another: a message is told anew once only.
        if let Some(message) = told.find(|told| *told != self.message) {
            self.message = message;
        }
        self
    }

    /// The error of one search of several. An unknown index is not part of the path then, so that
    /// 404 becomes 400.
    #[must_use]
    pub fn inside_query(mut self, position: usize) -> Self {
        self.message = format!("Inside `.queries[{position}]`: {}", self.message);
        self.not_of_the_path()
    }

    /// The error of an index that a merged search only names among its facets.
    #[must_use]
    pub fn inside_unused_facets(mut self, index: &str) -> Self {
        self.message = format!(
            "Inside `.federation.facetsByIndex.{index}`: {}\n - Note: index `{index}` is not used in queries",
            self.message
        );
        self.not_of_the_path()
    }

    fn not_of_the_path(mut self) -> Self {
        if self.code == Code::IndexNotFound.name() {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    /// A node's error about one of the queries that it was asked, told with the client's positions:
    /// `positions` are those of the node's queries.
    #[must_use]
    pub fn at_queries(mut self, positions: &[usize]) -> Self {
        const MARK: &str = "Inside `.queries[";
        if let Some(rest) = self.message.strip_prefix(MARK)
            && let Some((local, rest)) = rest.split_once(']')
            && let Some(position) = local.parse().ok().and_then(|at: usize| positions.get(at))
        {
            self.message = format!("{MARK}{position}]{rest}");
        }
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.retry_after_s.is_some() || self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for HttpError {}

impl From<ApiError> for HttpError {
    fn from(error: ApiError) -> Self {
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
            ..Self::own(
                status,
                error.code.name(),
                error.code.kind().name(),
                error.message,
            )
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = json!({
            "message": self.message,
            "code": self.code,
            "type": self.kind,
            "link": format!("{LINK}{}", self.code),
        });
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_retries_follow_the_kind() {
        let table = [
            (
                HttpError::index_not_found("movies"),
                404,
                "index_not_found",
                false,
            ),
            (
                HttpError::unavailable_shards("movies", "shard 3", "node 1 is down"),
                503,
                "unavailable_shards",
                true,
            ),
            (HttpError::internal("x"), 500, "internal", false),
            (
                ApiError::new(Code::TooManySearchRequests, "x").into(),
                503,
                "too_many_search_requests",
                true,
            ),
        ];
        for (error, status, code, retryable) in table {
            assert_eq!(
                (error.status().as_u16(), error.code(), error.retryable()),
                (status, code, retryable)
            );
            let response = error.into_response();
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                retryable
            );
        }
    }
}
