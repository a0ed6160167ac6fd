//! Which shard a stored document says that it is of.

use super::{NAME, decode};
use crate::raw_json;

/// The shard in the hidden field of a document as a node stores it; `None` without one.
#[must_use]
pub fn stored_shard(raw: &str) -> Option<u16> {
    let first = raw
        .strip_prefix("{\"")
        .and_then(|rest| rest.strip_prefix(NAME))
        .and_then(|rest| rest.strip_prefix("\":\""))
        .and_then(|rest| rest.split_once('"'));
    if let Some((code, _)) = first {
        return decode(code);
    }
    let members = raw_json::members(raw).ok()?;
    let (_, value) = members.into_iter().find(|(name, _)| name == NAME)?;
    decode(&serde_json::from_str::<String>(value.get()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden_field::encode;

    #[test]
    fn the_field_is_found_wherever_it_stands() {
        let code = encode(300);
        let table = [
            (format!(r#"{{"_miroir_shard":"{code}","id":1}}"#), Some(300)),
            (
                format!(r#"{{"id":1e400,"_miroir_shard":"{code}"}}"#),
                Some(300),
            ),
            (format!(r#"{{"id":{{"_miroir_shard":"{code}"}}}}"#), None),
            (r#"{"id":1,"_miroir_shard":"x"}"#.to_owned(), None),
            (r#"{"id":1,"_miroir_shard":7}"#.to_owned(), None),
            (r#"{"id":"_miroir_shard"}"#.to_owned(), None),
            ("{".to_owned(), None),
        ];
        for (raw, expected) in table {
            assert_eq!(stored_shard(&raw), expected, "{raw}");
        }
    }
}
