//! Bodies of document writes: read, checked as a whole, and split by shard.
//!
//! One bad document fails a whole task in Meilisearch, so nothing is sent to any node before
//! every document has been checked here. Documents stay the text that the client sent; only
//! the names of their top-level members and their ids are looked at.
//!
//! ```
//! use miroir_core::document::{Batch, ContentType, Split, resolve_primary_key};
//!
//! let format = ContentType::parse(Some("application/json"), None)?;
//! let batch = Batch::parse(br#"[{"id": 1, "price": 1.10}]"#, format)?;
//! let key = resolve_primary_key(None, None, &batch)?.expect("the batch has a document");
//! let split = Split::new(&batch, &key, 64)?;
//! let body = split.ndjson(|_shard| true);
//! assert_eq!(body, "{\"_miroir_shard\":\"††⁎\",\"id\": 1, \"price\": 1.10}\n".as_bytes());
//! # Ok::<(), miroir_core::api_error::ApiError>(())
//! ```

mod batch;
mod content_type;
mod csv;
mod deep;
mod delete;
mod id;
mod primary_key;
mod split;

pub use batch::Batch;
pub use content_type::ContentType;
pub use delete::{parse_delete_batch, parse_id, split_ids};
pub use primary_key::resolve_primary_key;
pub use split::{PlacedDocument, Split};
