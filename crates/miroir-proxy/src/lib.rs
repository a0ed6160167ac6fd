//! Miroir proxy: Meilisearch's HTTP API over a sharded, replicated fleet.

mod backoff;
pub mod catalog;
pub mod control;
pub mod write;
pub mod app;
pub mod config;
pub mod error;
pub mod http;
pub mod read;
pub mod upstream;
