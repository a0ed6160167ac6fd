//! One proxy, as its clients speak to it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::args::LoadArgs;
use crate::exit::Error;
use crate::format::one_line;

/// The variable that holds the key. There is no option for the key itself: every user of a machine
/// sees command lines.
const KEY: &str = "MIROIR_PROXY_KEY";

/// Longer than a proxy holds a write by default: a client that gives up earlier learns nothing.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Pause between two looks at a task.
const TASK_PAUSE: Duration = Duration::from_millis(50);

/// A client of one proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// A request that was no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For counting: `503 no_leader`, `no answer`.
    pub code: String,
    /// In words.
    pub message: String,
    status: Option<u16>,
    /// Whether nobody answered.
    silent: bool,
}

impl Proxy {
    /// A client of the proxy that the command line names; `None` when it names none.
    ///
    /// # Errors
    /// [`Error::Usage`] for a URL or a key file that cannot be used.
    pub fn find(args: &LoadArgs) -> Result<Option<Self>, Error> {
        match &args.proxy {
            Some(url) => Self::at(url, args.proxy_key_file.as_deref()).map(Some),
            None => Ok(None),
        }
    }

    /// A client of the proxy at `url`, with the key in that file or the environment's.
    ///
    /// # Errors
    /// As [`Proxy::find`].
    pub fn at(url: &str, key_file: Option<&Path>) -> Result<Self, Error> {
        let url = url.trim().trim_end_matches('/');
        let parsed = reqwest::Url::parse(url);
        if !parsed.is_ok_and(|parsed| parsed.scheme() == "http" && parsed.has_host()) {
            return Err(Error::Usage(format!(
                "`--proxy {url}` is not of the form http://host:port"
            )));
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_WITHIN)
            .build()
            .map_err(|error| Error::Local(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self {
            http,
            url: url.to_owned(),
            key: key(key_file)?,
        })
    }

    /// Sends a request; answers the body of a success.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// Sends documents, one a line, which may take long; answers the body of a success.
    pub async fn documents(
        &self,
        path: &str,
        lines: Bytes,
        within: Duration,
    ) -> Result<Value, Failure> {
        let request = self
            .request(Method::POST, path)
            .header(CONTENT_TYPE, "application/x-ndjson");
        answer(request.body(lines).timeout(within)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a write and waits until its task has ended.
    ///
    /// # Errors
    /// When it is refused, fails, or is not done by `deadline`.
    pub async fn done(
        &self,
        (method, path): (Method, &str),
        body: Option<&Value>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let accepted = self.call(method, path, body).await?;
        let task = format!("/tasks/{}", accepted["taskUid"]);
        loop {
            let seen = self.call(Method::GET, &task, None).await?;
            match seen["status"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("failed" | "canceled") => return Err(Failure::task(&seen["error"])),
                Some(_) | None => {}
            }
            if Instant::now() >= deadline {
                return Err(Failure::plain("its task is unfinished"));
            }
            sleep(TASK_PAUSE).await;
        }
    }

    /// The error that ends a command whose proxy cannot be used.
    pub fn unusable(&self, what: &str, failure: &Failure) -> Error {
        let hint = match failure.status {
            Some(401 | 403) => {
                format!(" (give the key of the proxies in --proxy-key-file or {KEY})")
            }
            Some(_) | None => String::new(),
        };
        Error::Local(format!(
            "cannot {what} at the proxy {}: {}{hint}",
            self.url, failure.message
        ))
    }
}

impl Failure {
    /// Whether it says that something is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the key may not do that.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }

    /// Whether the same request may succeed a little later: nobody answered, or it said so.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.status {
            Some(status) => status == 429 || status == 503,
            None => self.silent,
        }
    }

    /// Whether the error has this code.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.code.split(' ').next_back() == Some(code)
    }

    /// A failure of no request.
    pub fn plain(message: &str) -> Self {
        Self {
            code: message.to_owned(),
            message: message.to_owned(),
            status: None,
            silent: false,
        }
    }

    fn silent(error: &reqwest::Error) -> Self {
        let code = if error.is_connect() {
            "no connection"
        } else if error.is_timeout() {
            "no answer in time"
        } else {
            "no answer"
        };
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self {
            code: code.to_owned(),
            message: format!("{code}: {}", one_line(&cause.to_string())),
            status: None,
            silent: true,
        }
    }

    fn shaped(status: StatusCode, body: &Value) -> Self {
        let text = |name: &str| one_line(body[name].as_str().unwrap_or("no Meilisearch"));
        Self {
            code: format!("{} {}", status.as_u16(), text("code")),
            message: format!("{}: {}", status.as_u16(), text("message")),
            status: Some(status.as_u16()),
            silent: false,
        }
    }

    /// The error of a task that failed.
    pub fn task(error: &Value) -> Self {
        let text = |name: &str| one_line(error[name].as_str().unwrap_or("unknown"));
        Self {
            code: text("code"),
            message: text("message"),
            status: None,
            silent: false,
        }
    }
}

/// Sends a request; answers the body of a success.
async fn answer(request: RequestBuilder) -> Result<Value, Failure> {
    let answer = request.send().await.map_err(|e| Failure::silent(&e))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| Failure::silent(&e))?;
    let body = serde_json::from_str(&text);
    if status.is_success() {
        return body.map_err(|_| Failure::shaped(status, &Value::Null));
    }
    Err(Failure::shaped(status, &body.unwrap_or_default()))
}

fn key(file: Option<&Path>) -> Result<Option<String>, Error> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            Error::Usage(format!("cannot read the proxy's key from {shown}: {error}"))
        })?;
        return visible(&path.display().to_string(), text.trim()).map(Some);
    }
    match std::env::var(KEY) {
        Ok(key) if !key.is_empty() => visible(KEY, &key).map(Some),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn visible(place: &str, key: &str) -> Result<String, Error> {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    Err(Error::Usage(format!(
        "the proxy's key in {place} must be visible ASCII characters without spaces, at least one"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_proxy_is_named_by_a_url() {
        let args = |proxy: &str| LoadArgs {
            proxy: Some(proxy.to_owned()),
            ..LoadArgs::default()
        };
        for bad in ["127.0.0.1:7700", "https://a:1", "http://", "", "ftp://a"] {
            let error = Proxy::find(&args(bad)).expect_err(bad);
            assert!(matches!(error, Error::Usage(_)), "{error}");
        }
        let found = Proxy::find(&args(" http://a:1/ ")).expect("valid");
        assert_eq!(found.expect("one").url, "http://a:1");
        assert!(Proxy::find(&LoadArgs::default()).expect("valid").is_none());
    }

    #[test]
    fn failures_are_counted_by_status_and_code() {
        let body = json!({"code": "invalid_api_key", "message": "The provided\nkey is invalid."});
        let refused = Failure::shaped(StatusCode::FORBIDDEN, &body);
        assert_eq!(refused.code, "403 invalid_api_key");
        assert_eq!(refused.message, "403: The provided key is invalid.");
        let strange = Failure::shaped(StatusCode::BAD_GATEWAY, &Value::Null);
        assert_eq!(strange.code, "502 no Meilisearch");
    }
}
