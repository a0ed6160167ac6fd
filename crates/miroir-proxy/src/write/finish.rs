//! How operations end: registered, committed, deleted, or refused.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use miroir_core::called::told_of;
use miroir_core::cluster::{NewTask, Rejection, Write};
use miroir_core::hidden_field::scrub_message;
use miroir_core::id::{IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::routing::IndexRoute;
use serde_json::{Value, json};
use uuid::Uuid;

use super::op::Verdict;
use super::outcome::Refusal;
use super::prepare::{SettingsChange, Work};
use super::queue::Ticket;
use super::registrar::{Item, Unregistered};
use super::sequencer::{Message, Sequencer};
use super::{Accepted, WriteError, repeat};
use crate::bug::{self, Bug};
use crate::catalog::{CatalogError, ChangedSettings, RegisteredTask};

impl Sequencer {
    /// Every part of the operation was sent and answered.
    pub(super) fn complete(&mut self, ticket: Ticket) {
        let Some(op) = self.ops.get_mut(&ticket) else {
            return;
        };
        let table = self.shared.control.table();
        let route = table
            .named(&self.index)
            .filter(|route| route.incarnation == self.incarnation);
        match op.verdict(|shard, node| is_in_use(route.map(AsRef::as_ref), shard, node)) {
            Verdict::Register => {
                let missed = op.missed().filter(|_| !bug::is_on(Bug::AckBeforeEject));
                let write = (op.task.clone(), missed.collect());
                self.register(ticket, write);
            }
            Verdict::Refused(refusal) => {
                let error = passed_on(&refusal, &op.uid);
                self.end(ticket, Err(error));
            }
            Verdict::NotApplied(why) => {
                let reason = format!("too few copies took it: {why}");
                self.end(ticket, Err(WriteError::held(reason)));
            }
            Verdict::Partial {
                why,
                eject,
                doubtful,
            } => {
                op.answer(Err(WriteError::unknown(format!(
                    "too few copies took it: {why}"
                ))));
                if doubtful {
                    self.distrust("no copy of a shard is known to have a write that some may have");
                } else if eject.is_empty() {
                    self.ops.remove(&ticket);
                } else {
                    // Copies that took it are kept, those that did not go: as a task that failed.
                    let error = json!({
                        "message": format!("The write is on some shards only: {why}."),
                        "code": "internal", "type": "system", "link": "",
                    });
                    let task = NewTask {
                        failure: Some(error),
                        // Sent again it is a new write.
                        idempotency: None,
                        ..op.task.clone()
                    };
                    self.register(ticket, (task, eject.into_iter().collect()));
                }
            }
        }
    }

    fn register(&mut self, ticket: Ticket, (task, missed): (NewTask, Vec<(ShardId, NodeId)>)) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let write = Write {
            uid: self.index.clone(),
            incarnation: self.incarnation,
            parts: op.parts().to_vec(),
            task,
            missed,
        };
        let item = Item {
            proxy: self.proxy,
            write,
            ticket,
            to: self.mailbox.clone(),
        };
        if self.shared.registrar.send(item).is_err() {
            self.end(
                ticket,
                Err(WriteError::unknown("this proxy is shutting down")),
            );
        }
    }

    pub(super) fn on_registered(&mut self, ticket: Ticket, result: Result<TaskUid, Unregistered>) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let nowhere = op.is_nowhere();
        let table = self.shared.control.table();
        let route = table
            .named(&self.index)
            .filter(|route| route.incarnation == self.incarnation);
        // Copies that are being built are compared before readers use them.
        let differ =
            op.copies_differ(|shard, node| is_in_use(route.map(AsRef::as_ref), shard, node));
        let answer = match result {
            Ok(task) => Ok(op.accepted(task)),
            Err(Unregistered::Rejected(
                Rejection::NotWriter { .. } | Rejection::OtherIncarnation(_),
            )) if nowhere => Err(WriteError::Moved),
            Err(Unregistered::Rejected(rejection @ Rejection::TooFewInSync { .. })) => {
                if differ {
                    self.distrust(
                        "copies differ and too few are in sync to take the others out of use",
                    );
                }
                Err(WriteError::unknown(rejection.to_string()))
            }
            Err(Unregistered::Unacceptable(detail)) => {
                if differ {
                    self.distrust("copies differ and the coordinators cannot be told which");
                }
                tracing::error!(index = %self.index, detail, "a write cannot be registered");
                let reason = "the coordinators cannot register the write";
                Err(if nowhere {
                    WriteError::held(reason)
                } else {
                    WriteError::unknown(reason)
                })
            }
            Err(Unregistered::Rejected(rejection)) => Err(repeat::known(&rejection)
                .unwrap_or_else(|| WriteError::unknown(rejection.to_string()))),
            Err(Unregistered::Lost) => Err(WriteError::unknown(
                "this proxy stopped being the index's writer",
            )),
        };
        self.end(ticket, answer);
    }

    /// Copies may differ in a way that no command can put right. The proxy gives its identity up: the
    /// coordinators then trust one copy of each shard that it wrote, and rebuild the others.
    fn distrust(&self, why: &str) {
        tracing::error!(index = %self.index, why, "giving up being a writer, so that copies are compared");
        self.shared.control.resign(self.proxy);
    }

    fn end(&mut self, ticket: Ticket, answer: Result<Accepted, WriteError>) {
        if let Some(mut op) = self.ops.remove(&ticket) {
            op.answer(answer);
        }
    }

    /// Has new settings committed. Later writes of the index wait for it.
    pub(super) fn commit_settings(&mut self, ticket: Ticket) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let Work::Settings(change) = &op.work else {
            return;
        };
        let desired = match self.provisioning.changed(change) {
            Ok(desired) => desired,
            Err(error) => {
                self.queue.finish(ticket);
                return self.refuse(ticket, error);
            }
        };
        let catalog = self.shared.catalog.within(self.shared.config.hold);
        let (uid, incarnation, proxy) = (self.index.clone(), self.incarnation, self.proxy);
        let (task, mailbox) = (op.task.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let id = Uuid::now_v7();
            let result = catalog
                .change_settings(id, (&uid, incarnation), proxy, &desired, &task)
                .await;
            // A sequencer that ended has answered its clients already.
            let _ = mailbox.send(Message::Committed {
                ticket,
                desired,
                result,
            });
        });
    }

    pub(super) fn on_committed(
        &mut self,
        ticket: Ticket,
        desired: Value,
        result: Result<ChangedSettings, CatalogError>,
    ) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let Work::Settings(change) = &op.work else {
            return;
        };
        let change: SettingsChange = change.clone();
        let answer = match result {
            Ok(changed) => {
                let accepted = op.accepted(changed.task);
                self.provisioning
                    .committed(changed.version, changed.task, desired, &change);
                if let Some(route) = self.own_route(&self.shared.control.table()) {
                    self.ask_all(&route);
                }
                Ok(accepted)
            }
            Err(error) => Err(uncommitted(&error)),
        };
        self.queue.finish(ticket);
        self.end(ticket, answer);
    }

    /// Has the index deleted. Everything before is registered; everything after waits.
    pub(super) fn delete_index(&mut self, ticket: Ticket) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let catalog = self.shared.catalog.within(self.shared.config.hold);
        let (uid, incarnation, proxy) = (self.index.clone(), self.incarnation, self.proxy);
        let (called, task, mailbox) = (op.uid.clone(), op.task.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            let index = (&uid, incarnation);
            let result = catalog
                .delete_index(Uuid::now_v7(), index, &called, proxy, &task)
                .await;
            // A sequencer that ended has answered its clients already.
            let _ = mailbox.send(Message::Deleted { ticket, result });
        });
    }

    pub(super) fn on_deleted(
        &mut self,
        ticket: Ticket,
        result: Result<RegisteredTask, CatalogError>,
    ) {
        let Some(op) = self.ops.get(&ticket) else {
            return;
        };
        let answer = match result {
            Ok(deleted) => {
                self.ended = true;
                Ok(op.accepted(deleted.task))
            }
            Err(error) => Err(uncommitted(&error)),
        };
        self.queue.finish(ticket);
        self.end(ticket, answer);
    }
}

/// What a client is told when a command of its own was not committed.
pub(super) fn uncommitted(error: &CatalogError) -> WriteError {
    match error {
        CatalogError::Rejected(rejection) if is_elsewhere(rejection) => WriteError::Moved,
        CatalogError::Rejected(rejection) => {
            repeat::known(rejection).unwrap_or_else(|| WriteError::held(rejection.to_string()))
        }
        CatalogError::NoLeader { .. } => {
            WriteError::held("no coordinator leads, or none can be reached")
        }
        CatalogError::Unknown { .. } => {
            WriteError::unknown("the coordinators did not answer in time")
        }
        CatalogError::Protocol { detail } => {
            tracing::error!(detail, "a command to the coordinators failed");
            WriteError::held("the coordinators do not understand this proxy")
        }
    }
}

/// Whether the refusal says that the index is another's to write, or gone, so that the write begins anew.
fn is_elsewhere(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::NotWriter { .. } | Rejection::OtherIncarnation(_) | Rejection::UnknownIndex(_)
    )
}

/// A node's refusal as the client may see it.
fn passed_on(refusal: &Refusal, uid: &IndexUid) -> WriteError {
    let error = &refusal.error;
    let for_the_client = error.kind == "invalid_request" && (400..500).contains(&refusal.status);
    if !for_the_client {
        tracing::error!(status = refusal.status, %error, "all nodes refuse a write");
        return WriteError::held("the nodes refuse this proxy's requests");
    }
    let body = json!({
        "message": told_of(&scrub_message(&error.message), Some(uid)), "code": error.code, "type": error.kind, "link": error.link,
    });
    WriteError::Answer {
        status: refusal.status,
        retry_after_s: None,
        body: Bytes::from(body.to_string()),
    }
}

/// Whether readers may use the copy, now or soon, as far as is known.
///
/// A mirror counts: its comparison may be over before the write arrived, and the table that has it read may be on its
/// way to this proxy.
fn is_in_use(route: Option<&IndexRoute>, shard: ShardId, node: NodeId) -> bool {
    let Some(shard) = route.and_then(|route| route.shard(shard)) else {
        return true;
    };
    let mut copies = shard.replicas.iter();
    copies.any(|copy| copy.node == node && copy.state.takes_writes())
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
