//! JSON objects read one level deep: names decoded, values left as the text they came in.
//!
//! Numbers keep every digit because nothing here turns them into a float.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order, repeated names included.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Reads the members of the object in `raw`.
///
/// # Errors
/// When `raw` is not one JSON object (category `Data` when it is other JSON).
pub(crate) fn members(raw: &str) -> Result<Members<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let members = deserializer.deserialize_map(MembersVisitor)?;
    deserializer.end()?;
    Ok(members)
}

/// Writes members back as a compact object. Values are copied as they are.
pub(crate) fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string always serialises"));
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(name) = map.next_key_seed(Name)? {
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

/// A member name, borrowed unless it holds an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_text_and_repeats() {
        let raw = r#"{"b":1.10, "a\u0062":{"x":[1,2]},"b":"é"}"#;
        let read = members(raw).expect("an object");
        let seen: Vec<_> = read.iter().map(|(n, v)| (n.as_ref(), v.get())).collect();
        assert_eq!(
            seen,
            [("b", "1.10"), ("ab", r#"{"x":[1,2]}"#), ("b", "\"é\"")]
        );
        assert_eq!(object(seen), r#"{"b":1.10,"ab":{"x":[1,2]},"b":"é"}"#);
    }

    #[test]
    fn refuses_what_is_no_object() {
        for raw in ["", "1", "[]", "{", r#"{"a":1} x"#, r#"{"a":1,}"#] {
            assert!(members(raw).is_err(), "{raw}");
        }
    }
}
