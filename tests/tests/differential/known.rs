//! What is known to be inexact, and documented so in `docs/search.md`: nothing else may differ.

use serde_json::Value;

use super::compare::What;
use super::corpus::Index;

/// The name of the inexactness that a difference belongs to.
pub fn excused(_index: &Index, _query: &Value, _what: &What) -> Option<&'static str> {
    None
}
