//! How many requests may be sent twice.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one request costs, in hundredths.
const PRICE: u64 = 100;
/// How many requests can be saved up for.
const SAVED_MAX: u64 = 20;
/// How many of these are kept for what is very late. Some answers are always a little late; they would leave nothing for the
/// moment when a node hangs.
const RESERVE: u64 = 10;

/// A purse: every request puts a share of one in, and every second one takes a whole one out.
#[derive(Debug)]
pub struct Budget {
    percent: u64,
    hundredths: AtomicU64,
}

impl Budget {
    /// Allows `percent` second requests for every hundred first ones, and a few at the beginning. With 0,
    /// none at all.
    #[must_use]
    pub fn new(percent: u64) -> Self {
        let saved = if percent == 0 { 0 } else { SAVED_MAX * PRICE };
        Self {
            percent,
            hundredths: AtomicU64::new(saved),
        }
    }

    /// Whether it ever allows anything.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.percent == 0
    }

    /// Counts a first request.
    pub fn earn(&self) {
        let saved = |had: u64| Some(had.saturating_add(self.percent).min(SAVED_MAX * PRICE));
        // It always has a next value.
        let _ = self
            .hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, saved);
    }

    /// Takes out what so many second requests cost, the reserve included only `in_need`. False, and nothing taken,
    /// when that is not there.
    pub fn spend(&self, requests: usize, in_need: bool) -> bool {
        let kept = if in_need { 0 } else { RESERVE * PRICE };
        let price = u64::try_from(requests)
            .unwrap_or(u64::MAX)
            .saturating_mul(PRICE);
        let left = |had: u64| had.checked_sub(price).filter(|left| *left >= kept);
        self.hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_share_there_is_none() {
        let budget = Budget::new(0);
        budget.earn();
        assert!(budget.is_off() && !budget.spend(1, true));
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let budget = Budget::new(50);
        assert!(!budget.spend(21, true), "twenty are saved at most");
        assert!(!budget.spend(11, false), "ten are kept");
        assert!(budget.spend(10, false) && !budget.spend(1, false));
        assert!(budget.spend(10, true) && !budget.spend(1, true));
        budget.earn();
        assert!(!budget.spend(1, true), "half of one");
        budget.earn();
        assert!(!budget.spend(1, false), "the reserve is filled first");
        assert!(budget.spend(1, true) && !budget.spend(1, true));
    }

    proptest! {
        #[test]
        fn the_share_is_kept(percent in 1_u64..100, steps in prop::collection::vec((any::<bool>(), 1_usize..4, any::<bool>()), 0..2000)) {
            let budget = Budget::new(percent);
            let (mut earned, mut spent) = (0, 0);
            for (earns, requests, in_need) in steps {
                if earns {
                    budget.earn();
                    earned += 1;
                } else if budget.spend(requests, in_need) {
                    spent += requests as u64;
                }
                prop_assert!(spent * PRICE <= earned * percent + SAVED_MAX * PRICE);
            }
        }
    }
}
