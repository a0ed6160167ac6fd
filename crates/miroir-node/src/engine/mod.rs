//! The indexes: milli's, one LMDB environment each, and what is done with them.

pub mod documents;
pub mod facet_search;
pub mod facets;
pub mod federated;
pub mod filter;
pub mod format;
pub mod geo;
pub mod hits;
pub mod ingest;
pub mod locale;
mod registry;
pub mod search;
pub mod search_query;
pub mod select;
pub mod settings;
pub mod settings_apply;
pub mod settings_read;
pub mod stats;
pub mod vectors;

pub(crate) use registry::sync_directory;
pub use registry::{Engine, EngineOptions, IndexUpdate};
