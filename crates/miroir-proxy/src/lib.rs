//! Miroir proxy: Meilisearch's HTTP API over a sharded, replicated fleet.
