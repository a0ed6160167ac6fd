//! Answers that are passed on rather than understood.

use crate::client::NodeClient;
use crate::error::MeiliError;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

/// A whole answer of a node, whatever its status.
#[derive(Debug, Clone)]
pub struct RawResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// All its headers, hop-by-hop ones included: who passes an answer on picks.
    pub headers: HeaderMap,
    /// The body, as the node sent it.
    pub body: Bytes,
    /// Method and URL, for the errors made from this answer.
    pub(crate) call: String,
}

impl RawResponse {
    /// The answer if its status is 2xx, else the [`MeiliError`] that it stands for.
    pub fn into_success(self) -> Result<Self, MeiliError> {
        self.success()
    }
}

impl NodeClient {
    /// Searches one index: `body` is the JSON of `POST /indexes/{uid}/search`.
    ///
    /// `authorization` is the whole header value of a client, sent on so that the node
    /// applies the rules of a key or tenant token itself; without it the node's master
    /// key is used. A refusal of the node is an answer here, not an error.
    pub async fn search_raw(
        &self,
        uid: &str,
        body: Bytes,
        authorization: Option<&HeaderValue>,
    ) -> Result<RawResponse, MeiliError> {
        let url = self.url(&["indexes", uid, "search"])?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        self.exchange(Method::POST, url, headers, body).await
    }

    /// Any request at all. `path_and_query` begins with `/` and is sent as it is;
    /// without an `Authorization` in `headers` the node's master key is used.
    pub async fn raw(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<RawResponse, MeiliError> {
        let url = self.url_of(path_and_query)?;
        self.exchange(method, url, headers, body).await
    }
}
