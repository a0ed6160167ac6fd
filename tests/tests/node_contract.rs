//! The contract between Miroir and a node: what proxy and coordinator rely on.
//!
//! Every script runs on the embedded node and, when `MEILISEARCH_BIN` names a Meilisearch
//! binary, on that as well; then each pair of answers is compared too.

#[path = "node_contract/basics.rs"]
mod basics;
#[path = "node_contract/corpus.rs"]
mod corpus;
#[path = "node_contract/documents.rs"]
mod documents;
#[path = "node_contract/hidden_field.rs"]
mod hidden_field;
#[path = "node_contract/keys.rs"]
mod keys;
#[path = "node_contract/pattern.rs"]
mod pattern;
#[path = "node_contract/refusals.rs"]
mod refusals;
#[path = "node_contract/script.rs"]
mod script;
#[path = "node_contract/search.rs"]
mod search;
#[path = "node_contract/settings.rs"]
mod settings;
#[path = "node_contract/target.rs"]
mod target;
#[path = "node_contract/tasks.rs"]
mod tasks;
#[path = "node_contract/typed_client.rs"]
mod typed_client;
