//! Miroir proxy: Meilisearch's HTTP API over a sharded, replicated fleet.

mod backoff;
pub mod catalog;
pub mod control;
pub mod write;
