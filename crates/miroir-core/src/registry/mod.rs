//! The small things that a whole cluster shares beside its documents: API keys, webhooks, features and the like.
//!
//! A [`Registry`] holds named JSON objects by [`Collection`]. Every proxy has all of it in its routing table, so it is
//! bounded in number and size, and what is in it is judged without asking anybody.

mod action;
mod alias;
mod key;
mod pattern;
mod pinning;
mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use action::{Action, IndexScope};
pub use alias::{Alias, HISTORY_MAX, Past};
pub use key::{ApiKey, DefaultKey};
pub use pattern::{IndexPattern, InvalidIndexPattern};
pub use pinning::{DYNAMIC_SEARCH_RULES, RulesChange};
pub use rules::{IndexRule, SearchRules, narrowed};

/// The longest object, in bytes of JSON.
pub const OBJECT_BYTES_MAX: usize = 64 << 10;
/// The longest name of an object, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// The name of the one object of [`Collection::ExperimentalFeatures`]: which features were switched on or off.
pub const FEATURES: &str = "features";

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Collection {
    /// An API key, by its uid.
    Keys,
    /// Switched experimental features; one object.
    ExperimentalFeatures,
    /// A webhook, by its uuid.
    Webhooks,
    /// A dynamic search rule, by its uid.
    DynamicSearchRules,
    /// The settings of a chat workspace, by its name.
    ChatWorkspaces,
    /// An [`Alias`], by its name.
    Aliases,
}

impl Collection {
    /// Every collection.
    pub const ALL: [Self; 6] = [
        Self::Keys,
        Self::ExperimentalFeatures,
        Self::Webhooks,
        Self::DynamicSearchRules,
        Self::ChatWorkspaces,
        Self::Aliases,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::ExperimentalFeatures => "experimentalFeatures",
            Self::Webhooks => "webhooks",
            Self::DynamicSearchRules => "dynamicSearchRules",
            Self::ChatWorkspaces => "chatWorkspaces",
            Self::Aliases => "aliases",
        }
    }

    /// The collection of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// How many objects it holds at most: every proxy has them all, and a change of one sends all of its registry.
    #[must_use]
    pub const fn max(self) -> usize {
        match self {
            Self::Keys => 2000,
            Self::ExperimentalFeatures => 1,
            // Meilisearch's own limit.
            Self::Webhooks => 20,
            Self::DynamicSearchRules | Self::ChatWorkspaces => 200,
            Self::Aliases => 1000,
        }
    }
}

/// An object with its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The object.
    pub value: Value,
    /// The Raft index of its last change. A change may ask for it to be what its maker saw.
    pub version: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it last changed.
    pub updated_at_ms: u64,
}

/// What a change expects to find; anything else refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expected {
    /// No object of that name.
    Absent,
    /// The object as its last change at this Raft index left it.
    Version(u64),
    /// An object of that name, whatever it is.
    Present,
    /// Anything or nothing.
    Any,
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where.
    pub collection: Collection,
    /// The object's name.
    pub name: String,
    /// What must be there for the change to be made.
    pub expected: Expected,
    /// The new object; `None` deletes it.
    pub value: Option<Value>,
}

/// Why a change was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum RegistryError {
    /// An object of that name was not expected.
    #[error("there is an object `{name}` already")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no object of that name.
    #[error("there is no object `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The object changed since the maker of the change looked; try again on what it is now.
    #[error("object `{name}` changed meanwhile")]
    Changed {
        /// The name.
        name: String,
    },
    /// The collection holds as many objects as it may.
    #[error("there can be at most {max} objects of this kind; delete some first")]
    Full {
        /// How many.
        max: usize,
    },
    /// An alias cannot have the uid of an index: requests would not know which is meant.
    #[error("`{name}` is the uid of an index")]
    IsIndex {
        /// The name.
        name: String,
    },
    /// An alias can only be pointed to an index that is there.
    #[error("index `{uid}` not found")]
    NoIndex {
        /// The uid that it was to be pointed to.
        uid: String,
    },
    /// The object, or its name, is too long, or it is no object.
    #[error("an object must be a JSON object of at most {max} bytes with a short name")]
    Unfit {
        /// The longest object, in bytes.
        max: usize,
    },
}

impl RegistryError {
    /// Whether the same wish may succeed when it is formed anew on what is there now.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Changed { .. } => true,
            Self::Exists { .. }
            | Self::Unknown { .. }
            | Self::Full { .. }
            | Self::IsIndex { .. }
            | Self::NoIndex { .. }
            | Self::Unfit { .. } => false,
        }
    }
}

/// All objects. Cloning is cheap for its size: entries are shared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// The Raft index of its last change; 0 before the first.
    pub version: u64,
    /// Whether the default keys were made. They are not made again when they are deleted.
    pub seeded: bool,
    objects: BTreeMap<Collection, BTreeMap<String, Arc<Entry>>>,
}

impl Registry {
    /// A registry of these entries.
    #[must_use]
    pub fn of(
        version: u64,
        seeded: bool,
        entries: impl IntoIterator<Item = (Collection, String, Entry)>,
    ) -> Self {
        let mut registry = Self {
            version,
            seeded,
            objects: BTreeMap::new(),
        };
        for (collection, name, entry) in entries {
            let objects = registry.objects.entry(collection).or_default();
            objects.insert(name, Arc::new(entry));
        }
        registry
    }

    /// An object.
    #[must_use]
    pub fn get(&self, collection: Collection, name: &str) -> Option<&Arc<Entry>> {
        self.objects.get(&collection)?.get(name)
    }

    /// The objects of a collection, by name.
    pub fn iter(&self, collection: Collection) -> impl Iterator<Item = (&str, &Arc<Entry>)> {
        let objects = self.objects.get(&collection).into_iter().flatten();
        objects.map(|(name, entry)| (name.as_str(), entry))
    }

    /// Whether an experimental feature is on.
    #[must_use]
    pub fn feature(&self, name: &str) -> bool {
        let entry = self.get(Collection::ExperimentalFeatures, FEATURES);
        let value = entry.and_then(|entry| entry.value.get(name));
        value.and_then(Value::as_bool).unwrap_or(false)
    }

    /// How many objects a collection has.
    #[must_use]
    pub fn count(&self, collection: Collection) -> usize {
        self.objects.get(&collection).map_or(0, BTreeMap::len)
    }

    /// Whether a change can be made.
    ///
    /// # Errors
    /// [`RegistryError`], why not.
    pub fn check(&self, change: &Change) -> Result<(), RegistryError> {
        let name = change.name.clone();
        match (self.get(change.collection, &change.name), change.expected) {
            (Some(_), Expected::Absent) => return Err(RegistryError::Exists { name }),
            (None, Expected::Version(_) | Expected::Present) => {
                return Err(RegistryError::Unknown { name });
            }
            (Some(entry), Expected::Version(version)) if entry.version != version => {
                return Err(RegistryError::Changed { name });
            }
            (Some(_), Expected::Version(_) | Expected::Present | Expected::Any)
            | (None, Expected::Absent | Expected::Any) => {}
        }
        let Some(value) = &change.value else {
            return Ok(());
        };
        let fits = value.is_object() && value.to_string().len() <= OBJECT_BYTES_MAX;
        if !fits || change.name.len() > NAME_BYTES_MAX {
            return Err(RegistryError::Unfit {
                max: OBJECT_BYTES_MAX,
            });
        }
        let is_new = self.get(change.collection, &change.name).is_none();
        let max = change.collection.max();
        if is_new && self.count(change.collection) >= max {
            return Err(RegistryError::Full { max });
        }
        Ok(())
    }

    /// Makes a change that was checked, at this Raft index and time.
    pub(crate) fn make(&mut self, change: &Change, index: u64, at_ms: u64) {
        self.version = index;
        let objects = self.objects.entry(change.collection).or_default();
        let Some(value) = &change.value else {
            objects.remove(&change.name);
            return;
        };
        let created_at_ms = objects
            .get(&change.name)
            .map_or(at_ms, |entry| entry.created_at_ms);
        let entry = Entry {
            value: value.clone(),
            version: index,
            created_at_ms,
            updated_at_ms: at_ms,
        };
        objects.insert(change.name.clone(), Arc::new(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(name: &str, expected: Expected, value: Option<Value>) -> Change {
        Change {
            collection: Collection::Webhooks,
            name: name.to_owned(),
            expected,
            value,
        }
    }

    #[test]
    fn a_change_is_made_only_on_what_it_expects() {
        let mut registry = Registry::default();
        registry.make(&change("a", Expected::Absent, Some(json!({}))), 5, 100);
        let unknown = || RegistryError::Unknown {
            name: "b".to_owned(),
        };
        let table = [
            (
                "a",
                Expected::Absent,
                Err(RegistryError::Exists {
                    name: "a".to_owned(),
                }),
            ),
            ("a", Expected::Present, Ok(())),
            ("a", Expected::Any, Ok(())),
            ("a", Expected::Version(5), Ok(())),
            (
                "a",
                Expected::Version(4),
                Err(RegistryError::Changed {
                    name: "a".to_owned(),
                }),
            ),
            ("b", Expected::Absent, Ok(())),
            ("b", Expected::Any, Ok(())),
            ("b", Expected::Present, Err(unknown())),
            ("b", Expected::Version(5), Err(unknown())),
        ];
        for (name, expected, result) in table {
            for value in [None, Some(json!({ "x": 1 }))] {
                let asked = change(name, expected, value);
                assert_eq!(registry.check(&asked), result, "{asked:?}");
            }
        }
    }

    #[test]
    fn objects_keep_their_birth_and_tell_their_last_change() {
        let mut registry = Registry::default();
        registry.make(&change("a", Expected::Any, Some(json!({ "x": 1 }))), 5, 100);
        registry.make(&change("a", Expected::Any, Some(json!({ "x": 2 }))), 8, 250);
        let entry = registry
            .get(Collection::Webhooks, "a")
            .expect("it is there");
        assert_eq!(
            (entry.created_at_ms, entry.updated_at_ms, entry.version),
            (100, 250, 8)
        );
        registry.make(&change("a", Expected::Any, None), 9, 300);
        assert_eq!(
            (registry.count(Collection::Webhooks), registry.version),
            (0, 9)
        );
    }

    #[test]
    fn a_registry_is_bounded() {
        let mut registry = Registry::default();
        for number in 0..20 {
            let asked = change(&number.to_string(), Expected::Absent, Some(json!({})));
            assert_eq!(registry.check(&asked), Ok(()));
            registry.make(&asked, number, 0);
        }
        let one_more = change("x", Expected::Any, Some(json!({})));
        assert_eq!(
            registry.check(&one_more),
            Err(RegistryError::Full { max: 20 })
        );
        let in_place = change("3", Expected::Any, Some(json!({ "y": 1 })));
        assert_eq!(registry.check(&in_place), Ok(()));
        for unfit in [json!([]), json!({ "x": "y".repeat(OBJECT_BYTES_MAX) })] {
            let asked = change("3", Expected::Any, Some(unfit));
            let refused = registry.check(&asked).expect_err("unfit");
            assert_eq!(
                refused,
                RegistryError::Unfit {
                    max: OBJECT_BYTES_MAX
                }
            );
        }
    }

    #[test]
    fn collections_are_found_by_their_names() {
        for one in Collection::ALL {
            assert_eq!(Collection::parse(one.as_str()), Some(one));
            assert_eq!(json!(one), json!(one.as_str()));
        }
        assert_eq!(Collection::parse("documents"), None);
    }
}
