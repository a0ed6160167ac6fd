//! Dynamic search rules: objects of the registry that pin documents to places in the answers of searches.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Change, Collection, Entry, Expected, Registry, RegistryError};

/// The experimental feature without which rules change no answer.
pub const DYNAMIC_SEARCH_RULES: &str = "dynamicSearchRules";

/// A change of dynamic search rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RulesChange {
    /// Gives a rule these members, and makes it if there is none. A member that is null goes back to its default.
    Patch {
        /// The rule.
        uid: String,
        /// What of it changes.
        members: Map<String, Value>,
    },
    /// Deletes a rule, if there is one.
    Delete {
        /// The rule.
        uid: String,
    },
    /// Deletes every rule.
    Clear,
}

impl Registry {
    /// Makes a change at this Raft index and time. Answers how many rules it deleted.
    ///
    /// # Errors
    /// When there are too many rules, or one is too long; nothing is changed then.
    pub(crate) fn change_rules(
        &mut self,
        change: &RulesChange,
        index: u64,
        at_ms: u64,
    ) -> Result<usize, RegistryError> {
        let before = self.count(Collection::DynamicSearchRules);
        match change {
            RulesChange::Patch { uid, members } => {
                let known = self.get(Collection::DynamicSearchRules, uid);
                let value = patched(known.map(|entry| &entry.value), members);
                let change = rule(uid, Some(value));
                self.check(&change)?;
                self.make(&change, index, at_ms);
            }
            RulesChange::Delete { uid } => self.make(&rule(uid, None), index, at_ms),
            RulesChange::Clear => {
                self.version = index;
                self.objects.remove(&Collection::DynamicSearchRules);
            }
        }
        Ok(before.saturating_sub(self.count(Collection::DynamicSearchRules)))
    }

    /// The dynamic search rules, oldest first.
    #[must_use]
    pub fn rules(&self) -> Vec<(&str, &Entry)> {
        let rules = self.iter(Collection::DynamicSearchRules);
        let mut rules: Vec<(&str, &Entry)> =
            rules.map(|(uid, entry)| (uid, entry.as_ref())).collect();
        rules.sort_by_key(|(uid, entry)| (entry.created_at_ms, *uid));
        rules
    }
}

fn rule(uid: &str, value: Option<Value>) -> Change {
    Change {
        collection: Collection::DynamicSearchRules,
        name: uid.to_owned(),
        expected: Expected::Any,
        value,
    }
}

fn patched(known: Option<&Value>, members: &Map<String, Value>) -> Value {
    let mut rule = known
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, value) in members {
        if value.is_null() {
            rule.remove(name);
        } else {
            rule.insert(name.clone(), value.clone());
        }
    }
    Value::Object(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(uid: &str, members: &Value) -> RulesChange {
        RulesChange::Patch {
            uid: uid.to_owned(),
            members: members.as_object().cloned().expect("an object"),
        }
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name_and_null_resets() {
        let mut registry = Registry::default();
        let steps = [
            (json!({}), json!({})),
            (
                json!({ "precedence": 3, "description": "d" }),
                json!({ "precedence": 3, "description": "d" }),
            ),
            (
                json!({ "description": null, "active": false }),
                json!({ "precedence": 3, "active": false }),
            ),
            (
                json!({ "conditions": { "query": {} } }),
                json!({ "precedence": 3, "active": false, "conditions": { "query": {} } }),
            ),
        ];
        for (at, (members, expected)) in (1..).zip(steps) {
            assert_eq!(
                registry.change_rules(&patch("a", &members), at, at * 10),
                Ok(0)
            );
            let entry = registry.get(Collection::DynamicSearchRules, "a");
            let entry = entry.expect("it was made");
            assert_eq!(entry.value, expected);
            assert_eq!((entry.created_at_ms, entry.updated_at_ms), (10, at * 10));
        }
    }

    #[test]
    fn rules_are_deleted_one_by_one_or_all() {
        let mut registry = Registry::default();
        for (at, uid) in (1..).zip(["c", "b", "a"]) {
            let made = registry.change_rules(&patch(uid, &json!({})), at, at);
            assert_eq!(made, Ok(0));
        }
        let uids: Vec<&str> = registry.rules().into_iter().map(|(uid, _)| uid).collect();
        assert_eq!(uids, ["c", "b", "a"]);
        let table = [
            (RulesChange::Delete { uid: "b".into() }, 1, 2),
            (RulesChange::Delete { uid: "b".into() }, 0, 2),
            (RulesChange::Clear, 2, 0),
            (RulesChange::Clear, 0, 0),
        ];
        for (at, (change, deleted, left)) in (10..).zip(table) {
            assert_eq!(registry.change_rules(&change, at, at), Ok(deleted));
            assert_eq!((registry.rules().len(), registry.version), (left, at));
        }
    }

    #[test]
    fn rules_are_bounded() {
        let mut registry = Registry::default();
        for at in 0..200 {
            let made = registry.change_rules(&patch(&at.to_string(), &json!({})), at, at);
            assert_eq!(made, Ok(0));
        }
        let before = registry.clone();
        let full = registry.change_rules(&patch("more", &json!({})), 300, 300);
        assert_eq!(full, Err(RegistryError::Full { max: 200 }));
        assert_eq!(registry, before);
    }
}
