//! Who may do what: the `Authorization` header against the master key and the API keys.

use axum::http::{HeaderMap, header};

use super::App;
use super::actions;
use crate::error::{ApiError, Code};

/// What a request is allowed to see.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Index patterns of the key; everything when absent.
    pub indexes: Option<Vec<String>>,
    /// Whether a write may create its index.
    pub may_create: bool,
}

impl App {
    /// Checks that the request may do `action`, on `index` if it is about one.
    pub(super) fn authorize(
        &self,
        headers: &HeaderMap,
        action: &str,
        index: Option<&str>,
    ) -> Result<Access, ApiError> {
        let token = bearer(headers)?;
        let Some(master) = self.keys().master() else {
            return match action {
                // Keys are derived from the master key.
                actions::KEYS_GET
                | actions::KEYS_CREATE
                | actions::KEYS_UPDATE
                | actions::KEYS_DELETE => Err(ApiError::new(
                    Code::MissingMasterKey,
                    "Meilisearch is running without a master key. To access this API endpoint, \
                     you must have set a master key at launch.",
                )),
                _ => Ok(Access {
                    indexes: None,
                    may_create: true,
                }),
            };
        };
        let Some(token) = token else {
            return Err(missing_header());
        };
        if same(token, master) {
            return Ok(Access {
                indexes: None,
                may_create: true,
            });
        }
        let key = self.keys().by_value(token).ok_or_else(invalid_key)?;
        if let Some(uid) = index
            && !key.sees(uid)
        {
            return Err(ApiError::new(
                Code::InvalidApiKey,
                format!(
                    "The API key cannot acces the index `{uid}`, authorized indexes are {:?}.",
                    key.sorted_indexes()
                ),
            ));
        }
        if !key.allows(action) || key.is_expired() {
            return Err(invalid_key());
        }
        let may_create = key.allows(actions::INDEXES_CREATE);
        let restricted = key.indexes.iter().all(|pattern| pattern != "*");
        Ok(Access {
            indexes: restricted.then_some(key.indexes),
            may_create,
        })
    }
}

/// The bearer token, or none without a header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let value = value.to_str().unwrap_or_default();
    match value.split_once(' ') {
        Some(("Bearer", token)) => Ok(Some(token)),
        None if value == "Bearer" => Err(invalid_key()),
        _ => Err(missing_header()),
    }
}

/// Compares secrets in a time that does not depend on where they differ.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |differ, (l, r)| differ | (l ^ r))
            == 0
}

fn missing_header() -> ApiError {
    ApiError::new(
        Code::MissingAuthorizationHeader,
        "The Authorization header is missing. It must use the bearer authorization method.",
    )
}

fn invalid_key() -> ApiError {
    ApiError::new(Code::InvalidApiKey, "The provided API key is invalid.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_are_read() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            headers
        };
        assert_eq!(bearer(&with("Bearer abc")).unwrap(), Some("abc"));
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        for (value, code) in [
            ("Bearer", Code::InvalidApiKey),
            ("Basic abc", Code::MissingAuthorizationHeader),
        ] {
            assert_eq!(bearer(&with(value)).unwrap_err().code, code, "{value}");
        }
    }
}
