//! How long consensus waits, and how much it keeps.

use miroir_meili::Secret;
use openraft::{Config, SnapshotPolicy};

use crate::storage::Identity;

/// Timing of consensus. The defaults suit coordinators on one network with ordinary disks.
///
/// A follower's answer includes its fsync, so the heartbeat has to be well above the slowest
/// usual fsync plus a round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftTimings {
    /// How often a leader is heard, and how long one append may take, in milliseconds.
    pub heartbeat_ms: u64,
    /// Start of the earliest election window, in milliseconds. Must exceed the time a vote
    /// or a connection attempt takes.
    pub election_min_ms: u64,
    /// Time that the election windows of all coordinators share, in milliseconds. Less than
    /// `election_min_ms`, so that everyone's lease ends before anyone gives up campaigning.
    pub election_span_ms: u64,
    /// A snapshot transfer that makes no progress for this long is given up, in milliseconds.
    pub snapshot_stall_ms: u64,
    /// Time for a receiver to install a snapshot it has received, in milliseconds.
    pub snapshot_install_ms: u64,
    /// A proposal not answered within this time has an unknown outcome, in milliseconds.
    pub propose_timeout_ms: u64,
    /// A linearizable read not confirmed within this time fails, in milliseconds.
    pub read_timeout_ms: u64,
}

impl Default for RaftTimings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            election_min_ms: 1_000,
            election_span_ms: 900,
            snapshot_stall_ms: 5_000,
            snapshot_install_ms: 60_000,
            propose_timeout_ms: 8_000,
            read_timeout_ms: 3_000,
        }
    }
}

impl RaftTimings {
    /// Election window `[min, max)` in milliseconds of the coordinator at `position` (from 0)
    /// among `members`. Windows do not overlap: openraft draws its timeout once per process,
    /// and two survivors with nearly equal timeouts could split votes for ever.
    pub fn election_window_ms(&self, position: usize, members: usize) -> (u64, u64) {
        let slots = members.max(3) as u64;
        let slot = position as u64 % slots;
        let start = |slot: u64| self.election_min_ms + self.election_span_ms * slot / slots;
        (start(slot), start(slot + 1))
    }

    /// Longest time without a leader that a single failure should cause, in milliseconds:
    /// the last follower's lease, its timeout, and one tick.
    pub fn failover_ms(&self) -> u64 {
        2 * (self.election_min_ms + self.election_span_ms) + self.heartbeat_ms * 3 / 2
    }
}

/// How much consensus keeps in memory and on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftLimits {
    /// A snapshot is taken after this many entries.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot, so that a follower that is a little late needs none.
    pub keep_entries: u64,
    /// A snapshot is also taken when the entries in memory exceed this many bytes.
    pub tail_bytes_max: usize,
    /// Largest snapshot accepted from a leader, in bytes.
    pub snapshot_bytes_max: u64,
}

impl Default for RaftLimits {
    fn default() -> Self {
        Self {
            snapshot_every_entries: 5_000,
            keep_entries: 1_000,
            tail_bytes_max: 24 << 20,
            snapshot_bytes_max: 1 << 30,
        }
    }
}

/// Everything that starting consensus needs besides the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsensusConfig {
    /// Who this is. Must be what the storage was opened with.
    pub identity: Identity,
    /// Place of this coordinator among the others, from 0; each has its own.
    pub position: usize,
    /// How many coordinators there are, or will be.
    pub members: usize,
    /// Timing.
    pub timings: RaftTimings,
    /// Limits.
    pub limits: RaftLimits,
    /// Token that the coordinators show each other; whoever serves consensus has to ask for it.
    pub token: Secret,
}

impl ConsensusConfig {
    /// Default timings and limits, and an empty token.
    pub fn new(identity: Identity, position: usize, members: usize) -> Self {
        Self {
            identity,
            position,
            members,
            timings: RaftTimings::default(),
            limits: RaftLimits::default(),
            token: Secret::new(""),
        }
    }

    /// The same for openraft. The error says which value does not fit.
    pub(super) fn to_openraft(&self) -> Result<Config, String> {
        let (min, max) = self.timings.election_window_ms(self.position, self.members);
        Config {
            cluster_name: self.identity.cluster_id.clone(),
            heartbeat_interval: self.timings.heartbeat_ms,
            election_timeout_min: min,
            election_timeout_max: max,
            install_snapshot_timeout: self.timings.snapshot_stall_ms,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.limits.snapshot_every_entries),
            max_in_snapshot_log_to_keep: self.limits.keep_entries,
            replication_lag_threshold: self.limits.snapshot_every_entries * 2,
            purge_batch_size: 256.min(self.limits.keep_entries.max(1)),
            ..Config::default()
        }
        .validate()
        .map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_windows_are_disjoint_and_leases_end_in_time() {
        let timings = RaftTimings::default();
        assert_eq!(timings.election_window_ms(0, 3), (1_000, 1_300));
        assert_eq!(timings.election_window_ms(1, 3), (1_300, 1_600));
        assert_eq!(timings.election_window_ms(2, 3), (1_600, 1_900));
        for members in 1..=9 {
            let windows: Vec<_> = (0..members)
                .map(|at| timings.election_window_ms(at, members))
                .collect();
            for pair in windows.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "{members}: {windows:?}");
            }
            let longest = windows.iter().map(|w| w.1).max().unwrap_or(0);
            for (min, max) in &windows {
                assert!(min < max);
                assert!(min + max > longest, "{members}: {windows:?}");
            }
        }
    }

    #[test]
    fn the_defaults_are_accepted_by_openraft() {
        let identity = Identity {
            cluster_id: "c".into(),
            coordinator_id: 1,
        };
        for position in 0..5 {
            let config = ConsensusConfig::new(identity.clone(), position, 5).to_openraft();
            config.expect("valid");
        }
    }
}
