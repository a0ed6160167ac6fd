//! Parsing filters as clients send them: one expression, or arrays of them.

use milli_core::{Error, Filter, UserError};
use serde_json::Value;

use crate::error::{ApiError, Code};

/// Parses a filter. `Ok(None)` means an empty filter, which matches everything; every syntax
/// error is reported under `code`.
pub fn parse(filter: &Value, code: Code) -> Result<Option<Filter<'_>>, ApiError> {
    Filter::from_json(filter).map_err(|error| match error {
        Error::UserError(UserError::InvalidFilterExpression(expected, found)) => ApiError::new(
            code,
            format!(
                "Invalid syntax for the filter parameter: `expected {}, found: {found}`.",
                expected.join(", ")
            ),
        ),
        error => ApiError::new(code, error.to_string()),
    })
}
