//! The field `_miroir_shard` that Miroir adds to every document on the nodes.
//!
//! It says which shard a document belongs to, so that a node can be asked for some of the
//! shards it holds. Clients never see it and may not use it: this module writes the field,
//! builds filters on it, refuses requests that name it and takes it out of answers.

mod code;
mod filter;
mod message;
mod read;
mod strip;
mod usage;

pub use code::{MAX_SHARDS, decode, encode, shard_of};
pub(crate) use code::{SYMBOLS, splice_prefix};
pub use filter::{and_filter, filter_for};
pub use message::scrub_message;
pub use read::stored_shard;
pub use strip::{strip_document, strip_facets, strip_value};
pub use usage::{check_attributes, check_filter, check_sort, is_reserved, mentions};

/// The name of the field. It does not end in `id`, so primary-key inference never picks it.
pub const NAME: &str = "_miroir_shard";
