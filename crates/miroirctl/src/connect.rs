//! Reaching the coordinators: any endpoint is enough to find the one that leads.
//!
//! Reads ([`Coordinators::read`]) go to the leader when there is one within reach, and to whoever
//! answers otherwise. Changes ([`Coordinators::change`]) go to the leader alone.

mod change;
mod fault;
mod step_down;
mod survey;
mod token;

use std::ffi::OsString;
use std::time::Duration;

use miroir_proto::v1::admin_client::AdminClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

pub use change::{Change, Sent};
pub use fault::Fault;
pub use survey::{Answer, Survey};
use token::Token;

use crate::args::Connection;
use crate::exit::Error;

/// How long one connection may take: a machine that is gone answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection whose other end has stopped is noticed within these two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer, in bytes: the migration log of a large cluster.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection to the administration service of one coordinator.
pub type Client = AdminClient<InterceptedService<Channel, Token>>;

/// The coordinators that a command may ask, and how long.
#[derive(Debug, Clone)]
pub struct Coordinators {
    endpoints: Vec<String>,
    token: Token,
    timeout: Duration,
}

impl Coordinators {
    /// The coordinators that the command line names. `env` gives the variables that hold the token.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the endpoint or the file that cannot be used.
    pub fn new(
        connection: &Connection,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let mut endpoints = Vec::new();
        for endpoint in &connection.endpoints {
            let endpoint = with_scheme(endpoint);
            prepare(&endpoint)?;
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        let token = Token::find(connection.token_file.as_deref(), env)?;
        Ok(Self {
            endpoints,
            token,
            timeout: connection.timeout(),
        })
    }

    /// The same with further endpoints: every coordinator, where the cluster says that it is.
    #[must_use]
    pub fn beside(&self, endpoints: impl IntoIterator<Item = String>) -> Self {
        let mut all = self.clone();
        for endpoint in endpoints {
            let endpoint = with_scheme(&endpoint);
            if prepare(&endpoint).is_ok() && !all.endpoints.contains(&endpoint) {
                all.endpoints.push(endpoint);
            }
        }
        all
    }

    /// How long to try.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects to `endpoint`; on failure, why.
    async fn connect(&self, endpoint: &str) -> Result<Client, String> {
        let prepared = prepare(endpoint).map_err(|error| error.to_string())?;
        // The connect timeout covers each address that a name stands for; this one covers them all.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, prepared.connect()).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(fault::root_cause(&error)),
            Err(_) => return Err("no answer to the connection".to_owned()),
        };
        Ok(AdminClient::with_interceptor(channel, self.token.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX))
    }
}

/// One spelling for every address, so that a leader's own is recognised among the endpoints.
fn with_scheme(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.trim_end_matches('/')),
        None => format!("http://{}", endpoint.trim_end_matches('/')),
    }
}

fn prepare(endpoint: &str) -> Result<Endpoint, Error> {
    let wrong = |why: &str| {
        Error::Usage(format!(
            "`--endpoint {endpoint}` is not of the form http://host:port: {why}"
        ))
    };
    let parsed = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| wrong(&fault::root_cause(&error)))?;
    if parsed.uri().scheme_str() != Some("http") {
        return Err(wrong("only http is spoken"));
    }
    let authority = parsed.uri().authority();
    let Some(authority) = authority.filter(|authority| !authority.host().is_empty()) else {
        return Err(wrong("it has no host"));
    };
    if authority.as_str() != authority.host() && authority.port_u16().is_none() {
        return Err(wrong("its port is no number from 1 to 65535"));
    }
    Ok(parsed
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(endpoints: &[&str]) -> Result<Coordinators, Error> {
        let connection = Connection {
            endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
            token_file: None,
            timeout_ms: 1_000,
        };
        Coordinators::new(&connection, |_| None)
    }

    #[test]
    fn endpoints_have_one_spelling_and_are_asked_once() {
        let found = coordinators(&["a:1", "http://a:1/", " http://b:2"]).expect("valid");
        assert_eq!(found.endpoints, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn an_endpoint_that_is_none_is_wrong_usage() {
        for bad in ["https://a:1", "http://", "not a host", "http://a:99999"] {
            let error = coordinators(&["a:1", bad]).expect_err(bad);
            assert!(
                matches!(&error, Error::Usage(text) if text.contains(bad)),
                "{error}"
            );
        }
    }
}
