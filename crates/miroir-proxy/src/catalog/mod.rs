//! The coordinators' catalog: indexes and tasks.
//!
//! Every call is made of core's types, finds the leader by itself and is repeated, with one request id, until
//! it is answered or its time is over.

mod call;
mod coordinators;
mod error;
mod registry;
mod swap;
mod tasks;

use std::time::Duration;

use miroir_core::cluster::{AppliedSettings, NewIndex, NewTask, Rejection, Write};
use miroir_core::id::{Epoch, Incarnation, IndexUid, ProxyId, TaskUid};
use miroir_proto::v1;
use serde_json::Value;
use uuid::Uuid;

pub(crate) use coordinators::chain;
pub use coordinators::{Coordinators, CoordinatorsError};
pub use error::CatalogError;
pub use tasks::{PendingTasks, TaskFilter, TaskList};

/// The time a call may take when its maker sets none: longer than an election.
const WITHIN: Duration = Duration::from_secs(10);

/// One life of an index, by its name on nodes.
pub type IndexRef<'a> = (&'a IndexUid, Incarnation);

/// An index that exists now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedIndex {
    /// Which life of its uid.
    pub incarnation: Incarnation,
    /// The client's task, when one was registered with it.
    pub task: Option<TaskUid>,
    /// The epoch from which on it is routed.
    pub epoch: Epoch,
}

/// Settings that were committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedSettings {
    /// Their version.
    pub version: u64,
    /// The client's task.
    pub task: TaskUid,
    /// The epoch from which on they are routed.
    pub epoch: Epoch,
}

/// A task that was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredTask {
    /// The task.
    pub task: TaskUid,
    /// The epoch after it.
    pub epoch: Epoch,
}

/// A client of the catalog. Cloning is cheap.
#[derive(Clone)]
pub struct Catalog {
    coordinators: Coordinators,
    within: Duration,
}

impl Catalog {
    /// A client that asks `coordinators`.
    #[must_use]
    pub fn new(coordinators: Coordinators) -> Self {
        Self {
            coordinators,
            within: WITHIN,
        }
    }

    /// This client with another bound on a whole call, repetitions included. The default is 10 seconds.
    #[must_use]
    pub fn within(&self, within: Duration) -> Self {
        Self {
            within,
            ..self.clone()
        }
    }

    /// Creates an index.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::IndexExists`].
    pub async fn create_index(
        &self,
        id: Uuid,
        index: &NewIndex,
    ) -> Result<CreatedIndex, CatalogError> {
        let message = v1::CreateIndexRequest {
            request_id: id.to_string(),
            uid: index.uid.to_string(),
            primary_key: index.primary_key.clone(),
            shards: index.shards.map(u32::from),
            replication_factor: index.replication_factor.map(u32::from),
            writer: index.writer.map(|proxy| proxy.0),
            task: index.task.as_ref().map(Into::into),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.create_index(request).await
        });
        let answer = answer.await?;
        Ok(CreatedIndex {
            incarnation: Incarnation(answer.incarnation),
            task: answer.task.map(TaskUid),
            epoch: Epoch(answer.epoch),
        })
    }

    /// Fixes an index's primary key, with a task when a client asked for it by name. Returns that task.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::PrimaryKeyExists`] for another key.
    pub async fn set_primary_key(
        &self,
        id: Uuid,
        index: IndexRef<'_>,
        primary_key: &str,
        task: Option<&NewTask>,
    ) -> Result<Option<TaskUid>, CatalogError> {
        let message = v1::SetPrimaryKeyRequest {
            request_id: id.to_string(),
            index: Some(index_ref(index)),
            primary_key: primary_key.to_owned(),
            task: task.map(Into::into),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.set_primary_key(request).await
        });
        Ok(answer.await?.task.map(TaskUid))
    }

    /// Gives an index new settings; `desired` is all of them. Only its writer may.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::NotWriter`].
    pub async fn change_settings(
        &self,
        id: Uuid,
        index: IndexRef<'_>,
        proxy: ProxyId,
        desired: &Value,
        task: &NewTask,
    ) -> Result<ChangedSettings, CatalogError> {
        let message = v1::ChangeSettingsRequest {
            request_id: id.to_string(),
            index: Some(index_ref(index)),
            proxy: proxy.0,
            desired: desired.to_string(),
            task: Some(task.into()),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.change_settings(request).await
        });
        let answer = answer.await?;
        Ok(ChangedSettings {
            version: answer.version,
            task: TaskUid(answer.task),
            epoch: Epoch(answer.epoch),
        })
    }

    /// Reports settings that nodes have enqueued, for the client's `task` if one is about them.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::NotWriter`].
    pub async fn settings_enqueued(
        &self,
        id: Uuid,
        index: IndexRef<'_>,
        proxy: ProxyId,
        applied: &[AppliedSettings],
        task: Option<TaskUid>,
    ) -> Result<Epoch, CatalogError> {
        let one = |applied: &AppliedSettings| v1::AppliedSettings {
            node: applied.node.0,
            version: applied.version,
            node_task: applied.node_task,
        };
        let message = v1::SettingsEnqueuedRequest {
            request_id: id.to_string(),
            index: Some(index_ref(index)),
            proxy: proxy.0,
            applied: applied.iter().map(one).collect(),
            task: task.map(|task| task.0),
            refused: None,
        };
        let answer = self.call(message, |mut client, request| async move {
            client.settings_enqueued(request).await
        });
        Ok(Epoch(answer.await?.epoch))
    }

    /// Reports that a node refuses the settings of that version as they are.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::NotWriter`].
    pub async fn settings_refused(
        &self,
        id: Uuid,
        index: IndexRef<'_>,
        proxy: ProxyId,
        (version, error): (u64, &Value),
    ) -> Result<Epoch, CatalogError> {
        let message = v1::SettingsEnqueuedRequest {
            request_id: id.to_string(),
            index: Some(index_ref(index)),
            proxy: proxy.0,
            applied: Vec::new(),
            task: None,
            refused: Some(v1::RefusedSettings {
                version,
                error: error.to_string(),
            }),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.settings_enqueued(request).await
        });
        Ok(Epoch(answer.await?.epoch))
    }

    /// Deletes an index that clients call `called`. Only its writer may, once its lanes are drained.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::NotWriter`], and [`Rejection::OtherIncarnation`] when another index
    /// is called so by now.
    pub async fn delete_index(
        &self,
        id: Uuid,
        index: IndexRef<'_>,
        called: &IndexUid,
        proxy: ProxyId,
        task: &NewTask,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = v1::DeleteIndexRequest {
            request_id: id.to_string(),
            index: Some(index_ref(index)),
            proxy: proxy.0,
            task: Some(task.into()),
            called: Some(called.to_string()),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.delete_index(request).await
        });
        Ok(registered(answer.await?))
    }

    /// Registers writes, in order; one that is refused does not keep the others from being registered.
    ///
    /// # Errors
    /// [`CatalogError`] about the batch as a whole.
    pub async fn register_writes(
        &self,
        id: Uuid,
        proxy: ProxyId,
        writes: &[Write],
    ) -> Result<Vec<Result<TaskUid, Rejection>>, CatalogError> {
        let message = v1::RegisterWritesRequest {
            request_id: id.to_string(),
            proxy: proxy.0,
            writes: writes.iter().map(Into::into).collect(),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.register_writes(request).await
        });
        let answer = answer.await?;
        if answer.results.len() != writes.len() {
            let detail = format!(
                "{} results came for {} writes",
                answer.results.len(),
                writes.len()
            );
            return Err(CatalogError::Protocol { detail });
        }
        answer.results.into_iter().map(write_result).collect()
    }

    /// Registers a task that needs no node, such as one that fails on an index that does not exist.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn register_task(
        &self,
        id: Uuid,
        index: Option<&IndexUid>,
        task: &NewTask,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = v1::RegisterTaskRequest {
            request_id: id.to_string(),
            uid: index.map(ToString::to_string),
            task: Some(task.into()),
            rules: None,
        };
        let answer = self.call(message, |mut client, request| async move {
            client.register_task(request).await
        });
        Ok(registered(answer.await?))
    }
}

fn index_ref((uid, incarnation): IndexRef<'_>) -> v1::IndexRef {
    v1::IndexRef {
        uid: uid.to_string(),
        incarnation: incarnation.0,
    }
}

fn registered(answer: v1::TaskReply) -> RegisteredTask {
    RegisteredTask {
        task: TaskUid(answer.task),
        epoch: Epoch(answer.epoch),
    }
}

fn write_result(result: v1::WriteResult) -> Result<Result<TaskUid, Rejection>, CatalogError> {
    use v1::write_result::Result as One;
    let wrong = |detail: String| CatalogError::Protocol { detail };
    match result.result {
        Some(One::Task(task)) => Ok(Ok(TaskUid(task))),
        Some(One::Rejection(text)) => {
            let rejection = serde_json::from_str(&text);
            rejection
                .map(Err)
                .map_err(|error| wrong(format!("a rejection cannot be read: {error}: {text}")))
        }
        None => Err(wrong("a write has neither task nor rejection".to_owned())),
    }
}
