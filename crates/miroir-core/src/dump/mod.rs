//! Dumps of a whole cluster: what of which node's dump belongs to it.
//!
//! Every node writes a dump of everything that it holds: copies that are in sync, copies that are being built, and
//! documents that were left over. The [`Manifest`] says which of it is the cluster's.

mod manifest;

pub use manifest::{Choice, Manifest, ManifestIndex, ManifestNode, Uncovered};
