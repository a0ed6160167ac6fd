//! What the leading coordinator does by itself. The table of all actors is in [`crate::supervise`].

pub mod leadership;

mod context;

pub use context::{Context, Fleet};
