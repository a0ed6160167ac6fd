//! The fleet's Meilisearch nodes as a coordinator sees them.

pub mod health;
pub mod pool;
pub mod url;

pub use health::{HealthBoard, NodeHealth, Reachability};
pub use pool::NodePool;
