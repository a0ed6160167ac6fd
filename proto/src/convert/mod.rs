//! Protobuf to core types and back, one file a message family.

mod registry;
mod routing;
mod task;

/// A message that makes no sense, from a peer that is old, new or lying.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {message} message has no valid `{field}`")]
pub struct ConvertError {
    /// The message.
    pub message: &'static str,
    /// Its field.
    pub field: &'static str,
}

impl ConvertError {
    pub(crate) fn new(message: &'static str, field: &'static str) -> Self {
        Self { message, field }
    }
}
