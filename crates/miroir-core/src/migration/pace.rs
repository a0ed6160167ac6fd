//! How fast a shard is copied while its nodes serve clients: it slows down by half, and speeds up step by step.

/// What a pace adapts within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceBounds {
    /// The slowest, in documents a second; at least 1.
    pub docs_per_s_min: u32,
    /// Unfinished tasks above which a node counts as busy.
    pub queue_max: u64,
    /// Time to answer above which a node counts as busy, in milliseconds.
    pub latency_max_ms: u64,
    /// Time that proxies' reads take above which a node counts as busy, in milliseconds.
    pub reads_max_ms: u64,
}

/// What is known of the nodes after a chunk. What is not known slows nothing down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// A node refused a request for load.
    pub refused: bool,
    /// The longer of the queues of source and target, in tasks.
    pub queue: Option<u64>,
    /// The longer of their times to answer, in milliseconds.
    pub latency_ms: Option<u64>,
    /// The longer of the times that proxies' reads take on them, in milliseconds.
    pub reads_ms: Option<u64>,
    /// How fast the chunk was sent, in documents a second, without what was slept off after it; 0 when none was.
    pub docs_per_s: u64,
}

/// A sign of load, for which a pace is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Strain {
    /// A node refused a request for load.
    #[error("a node refused a request for load")]
    Refused,
    /// A node has too many unfinished tasks.
    #[error("{tasks} tasks are unfinished on a node, more than {max}")]
    Queue {
        /// How many.
        tasks: u64,
        /// How many are borne.
        max: u64,
    },
    /// A node takes too long to answer.
    #[error("a node took {ms} ms to answer the leader, more than {max}")]
    Latency {
        /// How long, in milliseconds.
        ms: u64,
        /// How long is borne.
        max: u64,
    },
    /// Proxies' reads take too long.
    #[error("reads of the proxies take {ms} ms on a node, more than {max}")]
    Reads {
        /// How long, in milliseconds.
        ms: u64,
        /// How long is borne.
        max: u64,
    },
}

/// The pace of one migration. Nodes that are never busy are never slowed down: it has no limit until the first
/// sign of load, and none again once twice that speed went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    bounds: Option<PaceBounds>,
    limit: Option<u32>,
    /// The speed at which a node was first found busy.
    strained_at: u32,
    /// The speed of the last chunk.
    recent: u32,
    /// The last sign of load.
    strain: Option<Strain>,
}

/// Parts of the speed at which a node was busy by which the limit grows with every chunk that goes well.
const STEPS: u32 = 16;

impl Pace {
    /// A pace without a limit; without bounds it never has one.
    #[must_use]
    pub fn new(bounds: Option<PaceBounds>) -> Self {
        Self {
            bounds,
            limit: None,
            strained_at: 0,
            recent: 0,
            strain: None,
        }
    }

    /// Most documents a second; `None` is as fast as it goes.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Why there is a limit: the last sign of load. `None` while there is no limit.
    #[must_use]
    pub fn strain(&self) -> Option<Strain> {
        self.limit.and(self.strain)
    }

    /// Adapts to what was seen after a chunk. Under a limit a chunk takes about a second, so this is called about
    /// once a second then.
    pub fn observe(&mut self, seen: Signals) {
        let Some(bounds) = self.bounds else { return };
        if seen.docs_per_s > 0 {
            self.recent = u32::try_from(seen.docs_per_s).unwrap_or(u32::MAX);
        }
        if let Some(strain) = strain(bounds, seen) {
            self.strain = Some(strain);
            let speed = self.limit.unwrap_or(self.recent);
            if self.limit.is_none() {
                self.strained_at = speed.max(bounds.docs_per_s_min);
            }
            self.limit = Some((speed / 2).max(bounds.docs_per_s_min));
        } else if let Some(limit) = self.limit {
            let step = (self.strained_at / STEPS).max(bounds.docs_per_s_min);
            let next = limit.saturating_add(step);
            self.limit = (next < self.strained_at.saturating_mul(2)).then_some(next);
        }
    }
}

/// The first sign of load, if there is any.
fn strain(bounds: PaceBounds, seen: Signals) -> Option<Strain> {
    let above = |value: Option<u64>, max: u64| value.filter(|value| *value > max);
    let PaceBounds {
        queue_max,
        latency_max_ms,
        reads_max_ms,
        ..
    } = bounds;
    if seen.refused {
        Some(Strain::Refused)
    } else if let Some(tasks) = above(seen.queue, queue_max) {
        let max = queue_max;
        Some(Strain::Queue { tasks, max })
    } else if let Some(ms) = above(seen.latency_ms, latency_max_ms) {
        let max = latency_max_ms;
        Some(Strain::Latency { ms, max })
    } else {
        let max = reads_max_ms;
        above(seen.reads_ms, max).map(|ms| Strain::Reads { ms, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: PaceBounds = PaceBounds {
        docs_per_s_min: 10,
        queue_max: 100,
        latency_max_ms: 500,
        reads_max_ms: 200,
    };

    const CALM: Signals = Signals {
        refused: false,
        queue: Some(100),
        latency_ms: Some(500),
        reads_ms: Some(200),
        docs_per_s: 1_600,
    };

    #[test]
    fn any_sign_of_load_halves_the_speed_and_nothing_else_does() {
        let busy = |signals| {
            let mut pace = Pace::new(Some(BOUNDS));
            pace.observe(signals);
            pace.limit()
        };
        let table = [
            (CALM, None),
            (Signals::default(), None),
            (
                Signals {
                    queue: None,
                    latency_ms: None,
                    ..CALM
                },
                None,
            ),
            (
                Signals {
                    queue: Some(101),
                    ..CALM
                },
                Some(800),
            ),
            (
                Signals {
                    latency_ms: Some(501),
                    ..CALM
                },
                Some(800),
            ),
            (
                Signals {
                    reads_ms: Some(201),
                    ..CALM
                },
                Some(800),
            ),
            (
                Signals {
                    refused: true,
                    ..CALM
                },
                Some(800),
            ),
            // Its speed is not known: the slowest is certainly not too fast.
            (
                Signals {
                    refused: true,
                    ..Signals::default()
                },
                Some(10),
            ),
            (
                Signals {
                    refused: true,
                    docs_per_s: u64::MAX,
                    ..CALM
                },
                Some(u32::MAX / 2),
            ),
        ];
        for (signals, expected) in table {
            assert_eq!(busy(signals), expected, "{signals:?}");
        }
    }

    #[test]
    fn it_never_falls_below_the_least_and_recovers_to_no_limit() {
        let strained = Signals {
            queue: Some(1_000),
            ..CALM
        };
        let mut pace = Pace::new(Some(BOUNDS));
        for _ in 0..20 {
            pace.observe(strained);
        }
        assert_eq!(pace.limit(), Some(10));
        let mut before = 10;
        let mut chunks = 0;
        loop {
            pace.observe(CALM);
            chunks += 1;
            let Some(limit) = pace.limit() else { break };
            assert_eq!(limit, before + 100, "a sixteenth of the strained speed");
            before = limit;
            assert!(chunks < 100, "it must end");
        }
        assert_eq!(chunks, 32, "twice the strained speed went well");
    }

    #[test]
    fn a_limit_has_a_reason_for_as_long_as_there_is_one() {
        let table = [
            (CALM, None),
            (
                Signals {
                    refused: true,
                    queue: Some(101),
                    ..CALM
                },
                Some("a node refused a request for load"),
            ),
            (
                Signals {
                    queue: Some(101),
                    ..CALM
                },
                Some("101 tasks are unfinished on a node, more than 100"),
            ),
            (
                Signals {
                    latency_ms: Some(501),
                    ..CALM
                },
                Some("a node took 501 ms to answer the leader, more than 500"),
            ),
            (
                Signals {
                    reads_ms: Some(201),
                    ..CALM
                },
                Some("reads of the proxies take 201 ms on a node, more than 200"),
            ),
        ];
        for (signals, expected) in table {
            let mut pace = Pace::new(Some(BOUNDS));
            pace.observe(signals);
            let found = pace.strain().map(|strain| strain.to_string());
            assert_eq!(found.as_deref(), expected, "{signals:?}");
            // It outlasts the strain, until there is no limit any more.
            while pace.limit().is_some() {
                assert!(pace.strain().is_some());
                pace.observe(CALM);
            }
            assert_eq!(pace.strain(), None);
        }
    }

    #[test]
    fn without_bounds_nothing_slows_down() {
        let mut pace = Pace::new(None);
        pace.observe(Signals {
            refused: true,
            ..CALM
        });
        assert_eq!(pace.limit(), None);
    }
}
