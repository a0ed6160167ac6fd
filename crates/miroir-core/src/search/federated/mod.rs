//! Several searches in one request: each answered by itself, or all of them merged into one list.
//!
//! A merged ("federated") search asks every node of an index once for all queries of that index, as
//! a federated search of that node: so a document that several queries find is one hit, and totals
//! and facets count it once. The lists of all nodes and indexes are then merged here.

mod compatible;
mod facets;
mod merge;
mod plan;
mod request;
mod weigh;

pub use merge::IndexAnswers;
pub use plan::Federated;
pub use request::{Federation, MultiQuery, MultiSearch};

#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod tests;
