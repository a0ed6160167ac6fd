//! Finds text that is JSON by its shape but that a node cannot read: a number beyond the
//! range of a float, half of a surrogate pair, nesting beyond the parser's limit.
//!
//! A node would fail the task for these only after Miroir had split the batch, so other
//! nodes would have applied their part.

use std::fmt;

use memchr::{memchr2_iter, memmem};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether `raw` may hold such a thing. Errs on the side of yes; costs a few fast searches.
pub(super) fn is_suspect(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    has_exponent(bytes) || has_long_number(bytes) || has_surrogate(bytes) || is_nested(bytes)
}

fn has_exponent(bytes: &[u8]) -> bool {
    memchr2_iter(b'e', b'E', bytes).any(|at| at > 0 && bytes[at - 1].is_ascii_digit())
}

/// A float needs more than 308 digits to overflow without an exponent, so a run that long
/// covers at least one byte of every step.
fn has_long_number(bytes: &[u8]) -> bool {
    const DIGITS: usize = 300;
    (0..bytes.len()).step_by(DIGITS).any(|at| {
        let after = bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let before = bytes[..at]
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_digit())
            .count();
        after > 0 && before + after >= DIGITS
    })
}

fn has_surrogate(bytes: &[u8]) -> bool {
    memmem::find(bytes, br"\ud").is_some() || memmem::find(bytes, br"\uD").is_some()
}

fn is_nested(bytes: &[u8]) -> bool {
    const LIMIT: usize = 127;
    memchr2_iter(b'[', b'{', bytes).nth(LIMIT - 1).is_some()
}

/// JSON that every value of has been read, numbers, strings and nesting included.
pub(super) struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_found() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let long = format!("{{\"a\":{}}}", "9".repeat(310));
        let shifted = format!("{{\"aaaaaaaaaaaaaaaaaaaaaaaaaa\":{}}}", "9".repeat(310));
        let unreadable = [
            r#"{"a":1e400}"#,
            r#"{"a":-1.5E999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\uDC00"}"#,
            deep.as_str(),
            long.as_str(),
            shifted.as_str(),
        ];
        for raw in unreadable {
            assert!(is_suspect(raw), "{raw}");
            assert!(serde_json::from_str::<Readable>(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn false_alarms_are_readable_and_plain_text_is_no_suspect() {
        for raw in [
            r#"{"a":1e4}"#,
            r#"{"b":"\ud83d\ude00"}"#,
            r#"{"c":"a1e9"}"#,
            r#"{"d":"\u00e9"}"#,
        ] {
            assert!(is_suspect(raw));
            assert!(serde_json::from_str::<Readable>(raw).is_ok());
        }
        let long_text = format!(
            "{{\"a\":{},\"b\":\"{}\"}}",
            "9".repeat(200),
            "word ".repeat(500)
        );
        for raw in [
            r#"{"id":1,"a":[true,null,1.5,"\u00c9"]}"#,
            long_text.as_str(),
        ] {
            assert!(!is_suspect(raw), "{raw}");
        }
    }
}
