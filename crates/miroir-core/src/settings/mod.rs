//! Index settings: the client's, what nodes get instead, and back.
//!
//! The catalogue stores the *desired* settings of an index: an object that holds what clients
//! have set and nothing that is at its default. Nodes get it with three changes, which no
//! answer shows:
//!
//! - `filterableAttributes` starts with a rule for the hidden field. The first matching rule
//!   wins, so the client's patterns cannot reach the field.
//! - `faceting.maxValuesPerFacet` is higher, because cut lists cannot be added up
//!   ([`node_max_values`]).
//! - Document templates of embedders pass over the hidden field, which would otherwise change
//!   the embeddings.

mod compare;
mod details;
mod dump;
mod merge;
mod node;
mod shape;
mod sub;
mod template;
mod validate;

pub use compare::differences;
pub use details::{details, details_of_reset};
pub use dump::{Dumped, from_dump};
pub use merge::merge;
pub use node::{
    foreign_keys, from_node, node_max_values, patch_for_node, to_node, with_foreign_keys,
};
pub use sub::{SUB_SETTINGS, SubSetting, Verb};
pub use template::from_node as client_template;
pub use validate::validate;

/// Every setting that Miroir offers, in Meilisearch's order.
pub const FIELDS: [&str; 20] = [
    "displayedAttributes",
    "searchableAttributes",
    "filterableAttributes",
    "sortableAttributes",
    "rankingRules",
    "stopWords",
    "nonSeparatorTokens",
    "separatorTokens",
    "dictionary",
    "synonyms",
    "distinctAttribute",
    "proximityPrecision",
    "typoTolerance",
    "faceting",
    "pagination",
    "embedders",
    "searchCutoffMs",
    "localizedAttributes",
    "facetSearch",
    "prefixSearch",
];
