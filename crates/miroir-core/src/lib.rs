//! Pure decisions of Miroir: cluster state, placement, routing, migration, merging.

pub mod called;
pub mod cluster;
pub mod id;
pub mod migration;
pub mod placement;
pub mod planning;
pub mod registry;
pub mod routing;

pub mod api_error;
pub mod body;
pub mod document;
pub mod dump;
pub mod hidden_field;
mod raw_json;
pub mod request;
pub mod search;
pub mod session;
pub mod settings;
pub mod verdict;
