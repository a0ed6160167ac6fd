//! Which requests were executed, and what they were answered.
//!
//! Part of the replicated state: every coordinator forgets the same request at the same
//! entry, so a retry is recognised, or not, alike on all of them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::types::RequestId;

/// How many requests are remembered. A proposer gives up after seconds, and this many
/// commands take longer than that.
pub const REQUESTS_MAX: usize = 16_384;

/// Bytes of remembered outcomes; large outcomes shorten the memory instead of growing it.
pub const OUTCOME_BYTES_MAX: usize = 8 << 20;

/// The last executed requests with their outcomes.
#[derive(Debug, Clone, Default)]
pub struct Window {
    order: VecDeque<RequestId>,
    outcomes: HashMap<RequestId, Remembered>,
    bytes: usize,
}

/// One executed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its encoded outcome.
    pub outcome: Bytes,
    /// Index of the entry that executed it.
    pub index: u64,
}

impl Window {
    /// What the request was answered, if it is remembered.
    pub fn get(&self, id: RequestId) -> Option<&Remembered> {
        self.outcomes.get(&id)
    }

    /// Remembers a request, and forgets the oldest ones beyond the limits.
    pub fn insert(&mut self, id: RequestId, remembered: Remembered) {
        self.bytes += remembered.outcome.len();
        match self.outcomes.insert(id, remembered) {
            Some(old) => self.bytes -= old.outcome.len(),
            None => self.order.push_back(id),
        }
        while self.order.len() > REQUESTS_MAX || self.bytes > OUTCOME_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(old) = self.outcomes.remove(&oldest) {
                self.bytes -= old.outcome.len();
            }
        }
    }

    /// All remembered requests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (RequestId, &Remembered)> {
        self.order
            .iter()
            .filter_map(|id| self.outcomes.get(id).map(|r| (*id, r)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(bytes: usize) -> Remembered {
        Remembered {
            outcome: vec![b'x'; bytes].into(),
            index: 1,
        }
    }

    #[test]
    fn the_oldest_requests_are_forgotten_first() {
        let mut window = Window::default();
        for id in 0..=REQUESTS_MAX as u128 {
            window.insert(RequestId(id), remembered(1));
        }
        assert!(window.get(RequestId(0)).is_none());
        assert!(window.get(RequestId(1)).is_some());
        assert_eq!(window.iter().count(), REQUESTS_MAX);
        assert_eq!(window.bytes, REQUESTS_MAX);
    }

    #[test]
    fn large_outcomes_are_bounded_by_their_bytes() {
        let mut window = Window::default();
        for id in 0..20 {
            window.insert(RequestId(id), remembered(OUTCOME_BYTES_MAX / 4));
        }
        assert_eq!(window.iter().count(), 4);
        assert!(window.bytes <= OUTCOME_BYTES_MAX);
    }
}
