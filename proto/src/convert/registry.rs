//! The registry, and changes of it.

use miroir_core::registry::{Change, Collection, Entry, Expected, Registry, RulesChange};
use serde_json::Value;

use super::ConvertError;
use crate::v1;

impl From<&Registry> for v1::Registry {
    fn from(registry: &Registry) -> Self {
        let objects = Collection::ALL.into_iter().flat_map(|collection| {
            let of = registry.iter(collection);
            of.map(move |(name, entry)| v1::RegistryObject {
                collection: collection.as_str().to_owned(),
                name: name.to_owned(),
                value: entry.value.to_string(),
                version: entry.version,
                created_at_ms: entry.created_at_ms,
                updated_at_ms: entry.updated_at_ms,
            })
        });
        Self {
            version: registry.version,
            seeded: registry.seeded,
            objects: objects.collect(),
        }
    }
}

impl TryFrom<v1::Registry> for Registry {
    type Error = ConvertError;

    fn try_from(registry: v1::Registry) -> Result<Self, ConvertError> {
        let entry = |object: v1::RegistryObject| {
            // A collection of a later version means nothing here.
            let collection = Collection::parse(&object.collection)?;
            let value = serde_json::from_str(&object.value)
                .map_err(|_| ConvertError::new("RegistryObject", "value"));
            Some(value.map(|value| {
                let entry = Entry {
                    value,
                    version: object.version,
                    created_at_ms: object.created_at_ms,
                    updated_at_ms: object.updated_at_ms,
                };
                (collection, object.name, entry)
            }))
        };
        let entries = registry.objects.into_iter().filter_map(entry);
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        Ok(Self::of(registry.version, registry.seeded, entries))
    }
}

impl v1::ChangeRegistryRequest {
    /// The request for a change, under this request id.
    #[must_use]
    pub fn of(request_id: String, change: &Change) -> Self {
        use v1::change_registry_request::Expected as Wire;
        let expected = match change.expected {
            Expected::Absent => Some(Wire::Absent(true)),
            Expected::Version(version) => Some(Wire::Version(version)),
            Expected::Present => Some(Wire::Present(true)),
            Expected::Any => None,
        };
        Self {
            request_id,
            collection: change.collection.as_str().to_owned(),
            name: change.name.clone(),
            expected,
            value: change.value.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<v1::ChangeRegistryRequest> for Change {
    type Error = ConvertError;

    fn try_from(request: v1::ChangeRegistryRequest) -> Result<Self, ConvertError> {
        use v1::change_registry_request::Expected as Wire;
        let wrong = |field| ConvertError::new("ChangeRegistryRequest", field);
        let value = request.value.map(|value| serde_json::from_str(&value));
        Ok(Self {
            collection: Collection::parse(&request.collection)
                .ok_or_else(|| wrong("collection"))?,
            name: request.name,
            expected: match request.expected {
                Some(Wire::Absent(true)) => Expected::Absent,
                Some(Wire::Version(version)) => Expected::Version(version),
                Some(Wire::Present(true)) => Expected::Present,
                Some(Wire::Absent(false) | Wire::Present(false)) | None => Expected::Any,
            },
            value: value.transpose().map_err(|_| wrong("value"))?,
        })
    }
}

impl From<&RulesChange> for v1::RulesChange {
    fn from(change: &RulesChange) -> Self {
        use v1::rules_change::Change as Wire;
        let change = match change {
            RulesChange::Patch { uid, members } => Wire::Patch(v1::RulePatch {
                uid: uid.clone(),
                members: Value::Object(members.clone()).to_string(),
            }),
            RulesChange::Delete { uid } => Wire::Delete(uid.clone()),
            RulesChange::Clear => Wire::Clear(true),
        };
        Self {
            change: Some(change),
        }
    }
}

impl TryFrom<v1::RulesChange> for RulesChange {
    type Error = ConvertError;

    fn try_from(change: v1::RulesChange) -> Result<Self, ConvertError> {
        use v1::rules_change::Change as Wire;
        match change.change {
            Some(Wire::Patch(patch)) => Ok(Self::Patch {
                uid: patch.uid,
                members: serde_json::from_str(&patch.members)
                    .map_err(|_| ConvertError::new("RulePatch", "members"))?,
            }),
            Some(Wire::Delete(uid)) => Ok(Self::Delete { uid }),
            Some(Wire::Clear(true)) => Ok(Self::Clear),
            Some(Wire::Clear(false)) | None => Err(ConvertError::new("RulesChange", "change")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_registry_survives_the_wire() {
        let entry = |version| Entry {
            value: json!({ "a": 1 }),
            version,
            created_at_ms: 5,
            updated_at_ms: 6,
        };
        let entries = [
            (Collection::Keys, "k".to_owned(), entry(3)),
            (Collection::Webhooks, "w".to_owned(), entry(4)),
        ];
        let registry = Registry::of(4, true, entries);
        let mut wire = v1::Registry::from(&registry);
        wire.objects.push(v1::RegistryObject {
            collection: "of a later version".to_owned(),
            ..wire.objects[0].clone()
        });
        assert_eq!(Registry::try_from(wire.clone()), Ok(registry));
        wire.objects[0].value = "{".to_owned();
        assert!(Registry::try_from(wire).is_err());
    }

    #[test]
    fn changes_of_rules_survive_the_wire() {
        let members = json!({ "precedence": 3, "active": null });
        let all = [
            RulesChange::Patch {
                uid: "a".to_owned(),
                members: members.as_object().cloned().expect("an object"),
            },
            RulesChange::Delete {
                uid: "b".to_owned(),
            },
            RulesChange::Clear,
        ];
        for change in all {
            assert_eq!(
                RulesChange::try_from(v1::RulesChange::from(&change)),
                Ok(change)
            );
        }
        assert!(RulesChange::try_from(v1::RulesChange { change: None }).is_err());
    }

    #[test]
    fn changes_survive_the_wire() {
        let all = [
            Expected::Absent,
            Expected::Any,
            Expected::Present,
            Expected::Version(7),
        ];
        for expected in all {
            for value in [None, Some(json!({ "b": [] }))] {
                let change = Change {
                    collection: Collection::ChatWorkspaces,
                    name: "w".to_owned(),
                    expected,
                    value,
                };
                let wire = v1::ChangeRegistryRequest::of(String::new(), &change);
                assert_eq!(Change::try_from(wire), Ok(change));
            }
        }
    }
}
