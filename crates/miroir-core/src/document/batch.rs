//! A body of documents cut into documents, each still the text the client sent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::deep::{Readable, is_suspect};
use super::{ContentType, csv};
use crate::api_error::{ApiError, Code};

/// The documents of one write, in the client's order. Each is the text of a JSON object.
#[derive(Debug)]
pub struct Batch<'a> {
    documents: Vec<Cow<'a, str>>,
    format: ContentType,
}

impl<'a> Batch<'a> {
    /// Cuts `body` into documents.
    ///
    /// What Meilisearch refuses with HTTP 400 before it makes a task is refused here, with its
    /// words. So is what a node would accept and then fail to index on its own: numbers out of
    /// range, broken surrogates, too deep nesting. Whatever follows a JSON array is ignored, as
    /// Meilisearch does. `[]` and blank NDJSON are empty batches.
    ///
    /// # Errors
    /// `missing_payload` for an empty body, `malformed_payload` with the place of the fault.
    pub fn parse(body: &'a [u8], format: ContentType) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(ApiError::new(
                Code::MissingPayload,
                format!("A {format} payload is missing."),
            ));
        }
        let documents = match format {
            ContentType::Json => parse_json(body),
            ContentType::Ndjson => parse_ndjson(body),
            ContentType::Csv { delimiter } => return Self::from_csv(body, delimiter),
        };
        let documents = documents.map_err(|error| malformed(format, &error))?;
        if documents.iter().any(|raw| !raw.starts_with('{')) {
            return Err(not_objects(format));
        }
        if documents.iter().any(|raw| is_suspect(raw)) {
            check_readable(body, format).map_err(|error| malformed(format, &error))?;
        }
        let documents = documents.into_iter().map(Cow::Borrowed).collect();
        Ok(Self { documents, format })
    }

    fn from_csv(body: &[u8], delimiter: u8) -> Result<Self, ApiError> {
        let documents = csv::parse(body, delimiter)?
            .into_iter()
            .map(Cow::Owned)
            .collect();
        Ok(Self {
            documents,
            format: ContentType::Csv { delimiter },
        })
    }

    /// How many documents the body holds, repeated ids included (`receivedDocuments`).
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether the body holds no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The documents' text in the client's order.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.documents.iter().map(AsRef::as_ref)
    }

    /// Whether a repeated member name counts once, with its last value. Meilisearch reads a
    /// JSON body that way, and keeps NDJSON as it is.
    pub(super) fn merges_repeated_names(&self) -> bool {
        self.format == ContentType::Json
    }
}

fn parse_json(body: &[u8]) -> Result<Vec<&str>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match deserializer.deserialize_seq(Texts) {
        Err(error) if error.classify() == Category::Data => {
            let single: &RawValue = serde_json::from_slice(body)?;
            Ok(vec![single.get()])
        }
        other => other,
    }
}

fn parse_ndjson(body: &[u8]) -> Result<Vec<&str>, serde_json::Error> {
    serde_json::Deserializer::from_slice(body)
        .into_iter::<&RawValue>()
        .map(|raw| raw.map(RawValue::get))
        .collect()
}

/// Reads the whole body again, so that the error tells its place in the body.
fn check_readable(body: &[u8], format: ContentType) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    if format == ContentType::Ndjson {
        deserializer
            .into_iter::<Readable>()
            .try_for_each(|read| read.map(drop))
    } else {
        Readable::deserialize(&mut deserializer).map(drop)
    }
}

/// The texts of an array's items.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(raw) = items.next_element::<&RawValue>()? {
            texts.push(raw.get());
        }
        Ok(texts)
    }
}

fn not_objects(format: ContentType) -> ApiError {
    refused(
        format,
        "data are neither an object nor a list of objects".to_owned(),
    )
}

fn malformed(format: ContentType, error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data => not_objects(format),
        Category::Io | Category::Syntax | Category::Eof => refused(format, error.to_string()),
    }
}

/// Meilisearch shortens long texts, which may quote the client's data.
fn refused(format: ContentType, mut text: String) -> ApiError {
    const HEAD: usize = 50;
    const TAIL: usize = 85;
    if text.len() > HEAD + TAIL + 3 {
        let head = text.floor_char_boundary_at(HEAD);
        let tail = text.floor_char_boundary_at(text.len() - TAIL);
        text.replace_range(head..tail, "...");
    }
    ApiError::new(
        Code::MalformedPayload,
        format!(
            "The `{format}` payload provided is malformed. `Couldn't serialize document value: {text}`."
        ),
    )
}

trait CharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl CharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        (0..=at)
            .rev()
            .find(|index| self.is_char_boundary(*index))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str, format: ContentType) -> Vec<String> {
        let batch = Batch::parse(body.as_bytes(), format).expect(body);
        assert_eq!(batch.len(), batch.documents().count());
        batch.documents().map(str::to_owned).collect()
    }

    #[test]
    fn documents_keep_their_text() {
        let json = ContentType::Json;
        let ndjson = ContentType::Ndjson;
        let table = [
            (json, "[]", vec![]),
            (json, " [ ] ", vec![]),
            (json, r#"[{"a":1}]"#, vec![r#"{"a":1}"#]),
            (
                json,
                "[ {\"a\" : 1.10 } ,\r\n {\"b\":1e5}\n]",
                vec![r#"{"a" : 1.10 }"#, r#"{"b":1e5}"#],
            ),
            (
                json,
                r#"[{"n":12345678901234567890123}]"#,
                vec![r#"{"n":12345678901234567890123}"#],
            ),
            (json, r#"{"a":1}"#, vec![r#"{"a":1}"#]),
            (json, r#"[{"a":1}] and more"#, vec![r#"{"a":1}"#]),
            (ndjson, "\n", vec![]),
            (
                ndjson,
                "{\"a\":1}\n{\"b\":2}",
                vec![r#"{"a":1}"#, r#"{"b":2}"#],
            ),
            (
                ndjson,
                "{\"a\":1}\r\n\r\n{\"b\":2}\r\n",
                vec![r#"{"a":1}"#, r#"{"b":2}"#],
            ),
            (
                ndjson,
                r#"{"a":1}{"b":2}"#,
                vec![r#"{"a":1}"#, r#"{"b":2}"#],
            ),
            (ndjson, "{\n\"a\":1}\n", vec!["{\n\"a\":1}"]),
        ];
        for (format, body, expected) in table {
            assert_eq!(texts(body, format), expected, "{body:?}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused_in_meilisearchs_words() {
        let json = ContentType::Json;
        let ndjson = ContentType::Ndjson;
        let neither = "data are neither an object nor a list of objects";
        let table = [
            (
                json,
                "[{\"id\": 1, {}]",
                "key must be a string at line 1 column 12",
            ),
            (json, "[{\"id\":1},]", "trailing comma at line 1 column 11"),
            (
                json,
                "[{\"id\":1,}]",
                "key must be a string at line 1 column 10",
            ),
            (
                json,
                "[{\"id\":1}",
                "EOF while parsing a list at line 1 column 9",
            ),
            (
                json,
                "\u{feff}[{\"id\":1}]",
                "expected value at line 1 column 1",
            ),
            (json, "  ", "EOF while parsing a value at line 1 column 2"),
            (json, "hello", "expected value at line 1 column 1"),
            (json, "\"text\"", neither),
            (json, "12", neither),
            (json, "null", neither),
            (json, "[1]", neither),
            (json, "[{\"id\":1}, \"x\"]", neither),
            (json, "[[{\"id\":1}]]", neither),
            (
                json,
                "[{\"id\":1},\n{\"a\":1e400}]",
                "number out of range at line 2 column 10",
            ),
            (
                json,
                "{\"a\":-1e400}",
                "number out of range at line 1 column 11",
            ),
            (
                json,
                r#"[{"a":"\ud800"}]"#,
                "unexpected end of hex escape at line 1 column 14",
            ),
            (
                ndjson,
                "{\"id\":1}\n{{",
                "key must be a string at line 2 column 2",
            ),
            (ndjson, "{\"id\":1}\n3", neither),
            (ndjson, "[{\"id\":1}]", neither),
            (
                ndjson,
                "{\"id\":1}\n{\"a\":1e400}",
                "number out of range at line 2 column 10",
            ),
        ];
        for (format, body, text) in table {
            let error = Batch::parse(body.as_bytes(), format).expect_err(body);
            assert_eq!(error.code, Code::MalformedPayload, "{body:?}");
            assert_eq!(
                error.message,
                format!(
                    "The `{format}` payload provided is malformed. `Couldn't serialize document value: {text}`."
                ),
                "{body:?}"
            );
        }
    }

    #[test]
    fn empty_bodies_and_bad_bytes() {
        for (format, text) in [
            (ContentType::Json, "A json payload is missing."),
            (ContentType::Ndjson, "A ndjson payload is missing."),
            (
                ContentType::Csv { delimiter: b',' },
                "A csv payload is missing.",
            ),
        ] {
            let error = Batch::parse(b"", format).expect_err("empty");
            assert_eq!(
                (error.code, error.message.as_str()),
                (Code::MissingPayload, text)
            );
        }
        for format in [ContentType::Json, ContentType::Ndjson] {
            let error = Batch::parse(b"{\"id\":\"\xff\"}", format).expect_err("not UTF-8");
            assert!(
                error.message.contains("invalid unicode code point"),
                "{error}"
            );
        }
    }

    #[test]
    fn nesting_is_refused_where_a_node_would_fail() {
        let nested = |depth: usize| {
            format!(
                "[{{\"id\":1,\"a\":{}{}}}]",
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(Batch::parse(nested(120).as_bytes(), ContentType::Json).is_ok());
        let error = Batch::parse(nested(100_000).as_bytes(), ContentType::Json).expect_err("deep");
        assert!(
            error.message.contains("recursion limit exceeded"),
            "{error}"
        );
    }

    #[test]
    fn long_messages_are_shortened() {
        let error = refused(ContentType::Json, "é".repeat(200));
        assert!(error.message.contains("é...é"), "{error}");
        assert!(error.message.chars().count() < 250);
    }
}
