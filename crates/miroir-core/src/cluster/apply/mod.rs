//! `apply`: one command, at one place of the log, to one state.

mod dump;
mod group;
mod guard;
mod index;
mod loss;
mod migration;
mod node;
mod operation;
mod proxy;
mod registry;
mod repeat;
mod settings;
mod swap;
mod task;
mod topology;
mod wish;
mod write;

use super::{ClusterState, Command, Outcome, Rejection};
use crate::id::Epoch;

/// Where in the log a command stands. Time is data: the leader wrote it next to the command.
#[derive(Debug, Clone, Copy)]
struct At {
    index: u64,
    ms: u64,
}

impl At {
    fn epoch(self) -> Epoch {
        Epoch(self.index)
    }
}

type Applied = Result<Outcome, Rejection>;

impl ClusterState {
    /// Applies `command`, which stands at Raft index `index` and was proposed at `at_ms` (milliseconds
    /// since the Unix epoch) by the leader's clock.
    ///
    /// A [`Rejection`] changes nothing: every handler checks first and changes last.
    pub fn apply(&mut self, index: u64, at_ms: u64, command: &Command) -> Outcome {
        let at = At { index, ms: at_ms };
        self.dispatch(at, command).unwrap_or_else(Outcome::Rejected)
    }

    fn dispatch(&mut self, at: At, command: &Command) -> Applied {
        if self.cluster_id.is_none() && !matches!(command, Command::Bootstrap { .. }) {
            return Err(Rejection::NotInitialised);
        }
        self.refuse_repeated(at, command)?;
        match command {
            Command::Bootstrap { cluster_id, policy } => self.bootstrap(at, cluster_id, policy),
            Command::AddNode { node } => self.add_node(at, node),
            Command::DrainNode { node } => self.drain_node(at, *node),
            Command::UndrainNode { node } => self.undrain_node(at, *node),
            Command::RemoveNode { node, force } => self.remove_node(at, *node, *force),
            Command::ReplaceLost { node } => self.replace_lost(at, *node),
            Command::AddGroup { nodes } => self.add_group(at, nodes),
            Command::RemoveGroup { group } => self.remove_group(at, *group),
            Command::ChangeReplicationFactor {
                uid,
                replication_factor,
            } => self.change_replication_factor(at, uid, *replication_factor),
            Command::Rebalance { uid } => self.rebalance(at, uid.as_ref()),
            Command::MoveShard {
                uid,
                shard,
                from,
                to,
            } => self.move_shard(at, (uid, *shard), (*from, *to)),
            Command::Pin {
                uid,
                shard,
                node,
                pinned,
            } => self.pin(at, (uid, *shard), *node, *pinned),
            Command::SetHold { reason } => self.set_hold(at, reason.as_deref()),
            Command::ChangePolicy { policy } => self.change_policy(at, policy),
            Command::ControlMigration { id, control } => self.control_migration(at, *id, *control),
            Command::ControlOperation { id, control } => self.control_operation(at, *id, *control),
            Command::IndexSeen {
                uid,
                incarnation,
                node,
                created_at,
            } => self.index_seen((uid, *incarnation), *node, created_at),
            Command::IndexLost {
                uid,
                incarnation,
                node,
                created_at,
            } => self.index_lost(at, (uid, *incarnation), *node, created_at),
            Command::RegisterProxy {
                instance,
                name,
                url,
            } => self.register_proxy(at, instance, name, url),
            Command::LoseProxy { proxy } => self.lose_proxy(at, *proxy),
            Command::ForgetProxy { proxy } => self.forget_proxy(at, *proxy),
            Command::CreateIndex(new) => self.create_index(at, new),
            Command::SetPrimaryKey {
                uid,
                incarnation,
                primary_key,
                task,
            } => self.set_primary_key(at, (uid, *incarnation), primary_key, task.as_ref()),
            Command::ChangeSettings {
                uid,
                incarnation,
                proxy,
                desired,
                task,
            } => self.change_settings(at, (uid, *incarnation, *proxy), desired, task),
            Command::SettingsEnqueued {
                uid,
                incarnation,
                proxy,
                applied,
                task,
            } => self.settings_enqueued(at, (uid, *incarnation, *proxy), applied, *task),
            Command::RefuseSettings {
                uid,
                incarnation,
                proxy,
                version,
                error,
            } => self.refuse_settings(at, (uid, *incarnation, *proxy), *version, error),
            Command::RestateSettings {
                uid,
                incarnation,
                version,
            } => self.restate_settings(at, (uid, *incarnation), *version),
            Command::DeleteIndex {
                uid,
                incarnation,
                proxy,
                called,
                task,
            } => self.delete_index(at, (uid, *incarnation, *proxy), called.as_ref(), task),
            Command::SwapIndexes { swaps, idempotency } => {
                self.swap_indexes(at, swaps, *idempotency)
            }
            Command::RenameIndex(rename) => Ok(self.rename_index(at, rename)),
            Command::IndexPurged {
                uid,
                incarnation,
                node,
                node_task,
            } => self.index_purged((uid, *incarnation), *node, *node_task),
            Command::AssignWriter {
                uid,
                incarnation,
                proxy,
            } => self.assign_writer(at, (uid, *incarnation), *proxy),
            Command::RegisterWrites { proxy, writes } => {
                Ok(self.register_writes(at, *proxy, writes))
            }
            Command::RegisterTask { uid, task } => {
                let uid = self.new_task(at, uid.clone(), task, Vec::new());
                Ok(Outcome::TaskRegistered(uid))
            }
            Command::CancelTasks {
                query,
                original_filter,
            } => Ok(self.cancel_tasks(at, query, original_filter)),
            Command::DeleteTasks {
                query,
                original_filter,
            } => Ok(self.delete_tasks(at, query, original_filter)),
            Command::Broadcast { uid, task } => Ok(self.broadcast(at, uid.as_ref(), task)),
            Command::BroadcastSent { task, node, answer } => {
                Ok(self.broadcast_sent(at, *task, *node, answer))
            }
            Command::Cut {
                task,
                attempt,
                step,
            } => self.cut(at, (*task, *attempt), step),
            Command::UpdateTasks { updates } => Ok(self.update_tasks(at, updates)),
            Command::EjectReplica {
                uid,
                incarnation,
                shard,
                node,
            } => self.eject_replica(at, (uid, *incarnation), *shard, *node),
            Command::Plan { operation, moves } => self.plan(at, *operation, moves),
            Command::Advance { id, step, event } => self.advance(at, (*id, *step), *event),
            Command::ChangeSource { id, step, source } => {
                self.change_source(at, (*id, *step), *source)
            }
            Command::ReportMigrations { reports } => Ok(self.report_migrations(reports)),
            Command::ChangeRegistry { change } => self.change_registry(at, change),
            Command::ChangeRules { change, task } => self.change_rules(at, change, task),
            Command::SeedKeys { keys } => self.seed_keys(at, keys),
        }
    }

    /// Marks that routing changed at this place of the log.
    fn touch(&mut self, at: At) {
        self.epoch = at.epoch();
    }
}

/// Gives out the next id of a counter; the first is 1, so that 0 never names anything.
fn next_id(counter: &mut u64) -> u64 {
    *counter += 1;
    *counter
}
