//! The same experimental features on a node as in the registry.

use miroir_core::id::NodeId;
use miroir_core::registry::{Collection, FEATURES, Registry};
use miroir_meili::{MeiliError, NodeClient};
use serde_json::{Map, Value};

/// Switches a node's features as the registry says. One that nobody switched here stays as the node was started with,
/// and one that the node does not have is left out: it cannot refuse the others then.
pub(super) async fn tend(
    node: NodeId,
    client: &NodeClient,
    registry: &Registry,
) -> Result<(), MeiliError> {
    let entry = registry.get(Collection::ExperimentalFeatures, FEATURES);
    let Some(Value::Object(wanted)) = entry.map(|entry| &entry.value) else {
        return Ok(());
    };
    let held = match client.features().await {
        Ok(held) => held,
        // A node whose version has no such route has no such features.
        Err(error) if !error.retryable() && !error.outcome_unknown() => Map::new(),
        Err(error) => return Err(error),
    };
    let patch = differing(wanted, &held);
    if patch.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = patch.keys().map(String::as_str).collect();
    tracing::info!(%node, ?names, "features of a node are switched");
    client.patch_features(&patch).await
}

fn differing(wanted: &Map<String, Value>, held: &Map<String, Value>) -> Map<String, Value> {
    let differs =
        |(name, value): &(&String, &Value)| held.get(*name).is_some_and(|held| held != *value);
    let differing = wanted.iter().filter(differs);
    differing
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_and_is_known_is_switched() {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        let wanted = object(
            json!({ "metrics": true, "network": false, "unheardOf": true, "legacySearch": true }),
        );
        let held = object(
            json!({ "metrics": false, "network": false, "multimodal": true, "legacySearch": null }),
        );
        assert_eq!(
            Value::Object(differing(&wanted, &held)),
            json!({ "metrics": true, "legacySearch": true })
        );
    }
}
