//! Objects of the registry.

use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use super::{Applied, At};
use crate::cluster::{ClusterState, NewTask, Outcome, TaskKind};
use crate::id::IndexUid;
use crate::registry::{
    Alias, ApiKey, Change, Collection, Expected, OBJECT_BYTES_MAX, RegistryError, RulesChange,
};

impl ClusterState {
    pub(super) fn change_registry(&mut self, at: At, change: &Change) -> Applied {
        self.registry.check(change)?;
        if change.collection == Collection::Aliases {
            self.check_alias(change)?;
        }
        Arc::make_mut(&mut self.registry).make(change, at.index, at.ms);
        self.touch(at);
        Ok(Outcome::Done)
    }

    /// Changes dynamic search rules, with the task that tells clients when nodes have them.
    pub(super) fn change_rules(&mut self, at: At, change: &RulesChange, task: &NewTask) -> Applied {
        let registry = Arc::make_mut(&mut self.registry);
        let deleted = registry.change_rules(change, at.index, at.ms)?;
        self.touch(at);
        let mut task = task.clone();
        if let (TaskKind::DsrClear, Value::Object(details)) = (task.kind, &mut task.details) {
            details.insert("deletedDocuments".to_owned(), deleted.into());
        }
        let uid = self.new_task(at, None, &task, Vec::new());
        Ok(Outcome::TaskRegistered(uid))
    }

    /// Aliases and indexes share one space of names, in which every name means one thing. An alias whose index is
    /// deleted stays: it can be pointed elsewhere, and until then there is no such index.
    fn check_alias(&self, change: &Change) -> Result<(), RegistryError> {
        let Some(value) = &change.value else {
            return Ok(());
        };
        let unfit = RegistryError::Unfit {
            max: OBJECT_BYTES_MAX,
        };
        let (Ok(name), Ok(alias)) = (IndexUid::parse(&change.name), Alias::deserialize(value))
        else {
            return Err(unfit);
        };
        if self.index_called(&name).is_some() {
            return Err(RegistryError::IsIndex {
                name: change.name.clone(),
            });
        }
        if self.index_called(&alias.target).is_none() {
            return Err(RegistryError::NoIndex {
                uid: alias.target.to_string(),
            });
        }
        Ok(())
    }

    /// Whether a name is taken, by an index or an alias.
    pub(super) fn is_taken(&self, uid: &IndexUid) -> bool {
        self.index_called(uid).is_some() || self.registry.alias(uid.as_str()).is_some()
    }

    /// Makes the default keys. A second time changes nothing: a default key that was deleted stays deleted.
    pub(super) fn seed_keys(&mut self, at: At, keys: &[(String, ApiKey)]) -> Applied {
        if self.registry.seeded {
            return Ok(Outcome::Done);
        }
        let registry = Arc::make_mut(&mut self.registry);
        registry.seeded = true;
        // Each a moment later than the one before: lists of keys are ordered by their age.
        for (at_ms, (uid, key)) in (at.ms..).zip(keys) {
            let change = Change {
                collection: Collection::Keys,
                name: uid.clone(),
                expected: Expected::Absent,
                value: serde_json::to_value(key).ok(),
            };
            if registry.check(&change).is_ok() {
                registry.make(&change, at.index, at_ms);
            }
        }
        registry.version = at.index;
        self.touch(at);
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Command, Policy, Rejection};
    use crate::id::Epoch;
    use crate::registry::DefaultKey;
    use serde_json::json;

    fn initialised() -> ClusterState {
        let mut state = ClusterState::default();
        let bootstrap = Command::Bootstrap {
            cluster_id: "c".to_owned(),
            policy: Policy::default(),
        };
        state.apply(1, 0, &bootstrap);
        state
    }

    fn put(name: &str, expected: Expected) -> Command {
        let change = Change {
            collection: Collection::Keys,
            name: name.to_owned(),
            expected,
            value: Some(json!({ "name": name })),
        };
        Command::ChangeRegistry { change }
    }

    #[test]
    fn a_change_moves_the_epoch_and_a_refusal_nothing() {
        let mut state = initialised();
        assert_eq!(
            state.apply(2, 10, &put("a", Expected::Absent)),
            Outcome::Done
        );
        assert_eq!((state.epoch, state.registry.version), (Epoch(2), 2));
        let before = state.clone();
        let refused = state.apply(3, 11, &put("a", Expected::Absent));
        let exists = RegistryError::Exists {
            name: "a".to_owned(),
        };
        assert_eq!(refused, Outcome::Rejected(Rejection::Registry(exists)));
        assert_eq!(state, before);
    }

    #[test]
    fn default_keys_are_made_once() {
        let mut state = initialised();
        let seed = |uid: &str| Command::SeedKeys {
            keys: vec![(uid.to_owned(), DefaultKey::ALL[0].to_key())],
        };
        state.apply(2, 10, &seed("a"));
        state.apply(3, 11, &seed("b"));
        assert!(state.registry.get(Collection::Keys, "a").is_some());
        assert_eq!(state.registry.count(Collection::Keys), 1);
        let deletion = Change {
            collection: Collection::Keys,
            name: "a".to_owned(),
            expected: Expected::Present,
            value: None,
        };
        state.apply(4, 12, &Command::ChangeRegistry { change: deletion });
        state.apply(5, 13, &seed("a"));
        assert_eq!(state.registry.count(Collection::Keys), 0);
        assert_eq!(state.epoch, Epoch(4));
    }

    #[test]
    fn a_state_of_a_version_without_registry_can_be_read() {
        let mut stored = serde_json::to_value(initialised()).expect("plain data");
        stored
            .as_object_mut()
            .expect("an object")
            .remove("registry");
        let state: ClusterState = serde_json::from_value(stored).expect("readable");
        assert_eq!(state, initialised());
    }
}
