//! What the leading coordinator does by itself. The table of all actors is in [`crate::supervise`].

pub mod leadership;
mod lost;
pub mod planner;
pub mod purge;
pub mod tasks;

mod context;

pub use context::{Context, Fleet};
