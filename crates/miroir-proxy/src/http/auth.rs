//! Who may do what.
//!
//! Every request is judged here, before its handler, by the action that the table of routes names:
//! from the registry in the routing table, so also while no coordinator leads. Nodes are then asked
//! with the cluster's own key (docs/adr/0010-proxies-judge-keys.md). Without a master key everything
//! is open, as in Meilisearch.

mod allowed;
mod guard;
mod secret;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use miroir_core::api_error::{ApiError, Code};
use miroir_core::registry::{Action, ApiKey, Collection, Registry};
use miroir_meili::Secret;
use uuid::Uuid;

use crate::error::HttpError;
use crate::write::TOKEN_HEADER;
pub use allowed::Allowed;
pub use guard::{guard, is_forwarded, listed};
use secret::{KeyBytes, derive, from_hex, same, to_hex};
use token::TokenError;

/// The keys that this proxy knows.
#[derive(Debug)]
pub struct Keys {
    master: Option<Secret>,
    cluster_token: Option<Secret>,
    ring: Mutex<Arc<Ring>>,
}

/// The API keys of one registry with their values.
#[derive(Default)]
struct Ring {
    registry: Arc<Registry>,
    keys: Vec<RingKey>,
}

/// The value of a key, its uid, and what it allows.
type RingKey = (KeyBytes, Uuid, Arc<ApiKey>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No values.
        f.debug_struct("Ring")
            .field("keys", &self.keys.len())
            .finish()
    }
}

impl Keys {
    /// Without `master` everything is open; without `cluster_token` no proxy is believed to be one.
    #[must_use]
    pub fn new(master: Option<Secret>, cluster_token: Option<Secret>) -> Self {
        Self {
            master,
            cluster_token,
            ring: Mutex::default(),
        }
    }

    /// Judges a request by the keys of `registry`. `index` is the index that its path names.
    ///
    /// # Errors
    /// `missing_authorization_header`, `invalid_api_key`, or `missing_master_key` for a route about
    /// keys, all in Meilisearch's words.
    pub fn authorize(
        &self,
        headers: &HeaderMap,
        registry: &Arc<Registry>,
        action: Action,
        index: Option<&str>,
    ) -> Result<Allowed, HttpError> {
        let given = bearer(headers)?;
        let index = index.filter(|_| given.is_some());
        let judged = self.judge(given.unwrap_or_default(), registry, action, index);
        judged.map_err(|refused| match (&self.master, given) {
            (None, _) => missing_master_key(),
            (Some(_), None) => missing(),
            (Some(_), Some(_)) => refused,
        })
    }

    fn judge(
        &self,
        given: &str,
        registry: &Arc<Registry>,
        action: Action,
        index: Option<&str>,
    ) -> Result<Allowed, HttpError> {
        let Some(master) = &self.master else {
            return if action.is_about_keys() {
                Err(missing_master_key())
            } else {
                Ok(Allowed::everything())
            };
        };
        if same(given.as_bytes(), master.expose().as_bytes()) {
            return Ok(Allowed::everything());
        }
        let now_ms = now_ms();
        let ring = self.ring(registry, master);
        let allowed = match tenant(given, master, action, now_ms)? {
            Some(token) => {
                let key = ring.by_uid(token.key).ok_or_else(invalid)?;
                Allowed::of(key, Some(token.rules))
            }
            None => Allowed::of(ring.by_value(given).ok_or_else(invalid)?, None),
        };
        if let Some(uid) = index {
            check_index(&allowed, uid)?;
        }
        let granted = allowed
            .key()
            .is_some_and(|key| key.allows(action, index, now_ms));
        if granted { Ok(allowed) } else { Err(invalid()) }
    }

    /// The API keys of `registry`, computed once for each.
    fn ring(&self, registry: &Arc<Registry>, master: &Secret) -> Arc<Ring> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&ring.registry, registry) {
            *ring = Arc::new(Ring::of(registry, master));
        }
        Arc::clone(&ring)
    }

    /// The value of the key of that uid, as clients show it; `None` without a master key.
    #[must_use]
    pub fn value_of(&self, uid: &str) -> Option<String> {
        let master = self.master.as_ref()?;
        Some(to_hex(&derive(master, uid)))
    }

    /// The uid of the key with that value.
    #[must_use]
    pub fn uid_of(&self, registry: &Arc<Registry>, value: &str) -> Option<Uuid> {
        let ring = self.ring(registry, self.master.as_ref()?);
        ring.find(value).map(|(_, uid, _)| *uid)
    }

    /// Whether the request comes from another proxy of the cluster.
    #[must_use]
    pub fn is_proxy(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(TOKEN_HEADER);
        match (&self.cluster_token, given) {
            (Some(token), Some(given)) => same(given.as_bytes(), token.expose().as_bytes()),
            (None, _) | (_, None) => false,
        }
    }

    /// Whether the request shows the master key, or none is needed.
    #[must_use]
    pub fn is_master(&self, headers: &HeaderMap) -> bool {
        let Some(master) = &self.master else {
            return true;
        };
        let shown = bearer(headers).ok().flatten();
        shown.is_some_and(|given| same(given.as_bytes(), master.expose().as_bytes()))
    }
}

impl Ring {
    fn of(registry: &Arc<Registry>, master: &Secret) -> Self {
        let keys = registry.iter(Collection::Keys).filter_map(|(uid, entry)| {
            let key = ApiKey::read(&entry.value)?;
            Some((
                derive(master, uid),
                Uuid::parse_str(uid).ok()?,
                Arc::new(key),
            ))
        });
        Self {
            keys: keys.collect(),
            registry: Arc::clone(registry),
        }
    }

    /// Looks at every key, so that the time tells nothing.
    fn find(&self, value: &str) -> Option<&RingKey> {
        let value = from_hex(value)?;
        self.keys.iter().fold(None, |found, key: &RingKey| {
            if same(&value, &key.0) {
                Some(key)
            } else {
                found
            }
        })
    }

    fn by_value(&self, value: &str) -> Option<(Uuid, Arc<ApiKey>)> {
        self.find(value)
            .map(|(_, uid, key)| (*uid, Arc::clone(key)))
    }

    fn by_uid(&self, uid: Uuid) -> Option<(Uuid, Arc<ApiKey>)> {
        let found = self.keys.iter().find(|(_, known, _)| *known == uid);
        found.map(|(_, uid, key)| (*uid, Arc::clone(key)))
    }
}

/// The tenant token that a text is, for the actions that take one.
fn tenant(
    given: &str,
    master: &Secret,
    action: Action,
    now_ms: i64,
) -> Result<Option<token::TenantToken>, HttpError> {
    if !action.takes_tenant_tokens() {
        return Ok(None);
    }
    let secret = |uid: Uuid| to_hex(&derive(master, &uid.hyphenated().to_string()));
    match token::read(given, secret, now_ms.div_euclid(1000)) {
        Ok(token) => Ok(Some(token)),
        Err(TokenError::NotAToken) => Ok(None),
        Err(TokenError::Refused(why)) => Err(refused(why)),
    }
}

/// Refuses an index that the key or the token does not name. What a token names its holder can
/// read in it; what the key behind it names is not for the holder to know.
fn check_index(allowed: &Allowed, uid: &str) -> Result<(), HttpError> {
    if let Some(rules) = allowed.rules().filter(|rules| !rules.allows(uid)) {
        let known = rules.patterns();
        return Err(refused(format!(
            "The provided tenant token cannot acces the index `{uid}`, allowed indexes are {known:?}."
        )));
    }
    let Some(key) = allowed.key().filter(|key| !key.names(uid)) else {
        return Ok(());
    };
    if allowed.is_tenant() {
        return Err(refused(format!(
            "The API key used to generate this tenant token cannot acces the index `{uid}`."
        )));
    }
    let mut known: Vec<&str> = key.indexes.iter().map(|pattern| pattern.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    Err(refused(format!(
        "The API key cannot acces the index `{uid}`, authorized indexes are {known:?}."
    )))
}

/// What stands behind `Bearer`; `None` without the header.
///
/// # Errors
/// As Meilisearch's, for a header of another form.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, HttpError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some(("Bearer", token)) => Ok(Some(token)),
        None if text == "Bearer" => Err(invalid()),
        _ => Err(missing()),
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn missing() -> HttpError {
    ApiError::new(
        Code::MissingAuthorizationHeader,
        "The Authorization header is missing. It must use the bearer authorization method.",
    )
    .into()
}

fn missing_master_key() -> HttpError {
    ApiError::new(
        Code::MissingMasterKey,
        "Meilisearch is running without a master key. To access this API endpoint, you must have set a master key at launch.",
    )
    .into()
}

fn refused(message: String) -> HttpError {
    ApiError::new(Code::InvalidApiKey, message).into()
}

fn invalid() -> HttpError {
    refused("The provided API key is invalid.".to_owned())
}

#[cfg(test)]
mod tests;
