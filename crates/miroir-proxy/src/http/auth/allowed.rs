//! What a request that was let through may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use miroir_core::registry::{Action, ApiKey, IndexPattern, SearchRules};
use serde_json::Value;
use uuid::Uuid;

use super::invalid;
use crate::error::HttpError;

/// What the sender of a request may do, beside the action of its route. Handlers take it as an
/// argument; it is there for every route whose access is an action.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    key: Option<(Uuid, Arc<ApiKey>)>,
    rules: Option<Arc<SearchRules>>,
}

impl Allowed {
    /// Everything: the master key was shown, or there is none.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    pub(super) fn of(key: (Uuid, Arc<ApiKey>), rules: Option<SearchRules>) -> Self {
        Self {
            key: Some(key),
            rules: rules.map(Arc::new),
        }
    }

    /// Whether an index may be touched.
    #[must_use]
    pub fn index(&self, uid: &str) -> bool {
        self.key().is_none_or(|key| key.names(uid))
            && self.rules.as_ref().is_none_or(|rules| rules.allows(uid))
    }

    /// Refuses an index that may not be touched. For routes that name indexes in their body.
    ///
    /// # Errors
    /// `invalid_api_key`.
    pub fn require_index(&self, uid: &str) -> Result<(), HttpError> {
        if self.index(uid) {
            Ok(())
        } else {
            Err(invalid())
        }
    }

    /// Whether every index may be touched.
    #[must_use]
    pub fn all_indexes(&self) -> bool {
        self.key().is_none_or(ApiKey::names_all)
            && self.rules.as_ref().is_none_or(|rules| rules.allows_all())
    }

    /// The patterns of the indexes that may be touched; none when all may.
    #[must_use]
    pub fn patterns(&self) -> Vec<IndexPattern> {
        match self.key() {
            Some(key) if !key.names_all() => key.indexes.clone(),
            Some(_) | None => Vec::new(),
        }
    }

    /// The filter that every search of an index is to be narrowed by, outside the client's own.
    #[must_use]
    pub fn filter(&self, uid: &str) -> Option<&Value> {
        self.rules.as_ref()?.filter(uid)
    }

    /// Whether a write may create the index.
    #[must_use]
    pub fn may_create(&self, uid: &str) -> bool {
        let creates = |key: &ApiKey| key.actions.iter().any(|a| a.grants(Action::IndexesAdd));
        self.key().is_none_or(creates) && self.index(uid)
    }

    /// The uid of the key that was shown; `None` for the master key, or without one.
    #[must_use]
    pub fn key_uid(&self) -> Option<Uuid> {
        self.key.as_ref().map(|(uid, _)| *uid)
    }

    pub(super) fn is_tenant(&self) -> bool {
        self.rules.is_some()
    }

    pub(super) fn key(&self) -> Option<&ApiKey> {
        self.key.as_ref().map(|(_, key)| key.as_ref())
    }

    pub(super) fn rules(&self) -> Option<&SearchRules> {
        self.rules.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Allowed {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        // A route that asks for no action has none to hand out: its handler must not want it.
        let allowed = parts.extensions.get::<Self>().cloned();
        allowed.ok_or_else(|| HttpError::internal("this route's access is not an action"))
    }
}
