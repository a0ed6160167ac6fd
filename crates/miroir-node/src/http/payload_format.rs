//! Documents as they are posted (JSON, NDJSON, CSV) into what the engine reads: JSON objects,
//! one after the other, each in its original text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{ApiError, Code};

/// Format of a posted payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// An array of objects, or one object.
    Json,
    /// Objects separated by white space.
    Ndjson,
    /// A header line `name:type`, then one document a line.
    Csv {
        /// Separator of the cells.
        delimiter: u8,
    },
}

impl fmt::Display for PayloadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        })
    }
}

/// Checked documents.
#[derive(Debug, PartialEq, Eq)]
pub struct Documents {
    /// One object a line, unless an object's own text has line breaks.
    pub content: Vec<u8>,
    /// How many there are.
    pub count: u64,
}

/// Checks and converts a payload. Ids and fields are checked later, when the task is processed.
pub fn to_documents(payload: &[u8], format: PayloadFormat) -> Result<Documents, ApiError> {
    match format {
        PayloadFormat::Json => from_json(payload),
        PayloadFormat::Ndjson => from_ndjson(payload),
        PayloadFormat::Csv { delimiter } => from_csv(payload, delimiter),
    }
}

impl Documents {
    fn new(capacity: usize) -> Self {
        Self {
            content: Vec::with_capacity(capacity),
            count: 0,
        }
    }

    fn push(&mut self, object: &RawValue) -> serde_json::Result<()> {
        serde_json::from_str::<AnyObject>(object.get())?;
        self.content.extend_from_slice(object.get().as_bytes());
        self.content.push(b'\n');
        self.count += 1;
        Ok(())
    }
}

/// Accepts any JSON object without keeping it.
struct AnyObject;

impl<'de> Deserialize<'de> for AnyObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Objects;
        impl<'de> Visitor<'de> for Objects {
            type Value = AnyObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<AnyObject, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(AnyObject)
            }
        }
        deserializer.deserialize_map(Objects)
    }
}

fn from_json(payload: &[u8]) -> Result<Documents, ApiError> {
    let mut documents = Documents::new(payload.len());
    let is_array = payload.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let read = if is_array {
        let mut deserializer = serde_json::Deserializer::from_slice(payload);
        EachObject(&mut documents)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
    } else {
        serde_json::from_slice::<&RawValue>(payload).and_then(|object| documents.push(object))
    };
    read.map_err(|error| malformed_json(&error, PayloadFormat::Json))?;
    Ok(documents)
}

/// Pushes each element of an array as it is read.
struct EachObject<'a>(&'a mut Documents);

impl<'de> DeserializeSeed<'de> for EachObject<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EachObject<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            self.0.push(element).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

fn from_ndjson(payload: &[u8]) -> Result<Documents, ApiError> {
    let mut documents = Documents::new(payload.len());
    for object in serde_json::Deserializer::from_slice(payload).into_iter::<&RawValue>() {
        object
            .and_then(|object| documents.push(object))
            .map_err(|error| malformed_json(&error, PayloadFormat::Ndjson))?;
    }
    Ok(documents)
}

fn malformed_json(error: &serde_json::Error, format: PayloadFormat) -> ApiError {
    let reason = match error.classify() {
        serde_json::error::Category::Data => {
            "data are neither an object nor a list of objects".to_owned()
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => shorten(error.to_string()),
    };
    let message = format!(
        "The `{format}` payload provided is malformed. `Couldn't serialize document value: {reason}`."
    );
    ApiError::new(Code::MalformedPayload, message)
}

/// Parser messages can quote the payload, which can be long.
fn shorten(message: String) -> String {
    const HEAD: usize = 50;
    const TAIL: usize = 85;
    if message.len() <= HEAD + TAIL + 3 {
        return message;
    }
    let head: String = message.chars().take(HEAD).collect();
    let count = message.chars().count();
    let tail: String = message.chars().skip(count.saturating_sub(TAIL)).collect();
    format!("{head}...{tail}")
}

#[derive(Debug, Clone, Copy)]
enum CellType {
    String,
    Boolean,
    Number,
}

fn from_csv(payload: &[u8], delimiter: u8) -> Result<Documents, ApiError> {
    let malformed = |reason: String| {
        let message = format!("The `csv` payload provided is malformed: `{reason}`.");
        ApiError::new(Code::MalformedPayload, message)
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(payload);
    let headers = reader
        .headers()
        .map_err(|error| malformed(error.to_string()))?
        .clone();
    let columns: Vec<(&str, CellType)> = headers.iter().map(parse_header).collect();
    let mut documents = Documents::new(payload.len());
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| malformed(error.to_string()))?
    {
        documents.count += 1;
        let mut object: Map<String, Value> = columns
            .iter()
            .map(|(name, _)| ((*name).to_owned(), Value::Null))
            .collect();
        for ((name, kind), cell) in columns.iter().zip(&record) {
            let value = parse_cell(cell, *kind).map_err(|reason| {
                let (what, why) = reason;
                let line = documents.count;
                malformed(format!(
                    "Error parsing {what} {cell:?} at line {line}: {why}"
                ))
            })?;
            object.insert((*name).to_owned(), value);
        }
        let line = serde_json::to_vec(&object).map_err(|error| malformed(error.to_string()))?;
        documents.content.extend_from_slice(&line);
        documents.content.push(b'\n');
    }
    Ok(documents)
}

/// `name:number` gives the type after the last colon; an unknown type is part of the name.
fn parse_header(header: &str) -> (&str, CellType) {
    match header.rsplit_once(':') {
        Some((name, "string")) => (name, CellType::String),
        Some((name, "boolean")) => (name, CellType::Boolean),
        Some((name, "number")) => (name, CellType::Number),
        _ => (header, CellType::String),
    }
}

/// The cell's value, or what was expected and why it is not that.
fn parse_cell(cell: &str, kind: CellType) -> Result<Value, (&'static str, String)> {
    let trimmed = cell.trim();
    match kind {
        CellType::String if cell.is_empty() => Ok(Value::Null),
        CellType::String => Ok(Value::from(cell)),
        CellType::Number | CellType::Boolean if trimmed.is_empty() => Ok(Value::Null),
        CellType::Number => match trimmed.parse::<i64>() {
            Ok(integer) => Ok(Value::from(integer)),
            Err(_) => trimmed
                .parse::<f64>()
                .map(Value::from)
                .map_err(|error| ("number", error.to_string())),
        },
        CellType::Boolean => trimmed
            .parse::<bool>()
            .map(Value::from)
            .map_err(|error| ("boolean", error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(payload: &str, format: PayloadFormat) -> Result<(String, u64), ApiError> {
        let documents = to_documents(payload.as_bytes(), format)?;
        Ok((
            String::from_utf8(documents.content).unwrap(),
            documents.count,
        ))
    }

    #[test]
    fn documents_keep_their_original_text() {
        for (payload, format, expected, count) in [
            (
                r#"[{"id":1.10},{ "id" : 2 }]"#,
                PayloadFormat::Json,
                "{\"id\":1.10}\n{ \"id\" : 2 }\n",
                2,
            ),
            (
                " {\"id\":12345678901234567890123} ",
                PayloadFormat::Json,
                "{\"id\":12345678901234567890123}\n",
                1,
            ),
            ("[]", PayloadFormat::Json, "", 0),
            (
                "{\"a\":1}\n\n{\"a\":2}",
                PayloadFormat::Ndjson,
                "{\"a\":1}\n{\"a\":2}\n",
                2,
            ),
        ] {
            assert_eq!(
                convert(payload, format).unwrap(),
                (expected.to_owned(), count),
                "{payload}"
            );
        }
    }

    #[test]
    fn csv_cells_have_the_type_of_their_column() {
        let csv = PayloadFormat::Csv { delimiter: b';' };
        let payload = "id:number;name;ok:boolean;odd:type\n1; a ;true;x\n2.5;;;\n";
        let expected = "{\"id\":1,\"name\":\" a \",\"ok\":true,\"odd:type\":\"x\"}\n\
                        {\"id\":2.5,\"name\":null,\"ok\":null,\"odd:type\":null}\n";
        assert_eq!(convert(payload, csv).unwrap(), (expected.to_owned(), 2));
        assert!(
            convert("id:number\nabc\n", csv)
                .unwrap_err()
                .message
                .contains("Error parsing number \"abc\" at line 1: ")
        );
    }

    #[test]
    fn what_is_not_documents_is_malformed() {
        for (payload, format) in [
            ("[{\"id\":1}", PayloadFormat::Json),
            ("[1]", PayloadFormat::Json),
            ("12", PayloadFormat::Json),
            ("{\"id\":1} {", PayloadFormat::Json),
            ("{\"id\":1}\n[]", PayloadFormat::Ndjson),
            ("a,b\n1,2,3\n", PayloadFormat::Csv { delimiter: b',' }),
        ] {
            let error = convert(payload, format).unwrap_err();
            assert_eq!(error.code, Code::MalformedPayload, "{payload}");
            assert!(
                error.message.contains(&format!("`{format}` payload")),
                "{}",
                error.message
            );
        }
    }
}
