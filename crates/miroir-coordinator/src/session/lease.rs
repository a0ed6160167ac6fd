//! When a lease has certainly run out.

use std::time::Duration;

/// How long proxies may act without contact, and how sure the leader has to be that they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRules {
    /// How long an answered renewal is good for, by the proxy's clock, from when it was sent.
    pub lease: Duration,
    /// How long a proxy without contact may go on reading.
    pub static_reads: Duration,
    /// How long a request that a proxy sent within its lease may take to reach a node.
    pub late_request: Duration,
    /// How long a read may last after its proxy's listener is gone.
    pub read_timeout: Duration,
}

impl LeaseRules {
    /// How long after the last answer to a proxy its writes have certainly ended.
    ///
    /// The proxy counts from when it sent the renewal, which is earlier than the answer, so this errs on the
    /// safe side; a quarter of the lease more covers clocks that run at different speeds.
    #[must_use]
    pub fn writes_over(&self) -> Duration {
        self.lease + self.lease / 4 + self.late_request
    }

    /// How long after the last answer to a proxy its reads have certainly ended.
    #[must_use]
    pub fn reads_over(&self) -> Duration {
        self.static_reads + self.static_reads / 4 + self.read_timeout
    }

    /// The same, when another run of the proxy listens at its address: its own listener is gone, and only
    /// reads that were under way can remain.
    #[must_use]
    pub fn reads_over_when_superseded(&self) -> Duration {
        self.writes_over() + self.read_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_waits_longer_than_the_proxy_acts() {
        let rules = LeaseRules {
            lease: Duration::from_secs(3),
            static_reads: Duration::from_secs(600),
            late_request: Duration::from_millis(500),
            read_timeout: Duration::from_secs(30),
        };
        assert_eq!(rules.writes_over(), Duration::from_millis(4250));
        assert_eq!(rules.reads_over(), Duration::from_secs(780));
        assert!(rules.reads_over_when_superseded() > rules.writes_over());
        assert!(rules.reads_over_when_superseded() < rules.reads_over());
    }
}
