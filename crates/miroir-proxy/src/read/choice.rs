//! Which group and which copies a read uses.
//!
//! Reads of one key make the same choice as long as the nodes' standings stay the same: replicas
//! may order equal hits differently, so the pages of one search must come from the same copies.

use std::hash::{Hash, Hasher};

use miroir_core::id::{GroupId, NodeId};
use miroir_core::routing::RoutingTable;

use crate::upstream::Standing;

/// Bits of a rank that order nodes of the same standing.
const SPREAD_BITS: u32 = 48;

/// A hash that is the same in every process and at every time.
#[must_use]
pub fn key(parts: &[&[u8]]) -> u64 {
    let mut hasher = Fnv::default();
    for part in parts {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

/// The group that reads of `key` use.
#[must_use]
pub fn group(table: &RoutingTable, key: u64) -> GroupId {
    let weight = |group: &GroupId| self::key(&[&key.to_le_bytes(), &group.0.to_le_bytes()]);
    table
        .groups
        .iter()
        .copied()
        .max_by_key(weight)
        .unwrap_or_default()
}

/// The rank of a node for reads of `key`: better standings first, then a spread of their own for
/// every key. `None` for a node that is down.
#[must_use]
pub fn rank(standing: Standing, key: u64, node: NodeId) -> Option<u64> {
    match standing {
        Standing::Good | Standing::Slow => Some(rank_or_last(standing, key, node)),
        Standing::Down => None,
    }
}

/// As [`rank`], with nodes that are down last.
#[must_use]
pub fn rank_or_last(standing: Standing, key: u64, node: NodeId) -> u64 {
    let class: u64 = match standing {
        Standing::Good => 0,
        Standing::Slow => 1,
        Standing::Down => 2,
    };
    let spread = self::key(&[&key.to_le_bytes(), &node.0.to_le_bytes()]) >> (64 - SPREAD_BITS);
    class << SPREAD_BITS | spread
}

/// FNV-1a with a final mix, so that the high bits depend on the last bytes too.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change() {
        assert_eq!(key(&[]), 0xefd0_1f60_ba99_2926);
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    }

    #[test]
    fn standing_comes_before_spread() {
        for key in 0..100 {
            let rank = |standing, node| rank_or_last(standing, key, NodeId(node));
            assert!(rank(Standing::Good, 1) < rank(Standing::Slow, 2));
            assert!(rank(Standing::Slow, 2) < rank(Standing::Down, 3));
            assert_eq!(super::rank(Standing::Down, key, NodeId(1)), None);
        }
    }

    #[test]
    fn keys_spread_over_nodes_and_groups() {
        let table = RoutingTable {
            groups: [GroupId(0), GroupId(1), GroupId(2)].into(),
            ..RoutingTable::default()
        };
        let mut nodes = [0; 3];
        let mut groups = [0; 3];
        for query in 0..3000_u32 {
            let key = key(&[&query.to_le_bytes()]);
            let first = (0..3).min_by_key(|node| rank_or_last(Standing::Good, key, NodeId(*node)));
            nodes[usize::try_from(first.expect("three nodes")).expect("small")] += 1;
            groups[usize::try_from(group(&table, key).0).expect("small")] += 1;
        }
        for counts in [nodes, groups] {
            assert!(
                counts.iter().all(|count| (850..1150).contains(count)),
                "{counts:?}"
            );
        }
    }
}
