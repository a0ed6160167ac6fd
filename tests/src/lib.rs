//! Helpers shared by the process tests: a cluster with a workload, what can be done to it, and a single node to compare
//! it with.

mod clock;
mod forwarder;
mod load;
mod logs;
mod network;
mod points;
pub mod random;
mod reference;
mod seed;
mod settle;
mod shared;
mod trial;

pub use clock::MovedClock;
pub use forwarder::Forwarder;
pub use load::{Load, Seen};
pub use logs::ends_of_logs;
pub use network::Network;
pub use points::{Points, obey_points};
pub use reference::{Reference, compare_searches};
pub use seed::seed;
pub use shared::{Shared, Stage};
pub use trial::Trial;
