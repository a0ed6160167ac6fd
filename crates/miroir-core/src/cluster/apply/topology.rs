//! Initialisation, and the policy.

use super::{Applied, At};
use crate::cluster::{ClusterState, Group, GroupState, Outcome, Policy, Rejection};
use crate::id::GroupId;

impl ClusterState {
    pub(super) fn bootstrap(&mut self, at: At, cluster_id: &str, policy: &Policy) -> Applied {
        if let Some(cluster_id) = self.cluster_id.clone() {
            return Err(Rejection::AlreadyInitialised { cluster_id });
        }
        policy
            .validate()
            .map_err(|error| Rejection::Invalid(error.to_string()))?;
        self.cluster_id = Some(cluster_id.to_owned());
        self.policy = policy.clone();
        self.next.group = policy.groups;
        self.groups = (1..=policy.groups)
            .map(GroupId)
            .map(|id| {
                (
                    id,
                    Group {
                        id,
                        state: GroupState::Searchable,
                        state_epoch: at.epoch(),
                    },
                )
            })
            .collect();
        self.touch(at);
        Ok(Outcome::Done)
    }

    /// Replaces the policy. The number of groups is a matter of adding and removing them by now.
    pub(super) fn change_policy(&mut self, at: At, policy: &Policy) -> Applied {
        policy
            .validate()
            .map_err(|error| Rejection::Invalid(error.to_string()))?;
        if policy.groups != self.policy.groups {
            return Err(Rejection::Invalid(
                "policy `groups` counts at initialisation only; add or remove replica groups instead"
                    .to_owned(),
            ));
        }
        self.policy = policy.clone();
        self.touch(at);
        Ok(Outcome::Done)
    }
}
