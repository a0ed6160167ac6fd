//! The client itself: a node's address, its key, and the limits of a call.

use crate::error::MeiliError;
use crate::raw::RawResponse;
use crate::secret::Secret;
use crate::transport::Exchange;
use crate::version::NodeVersion;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The time a call may take when the owner of the client sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes: the ids of some millions of documents.
const DEFAULT_ANSWER_LIMIT: usize = 256 << 20;

/// A client of one Meilisearch node. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct NodeClient {
    http: reqwest::Client,
    node: Arc<Node>,
    timeout: Duration,
    answer_limit: usize,
}

struct Node {
    base: Url,
    /// `Bearer …`, marked sensitive so that no debug output shows it.
    authorization: Option<HeaderValue>,
}

impl NodeClient {
    /// A client of the node at `url` (`http://host:port`, with a path if a gateway adds
    /// one). `http` comes from [`http_client`](crate::http_client).
    ///
    /// Fails with [`MeiliError::Invalid`] on a URL that is not plain HTTP or that holds
    /// a password, and on a key that does not fit into a header.
    pub fn new(
        http: reqwest::Client,
        url: &str,
        master_key: Option<Secret>,
    ) -> Result<Self, MeiliError> {
        let node = Node {
            base: base_url(url)?,
            authorization: master_key.map(|key| bearer(&key)).transpose()?,
        };
        Ok(Self {
            http,
            node: Arc::new(node),
            timeout: DEFAULT_TIMEOUT,
            answer_limit: DEFAULT_ANSWER_LIMIT,
        })
    }

    /// This client with another bound on a whole call, from connecting to the last
    /// byte of the answer. The default is 30 seconds.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// This client with another bound on an answer, in bytes. A longer answer is a
    /// [`MeiliError::Protocol`]. The default is 256 MiB.
    pub fn with_answer_limit(&self, answer_limit: usize) -> Self {
        Self {
            answer_limit,
            ..self.clone()
        }
    }

    /// The node's address.
    pub fn base_url(&self) -> &str {
        self.node.base.as_str()
    }

    /// Whether the node answers and calls itself available. It needs no key.
    pub async fn health(&self) -> Result<(), MeiliError> {
        #[derive(Deserialize)]
        struct Health {
            status: String,
        }
        let answer = self.get(&["health"], &[]).await?;
        let health: Health = answer.clone().parse()?;
        if health.status != "available" {
            let detail = format!("status is `{}`, not `available`", health.status);
            return Err(answer.protocol_error(detail));
        }
        Ok(())
    }

    /// Which Meilisearch the node runs.
    pub async fn version(&self) -> Result<NodeVersion, MeiliError> {
        self.get(&["version"], &[]).await?.parse()
    }

    /// The URL of a route. Segments are percent-encoded; an empty one or a dot segment
    /// is refused, because it would name another route.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, MeiliError> {
        if let Some(bad) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
            return Err(MeiliError::Invalid {
                what: format!("`{bad}` cannot be part of the path /{}", segments.join("/")),
            });
        }
        let mut url = self.node.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => path.pop_if_empty().extend(segments),
            Err(()) => return Err(not_a_base(self.base_url())),
        };
        Ok(url)
    }

    /// The URL of a path that a caller wrote out.
    pub(crate) fn url_of(&self, path_and_query: &str) -> Result<Url, MeiliError> {
        let invalid = |why: &str| MeiliError::Invalid {
            what: format!("`{path_and_query}` is not a path and query: {why}"),
        };
        if !path_and_query.starts_with('/') {
            return Err(invalid("it does not begin with /"));
        }
        let base = self.base_url().trim_end_matches('/');
        Url::parse(&format!("{base}{path_and_query}")).map_err(|error| invalid(&error.to_string()))
    }

    pub(crate) async fn get(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<RawResponse, MeiliError> {
        let url = with_query(self.url(segments)?, query);
        self.exchange(Method::GET, url, HeaderMap::new(), Bytes::new())
            .await
    }

    pub(crate) async fn delete(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<RawResponse, MeiliError> {
        let url = with_query(self.url(segments)?, query);
        self.exchange(Method::DELETE, url, HeaderMap::new(), Bytes::new())
            .await
    }

    pub(crate) async fn send_json(
        &self,
        method: Method,
        url: Url,
        body: &Value,
    ) -> Result<RawResponse, MeiliError> {
        self.send_body(
            method,
            url,
            "application/json",
            Bytes::from(body.to_string()),
        )
        .await
    }

    pub(crate) async fn send_body(
        &self,
        method: Method,
        url: Url,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<RawResponse, MeiliError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.exchange(method, url, headers, body).await
    }

    /// One exchange with the node's key, unless `headers` bring their own.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<RawResponse, MeiliError> {
        if let Some(key) = &self.node.authorization {
            headers.entry(AUTHORIZATION).or_insert_with(|| key.clone());
        }
        let exchange = Exchange {
            method,
            url,
            headers,
            body,
            timeout: self.timeout,
            answer_limit: self.answer_limit,
        };
        exchange.send(&self.http).await
    }
}

impl fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeClient")
            .field("url", &self.base_url())
            .field("has_key", &self.node.authorization.is_some())
            .field("timeout", &self.timeout)
            .field("answer_limit", &self.answer_limit)
            .finish()
    }
}

/// Appends `query`; no pair leaves no `?` behind.
pub(crate) fn with_query(mut url: Url, query: &[(&str, String)]) -> Url {
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

fn base_url(text: &str) -> Result<Url, MeiliError> {
    let url = Url::parse(text).map_err(|error| MeiliError::Invalid {
        what: format!("a node URL is not a URL: {error}"),
    })?;
    if url.password().is_some() || !url.username().is_empty() {
        // The URL is not quoted: it would show the password.
        return Err(MeiliError::Invalid {
            what: "a node URL holds a user or password; configure the master key instead".into(),
        });
    }
    if url.scheme() != "http" || url.query().is_some() || url.fragment().is_some() {
        return Err(not_a_base(text));
    }
    Ok(url)
}

fn not_a_base(url: &str) -> MeiliError {
    MeiliError::Invalid {
        what: format!("node URL `{url}` is not of the form http://host:port"),
    }
}

fn bearer(key: &Secret) -> Result<HeaderValue, MeiliError> {
    let text = format!("Bearer {}", key.expose());
    let mut value = HeaderValue::try_from(text).map_err(|_| MeiliError::Invalid {
        what: "the master key has characters that do not fit into an HTTP header".into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
