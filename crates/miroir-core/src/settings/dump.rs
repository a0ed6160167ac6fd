//! Settings out of a dump, of a Meilisearch by itself or of a node of a cluster.

use serde_json::{Map, Value, json};

use super::FIELDS;
use super::node::{from_node, is_hidden_rule, node_max_values};

/// An index's settings in a dump, as a client would have to give them.
#[derive(Debug, Clone, PartialEq)]
pub struct Dumped {
    /// The settings that Miroir offers.
    pub settings: Value,
    /// Whether a Miroir had changed them for a node: then its documents have the hidden field.
    pub of_a_node: bool,
    /// Names of settings that say something and that Miroir does not offer.
    pub left: Vec<String>,
}

/// Reads the `settings.json` of an index in a dump. `max_values` is the client's `faceting.maxValuesPerFacet` of an
/// index of a cluster; without it the least value is taken for which nodes get the one in the dump.
#[must_use]
pub fn from_dump(dumped: &Value, max_values: Option<u64>) -> Dumped {
    let rules = dumped.get("filterableAttributes").and_then(Value::as_array);
    let of_a_node = rules.is_some_and(|rules| rules.iter().any(is_hidden_rule));
    let seen = if of_a_node {
        let on_node = dumped.pointer("/faceting/maxValuesPerFacet");
        let client = max_values.or_else(|| on_node.and_then(Value::as_u64).and_then(client_max));
        from_node(dumped, &json!({"faceting": {"maxValuesPerFacet": client}}))
    } else {
        dumped.clone()
    };
    let mut settings = Map::new();
    let mut left = Vec::new();
    for (name, value) in seen.as_object().into_iter().flatten() {
        if FIELDS.contains(&name.as_str()) {
            settings.insert(name.clone(), value.clone());
        } else if says_something(value) {
            left.push(name.clone());
        }
    }
    Dumped {
        settings: Value::Object(settings),
        of_a_node,
        left,
    }
}

/// The client's value for a node's, where that can be told: below 300 all have the same.
fn client_max(node: u64) -> Option<u64> {
    let client = node / 10;
    (node > node_max_values(0)).then_some(client)
}

/// Whether a setting that is not offered is more than its default: a list or text with something in it. Of an object
/// (`chat`) only its description and its parameters are looked at; the rest is there by default.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => ["description", "searchParameters"]
            .iter()
            .filter_map(|name| members.get(*name))
            .any(|member| {
                let fields = member.as_object();
                fields.map_or_else(|| says_something(member), |fields| !fields.is_empty())
            }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::to_node;

    #[test]
    fn a_nodes_settings_become_the_clients_again() {
        let client = json!({
            "filterableAttributes": ["a"], "faceting": {"maxValuesPerFacet": 500},
            "embedders": {"m": {"source": "rest", "documentTemplate": "{% for f in fields %}{{f.name}}{% endfor %}"}},
        });
        let mut node = to_node(&client);
        node["chat"] = json!({"description": "", "documentTemplate": "x", "searchParameters": {}});
        node["foreignKeys"] = json!([]);
        let read = from_dump(&node, None);
        assert!(read.of_a_node);
        assert_eq!(read.left, Vec::<String>::new());
        for name in ["filterableAttributes", "embedders"] {
            assert_eq!(read.settings[name], client[name], "{name}");
        }
        assert_eq!(read.settings["faceting"]["maxValuesPerFacet"], 500);
        assert!(read.settings.get("chat").is_none());
    }

    #[test]
    fn small_limits_of_facets_are_told_by_the_manifest_or_by_default() {
        let node = to_node(&json!({"faceting": {"maxValuesPerFacet": 20}}));
        let max = |read: Dumped| read.settings["faceting"]["maxValuesPerFacet"].clone();
        assert_eq!(max(from_dump(&node, None)), 100);
        assert_eq!(max(from_dump(&node, Some(20))), 20);
    }

    #[test]
    fn a_plain_dump_is_left_as_it_is_but_for_what_is_not_offered() {
        let plain = json!({
            "filterableAttributes": ["a"], "faceting": {"maxValuesPerFacet": 5000},
            "chat": {"description": "of films", "searchParameters": {}}, "foreignKeys": [{"a": 1}],
        });
        let read = from_dump(&plain, None);
        assert!(!read.of_a_node);
        assert_eq!(read.left, ["chat", "foreignKeys"]);
        assert_eq!(read.settings["faceting"], plain["faceting"]);
    }
}
