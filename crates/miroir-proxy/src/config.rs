//! The proxy's configuration: one TOML file, overridden by environment variables, checked whole
//! before a port is bound.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use miroir_meili::Secret;
use serde::{Deserialize, Deserializer};

use crate::read::ReadsConfig;

/// What the `miroir-proxy` command line takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// TOML file; every field of it can also be set by an environment variable
    #[arg(long, value_name = "FILE", env = "MIROIR_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Everything a proxy can be told. [`Default`] holds the defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on. Port 0 lets the system choose. `MIROIR_HTTP_ADDR`.
    pub http_addr: SocketAddr,
    /// Where other proxies reach this one: `http://host:port`. Without it, what `http_addr` says;
    /// required when that is a wildcard address. `MIROIR_ADVERTISE_URL`.
    pub advertise_url: Option<String>,
    /// What status pages call it. `MIROIR_NAME`.
    pub name: String,
    /// gRPC addresses of coordinators, `http://host:port`; one that answers is enough, for it names
    /// the leader. `MIROIR_COORDINATORS`, separated by commas.
    pub coordinators: Vec<String>,
    /// What coordinators and other proxies know this one by. `MIROIR_CLUSTER_TOKEN`.
    #[serde(deserialize_with = "secret")]
    pub cluster_token: Option<Secret>,
    /// A file whose content is the cluster token. `MIROIR_CLUSTER_TOKEN_FILE`.
    pub cluster_token_file: Option<PathBuf>,
    /// The master key of the nodes, which is also the clients': Meilisearch derives API keys from
    /// it, so they cannot differ. Without it everything is open, as in Meilisearch.
    /// `MIROIR_MASTER_KEY`, or `MIROIR_NODE_MASTER_KEY` as for the coordinators.
    #[serde(deserialize_with = "secret")]
    pub master_key: Option<Secret>,
    /// A file whose content is the master key. `MIROIR_MASTER_KEY_FILE`.
    pub master_key_file: Option<PathBuf>,
    /// How long a write may wait for a leader, a writer or the end of a fence before it is
    /// answered 503, in milliseconds. `MIROIR_HOLD_MS`.
    pub hold_ms: u64,
    /// How much of waiting writes is kept in memory before further ones are answered 503, in
    /// bytes. `MIROIR_HOLD_BYTES`.
    pub hold_bytes: usize,
    /// The longest request body, in bytes. `MIROIR_PAYLOAD_LIMIT_BYTES`.
    pub payload_limit_bytes: usize,
    /// How long a search or a read of documents may take, retries on other copies included, in
    /// milliseconds. `MIROIR_SEARCH_TIMEOUT_MS`.
    pub search_timeout_ms: u64,
    /// How long a read may wait for what its session wrote before it is answered 503, in
    /// milliseconds. `MIROIR_SESSION_WAIT_MS`.
    pub session_wait_ms: u64,
    /// How long one request to one node may take, in milliseconds. `MIROIR_NODE_REQUEST_TIMEOUT_MS`.
    pub node_request_timeout_ms: u64,
    /// How many reads may be under way on one node; further ones wait their turn.
    /// `MIROIR_NODE_CONCURRENCY`.
    pub node_concurrency: usize,
    /// What a search is answered when no copy of some shard answers. `MIROIR_UNAVAILABLE_SHARDS`.
    pub unavailable_shards: UnavailableShards,
    /// How many read requests of a hundred may be sent once more, to another copy, when a node takes longer than usual; 0 for none.
    /// `MIROIR_HEDGE_PERCENT`.
    pub hedge_percent: u64,
    /// How long every node is waited for before that, in milliseconds. `MIROIR_HEDGE_MIN_MS`.
    pub hedge_min_ms: u64,
    /// How long requests under way may take after a stop was asked for, in milliseconds.
    /// `MIROIR_DRAIN_MS`.
    pub drain_ms: u64,
    /// What is logged, as a `tracing` filter such as `info` or `miroir_proxy=debug`. `MIROIR_LOG`.
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_addr: SocketAddr::from(([127, 0, 0, 1], 7700)),
            advertise_url: None,
            name: "proxy".to_owned(),
            coordinators: Vec::new(),
            cluster_token: None,
            cluster_token_file: None,
            master_key: None,
            master_key_file: None,
            hold_ms: 10_000,
            hold_bytes: 64 << 20,
            payload_limit_bytes: 100 << 20,
            search_timeout_ms: 10_000,
            session_wait_ms: 10_000,
            node_request_timeout_ms: 30_000,
            node_concurrency: 64,
            unavailable_shards: UnavailableShards::Error,
            hedge_percent: 5,
            hedge_min_ms: 20,
            drain_ms: 15_000,
            log: "info".to_owned(),
        }
    }
}

/// What searches and lists of documents are answered when no copy of some shard answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnavailableShards {
    /// An error.
    Error,
    /// What the other shards have, said to be a part.
    Partial,
}

impl std::str::FromStr for UnavailableShards {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "partial" => Ok(Self::Partial),
            _ => Err("it is neither `error` nor `partial`"),
        }
    }
}

/// A configuration that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML of this shape. The text names the line and the key.
    #[error("{path} is not a proxy configuration: {error}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        error: Box<toml::de::Error>,
    },
    /// An environment variable has a value that does not fit.
    #[error("environment variable {name} is wrong: {why}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it should be.
        why: String,
    },
    /// A field has a value that does not fit, or lacks one.
    #[error("configuration `{field}` {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
}

impl ConfigError {
    /// Whether the same configuration may be usable later without a change: never.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Syntax { .. }
            | Self::Environment { .. }
            | Self::Field { .. } => false,
        }
    }
}

type Override = fn(&mut Config, &str) -> Result<(), String>;

/// The environment variables and what they set.
const OVERRIDES: &[(&str, Override)] = &[
    ("MIROIR_HTTP_ADDR", |c, v| set(&mut c.http_addr, v)),
    ("MIROIR_ADVERTISE_URL", |c, v| {
        set_some(&mut c.advertise_url, v)
    }),
    ("MIROIR_NAME", |c, v| set(&mut c.name, v)),
    ("MIROIR_COORDINATORS", |c, v| {
        c.coordinators = v.split(',').map(|url| url.trim().to_owned()).collect();
        Ok(())
    }),
    ("MIROIR_CLUSTER_TOKEN", |c, v| {
        c.cluster_token = Some(Secret::new(v));
        c.cluster_token_file = None;
        Ok(())
    }),
    ("MIROIR_CLUSTER_TOKEN_FILE", |c, v| {
        c.cluster_token = None;
        set_some(&mut c.cluster_token_file, v)
    }),
    ("MIROIR_NODE_MASTER_KEY", set_master_key),
    ("MIROIR_MASTER_KEY", set_master_key),
    ("MIROIR_MASTER_KEY_FILE", |c, v| {
        c.master_key = None;
        set_some(&mut c.master_key_file, v)
    }),
    ("MIROIR_HOLD_MS", |c, v| set(&mut c.hold_ms, v)),
    ("MIROIR_HOLD_BYTES", |c, v| set(&mut c.hold_bytes, v)),
    ("MIROIR_PAYLOAD_LIMIT_BYTES", |c, v| {
        set(&mut c.payload_limit_bytes, v)
    }),
    ("MIROIR_SEARCH_TIMEOUT_MS", |c, v| {
        set(&mut c.search_timeout_ms, v)
    }),
    ("MIROIR_SESSION_WAIT_MS", |c, v| {
        set(&mut c.session_wait_ms, v)
    }),
    ("MIROIR_NODE_REQUEST_TIMEOUT_MS", |c, v| {
        set(&mut c.node_request_timeout_ms, v)
    }),
    ("MIROIR_NODE_CONCURRENCY", |c, v| {
        set(&mut c.node_concurrency, v)
    }),
    ("MIROIR_UNAVAILABLE_SHARDS", |c, v| {
        set(&mut c.unavailable_shards, v)
    }),
    ("MIROIR_HEDGE_PERCENT", |c, v| set(&mut c.hedge_percent, v)),
    ("MIROIR_HEDGE_MIN_MS", |c, v| set(&mut c.hedge_min_ms, v)),
    ("MIROIR_DRAIN_MS", |c, v| set(&mut c.drain_ms, v)),
    ("MIROIR_LOG", |c, v| set(&mut c.log, v)),
];

fn set<T: std::str::FromStr<Err: fmt::Display>>(field: &mut T, text: &str) -> Result<(), String> {
    *field = text
        .trim()
        .parse()
        .map_err(|error| format!("`{text}`: {error}"))?;
    Ok(())
}

fn set_some<T: std::str::FromStr<Err: fmt::Display>>(
    field: &mut Option<T>,
    text: &str,
) -> Result<(), String> {
    *field = Some(
        text.trim()
            .parse()
            .map_err(|error| format!("`{text}`: {error}"))?,
    );
    Ok(())
}

fn set_master_key(config: &mut Config, text: &str) -> Result<(), String> {
    config.master_key = Some(Secret::new(text));
    config.master_key_file = None;
    Ok(())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    String::deserialize(deserializer).map(|text| Some(Secret::new(text)))
}

impl Config {
    /// Reads `file`, if there is one, then `env` (a variable's value by its name; an empty one
    /// counts as absent), then the files that hold secrets, and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file, key or variable.
    pub fn load(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut config = match file {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        for (name, apply) in OVERRIDES {
            if let Some(value) = env(name).filter(|value| !value.is_empty()) {
                apply(&mut config, &value).map_err(|why| ConfigError::Environment { name, why })?;
            }
        }
        config.read_secrets()?;
        config.validate()?;
        Ok(config)
    }

    /// As [`load`](Self::load), with this process's environment.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file, key or variable.
    pub fn from_args(args: &Args) -> Result<Self, ConfigError> {
        Self::load(args.config.as_deref(), |name| std::env::var(name).ok())
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        read_secret(
            "cluster_token",
            &mut self.cluster_token,
            self.cluster_token_file.take(),
        )?;
        read_secret(
            "master_key",
            &mut self.master_key,
            self.master_key_file.take(),
        )
    }

    /// Checks every field that its type does not.
    ///
    /// # Errors
    /// [`ConfigError::Field`], naming the first that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, why: &str| {
            Err(ConfigError::Field {
                field,
                why: why.to_owned(),
            })
        };
        if self.coordinators.is_empty() {
            return wrong(
                "coordinators",
                "is empty: name at least one coordinator's gRPC address",
            );
        }
        for url in &self.coordinators {
            check_url("coordinators", url)?;
        }
        match &self.advertise_url {
            Some(url) => check_url("advertise_url", url)?,
            None if self.http_addr.ip().is_unspecified() => {
                return wrong(
                    "advertise_url",
                    "is missing: `http_addr` is a wildcard address, which other proxies cannot reach",
                );
            }
            None => {}
        }
        if self.cluster_token.is_none() {
            return wrong(
                "cluster_token",
                "is missing: set it, `cluster_token_file` or MIROIR_CLUSTER_TOKEN to the coordinators' token",
            );
        }
        let positive = [
            ("hold_ms", self.hold_ms),
            ("search_timeout_ms", self.search_timeout_ms),
            ("session_wait_ms", self.session_wait_ms),
            ("node_request_timeout_ms", self.node_request_timeout_ms),
            ("drain_ms", self.drain_ms),
            ("hold_bytes", self.hold_bytes as u64),
            ("payload_limit_bytes", self.payload_limit_bytes as u64),
            ("node_concurrency", self.node_concurrency as u64),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return wrong(field, "is 0: it must be at least 1");
        }
        if self.hedge_percent > 100 {
            return wrong(
                "hedge_percent",
                "is more than 100: it is a share of requests",
            );
        }
        self.log
            .parse::<tracing_subscriber::EnvFilter>()
            .map(drop)
            .map_err(|error| ConfigError::Field {
                field: "log",
                why: format!("is not a log filter: {error}"),
            })
    }

    /// [`hold_ms`](Self::hold_ms) as a duration.
    #[must_use]
    pub fn hold(&self) -> Duration {
        Duration::from_millis(self.hold_ms)
    }

    /// How reads are carried out.
    #[must_use]
    pub fn reads(&self) -> ReadsConfig {
        ReadsConfig {
            timeout: Duration::from_millis(self.search_timeout_ms),
            concurrency: self.node_concurrency,
            hedge_percent: self.hedge_percent,
            hedge_least: Duration::from_millis(self.hedge_min_ms),
            partial: self.unavailable_shards == UnavailableShards::Partial,
        }
    }

    /// [`session_wait_ms`](Self::session_wait_ms) as a duration.
    #[must_use]
    pub fn session_wait(&self) -> Duration {
        Duration::from_millis(self.session_wait_ms)
    }

    /// [`node_request_timeout_ms`](Self::node_request_timeout_ms) as a duration.
    #[must_use]
    pub fn node_request_timeout(&self) -> Duration {
        Duration::from_millis(self.node_request_timeout_ms)
    }
}

fn read_secret(
    field: &'static str,
    value: &mut Option<Secret>,
    file: Option<PathBuf>,
) -> Result<(), ConfigError> {
    if let Some(path) = file {
        if value.is_some() {
            let why = format!("and `{field}_file` are both set: keep one");
            return Err(ConfigError::Field { field, why });
        }
        let text =
            std::fs::read_to_string(&path).map_err(|error| ConfigError::Read { path, error })?;
        *value = Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
    }
    let is_text = |secret: &Secret| !secret.expose().trim().is_empty();
    if value.as_ref().is_some_and(|secret| !is_text(secret)) {
        return Err(ConfigError::Field {
            field,
            why: "is empty: leave it out or set it".to_owned(),
        });
    }
    let fits = |secret: &Secret| secret.expose().bytes().all(|b| (0x21..0x7f).contains(&b));
    if value.as_ref().is_some_and(|secret| !fits(secret)) {
        let why = "has a character that does not fit into an HTTP header".to_owned();
        return Err(ConfigError::Field { field, why });
    }
    Ok(())
}

fn check_url(field: &'static str, url: &str) -> Result<(), ConfigError> {
    let problem = match url.parse::<axum::http::Uri>() {
        Err(error) => Some(error.to_string()),
        Ok(uri) if uri.scheme_str() != Some("http") => {
            Some("it does not begin with http://".into())
        }
        Ok(uri) if uri.host().is_none_or(str::is_empty) => Some("it has no host".into()),
        Ok(uri) if uri.path() != "/" || url.ends_with('/') => {
            Some("it has a path or a trailing slash".into())
        }
        Ok(_) => None,
    };
    match problem {
        None => Ok(()),
        Some(why) => Err(ConfigError::Field {
            field,
            why: format!("`{url}` is not of the form http://host:port: {why}"),
        }),
    }
}
