//! Helpers shared by the process tests: a cluster with a workload, and a single node to compare it with.

mod reference;
mod trial;

pub use reference::{Reference, compare_searches};
pub use trial::Trial;
