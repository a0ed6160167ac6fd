//! The same API keys on a node as in the registry.

use std::collections::BTreeMap;

use miroir_core::id::NodeId;
use miroir_core::registry::{ApiKey, Collection, Registry};
use miroir_meili::{MeiliError, NodeClient, NodeKey};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What is to be done to a node's keys.
#[derive(Debug, PartialEq)]
enum Step {
    Delete(String),
    Create(Value),
    Rename(String, Value),
}

/// Makes a node's keys those of the registry.
///
/// A key that the node refuses, because its version does not know an action, is left out: the next look tries again.
pub(super) async fn tend(
    node: NodeId,
    client: &NodeClient,
    registry: &Registry,
) -> Result<(), MeiliError> {
    let wanted: BTreeMap<&str, ApiKey> = registry
        .iter(Collection::Keys)
        .filter_map(|(uid, entry)| Some((uid, ApiKey::read(&entry.value)?)))
        .collect();
    let held = client.keys().await?;
    for step in steps(&wanted, &held, OffsetDateTime::now_utc()) {
        let done = match &step {
            Step::Delete(uid) => client.delete_key(uid).await,
            Step::Create(key) => client.create_key(key).await,
            Step::Rename(uid, patch) => client.patch_key(uid, patch).await,
        };
        match done {
            Ok(()) => tracing::debug!(%node, ?step, "a node's keys are changed"),
            Err(error @ MeiliError::Api { .. }) => {
                tracing::warn!(%node, %error, "a node refuses a key; whoever asks it directly cannot use that");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What makes the held keys the wanted ones, in this order.
fn steps(wanted: &BTreeMap<&str, ApiKey>, held: &[NodeKey], now: OffsetDateTime) -> Vec<Step> {
    let mut steps = Vec::new();
    for key in held {
        let same = |wanted: &ApiKey| same_rights(wanted, key);
        if !wanted.get(key.uid.as_str()).is_some_and(same) {
            steps.push(Step::Delete(key.uid.clone()));
        }
    }
    let now_ms = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    for (uid, key) in wanted {
        let known = held.iter().find(|held| held.uid == *uid);
        match known.filter(|known| same_rights(key, known)) {
            Some(known) if known.name == key.name && known.description == key.description => {}
            Some(_) => {
                let patch = json!({ "name": key.name, "description": key.description });
                steps.push(Step::Rename((*uid).to_owned(), patch));
            }
            // Nobody can make a key whose time is over, and nobody could use it.
            None if key.is_expired(now_ms) => {}
            None => steps.push(Step::Create(json!({
                "uid": uid,
                "name": key.name,
                "description": key.description,
                "actions": key.actions,
                "indexes": key.indexes,
                "expiresAt": key.expires_at,
            }))),
        }
    }
    steps
}

/// Whether a node's key allows what it should. Nothing of that can be changed on a node.
fn same_rights(wanted: &ApiKey, held: &NodeKey) -> bool {
    let moment = |text: &Option<String>| {
        let text = text.as_deref()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    };
    let actions = wanted.actions.iter().map(|action| action.as_str());
    let indexes = wanted.indexes.iter().map(|pattern| pattern.as_str());
    actions.eq(held.actions.iter().map(String::as_str))
        && indexes.eq(held.indexes.iter().map(String::as_str))
        && moment(&wanted.expires_at) == moment(&held.expires_at)
}

#[cfg(test)]
mod tests {
    use miroir_core::registry::{Action, IndexPattern};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

    fn key(name: &str, expires_at: Option<&str>) -> ApiKey {
        let at = expires_at.map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("a time"));
        ApiKey {
            name: Some(name.to_owned()),
            description: None,
            actions: vec![Action::Search],
            indexes: vec![IndexPattern::all()],
            expires_at: expires_at.map(str::to_owned),
            expires_at_ms: at.map(|at| at.unix_timestamp() * 1000),
        }
    }

    fn held(uid: &str, name: &str, action: &str, expires_at: Option<&str>) -> NodeKey {
        NodeKey {
            uid: uid.to_owned(),
            name: Some(name.to_owned()),
            description: None,
            actions: vec![action.to_owned()],
            indexes: vec!["*".to_owned()],
            expires_at: expires_at.map(str::to_owned),
        }
    }

    #[test]
    fn a_nodes_keys_become_those_of_the_registry() {
        let wanted = BTreeMap::from([
            ("same", key("a", Some("2030-01-01T02:00:00+02:00"))),
            ("renamed", key("b", None)),
            ("other", key("c", None)),
            ("new", key("d", Some("2030-01-01T00:00:00Z"))),
            ("over", key("e", Some("2020-01-01T00:00:00Z"))),
        ]);
        let held = [
            held("own", "Default Search API Key", "search", None),
            held("same", "a", "search", Some("2030-01-01T00:00:00Z")),
            held("renamed", "x", "search", None),
            held("other", "c", "*", None),
        ];
        let created = |uid: &str, name: &str, expires_at: Value| {
            Step::Create(json!({
                "uid": uid, "name": name, "description": null, "actions": ["search"],
                "indexes": ["*"], "expiresAt": expires_at,
            }))
        };
        assert_eq!(
            steps(&wanted, &held, NOW),
            [
                Step::Delete("own".to_owned()),
                Step::Delete("other".to_owned()),
                created("new", "d", json!("2030-01-01T00:00:00Z")),
                created("other", "c", Value::Null),
                Step::Rename(
                    "renamed".to_owned(),
                    json!({ "name": "b", "description": null })
                ),
            ]
        );
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let wanted = BTreeMap::from([("a", key("a", None))]);
        assert_eq!(steps(&wanted, &[held("a", "a", "search", None)], NOW), []);
        assert_eq!(steps(&BTreeMap::new(), &[], NOW), []);
    }
}
