//! API keys as the registry keeps them: never with their value, which follows from the master key and the uid.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, IndexPattern, IndexScope};

/// What a key allows. Its uid is its name in the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it may do.
    pub actions: Vec<Action>,
    /// With which indexes.
    pub indexes: Vec<IndexPattern>,
    /// Until when, as clients see it.
    pub expires_at: Option<String>,
    /// The same in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
}

impl ApiKey {
    /// The key that an object of the registry describes; `None` for an object of a later version that this one
    /// does not understand, which then allows nothing.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_some_and(|at| now_ms >= at)
    }

    /// Whether it names an index.
    #[must_use]
    pub fn names(&self, uid: &str) -> bool {
        self.indexes.iter().any(|pattern| pattern.matches(uid))
    }

    /// Whether it names every index.
    #[must_use]
    pub fn names_all(&self) -> bool {
        self.indexes.iter().any(IndexPattern::is_all)
    }

    /// Whether it may do this now, to `index` if the route names one.
    #[must_use]
    pub fn allows(&self, action: Action, index: Option<&str>, now_ms: i64) -> bool {
        if self.is_expired(now_ms) || !self.actions.iter().any(|granted| granted.grants(action)) {
            return false;
        }
        match index {
            _ if self.names_all() => true,
            Some(uid) => self.names(uid),
            None => action.scope() == IndexScope::CheckedByRoute && !self.indexes.is_empty(),
        }
    }

    /// The first action that a key of these indexes cannot have, because it concerns the whole cluster.
    #[must_use]
    pub fn out_of_scope(&self) -> Option<Action> {
        if self.indexes.is_empty() || self.names_all() {
            return None;
        }
        let global = |action: &&Action| action.scope() == IndexScope::Global;
        self.actions.iter().find(global).copied()
    }
}

/// A key that every cluster has from the beginning, as every Meilisearch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultKey {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub description: &'static str,
    /// What it may do, with every index.
    pub actions: &'static [Action],
}

impl DefaultKey {
    /// All of them, in the order in which Meilisearch makes them.
    pub const ALL: [Self; 4] = [
        Self {
            name: "Default Chat API Key",
            description: "Use it to chat and search from the frontend",
            actions: &[Action::ChatCompletions, Action::Search],
        },
        Self {
            name: "Default Read-Only Admin API Key",
            description: "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
            actions: &[Action::AllGet, Action::KeysGet],
        },
        Self {
            name: "Default Admin API Key",
            description: "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
            actions: &[Action::All],
        },
        Self {
            name: "Default Search API Key",
            description: "Use it to search from the frontend",
            actions: &[Action::Search],
        },
    ];

    /// The key for the registry.
    #[must_use]
    pub fn to_key(self) -> ApiKey {
        ApiKey {
            name: Some(self.name.to_owned()),
            description: Some(self.description.to_owned()),
            actions: self.actions.to_vec(),
            indexes: vec![IndexPattern::all()],
            expires_at: None,
            expires_at_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(actions: &[Action], indexes: &[&str]) -> ApiKey {
        ApiKey {
            name: None,
            description: None,
            actions: actions.to_vec(),
            indexes: indexes
                .iter()
                .map(|pattern| IndexPattern::parse(pattern).expect("valid"))
                .collect(),
            expires_at: None,
            expires_at_ms: Some(1000),
        }
    }

    #[test]
    fn keys_allow_their_actions_on_their_indexes_for_their_time() {
        let whole = key(&[Action::Search, Action::KeysGet], &["*"]);
        let some = key(
            &[Action::Search, Action::DocumentsAdd, Action::KeysGet],
            &["mov*", "b"],
        );
        let table = [
            (&whole, Action::Search, None, 0, true),
            (&whole, Action::Search, Some("x"), 999, true),
            (&whole, Action::Search, Some("x"), 1000, false),
            (&whole, Action::KeysGet, None, 0, true),
            (&whole, Action::DocumentsAdd, Some("x"), 0, false),
            (&some, Action::Search, Some("movies"), 0, true),
            (&some, Action::Search, Some("books"), 0, false),
            (&some, Action::Search, None, 0, true),
            (&some, Action::DocumentsAdd, Some("b"), 0, true),
            (&some, Action::DocumentsAdd, None, 0, false),
            (&some, Action::KeysGet, None, 0, false),
            (&key(&[Action::Search], &[]), Action::Search, None, 0, false),
        ];
        for (key, action, index, now, expected) in table {
            assert_eq!(
                key.allows(action, index, now),
                expected,
                "{key:?} {action} {index:?} {now}"
            );
        }
    }

    #[test]
    fn global_actions_need_every_index() {
        assert_eq!(
            key(&[Action::Search, Action::Version], &["a"]).out_of_scope(),
            Some(Action::Version)
        );
        assert_eq!(key(&[Action::Version], &["a", "*"]).out_of_scope(), None);
        assert_eq!(key(&[Action::Version], &[]).out_of_scope(), None);
        assert_eq!(key(&[Action::All], &["a"]).out_of_scope(), None);
    }

    #[test]
    fn a_key_survives_its_json() {
        let key = DefaultKey::ALL[1].to_key();
        let value = serde_json::to_value(&key).expect("plain data");
        assert_eq!(ApiKey::read(&value), Some(key));
        assert_eq!(value["actions"], serde_json::json!(["*.get", "keys.get"]));
    }
}
