//! What the leading coordinator does by itself. The table of all actors is in [`crate::supervise`].

pub mod broadcast;
pub mod cut;
pub mod leadership;
mod lost;
pub mod planner;
pub mod purge;
pub mod scrub;
pub mod settings;
pub mod tasks;
pub mod tend;
pub mod webhooks;
pub mod wiped;

mod context;

pub use context::{Context, Fleet};
pub use scrub::ScrubBoard;
pub use settings::SettingsBoard;
