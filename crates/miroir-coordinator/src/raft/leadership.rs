//! Who leads, for those who act on it.

use std::time::Duration;

use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::LeaderHint;
use super::types::{CoordinatorId, Member};

/// What a coordinator is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives the log, does not vote.
    Learner,
    /// Follows the leader, or waits for one.
    Follower,
    /// Campaigns; or was elected, but has not yet applied all that its predecessors
    /// committed; or leads without having heard a majority for a while.
    Candidate,
    /// Leads, and its state holds everything committed under earlier leaders.
    Leader,
    /// Consensus has ended on this coordinator.
    Stopped,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// What this coordinator is.
    pub role: Role,
    /// The term it is in.
    pub term: u64,
    /// Who leads, if known; this coordinator itself once it is [`Role::Leader`].
    pub leader: Option<LeaderHint>,
}

impl Leadership {
    /// Whether this coordinator leads and may act as leader.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

pub(super) type Metrics = RaftMetrics<CoordinatorId, Member>;

/// Where the leader is according to `metrics`.
pub(super) fn leader_hint(metrics: &Metrics) -> Option<LeaderHint> {
    let id = metrics.current_leader?;
    let members = metrics.membership_config.membership();
    let api_url = members.get_node(&id)?.api_url.clone();
    Some(LeaderHint { id, api_url })
}

/// Derives leadership. `lease` is how long a leader may go without hearing a majority.
pub(super) fn leadership(metrics: &Metrics, lease: Duration) -> Leadership {
    let role = match metrics.state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader if may_act(metrics, lease) => Role::Leader,
        ServerState::Leader => Role::Candidate,
        ServerState::Shutdown => Role::Stopped,
    };
    let leader = leader_hint(metrics).filter(|l| l.id != metrics.id || role == Role::Leader);
    Leadership {
        role,
        term: metrics.current_term,
        leader,
    }
}

/// A leader's first entry comes after everything its predecessors committed, so once an
/// entry of its own is applied, its state is complete.
fn may_act(metrics: &Metrics, lease: Duration) -> bool {
    let own_applied = metrics
        .last_applied
        .is_some_and(|id| id.leader_id == metrics.vote.leader_id);
    let heard = metrics
        .millis_since_quorum_ack
        .is_none_or(|ms| u128::from(ms) <= lease.as_millis());
    own_applied && heard
}

/// Publishes leadership until `stop`.
pub(super) async fn publish(
    mut metrics: watch::Receiver<Metrics>,
    lease: Duration,
    to: watch::Sender<Leadership>,
    stop: CancellationToken,
) {
    loop {
        let now = leadership(&metrics.borrow_and_update(), lease);
        to.send_if_modified(|last| {
            let changed = *last != now;
            if changed {
                tracing::info!(role = ?now.role, term = now.term, leader = ?now.leader, "leadership");
                *last = now;
            }
            changed
        });
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { break },
            () = stop.cancelled() => break,
        }
    }
    to.send_modify(|last| {
        last.role = Role::Stopped;
        last.leader = None;
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::raft::types::{LogId, Membership, StoredMembership, Vote};

    const LEASE: Duration = Duration::from_millis(1_000);

    fn metrics(state: ServerState) -> Metrics {
        let member = |id: u64| (id, Member::new("raft", format!("api-{id}")));
        let members: std::collections::BTreeMap<_, _> = [member(1), member(2)].into();
        let membership = Membership::from(members);
        Metrics {
            state,
            vote: Vote::new_committed(7, 1),
            current_term: 7,
            membership_config: Arc::new(StoredMembership::new(None, membership)),
            ..Metrics::new_initial(1)
        }
    }

    fn log_id(term: u64, node: u64) -> Option<LogId> {
        Some(LogId::new(openraft::CommittedLeaderId::new(term, node), 5))
    }

    #[test]
    fn a_leader_acts_once_its_own_entry_is_applied_and_while_it_is_heard() {
        let cases = [
            (None, None, Role::Candidate),
            (log_id(6, 2), Some(0), Role::Candidate),
            (log_id(6, 1), Some(0), Role::Candidate),
            (log_id(7, 1), None, Role::Leader),
            (log_id(7, 1), Some(1_000), Role::Leader),
            (log_id(7, 1), Some(1_001), Role::Candidate),
        ];
        for (last_applied, millis_since_quorum_ack, role) in cases {
            let now = Metrics {
                last_applied,
                millis_since_quorum_ack,
                current_leader: Some(1),
                ..metrics(ServerState::Leader)
            };
            let found = leadership(&now, LEASE);
            assert_eq!(
                found.role, role,
                "{last_applied:?} {millis_since_quorum_ack:?}"
            );
            assert_eq!(found.leader.is_some(), role == Role::Leader);
            assert_eq!(found.term, 7);
        }
    }

    #[test]
    fn a_follower_names_its_leader_if_it_knows_him() {
        let mut now = metrics(ServerState::Follower);
        assert_eq!(leadership(&now, LEASE).leader, None);
        now.current_leader = Some(2);
        let hint = leadership(&now, LEASE).leader.expect("a leader");
        assert_eq!((hint.id, hint.api_url.as_str()), (2, "api-2"));
        now.current_leader = Some(3);
        assert_eq!(leadership(&now, LEASE).leader, None);
    }
}
