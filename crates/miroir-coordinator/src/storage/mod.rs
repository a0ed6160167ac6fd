//! Durable storage of one coordinator: the Raft log, the vote, and snapshots.
//!
//! ```text
//! log_store, snapshots   what openraft asks for           (any engine)
//!        writer          one thread, group commit, poison (any engine)
//!          kv            ordered rows, atomic batches     (the boundary)
//!     sled | memory      the engines
//! ```
//!
//! Only [`sled`] names the sled crate, so the engine can be replaced by writing one file.
//! After start-up the engine is touched by the writer thread alone: reads are served from
//! memory, which keeps the engine's latency and its read deadlocks out of every hot path.

pub mod error;
pub mod kv;
pub mod layout;
pub mod log_store;
pub mod memory;
pub mod open;
pub mod restart;
pub mod sled;
pub mod snapshots;
pub mod writer;

pub use error::StoreError;
pub use log_store::LogStore;
pub use open::{Identity, Marker, Storage};
pub use restart::FollowerAtStart;
pub use snapshots::SnapshotStore;
