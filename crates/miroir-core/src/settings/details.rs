//! A change of settings as its task shows it.

use serde_json::{Map, Value};

use super::validate::known_names;

/// Settings whose order means nothing: they are shown sorted.
const SETS: [&str; 5] = [
    "sortableAttributes",
    "stopWords",
    "nonSeparatorTokens",
    "separatorTokens",
    "dictionary",
];

/// The `details` of the task that applies `patch`: what the client wrote, in Meilisearch's order.
#[must_use]
pub fn details(patch: &Value) -> Value {
    let shown = known_names().into_iter().filter_map(|name| {
        let value = patch.get(name)?;
        Some((name.to_owned(), shown(name, value)))
    });
    Value::Object(shown.collect())
}

/// The `details` of the task that puts every setting back to its default.
#[must_use]
pub fn details_of_reset() -> Value {
    let shown = known_names()
        .into_iter()
        .map(|name| (name.to_owned(), shown(name, &Value::Null)));
    Value::Object(shown.collect())
}

fn shown(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("displayedAttributes" | "searchableAttributes", Value::Null) => Value::from(vec!["*"]),
        (_, Value::Array(items)) if SETS.contains(&name) => sorted(items),
        ("typoTolerance", Value::Object(fields)) => Value::Object(
            fields
                .iter()
                .map(|(field, value)| match (field.as_str(), value) {
                    ("disableOnWords" | "disableOnAttributes", Value::Array(items)) => {
                        (field.clone(), sorted(items))
                    }
                    (_, value) => (field.clone(), value.clone()),
                })
                .collect::<Map<_, _>>(),
        ),
        (_, value) => value.clone(),
    }
}

fn sorted(items: &[Value]) -> Value {
    let mut items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    items.sort_unstable();
    items.dedup();
    Value::from(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_are_shown_sorted_and_lists_as_they_are() {
        let patch = json!({
            "stopWords": ["b", "a", "b"], "displayedAttributes": ["z", "a"],
            "typoTolerance": {"disableOnWords": ["z", "a"], "enabled": null}, "chat": null,
        });
        assert_eq!(
            details(&patch).to_string(),
            r#"{"displayedAttributes":["z","a"],"stopWords":["a","b"],"typoTolerance":{"disableOnWords":["a","z"],"enabled":null},"chat":null}"#
        );
        let reset = details_of_reset();
        assert_eq!(reset["displayedAttributes"], json!(["*"]));
        assert_eq!(reset["stopWords"], Value::Null);
        assert_eq!(
            reset.as_object().map(Map::len),
            Some(crate::settings::SUB_SETTINGS.len())
        );
    }
}
