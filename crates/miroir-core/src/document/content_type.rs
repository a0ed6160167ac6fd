//! In which format a body of documents arrives.

use std::fmt;

use crate::api_error::{ApiError, Code};

const ACCEPTED: &str = "`application/json`, `application/x-ndjson`, `text/csv`";

/// The format of a body of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// An array of objects, or one object.
    Json,
    /// Objects one after another.
    Ndjson,
    /// A header line, then one document a line.
    Csv {
        /// What separates the cells: one ASCII character.
        delimiter: u8,
    },
}

impl ContentType {
    /// Reads the `Content-Type` header and the `csvDelimiter` parameter.
    ///
    /// # Errors
    /// `missing_content_type`, `invalid_content_type` (also for a delimiter with another type
    /// than CSV) and `invalid_document_csv_delimiter`.
    pub fn parse(header: Option<&str>, csv_delimiter: Option<&str>) -> Result<Self, ApiError> {
        let delimiter = csv_delimiter.map(parse_delimiter).transpose()?;
        let header = header.ok_or_else(|| {
            ApiError::new(
                Code::MissingContentType,
                format!(
                    "A Content-Type header is missing. Accepted values for the Content-Type header are: {ACCEPTED}"
                ),
            )
        })?;
        let essence = header
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match (essence.as_str(), delimiter) {
            ("application/json", None) => Ok(Self::Json),
            ("application/x-ndjson", None) => Ok(Self::Ndjson),
            ("text/csv", delimiter) => Ok(Self::Csv {
                delimiter: delimiter.unwrap_or(b','),
            }),
            ("application/json" | "application/x-ndjson", Some(_)) => Err(ApiError::new(
                Code::InvalidContentType,
                format!(
                    "The Content-Type `{essence}` does not support the use of a csv delimiter. The csv delimiter can only be used with the Content-Type `text/csv`."
                ),
            )),
            _ => Err(ApiError::new(
                Code::InvalidContentType,
                format!(
                    "The Content-Type `{essence}` is invalid. Accepted values for the Content-Type header are: {ACCEPTED}"
                ),
            )),
        }
    }
}

fn parse_delimiter(text: &str) -> Result<u8, ApiError> {
    let problem = match text.as_bytes() {
        [byte] => return Ok(*byte),
        [] => "expected a string of one character, but found an empty string".to_owned(),
        _ => match text.chars().count() {
            1 => {
                let message = format!("csv delimiter must be an ascii character. Found: `{text}`");
                return Err(ApiError::new(Code::InvalidDocumentCsvDelimiter, message));
            }
            count => format!(
                "expected a string of one character, but found the following string of {count} characters: `{text}`"
            ),
        },
    };
    Err(ApiError::new(
        Code::InvalidDocumentCsvDelimiter,
        format!("Invalid value in parameter `csvDelimiter`: {problem}"),
    ))
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        let table = [
            ("application/json", None, ContentType::Json),
            ("Application/JSON; charset=utf-8", None, ContentType::Json),
            ("application/x-ndjson", None, ContentType::Ndjson),
            ("text/csv", None, ContentType::Csv { delimiter: b',' }),
            (
                "text/csv;charset=utf-8",
                Some("|"),
                ContentType::Csv { delimiter: b'|' },
            ),
        ];
        for (header, delimiter, expected) in table {
            assert_eq!(
                ContentType::parse(Some(header), delimiter),
                Ok(expected),
                "{header}"
            );
        }
    }

    #[test]
    fn refused() {
        let table = [
            (
                None,
                None,
                Code::MissingContentType,
                "A Content-Type header is missing.",
            ),
            (
                Some("text/plain"),
                None,
                Code::InvalidContentType,
                "`text/plain` is invalid",
            ),
            (Some(""), None, Code::InvalidContentType, "`` is invalid"),
            (
                Some("application/json"),
                Some(";"),
                Code::InvalidContentType,
                "`text/csv`.",
            ),
            (
                Some("text/csv"),
                Some(""),
                Code::InvalidDocumentCsvDelimiter,
                "an empty string",
            ),
            (
                Some("text/csv"),
                Some("ab"),
                Code::InvalidDocumentCsvDelimiter,
                "2 characters: `ab`",
            ),
            (
                Some("text/csv"),
                Some("é"),
                Code::InvalidDocumentCsvDelimiter,
                "Found: `é`",
            ),
        ];
        for (header, delimiter, code, text) in table {
            let error = ContentType::parse(header, delimiter).expect_err("refused");
            assert_eq!(error.code, code, "{header:?}");
            assert!(error.message.contains(text), "{error}");
        }
    }
}
