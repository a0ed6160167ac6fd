//! The standing that each node had when a search was first asked.
//!
//! Copies may order equal hits differently, so the pages of one search must come from the same copies even when a node
//! becomes slow, or fast again, between two of them. Only a node that is down is left at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use miroir_core::id::{NodeId, ShardId};

use crate::upstream::Standing;

/// How long after its last page a search is remembered.
const KEPT: Duration = Duration::from_secs(60);
/// How many searches are remembered at most; beyond it those of this moment are kept, or none.
const KEPT_MAX: usize = 10_000;
/// What is of this moment.
const RECENT: Duration = Duration::from_secs(5);

/// Standings by the key of a search.
#[derive(Debug, Default)]
pub struct Sticky {
    searches: Mutex<BTreeMap<u64, Search>>,
}

#[derive(Debug)]
struct Search {
    asked: Instant,
    standings: BTreeMap<NodeId, Standing>,
    /// Copies that answered in place of late ones.
    instead: BTreeMap<ShardId, NodeId>,
}

impl Sticky {
    /// The standing of a node that serves as `now` says, which later pages of `key` go by.
    pub fn begin(&self, key: u64, node: NodeId, now: Standing) -> Standing {
        self.at(Instant::now(), key, |search| {
            search.standings.insert(node, now);
            now
        })
    }

    /// The standing by which a later page of `key` chooses a node that serves as `now` says.
    pub fn standing(&self, key: u64, node: NodeId, now: Standing) -> Standing {
        self.standing_at(Instant::now(), key, node, now)
    }

    /// These shards were answered for by this node in place of a late one: later pages ask it, too.
    pub fn instead(&self, key: u64, shards: &BTreeSet<ShardId>, node: NodeId) {
        self.at(Instant::now(), key, |search| {
            let chosen = shards.iter().map(|shard| (*shard, node));
            search.instead.extend(chosen);
        });
    }

    /// What [`instead`](Self::instead) was told since the search began.
    pub fn instead_of(&self, key: u64) -> BTreeMap<ShardId, NodeId> {
        // Most searches are not remembered for this, and are not to be from now on.
        let searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let search = searches.get(&key);
        let fresh = search.filter(|search| search.asked.elapsed() < KEPT);
        fresh
            .map(|search| search.instead.clone())
            .unwrap_or_default()
    }

    /// Begins the search anew, with whichever copies are best now.
    pub fn forget_instead(&self, key: u64) {
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(search) = searches.get_mut(&key) {
            search.instead.clear();
        }
    }

    fn standing_at(&self, at: Instant, key: u64, node: NodeId, now: Standing) -> Standing {
        if now == Standing::Down {
            return now;
        }
        self.at(at, key, |search| {
            *search.standings.entry(node).or_insert(now)
        })
    }

    fn at<T>(&self, at: Instant, key: u64, look: impl FnOnce(&mut Search) -> T) -> T {
        // A search is a few standings, each valid by itself: a panic while one was changed leaves nothing to distrust.
        let mut searches = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        if searches.len() >= KEPT_MAX && !searches.contains_key(&key) {
            searches.retain(|_, search| at.duration_since(search.asked) < RECENT);
            if searches.len() >= KEPT_MAX {
                searches.clear();
            }
        }
        let search = searches.entry(key).or_insert_with(|| Search {
            asked: at,
            standings: BTreeMap::new(),
            instead: BTreeMap::new(),
        });
        if at.duration_since(search.asked) >= KEPT {
            search.standings.clear();
            search.instead.clear();
        }
        search.asked = at;
        look(search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn a_search_keeps_its_choice_until_a_node_is_down_or_nobody_asks() {
        let sticky = Sticky::default();
        let begun = Instant::now();
        let soon = begun + KEPT - Duration::from_secs(1);
        let late = soon + KEPT;
        let (good, slow, down) = (Standing::Good, Standing::Slow, Standing::Down);
        let table = [
            (begun, 1, good, good),
            (begun, 1, slow, good),
            (begun, 2, slow, slow),
            (begun, 2, good, slow),
            (begun, 1, down, down),
            (soon, 1, slow, good),
            (late, 1, slow, slow),
        ];
        for (at, key, now, expected) in table {
            let standing = sticky.standing_at(at, key, NODE, now);
            assert_eq!(standing, expected, "{key} {now:?}");
        }
    }

    #[test]
    fn who_answered_for_a_late_node_is_asked_for_later_pages() {
        let sticky = Sticky::default();
        assert!(sticky.instead_of(1).is_empty());
        let shards = [ShardId(3), ShardId(4)].into();
        sticky.instead(1, &shards, NODE);
        sticky.instead(1, &[ShardId(4)].into(), NodeId(2));
        let expected = [(ShardId(3), NODE), (ShardId(4), NodeId(2))];
        assert_eq!(sticky.instead_of(1), expected.into());
        assert!(sticky.instead_of(2).is_empty());
        sticky.forget_instead(1);
        assert!(sticky.instead_of(1).is_empty());
    }

    #[test]
    fn the_first_page_chooses_anew() {
        let sticky = Sticky::default();
        let (good, slow) = (Standing::Good, Standing::Slow);
        assert_eq!(sticky.begin(1, NODE, good), good);
        assert_eq!(sticky.standing(1, NODE, slow), good);
        assert_eq!(
            sticky.begin(1, NODE, slow),
            slow,
            "whoever begins is not bound"
        );
        assert_eq!(sticky.standing(1, NODE, good), slow);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let most = u64::try_from(KEPT_MAX).expect("small");
        for (wait, left) in [(RECENT, 1), (Duration::ZERO, 1)] {
            let sticky = Sticky::default();
            let begun = Instant::now();
            for key in 0..most {
                sticky.standing_at(begun, key, NODE, Standing::Good);
            }
            sticky.standing_at(begun + wait, most, NODE, Standing::Good);
            let kept = sticky.searches.lock().expect("no panic").len();
            assert_eq!(kept, left, "{wait:?}");
        }
    }
}
