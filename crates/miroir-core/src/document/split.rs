//! A checked batch, each document with its shard.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Batch, id};
use crate::api_error::{ApiError, Code};
use crate::hidden_field::{self, is_reserved, shard_of, splice_prefix};
use crate::raw_json::{self, Members};

/// One document of a [`Split`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedDocument {
    /// The canonical id.
    pub id: String,
    /// The shard that the id belongs to.
    pub shard: u16,
    /// Whether it has `_geo`, which a node checks by itself.
    pub has_geo: bool,
    /// Whether it has `_vectors`, which a node checks by itself.
    pub has_vectors: bool,
    line: Range<usize>,
}

/// The documents of a write, checked, with their shards and the hidden field in place.
///
/// Owns one copy of the batch's text, one document a line.
#[derive(Debug, Clone)]
pub struct Split {
    text: String,
    documents: Vec<PlacedDocument>,
    distinct_ids: usize,
}

impl Split {
    /// Checks every document of `batch` and gives it its shard.
    ///
    /// # Errors
    /// The task's error, naming the first bad document: `missing_document_id`,
    /// `invalid_document_id`, or `invalid_document_fields` for the reserved hidden field.
    pub fn new(batch: &Batch<'_>, primary_key: &str, shard_count: u16) -> Result<Self, ApiError> {
        let mut split = Self {
            text: String::new(),
            documents: Vec::with_capacity(batch.len()),
            distinct_ids: 0,
        };
        for raw in batch.documents() {
            split.add(raw, batch.merges_repeated_names(), primary_key, shard_count)?;
        }
        let ids = split.documents.iter().map(|document| document.id.as_str());
        split.distinct_ids = count_distinct(ids);
        Ok(split)
    }

    fn add(
        &mut self,
        raw: &str,
        merge_names: bool,
        key: &str,
        shard_count: u16,
    ) -> Result<(), ApiError> {
        let mut members = read_members(raw)?;
        let merged = (merge_names && has_repeated_name(&members)).then(|| {
            merge_repeated(&mut members);
            raw_json::object(
                members
                    .iter()
                    .map(|(name, value)| (name.as_ref(), value.get())),
            )
        });
        let id = id::extract(&members, key, raw)?;
        if members.iter().any(|(name, _)| is_reserved(name)) {
            return Err(ApiError::new(
                Code::InvalidDocumentFields,
                format!(
                    "Document `{id}` has the attribute `{}`, which is reserved. Remove it from the document.",
                    hidden_field::NAME
                ),
            ));
        }
        let has = |wanted: &str| members.iter().any(|(name, _)| name == wanted);
        let shard = shard_of(&id, shard_count);
        let (has_geo, has_vectors) = (has("_geo"), has("_vectors"));
        let line = self.push_line(merged.as_deref().unwrap_or(raw), shard);
        self.documents.push(PlacedDocument {
            id,
            shard,
            has_geo,
            has_vectors,
            line,
        });
        Ok(())
    }

    /// Appends the document with the hidden member first. Line breaks can only stand between
    /// tokens of JSON text, so each becomes a space and the document stays on one line.
    fn push_line(&mut self, document: &str, shard: u16) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(&splice_prefix(shard));
        let rest = document.strip_prefix('{').unwrap_or(document);
        if !rest.trim_start().starts_with('}') {
            self.text.push(',');
        }
        let mut lines = rest.split(['\n', '\r']);
        self.text.push_str(lines.next().unwrap_or_default());
        for line in lines {
            self.text.push(' ');
            self.text.push_str(line);
        }
        let end = self.text.len();
        self.text.push('\n');
        start..end
    }

    /// The documents in the client's order.
    #[must_use]
    pub fn documents(&self) -> &[PlacedDocument] {
        &self.documents
    }

    /// The JSON text that nodes receive for `document`, which must be one of this split.
    #[must_use]
    pub fn json(&self, document: &PlacedDocument) -> &str {
        &self.text[document.line.clone()]
    }

    /// How many different ids there are: what `indexedDocuments` reports.
    #[must_use]
    pub fn distinct_ids(&self) -> usize {
        self.distinct_ids
    }

    /// The shards that the write touches.
    #[must_use]
    pub fn shards(&self) -> BTreeSet<u16> {
        self.documents
            .iter()
            .map(|document| document.shard)
            .collect()
    }

    /// The documents of each shard that the write touches, in the client's order.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<u16, Vec<&PlacedDocument>> {
        let mut parts: BTreeMap<u16, Vec<&PlacedDocument>> = BTreeMap::new();
        for document in &self.documents {
            parts.entry(document.shard).or_default().push(document);
        }
        parts
    }

    /// One NDJSON body with the documents of the wanted shards, in the client's order, so
    /// that of two documents with one id the later still wins.
    #[must_use]
    pub fn ndjson(&self, mut wanted: impl FnMut(u16) -> bool) -> Vec<u8> {
        let chosen: Vec<&PlacedDocument> = self
            .documents
            .iter()
            .filter(|document| wanted(document.shard))
            .collect();
        let mut body = Vec::with_capacity(chosen.iter().map(|d| d.line.len() + 1).sum());
        for document in chosen {
            body.extend_from_slice(self.json(document).as_bytes());
            body.push(b'\n');
        }
        body
    }
}

fn read_members(raw: &str) -> Result<Members<'_>, ApiError> {
    raw_json::members(raw).map_err(|error| {
        ApiError::new(
            Code::MalformedPayload,
            format!("A document is malformed: `{error}`."),
        )
    })
}

fn has_repeated_name(members: &Members<'_>) -> bool {
    const PAIRWISE: usize = 16;
    if members.len() <= PAIRWISE {
        let repeated =
            |(at, (name, _)): (usize, &(_, _))| members[..at].iter().any(|(n, _)| n == name);
        members.iter().enumerate().any(repeated)
    } else {
        count_distinct(members.iter().map(|(name, _)| name.as_ref())) < members.len()
    }
}

fn count_distinct<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts.len()
}

/// Each name keeps its first place and its last value.
fn merge_repeated(members: &mut Members<'_>) {
    let mut merged: Members<'_> = Vec::with_capacity(members.len());
    for (name, value) in members.drain(..) {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => merged.push((name, value)),
        }
    }
    *members = merged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::ContentType;
    use proptest::prelude::*;
    use serde_json::Value;

    fn split(body: &str, format: ContentType) -> Result<Split, ApiError> {
        let batch = Batch::parse(body.as_bytes(), format)?;
        Split::new(&batch, "id", 64)
    }

    fn lines(split: &Split) -> Vec<String> {
        let body = String::from_utf8(split.ndjson(|_| true)).expect("text");
        body.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_hidden_field_is_spliced_into_the_text() {
        let json = ContentType::Json;
        let table = [
            (
                json,
                r#"[{"id":"1"}]"#,
                r#"{"_miroir_shard":"††⁎","id":"1"}"#,
            ),
            (
                json,
                "[{\r\n  \"id\": 1,\n  \"n\": 1.10\n}]",
                r#"{"_miroir_shard":"††⁎",    "id": 1,   "n": 1.10 }"#,
            ),
            (
                json,
                r#"[{"id":1,"big":12345678901234567890123,"s":"\u0000é"}]"#,
                r#"{"_miroir_shard":"††⁎","id":1,"big":12345678901234567890123,"s":"\u0000é"}"#,
            ),
            (
                json,
                r#"[{"id":2,"a":1,"id":1,"a":{"x":1,"x":2}}]"#,
                r#"{"_miroir_shard":"††⁎","id":1,"a":{"x":1,"x":2}}"#,
            ),
            (
                ContentType::Ndjson,
                r#"{"id":1,"a":1,"a":2}"#,
                r#"{"_miroir_shard":"††⁎","id":1,"a":1,"a":2}"#,
            ),
            (
                ContentType::Csv { delimiter: b',' },
                "id,n:number\n1,2\n",
                r#"{"_miroir_shard":"††⁎","id":"1","n":2}"#,
            ),
        ];
        for (format, body, expected) in table {
            assert_eq!(
                lines(&split(body, format).expect(body)),
                [expected],
                "{body}"
            );
        }
    }

    #[test]
    fn one_bad_document_fails_the_batch_and_is_named() {
        let table = [
            (
                r#"[{"id":1},{"id":"a b"}]"#,
                Code::InvalidDocumentId,
                "`\"a b\"`",
            ),
            (
                r#"[{"id":1},{"ID":2}]"#,
                Code::MissingDocumentId,
                "`{\"ID\":2}`",
            ),
            (
                r#"[{"id":1},{"id":7,"_miroir_shard":"x"}]"#,
                Code::InvalidDocumentFields,
                "Document `7` has the attribute `_miroir_shard`",
            ),
            (
                r#"[{"id":7,"\u005fmiroir_shard":"x"}]"#,
                Code::InvalidDocumentFields,
                "Document `7`",
            ),
            (
                r#"[{"id":7,"_miroir_shard.x":1}]"#,
                Code::InvalidDocumentFields,
                "Document `7`",
            ),
        ];
        for (body, code, text) in table {
            let error = split(body, ContentType::Json).expect_err(body);
            assert_eq!(error.code, code);
            assert!(error.message.contains(text), "{error}");
        }
        let error = split(r#"{"id":1,"id":2}"#, ContentType::Ndjson).expect_err("two ids");
        assert!(
            error
                .message
                .starts_with("Document have too many matching `id`"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_document_among_a_thousand_is_named() {
        let mut documents: Vec<String> = (0..1000).map(|n| format!("{{\"id\":{n}}}")).collect();
        documents[637] = "{\"id\":\"six three seven\"}".to_owned();
        let error = split(&format!("[{}]", documents.join(",")), ContentType::Json);
        assert!(
            error
                .expect_err("bad")
                .message
                .contains("`\"six three seven\"`")
        );
    }

    #[test]
    fn flags_counts_and_nested_members_of_the_reserved_name() {
        let body = r#"[{"id":-5,"_geo":{"lat":1,"lng":2}},{"id":"-5","_vectors":{}},{"id":6,"n":{"_miroir_shard":1}}]"#;
        let split = split(body, ContentType::Json).expect(body);
        let flags: Vec<_> = split
            .documents()
            .iter()
            .map(|d| (d.has_geo, d.has_vectors))
            .collect();
        assert_eq!(flags, [(true, false), (false, true), (false, false)]);
        assert_eq!((split.documents().len(), split.distinct_ids()), (3, 2));
    }

    #[test]
    fn an_empty_batch_splits_into_nothing() {
        let split = split("[]", ContentType::Json).expect("empty");
        assert!(split.ndjson(|_| true).is_empty() && split.parts().is_empty());
    }

    /// Members of any names and values, written with odd white space.
    fn document() -> impl Strategy<Value = (i64, String)> {
        let value = prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            Just("[1, {\"id\":\n2}]".to_owned()),
            Just("null".to_owned()),
        ];
        let members = proptest::collection::btree_map("[a-h]{1,2}", value, 0..5);
        (any::<i64>(), members, 0_usize..5).prop_map(|(id, members, place)| {
            let mut members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("\"{name}\" :{value}"))
                .collect();
            members.insert(place.min(members.len()), format!("\"id\":\r\n{id}"));
            (id, format!("{{ {} }}", members.join(",\n")))
        })
    }

    proptest! {
        #[test]
        fn every_document_arrives_once_in_its_shard_in_order(
            documents in proptest::collection::vec(document(), 0..30),
            shard_count in 1_u16..20,
        ) {
            let body = format!("[{}]", documents.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" , "));
            let batch = Batch::parse(body.as_bytes(), ContentType::Json).expect("JSON");
            let split = Split::new(&batch, "id", shard_count).expect("valid");

            let mut expected: BTreeMap<u16, Vec<Value>> = BTreeMap::new();
            for (id, text) in &documents {
                let shard = shard_of(&id.to_string(), shard_count);
                expected.entry(shard).or_default().push(serde_json::from_str(text).expect("JSON"));
            }
            prop_assert_eq!(&split.shards(), &expected.keys().copied().collect());
            for (shard, documents) in expected {
                let sent = String::from_utf8(split.ndjson(|wanted| wanted == shard)).expect("text");
                let mut received = Vec::new();
                for line in sent.lines() {
                    let mut value: Value = serde_json::from_str(line).expect("one document a line");
                    let code = value.as_object_mut().and_then(|o| o.shift_remove(hidden_field::NAME));
                    prop_assert_eq!(code.as_ref().and_then(Value::as_str).and_then(hidden_field::decode), Some(shard));
                    received.push(value);
                }
                prop_assert_eq!(received, documents);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            for format in [ContentType::Json, ContentType::Ndjson, ContentType::Csv { delimiter: b',' }] {
                if let Ok(batch) = Batch::parse(&body, format) {
                    let _ = Split::new(&batch, "id", 4);
                }
            }
        }
    }
}
