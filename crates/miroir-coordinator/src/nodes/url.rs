//! Addresses of nodes and coordinators, in one spelling.

use url::Url;

/// A text that is not `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not of the form http://host:port: {why}")]
pub struct BadUrl {
    shown: String,
    why: String,
}

/// The one spelling of a plain HTTP address without a path: host in lower case, no trailing
/// slash, no port where it is the default.
///
/// # Errors
/// [`BadUrl`] saying what does not belong there. A password is never repeated.
pub fn http_origin(text: &str) -> Result<String, BadUrl> {
    let bad = |why: &str| BadUrl {
        shown: text.to_owned(),
        why: why.to_owned(),
    };
    let url = Url::parse(text.trim()).map_err(|error| bad(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl {
            shown: "…".to_owned(),
            why: "it holds a user or password".to_owned(),
        });
    }
    if url.scheme() != "http" {
        return Err(bad("only http is spoken"));
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| bad("it has no host"))?;
    if !matches!(url.path(), "" | "/") {
        return Err(bad("it has a path"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or fragment"));
    }
    if url.port() == Some(0) {
        return Err(bad("port 0 cannot be reached"));
    }
    Ok(match url.port() {
        Some(port) => format!("http://{host}:{port}"),
        None => format!("http://{host}"),
    })
}

/// Host and port to resolve, of a URL that [`http_origin`] made.
#[must_use]
pub fn host_and_port(origin: &str) -> Option<(String, u16)> {
    let url = Url::parse(origin).ok()?;
    let host = url
        .host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    Some((host, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        let table = [
            ("http://127.0.0.1:7700", "http://127.0.0.1:7700"),
            ("http://127.0.0.1:7700/", "http://127.0.0.1:7700"),
            (" http://Node-1.Local:7700 ", "http://node-1.local:7700"),
            ("http://node:80", "http://node"),
            ("HTTP://node:7700", "http://node:7700"),
            ("http://[::1]:7700/", "http://[::1]:7700"),
        ];
        for (text, origin) in table {
            assert_eq!(http_origin(text).as_deref(), Ok(origin));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let table = [
            ("", "relative URL"),
            ("127.0.0.1:7700", "relative URL"),
            ("node:7700", "only http"),
            ("https://node:7700", "only http"),
            ("http://node:7700/meili", "path"),
            ("http://node:7700/?a=1", "query"),
            ("http://node:7700/#a", "fragment"),
            ("http://node:99999", "port"),
            ("http://node:0", "port 0"),
            ("http://", "host"),
        ];
        for (text, why) in table {
            let error = http_origin(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = http_origin("http://admin:hunter2@node:7700")
            .expect_err("a password")
            .to_string();
        assert!(
            error.contains("password") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn host_and_port_are_found_again() {
        let table = [
            ("http://127.0.0.1:7700", ("127.0.0.1", 7700)),
            ("http://node", ("node", 80)),
            ("http://[::1]:7700", ("::1", 7700)),
        ];
        for (origin, (host, port)) in table {
            assert_eq!(host_and_port(origin), Some((host.to_owned(), port)));
        }
    }
}
