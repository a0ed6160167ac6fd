//! HTTP client for one Meilisearch node, used by the coordinator and the proxy.
