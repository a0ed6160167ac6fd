//! How many copies each node holds: the load bound.

/// The copies a node holds: `base`, or one more if `rounds_up`.
///
/// These are the only whole numbers less than one away from the node's ideal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// The ideal, rounded down.
    pub(super) base: u32,
    /// Whether the ideal is not whole, so that the node may hold one copy more.
    pub(super) rounds_up: bool,
}

/// Shares `shards * rf` copies out by weight; no node gets more than one copy of each shard.
///
/// The caller has checked that weights are at least 1 and that `rf` is at most their number.
pub(super) fn quotas(shards: u32, rf: u8, weights: &[u32]) -> Vec<Quota> {
    let mut full = vec![false; weights.len()];
    loop {
        let full_count = full.iter().filter(|is_full| **is_full).count() as u64;
        let copies = u64::from(shards) * (u64::from(rf).saturating_sub(full_count));
        let open = || (0..weights.len()).filter(|node| !full[*node]);
        let weight_sum: u64 = open().map(|node| u64::from(weights[node])).sum();
        // Nodes that fill up leave less to the others than their share, so others can follow.
        let filling: Vec<usize> = open()
            .filter(|&node| copies * u64::from(weights[node]) > u64::from(shards) * weight_sum)
            .collect();
        if filling.is_empty() {
            let share = |node: usize| share(copies, u64::from(weights[node]), weight_sum);
            let whole = Quota {
                base: shards,
                rounds_up: false,
            };
            return (0..weights.len())
                .map(|n| if full[n] { whole } else { share(n) })
                .collect();
        }
        filling.into_iter().for_each(|node| full[node] = true);
    }
}

fn share(copies: u64, weight: u64, weight_sum: u64) -> Quota {
    let scaled = copies * weight;
    let base = u32::try_from(scaled / weight_sum).expect("a share is at most the shards");
    Quota {
        base,
        rounds_up: !scaled.is_multiple_of(weight_sum),
    }
}

#[cfg(test)]
mod tests {
    use super::{Quota, quotas};

    fn exact(base: u32) -> Quota {
        Quota {
            base,
            rounds_up: false,
        }
    }

    fn between(base: u32) -> Quota {
        Quota {
            base,
            rounds_up: true,
        }
    }

    #[test]
    fn copies_are_shared_by_weight_and_capped_at_every_shard() {
        let cases: [(u32, u8, &[u32], Vec<Quota>); 7] = [
            (64, 1, &[1, 1, 1, 1], vec![exact(16); 4]),
            (64, 1, &[1, 1, 1], vec![between(21); 3]),
            (64, 2, &[1, 1, 2], vec![exact(32), exact(32), exact(64)]),
            // An ideal of 96 is more than every shard: the rest is shared as if it were not there.
            (64, 2, &[1, 1, 6], vec![exact(32), exact(32), exact(64)]),
            // Capping the heaviest fills the second as well.
            (
                16,
                3,
                &[1, 1, 9, 30],
                vec![exact(8), exact(8), exact(16), exact(16)],
            ),
            (16, 2, &[u32::MAX, 1], vec![exact(16), exact(16)]),
            (0, 1, &[3, 1], vec![exact(0), exact(0)]),
        ];
        for (shards, rf, weights, expected) in cases {
            assert_eq!(
                quotas(shards, rf, weights),
                expected,
                "{shards} x {rf} over {weights:?}"
            );
        }
    }
}
