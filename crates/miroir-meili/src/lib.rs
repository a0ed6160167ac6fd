//! HTTP client for one Meilisearch node, used by the coordinator and the proxy.
//!
//! The client is typed where Miroir needs to understand an answer (tasks, stats,
//! documents to copy) and raw where it only passes bytes on (search, settings it
//! does not interpret). What it is careful about is the fate of a write: an error
//! says whether the node certainly did not take the request, or may have.
//!
//! ```no_run
//! # async fn example() -> Result<(), miroir_meili::MeiliError> {
//! use miroir_meili::{http_client, NodeClient, Secret};
//! use std::time::Duration;
//!
//! let http = http_client(Duration::from_secs(2))?;
//! let node = NodeClient::new(http, "http://127.0.0.1:7700", Some(Secret::new("masterKey")))?
//!     .with_timeout(Duration::from_secs(5));
//! assert!(node.version().await?.is_supported());
//! # Ok(())
//! # }
//! ```

mod client;
mod documents;
mod error;
mod indexes;
mod keys;
mod raw;
mod rules;
mod secret;
mod tasks;
mod transport;
mod upkeep;
mod version;

pub use client::NodeClient;
pub use documents::{AddParams, ContentType, FetchPage, FetchRequest, WriteMode};
pub use error::{Interruption, MeiliError, NodeError};
pub use indexes::{IndexStats, NodeIndex, NodeStats};
pub use keys::NodeKey;
pub use raw::RawResponse;
pub use reqwest::Method;
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
pub use secret::Secret;
pub use tasks::{EnqueuedTask, NodeTask, NodeTaskUid, TaskPage, TaskQuery, TaskStatus};
pub use transport::http_client;
pub use version::{NodeVersion, Semver};
