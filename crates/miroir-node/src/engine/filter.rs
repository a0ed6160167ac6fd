//! Parsing filters as clients send them: one expression, or arrays of them.

use milli_core::{Error, Filter, UserError};
use serde_json::Value;

use crate::error::{ApiError, Code};

/// Parses a filter. `Ok(None)` means an empty filter, which matches everything; every syntax
/// error is reported under `code`.
pub fn parse(filter: &Value, code: Code) -> Result<Option<Filter<'_>>, ApiError> {
    let filter = Filter::from_json(filter).map_err(|error| {
        let message = match &error {
            Error::UserError(UserError::InvalidFilterExpression(expected, found)) => format!(
                "Invalid syntax for the filter parameter: `expected {}, found: {found}`.",
                expected.join(", ")
            ),
            Error::UserError(_) | Error::InternalError(_) | Error::IoError(_) => error.to_string(),
        };
        ApiError::new(code, message)
    })?;
    // The engine counts `STARTS WITH` as a kind of `CONTAINS`; Meilisearch no longer does.
    if let Some(token) = filter.as_ref().and_then(Filter::use_contains_operator)
        && token.value().eq_ignore_ascii_case("contains")
    {
        let message = token.as_external_error(ContainsIsExperimental).to_string();
        return Err(ApiError::new(Code::FeatureNotEnabled, message));
    }
    Ok(filter)
}

/// `CONTAINS` is behind an experimental feature that this node does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "Using `CONTAINS` in a filter requires enabling the `contains filter` experimental feature. \
     See https://github.com/orgs/meilisearch/discussions/763"
)]
struct ContainsIsExperimental;
