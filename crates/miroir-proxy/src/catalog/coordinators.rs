//! Where the coordinators are, which of them leads as far as is known, and how to connect to one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miroir_meili::Secret;
use miroir_proto::LEADER_METADATA;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that is silently dead is noticed within these two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A coordinator address or a token that cannot be used. Found at start, before anything is served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorsError {
    /// No coordinator is configured.
    #[error(
        "no coordinator is configured; name at least one endpoint, such as http://127.0.0.1:7800"
    )]
    None,
    /// An address that is not one.
    #[error("coordinator endpoint `{endpoint}` is not of the form http://host:port: {detail}")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A token with characters that no header can carry.
    #[error(
        "the cluster token has characters that do not fit into a header; use visible ASCII characters"
    )]
    Token,
}

impl CoordinatorsError {
    /// Whether trying again may help: never, it is the configuration that is wrong.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::None | Self::Endpoint { .. } | Self::Token => false,
        }
    }
}

/// The coordinators. Cloning is cheap and shares what is known of the leader.
#[derive(Clone)]
pub struct Coordinators {
    shared: Arc<Shared>,
}

struct Shared {
    endpoints: Vec<String>,
    authorization: Option<MetadataValue<Ascii>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    leader: Option<String>,
    next: usize,
    channels: HashMap<String, Channel>,
}

impl Coordinators {
    /// The coordinators at `endpoints`, reached with the bearer `token`; an empty token sends none.
    ///
    /// # Errors
    /// [`CoordinatorsError`] naming what cannot be used.
    pub fn new(endpoints: &[String], token: &Secret) -> Result<Self, CoordinatorsError> {
        if endpoints.is_empty() {
            return Err(CoordinatorsError::None);
        }
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|endpoint| with_scheme(endpoint))
            .collect();
        for endpoint in &endpoints {
            prepare(endpoint)?;
        }
        let authorization = match token.expose() {
            "" => None,
            token => {
                let mut value = MetadataValue::try_from(format!("Bearer {token}"))
                    .map_err(|_| CoordinatorsError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let shared = Shared {
            endpoints,
            authorization,
            known: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whom to ask: the leader if it is known, else the coordinators in turn.
    pub(crate) fn choose(&self) -> String {
        let mut known = self.known();
        if let Some(leader) = &known.leader {
            return leader.clone();
        }
        let at = known.next % self.shared.endpoints.len();
        known.next = at + 1;
        self.shared.endpoints[at].clone()
    }

    /// The leader, as far as is known.
    pub(crate) fn leader(&self) -> Option<String> {
        self.known().leader.clone()
    }

    /// Remembers that `endpoint` answered as the leader.
    pub(crate) fn confirm(&self, endpoint: &str) {
        let mut known = self.known();
        if known.leader.as_deref() != Some(endpoint) {
            known.leader = Some(endpoint.to_owned());
        }
    }

    /// Learns from a refusal of `endpoint`: true when it named another coordinator as the leader.
    pub(crate) fn learn(&self, endpoint: &str, status: &Status) -> bool {
        let named = status
            .metadata()
            .get(LEADER_METADATA)
            .and_then(|value| value.to_str().ok());
        let named = named.filter(|named| !named.is_empty()).map(with_scheme);
        let mut known = self.known();
        match named {
            Some(named) if named != endpoint && prepare(&named).is_ok() => {
                known.leader = Some(named);
                true
            }
            Some(_) | None => {
                if known.leader.as_deref() == Some(endpoint) {
                    known.leader = None;
                }
                false
            }
        }
    }

    /// A connection to `endpoint`, shared by all calls, made when the first call needs it.
    pub(crate) fn channel(&self, endpoint: &str) -> Result<Channel, CoordinatorsError> {
        let mut known = self.known();
        if let Some(channel) = known.channels.get(endpoint) {
            return Ok(channel.clone());
        }
        let channel = prepare(endpoint)?.connect_lazy();
        known.channels.insert(endpoint.to_owned(), channel.clone());
        Ok(channel)
    }

    /// A connection of its own to `endpoint`, for a session: no call delays its heartbeats.
    pub(crate) async fn connect(&self, endpoint: &str) -> Result<Channel, String> {
        let endpoint = prepare(endpoint).map_err(|error| error.to_string())?;
        endpoint.connect().await.map_err(|error| chain(&error))
    }

    /// Puts the cluster token on a request.
    pub(crate) fn authorize<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.shared.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_scheme(endpoint: &str) -> String {
    let endpoint = endpoint.trim();
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.trim_end_matches('/')),
        None => format!("http://{}", endpoint.trim_end_matches('/')),
    }
}

fn prepare(endpoint: &str) -> Result<Endpoint, CoordinatorsError> {
    let wrong = |detail: String| CoordinatorsError::Endpoint {
        endpoint: endpoint.to_owned(),
        detail,
    };
    let parsed =
        Endpoint::from_shared(endpoint.to_owned()).map_err(|error| wrong(error.to_string()))?;
    if parsed.uri().scheme_str() != Some("http") || parsed.uri().authority().is_none() {
        return Err(wrong("only plain http is supported".to_owned()));
    }
    Ok(parsed
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// An error with its causes: a transport error's own text is only `transport error`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinators(endpoints: &[&str]) -> Result<Coordinators, CoordinatorsError> {
        let endpoints: Vec<String> = endpoints.iter().map(|e| (*e).to_owned()).collect();
        Coordinators::new(&endpoints, &Secret::new("token"))
    }

    fn naming(leader: &str) -> Status {
        let mut status = Status::unavailable("not the leader");
        status
            .metadata_mut()
            .insert(LEADER_METADATA, leader.parse().expect("ASCII"));
        status
    }

    #[test]
    fn without_a_leader_all_are_asked_in_turn() {
        let three = coordinators(&["http://a:1", "b:2", "http://c:3/"]).expect("valid");
        let asked: Vec<String> = (0..4).map(|_| three.choose()).collect();
        assert_eq!(
            asked,
            ["http://a:1", "http://b:2", "http://c:3", "http://a:1"]
        );
    }

    #[test]
    fn a_named_leader_is_asked_until_it_refuses() {
        let two = coordinators(&["http://a:1", "http://b:2"]).expect("valid");
        assert!(two.learn("http://a:1", &naming("z:9")));
        assert_eq!(
            (two.choose().as_str(), two.choose().as_str()),
            ("http://z:9", "http://z:9")
        );
        // A leader that names itself while it refuses knows nothing.
        assert!(!two.learn("http://z:9", &naming("http://z:9")));
        assert_eq!(two.leader(), None);
        two.confirm("http://b:2");
        assert_eq!(two.choose(), "http://b:2");
        // Another one's ignorance does not make the leader doubtful.
        assert!(!two.learn("http://a:1", &Status::unavailable("down")));
        assert_eq!(two.choose(), "http://b:2");
    }

    #[test]
    fn bad_configuration_is_named() {
        assert_eq!(coordinators(&[]).err(), Some(CoordinatorsError::None));
        for bad in ["https://a:1", "http://", "not a host"] {
            let error = coordinators(&["http://a:1", bad]).err().expect(bad);
            assert!(
                error.to_string().contains("form http://host:port"),
                "{error}"
            );
        }
        let error = Coordinators::new(&["http://a:1".to_owned()], &Secret::new("a\nb")).err();
        assert_eq!(error, Some(CoordinatorsError::Token));
    }
}
