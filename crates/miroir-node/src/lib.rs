//! Embedded Meilisearch-compatible node on milli-core, for development, demos and tests.
