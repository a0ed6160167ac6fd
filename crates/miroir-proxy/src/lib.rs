//! Miroir proxy: Meilisearch's HTTP API over a sharded, replicated fleet.

pub mod app;
mod backoff;
mod bug;
pub mod catalog;
pub mod config;
pub mod control;
pub mod error;
pub mod http;
pub mod read;
pub mod upstream;
pub mod write;
