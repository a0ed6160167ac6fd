//! Documents of other indexes in the place of their ids, which a setting of the index calls foreign keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::MergeError;
use super::documents::read_results;
use super::pins::id_of;
use crate::document::parse_id;
use crate::hidden_field::is_reserved;
use crate::raw_json;

/// The experimental feature without which nothing is put anywhere.
pub const FOREIGN_KEYS: &str = "foreignKeys";

/// A field that holds ids of the documents of another index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The uid of the other index.
    pub index: String,
    /// The field, which may be `a.b`.
    pub field: String,
}

impl ForeignKey {
    /// The foreign keys in an index's settings.
    #[must_use]
    pub fn of(settings: &Value) -> Vec<Self> {
        let keys = settings[FOREIGN_KEYS].as_array().into_iter().flatten();
        let read = |key: &Value| {
            Some(Self {
                index: key["foreignIndexUid"].as_str()?.to_owned(),
                field: key["fieldName"].as_str()?.to_owned(),
            })
        };
        keys.filter_map(read).collect()
    }
}

/// The foreign keys of the indexes of one answer: by uid, where its hits name their index, and under the empty text
/// otherwise.
pub type Keys = BTreeMap<String, Vec<ForeignKey>>;

/// Documents of other indexes as text, by uid and id.
pub type Documents = BTreeMap<String, BTreeMap<String, String>>;

/// The ids that the hits of an answer have in foreign keys, by the index that they are of.
///
/// # Errors
/// When the answer is not one of a search.
pub fn foreign_ids(
    answer: &str,
    keys: &Keys,
) -> Result<BTreeMap<String, BTreeSet<String>>, MergeError> {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    rewritten(answer, keys, &mut |key, id| {
        let of_index = ids.entry(key.index.clone()).or_default();
        of_index.insert(id);
        None
    })?;
    Ok(ids)
}

/// An answer with the documents in the place of their ids, in hits and in what is formatted of them. An id of no
/// document becomes an empty object, as in Meilisearch.
///
/// # Errors
/// When the answer is not one of a search.
pub fn hydrated(answer: &str, keys: &Keys, documents: &Documents) -> Result<String, MergeError> {
    rewritten(answer, keys, &mut |key, id| {
        let found = documents.get(&key.index).and_then(|of| of.get(&id));
        Some(found.cloned().unwrap_or_else(|| "{}".to_owned()))
    })
}

/// The documents in nodes' pages by their ids, without Miroir's fields, nor the id itself where it is not displayed.
///
/// # Errors
/// When a page is not one of documents.
pub fn by_id(
    pages: &[&[u8]],
    primary_key: &str,
    shows_id: bool,
) -> Result<BTreeMap<String, String>, MergeError> {
    let mut documents = BTreeMap::new();
    for (position, page) in pages.iter().enumerate() {
        let unreadable = |error: serde_json::Error| MergeError::Unreadable {
            position,
            detail: error.to_string(),
        };
        for raw in read_results(page).map_err(unreadable)? {
            let members = raw_json::members(raw.get()).map_err(unreadable)?;
            let Some(id) = id_of(&members, Some(primary_key)) else {
                continue;
            };
            let shown = members.iter().filter(|(name, _)| {
                !is_reserved(name) && (shows_id || name.as_ref() != primary_key)
            });
            let shown = shown.map(|(name, value)| (name.as_ref(), value.get()));
            documents.insert(id, raw_json::object(shown));
        }
    }
    Ok(documents)
}

/// What is put in the place of an id; `None` leaves it.
type Fill<'f> = dyn FnMut(&ForeignKey, String) -> Option<String> + 'f;

fn rewritten(answer: &str, keys: &Keys, fill: &mut Fill<'_>) -> Result<String, MergeError> {
    let read = |fill: &mut Fill<'_>| -> Result<String, serde_json::Error> {
        let members = raw_json::members(answer)?;
        let mut written = Vec::new();
        for (name, value) in &members {
            let value = match name.as_ref() {
                "hits" => {
                    let hits: Vec<&RawValue> = serde_json::from_str(value.get())?;
                    let hits = hits.iter().map(|hit| rewritten_hit(hit.get(), keys, fill));
                    let hits = hits.collect::<Result<Vec<String>, _>>()?;
                    format!("[{}]", hits.join(","))
                }
                _ => value.get().to_owned(),
            };
            written.push((name.as_ref(), value));
        }
        let written = written.iter().map(|(name, value)| (*name, value.as_str()));
        Ok(raw_json::object(written))
    };
    read(fill).map_err(|error| MergeError::Unreadable {
        position: 0,
        detail: error.to_string(),
    })
}

fn rewritten_hit(hit: &str, keys: &Keys, fill: &mut Fill<'_>) -> Result<String, serde_json::Error> {
    let members = raw_json::members(hit)?;
    let federation = members.iter().find(|(name, _)| name == "_federation");
    let index = match federation {
        Some((_, federation)) => {
            let federation: Value = serde_json::from_str(federation.get())?;
            federation["indexUid"].as_str().unwrap_or("").to_owned()
        }
        None => String::new(),
    };
    match keys.get(&index).filter(|keys| !keys.is_empty()) {
        Some(keys) => rewritten_document(hit, keys, fill),
        None => Ok(hit.to_owned()),
    }
}

fn rewritten_document(
    document: &str,
    keys: &[ForeignKey],
    fill: &mut Fill<'_>,
) -> Result<String, serde_json::Error> {
    let members = raw_json::members(document)?;
    let mut written = Vec::with_capacity(members.len());
    for (name, value) in &members {
        if name == "_formatted" {
            let formatted = rewritten_document(value.get(), keys, fill)?;
            written.push((name.as_ref(), formatted));
            continue;
        }
        let mut text = value.get().to_owned();
        for key in keys {
            if let Some(place) = Place::Above(&key.field).below(name) {
                let value: Value = serde_json::from_str(&text)?;
                text = place.write(&value, &mut |id| fill(key, id));
                // A second key of the same field would look into what has just been put there.
                break;
            }
        }
        written.push((name.as_ref(), text));
    }
    let written = written.iter().map(|(name, value)| (*name, value.as_str()));
    Ok(raw_json::object(written))
}

/// Where a value stands to the field of a key.
#[derive(Debug, Clone, Copy)]
enum Place<'k> {
    /// Above it, with this way to go.
    Above(&'k str),
    /// At it or below.
    Within,
}

impl Place<'_> {
    /// Where a member of that name stands; `None` beside the field.
    fn below(self, name: &str) -> Option<Self> {
        let Self::Above(rest) = self else {
            return Some(Self::Within);
        };
        let is_within = |outer: &str, inner: &str| {
            let after = inner.strip_prefix(outer);
            after.is_some_and(|after| after.is_empty() || after.starts_with('.'))
        };
        if is_within(rest, name) {
            Some(Self::Within)
        } else if is_within(name, rest) {
            Some(Self::Above(&rest[name.len() + 1..]))
        } else {
            None
        }
    }

    /// The text of a value with every id that stands within the field filled in.
    fn write(self, value: &Value, fill: &mut dyn FnMut(String) -> Option<String>) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.write(item, fill)).collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let members: Vec<(&str, String)> = members
                    .iter()
                    .map(|(name, value)| match self.below(name) {
                        Some(place) => (name.as_str(), place.write(value, fill)),
                        None => (name.as_str(), value.to_string()),
                    })
                    .collect();
                raw_json::object(members.iter().map(|(name, value)| (*name, value.as_str())))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let filled = match self {
                    Self::Within => id(value).and_then(fill),
                    Self::Above(_) => None,
                };
                filled.unwrap_or_else(|| value.to_string())
            }
        }
    }
}

/// The id that a value can be.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => parse_id(text).ok().map(str::to_owned),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(fields: &[&str]) -> Vec<ForeignKey> {
        let keys = fields
            .iter()
            .map(|field| json!({ "foreignIndexUid": "authors", "fieldName": field }));
        ForeignKey::of(&json!({ FOREIGN_KEYS: Vec::from_iter(keys) }))
    }

    fn documents() -> Documents {
        let page = json!({ "results": [
            { "_miroir_shard": "†", "id": "a1", "name": "Alice" },
            { "_miroir_shard": "†", "id": 2, "name": "Bob" },
        ] });
        let page = page.to_string();
        let of = by_id(&[page.as_bytes()], "id", true).expect("documents");
        Documents::from([("authors".to_owned(), of)])
    }

    /// What is expected was asked of Meilisearch 1.50.
    #[test]
    fn ids_become_documents_wherever_the_field_leads() {
        let alice = r#"{"id":"a1","name":"Alice"}"#;
        let bob = r#"{"id":2,"name":"Bob"}"#;
        let table = [
            (
                r#"{"x":1.10,"author":"a1"}"#,
                format!(r#"{{"x":1.10,"author":{alice}}}"#),
            ),
            (
                r#"{"author":[2,"none","b ad",null,true,2.5,{"z":"a1"}]}"#,
                format!(r#"{{"author":[{bob},{{}},"b ad",null,true,2.5,{{"z":{alice}}}]}}"#),
            ),
            (
                r#"{"deep":{"by":2,"other":"a1"},"authors":"a1"}"#,
                format!(r#"{{"deep":{{"by":{bob},"other":"a1"}},"authors":"a1"}}"#),
            ),
            (
                r#"{"deep":[{"by":"a1"},{"by":["a1",-5]}]}"#,
                format!(r#"{{"deep":[{{"by":{alice}}},{{"by":[{alice},{{}}]}}]}}"#),
            ),
            (
                r#"{"author":"a1","_formatted":{"author":"a1","t":"<em>a1</em>"}}"#,
                format!(
                    r#"{{"author":{alice},"_formatted":{{"author":{alice},"t":"<em>a1</em>"}}}}"#
                ),
            ),
        ];
        let keys = Keys::from([(String::new(), keys(&["author", "deep.by"]))]);
        for (hit, expected) in table {
            let answer = format!(r#"{{"hits":[{hit}],"query":"a"}}"#);
            assert_eq!(
                hydrated(&answer, &keys, &documents()).expect("an answer"),
                format!(r#"{{"hits":[{expected}],"query":"a"}}"#)
            );
        }
    }

    #[test]
    fn hits_of_several_indexes_have_the_keys_of_theirs() {
        let keys = Keys::from([("books".to_owned(), keys(&["author"]))]);
        let hit =
            |index: &str| format!(r#"{{"author":"a1","_federation":{{"indexUid":"{index}"}}}}"#);
        let answer = format!(r#"{{"hits":[{},{}]}}"#, hit("books"), hit("films"));
        let ids = foreign_ids(&answer, &keys).expect("an answer");
        assert_eq!(
            ids,
            BTreeMap::from([("authors".to_owned(), BTreeSet::from(["a1".to_owned()]))])
        );
        let filled = hydrated(&answer, &keys, &documents()).expect("an answer");
        assert_eq!(filled.matches("Alice").count(), 1, "{filled}");
        assert!(
            filled.ends_with(&format!("{}]}}", hit("films"))),
            "{filled}"
        );
    }

    #[test]
    fn an_id_that_is_not_displayed_is_not_shown() {
        let page = br#"{"results":[{"_miroir_shard":"x","id":7,"name":"Bob"}]}"#;
        let documents = by_id(&[page], "id", false).expect("documents");
        assert_eq!(documents["7"], r#"{"name":"Bob"}"#);
        assert!(by_id(&[b"{"], "id", false).is_err());
        assert!(hydrated("[]", &Keys::new(), &Documents::new()).is_err());
    }
}
