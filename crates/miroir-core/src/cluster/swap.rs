//! What clients ask for when indexes are to be called otherwise.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Idempotency;
use crate::id::IndexUid;

/// An exchange of uids, by the uids that clients know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSwap {
    /// The two uids.
    pub indexes: (IndexUid, IndexUid),
    /// Whether the second is to be nobody's before, so that the first index is renamed.
    pub rename: bool,
}

/// Another uid for an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRename {
    /// The uid that clients know it by.
    pub uid: IndexUid,
    /// The one that they are to know it by.
    pub to: IndexUid,
    /// The documents' id field, if the client named one with it.
    pub primary_key: Option<String>,
    /// What tells a repeated request from a new one.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
}

/// The uids that are in more than one place of a request to swap, in order.
#[must_use]
pub fn named_twice(swaps: &[IndexSwap]) -> BTreeSet<&IndexUid> {
    let mut seen = BTreeSet::new();
    let all = swaps
        .iter()
        .flat_map(|swap| [&swap.indexes.0, &swap.indexes.1]);
    all.filter(|uid| !seen.insert(*uid)).collect()
}
