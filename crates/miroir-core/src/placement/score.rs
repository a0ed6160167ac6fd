//! How much a shard prefers a node.

use twox_hash::XxHash3_64;

use super::Scope;
use crate::id::{NodeId, ShardId};

/// Seed of every score. It keeps scores apart from any other XXH3 of the same bytes; changing it,
/// or the layout in [`Score::new`], would move shards in every existing cluster.
const SALT: u64 = 0x6d69_726f_6972_2e31;

/// A shard's preference for a node; the greater score is preferred.
///
/// The fields are in order of precedence: the node's id decides only between equal hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score {
    /// XXH3-64 of index, group, shard and node.
    pub hash: u64,
    /// The node that is scored.
    pub node: NodeId,
}

impl Score {
    /// Scores a node for a shard.
    ///
    /// The hashed bytes are the length of the index uid (8 bytes), the uid, the group (4), the
    /// shard (2) and the node (8), integers little-endian.
    #[must_use]
    pub fn new(scope: &Scope<'_>, shard: ShardId, node: NodeId) -> Self {
        let mut bytes = Vec::with_capacity(22 + scope.index.len());
        bytes.extend_from_slice(&(scope.index.len() as u64).to_le_bytes());
        bytes.extend_from_slice(scope.index.as_bytes());
        bytes.extend_from_slice(&scope.group.0.to_le_bytes());
        bytes.extend_from_slice(&shard.0.to_le_bytes());
        bytes.extend_from_slice(&node.0.to_le_bytes());
        Self {
            hash: XxHash3_64::oneshot_with_seed(SALT, &bytes),
            node,
        }
    }

    /// Orders nodes by falling preference of the shard.
    pub(super) fn sort_best_first(scope: &Scope<'_>, shard: ShardId, nodes: &mut [NodeId]) {
        nodes.sort_by_cached_key(|node| std::cmp::Reverse(Self::new(scope, shard, *node)));
    }
}
