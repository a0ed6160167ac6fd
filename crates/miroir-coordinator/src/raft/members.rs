//! Forming the cluster and changing its members.

use std::collections::{BTreeMap, BTreeSet};

use openraft::LogIdOptionExt;
use openraft::error::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};

use super::error::MembershipError;
use super::handle::Consensus;
use super::leadership::{Metrics, leader_hint};
use super::types::{CoordinatorId, Machine, Member};

/// A coordinator and its part in decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Where it is.
    pub member: Member,
    /// Whether it votes. A learner only receives the log.
    pub voter: bool,
}

impl<M: Machine> Consensus<M> {
    /// Forms the cluster, once. Every member must be running, named by its own number, and
    /// new. Nothing happens by itself: a coordinator that finds no others never forms a
    /// cluster of its own.
    pub async fn initialize(
        &self,
        members: BTreeMap<CoordinatorId, Member>,
    ) -> Result<(), MembershipError> {
        let raft = &self.inner.raft;
        if !members.contains_key(&self.id()) {
            return Err(MembershipError::Invalid(format!(
                "coordinator {} forms the cluster but is not among its members",
                self.id()
            )));
        }
        if raft.is_initialized().await.map_err(stopped)? {
            return Err(MembershipError::AlreadyInitialized);
        }
        let mut identified = BTreeMap::new();
        for (id, member) in members {
            identified.insert(id, self.identify(id, member).await?);
        }
        match raft.initialize(identified).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(MembershipError::AlreadyInitialized)
            }
            Err(RaftError::APIError(InitializeError::NotInMembers(e))) => {
                Err(MembershipError::Invalid(e.to_string()))
            }
            Err(RaftError::Fatal(e)) => Err(stopped(e)),
        }
    }

    /// Lets a new coordinator receive the log, and waits until it has all that was written
    /// before. That takes as long as its snapshot takes; a caller that gives up leaves a
    /// learner behind, which does no harm.
    pub async fn add_learner(
        &self,
        id: CoordinatorId,
        member: Member,
    ) -> Result<(), MembershipError> {
        if self.members().contains_key(&id) {
            return Err(MembershipError::Invalid(format!(
                "coordinator {id} is a member already; a number is never used twice"
            )));
        }
        let member = self.identify(id, member).await?;
        let raft = &self.inner.raft;
        // openraft's own waiting is content with thousands of entries less.
        let added = raft.add_learner(id, member, false).await;
        let upto = added.map_err(|e| self.change_error(e))?.log_id.index;
        let mut metrics = raft.metrics();
        let caught_up = |m: &Metrics| {
            let known = m.replication.as_ref().map(|all| all.get(&id));
            known.map(|matched| matched.copied().flatten().index() >= Some(upto))
        };
        match metrics.wait_for(|m| caught_up(m).unwrap_or(true)).await {
            Ok(m) if caught_up(&m) == Some(true) => Ok(()),
            Ok(_) => Err(MembershipError::UnknownOutcome(format!(
                "coordinator {id} is a learner, but this one ceased to lead before it caught up"
            ))),
            Err(_) => Err(stopped("shutdown")),
        }
    }

    /// Makes exactly these members vote. All must be members already. Those that cease to
    /// vote cease to be members.
    pub async fn change_voters(
        &self,
        voters: BTreeSet<CoordinatorId>,
    ) -> Result<(), MembershipError> {
        self.inner
            .raft
            .change_membership(voters, false)
            .await
            .map(drop)
            .map_err(|e| self.change_error(e))
    }

    /// All members that this coordinator knows of; empty before the cluster is formed.
    pub fn members(&self) -> BTreeMap<CoordinatorId, MemberStatus> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<_> = membership.voter_ids().collect();
        membership
            .nodes()
            .map(|(id, member)| {
                let status = MemberStatus {
                    member: member.clone(),
                    voter: voters.contains(id),
                };
                (*id, status)
            })
            .collect()
    }

    /// Checks that the one at the member's address is who he is said to be, and learns which
    /// storage he has.
    async fn identify(&self, id: CoordinatorId, member: Member) -> Result<Member, MembershipError> {
        let mine = &self.inner.storage.marker;
        let storage_id = if id == self.id() {
            mine.storage_id.clone()
        } else {
            let unsuitable = |reason: String| MembershipError::Unsuitable {
                id,
                raft_url: member.raft_url.clone(),
                reason,
            };
            let found = self
                .inner
                .network
                .identify(&member.raft_url)
                .await
                .map_err(unsuitable)?;
            if found.coordinator_id != id {
                let reason = format!("coordinator {} answers there", found.coordinator_id);
                return Err(unsuitable(reason));
            }
            if found.initialized {
                return Err(unsuitable("it belongs to a formed cluster already".into()));
            }
            found.storage_id
        };
        Ok(Member {
            storage_id,
            ..member
        })
    }

    fn change_error(
        &self,
        error: RaftError<CoordinatorId, ClientWriteError<CoordinatorId, Member>>,
    ) -> MembershipError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
                MembershipError::NotLeader {
                    leader: leader_hint(&self.inner.raft.metrics().borrow()),
                }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => match e {
                ChangeMembershipError::InProgress(e) => MembershipError::InProgress(e.to_string()),
                ChangeMembershipError::EmptyMembership(e) => {
                    MembershipError::Invalid(e.to_string())
                }
                ChangeMembershipError::LearnerNotFound(e) => {
                    MembershipError::Invalid(e.to_string())
                }
            },
            RaftError::Fatal(e) => stopped(e),
        }
    }
}

fn stopped(error: impl std::fmt::Display) -> MembershipError {
    MembershipError::Stopped {
        reason: error.to_string(),
    }
}
