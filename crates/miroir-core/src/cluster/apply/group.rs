//! Replica groups: added, removed.

use super::{Applied, At};
use crate::cluster::{
    ClusterState, Group, GroupState, Index, NodeSpec, OperationKind, Outcome, Policy, Rejection,
};
use crate::id::{GroupId, NodeId};
use crate::migration::Event;
use crate::planning;

impl ClusterState {
    pub(super) fn add_group(&mut self, at: At, specs: &[NodeSpec]) -> Applied {
        let mut urls: Vec<&str> = specs.iter().map(|spec| spec.url.as_str()).collect();
        urls.sort_unstable();
        if let Some(pair) = urls.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Rejection::Invalid(format!("{} is named twice", pair[0])));
        }
        for spec in specs {
            self.check_spec(spec)?;
        }
        let group = GroupId(self.next.group + 1);
        let copies = self.indexes.values().map(|index| index.replication_factor);
        let needed = copies
            .chain([self.policy.default_replication_factor])
            .max()
            .unwrap_or(1);
        if specs.len() < usize::from(needed) {
            return Err(Rejection::TooFewNodes {
                group,
                nodes: u32::try_from(specs.len()).unwrap_or(u32::MAX),
                replication_factor: needed,
            });
        }
        let groups_max = usize::try_from(Policy::GROUPS_MAX).unwrap_or(usize::MAX);
        if self.groups.len() >= groups_max {
            return Err(Rejection::Invalid(format!(
                "there are {groups_max} replica groups already"
            )));
        }
        self.next.group = group.0;
        let state = GroupState::Initialising;
        let state_epoch = at.epoch();
        self.groups.insert(
            group,
            Group {
                id: group,
                state,
                state_epoch,
            },
        );
        let nodes: Vec<NodeId> = specs
            .iter()
            .map(|spec| {
                let spec = NodeSpec {
                    group,
                    ..spec.clone()
                };
                self.admit(at, &spec)
            })
            .collect();
        let operation = self.accept_operation(at, OperationKind::AddGroup { group });
        self.touch(at);
        Ok(Outcome::GroupAdded {
            group,
            nodes,
            operation,
        })
    }

    pub(super) fn remove_group(&mut self, at: At, id: GroupId) -> Applied {
        let group = self.groups.get(&id).ok_or_else(|| self.unknown_group(id))?;
        if group.state == GroupState::Retiring {
            let kind = OperationKind::RemoveGroup { group: id };
            let by = self
                .operations
                .values()
                .find(|o| !o.state.is_final() && o.kind == kind);
            return Err(Rejection::Conflict {
                operation: by.map(|o| o.id).unwrap_or_default(),
                what: kind.name().to_owned(),
            });
        }
        self.check_others_serve(id)?;
        self.set_group(at, id, GroupState::Retiring);
        let adding = self
            .operations
            .values()
            .find(|o| !o.state.is_final() && o.kind == OperationKind::AddGroup { group: id });
        if let Some(adding) = adding.map(|o| o.id) {
            self.cancel_operation(at, adding);
        }
        let operation = self.accept_operation(at, OperationKind::RemoveGroup { group: id });
        self.touch(at);
        Ok(Outcome::Accepted(operation))
    }

    /// Without this group every shard must still be read somewhere.
    fn check_others_serve(&self, id: GroupId) -> Result<(), Rejection> {
        if !planning::another_is_searched(self, id) {
            return Err(Rejection::LastGroup(id));
        }
        match planning::only_read_in(self, id) {
            Some((uid, shard)) => Err(Rejection::Invalid(format!(
                "shard {shard} of `{uid}` has no copy in sync in another searchable group; repair that first"
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn set_group(&mut self, at: At, id: GroupId, state: GroupState) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.state = state;
            group.state_epoch = at.epoch();
        }
    }

    /// Every shard is in sync in a new group: searches may use it.
    pub(super) fn finish_group(&mut self, at: At, id: GroupId) -> Result<(), Rejection> {
        if let Some((uid, shard)) = planning::not_in_sync(self, id) {
            return Err(Rejection::StalePlan(format!(
                "shard {shard} of `{uid}` is not in sync in group {id}"
            )));
        }
        self.set_group(at, id, GroupState::Searchable);
        Ok(())
    }

    /// No proxy searches a retired group any more: it goes, with its nodes.
    pub(super) fn finish_group_removal(&mut self, at: At, id: GroupId) -> Result<(), Rejection> {
        self.check_others_serve(id)?;
        let nodes: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| node.group == id)
            .map(|node| node.id)
            .collect();
        let building: Vec<_> = self
            .unfinished_migrations()
            .filter(|m| m.group == id)
            .map(|m| m.id)
            .collect();
        for migration in building {
            self.go_back(at, migration, Event::Abandoned);
        }
        for node in nodes {
            self.forget_node(at, node);
        }
        self.groups.remove(&id);
        Ok(())
    }

    /// A removal that is given up leaves the group as it was, as far as it still is: copies got every write, but an
    /// index created meanwhile has none there. They are built before it is searched.
    pub(super) fn keep_group(&mut self, at: At, id: GroupId) {
        let read_here = |index: &Index| {
            let mut shards = index.placement.iter();
            shards.all(|shard| shard.readable().any(|r| r.group == id))
        };
        if self.indexes.values().all(read_here) {
            self.set_group(at, id, GroupState::Searchable);
        } else {
            self.set_group(at, id, GroupState::Initialising);
            self.accept_operation(at, OperationKind::AddGroup { group: id });
        }
    }
}
