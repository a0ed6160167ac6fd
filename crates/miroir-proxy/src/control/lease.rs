//! How long the proxy may write, and how long it may read.
//!
//! Both count from the moment the proxy *sent* the renewal that was answered: the leader counts from its
//! answer, which is later, so the proxy always stops first.

use std::time::{Duration, Instant};

use miroir_core::id::ProxyId;

/// The lease of one registered proxy. It knows no clock: every question brings the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    proxy: ProxyId,
    length: Duration,
    static_reads: Duration,
    counted_from: Instant,
}

impl Lease {
    /// A lease of `length` that was asked for at `sent`; reads may go on for `static_reads` from then.
    #[must_use]
    pub fn granted(
        proxy: ProxyId,
        sent: Instant,
        length: Duration,
        static_reads: Duration,
    ) -> Self {
        Self {
            proxy,
            length,
            static_reads,
            counted_from: sent,
        }
    }

    /// Whose lease it is.
    #[must_use]
    pub fn proxy(&self) -> ProxyId {
        self.proxy
    }

    /// Prolongs it: a renewal sent at `sent` was answered. Answers may arrive out of order; an older one
    /// changes nothing.
    pub fn renewed(&mut self, sent: Instant) {
        self.counted_from = self.counted_from.max(sent);
    }

    /// How long nodes may still be sent writes; zero once it is over.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        (self.counted_from + self.length).saturating_duration_since(now)
    }

    /// Until when the last table may be read by.
    #[must_use]
    pub fn reads_until(&self) -> Instant {
        self.counted_from + self.static_reads
    }
}

/// Renewals that were sent and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    last: u64,
    sent: Vec<(u64, Instant)>,
}

impl Renewals {
    /// The number of a renewal sent `now`.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        self.last += 1;
        self.sent.push((self.last, now));
        self.last
    }

    /// The number the next renewal will have.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// When the answered renewal was sent; `None` for one that was never sent or was answered before.
    pub(super) fn answered(&mut self, number: u64) -> Option<Instant> {
        let sent = self
            .sent
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, sent)| *sent);
        self.sent.retain(|(known, _)| *known > number);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);
    const STATIC: Duration = Duration::from_secs(600);

    #[test]
    fn it_counts_from_when_the_answered_renewal_was_sent() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lease = Lease::granted(ProxyId(1), start, LEASE, STATIC);
        let left_ms = |lease: &Lease, ms| lease.left(at(ms)).as_millis();
        assert_eq!(
            [0, 1000, 2999, 3000, 9000].map(|ms| left_ms(&lease, ms)),
            [3000, 2000, 1, 0, 0]
        );
        // Sent at 750 and answered at 2900: good until 3750, not until 5900.
        lease.renewed(at(750));
        assert_eq!(
            [2900, 3749, 3750].map(|ms| left_ms(&lease, ms)),
            [850, 1, 0]
        );
        lease.renewed(at(500));
        assert_eq!(
            left_ms(&lease, 2900),
            850,
            "an older answer must not shorten it"
        );
        assert_eq!(lease.reads_until(), at(600_750));
    }

    #[test]
    fn only_a_renewal_that_was_sent_can_be_answered() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut renewals = Renewals::default();
        assert_eq!(
            (
                renewals.next(),
                renewals.send(at(1)),
                renewals.send(at(2)),
                renewals.send(at(3))
            ),
            (1, 1, 2, 3)
        );
        assert_eq!(renewals.answered(9), None);
        let mut renewals = Renewals::default();
        for ms in 1..=3 {
            renewals.send(at(ms));
        }
        assert_eq!(renewals.answered(2), Some(at(2)));
        assert_eq!(renewals.answered(2), None, "answered once");
        assert_eq!(
            renewals.answered(1),
            None,
            "older than one that was answered"
        );
        assert_eq!(renewals.answered(3), Some(at(3)));
        assert_eq!(renewals.next(), 4);
    }
}
