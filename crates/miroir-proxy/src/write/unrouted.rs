//! What needs no node: creating an index, and operations on one that does not exist.

use std::time::{Duration, Instant};

use miroir_core::api_error::ApiError;
use miroir_core::cluster::{NewIndex, NewTask, Rejection};
use miroir_core::id::{IndexUid, TaskUid};
use uuid::Uuid;

use super::finish::{now_ms, uncommitted};
use super::request::Operation;
use super::{Accepted, Shared, WriteError, WriteRequest, prepare, tasks};

/// An index that was created a moment ago, by way of another proxy, comes with the next table.
const TABLE_GRACE: Duration = Duration::from_millis(200);
/// How long a client that created an index waits for this proxy's table, so that it can read it back.
const OWN_TABLE: Duration = Duration::from_secs(1);

/// What became of an operation on an index that the table does not have.
pub(super) enum Unrouted {
    /// It has ended.
    Done(Result<Accepted, WriteError>),
    /// The index exists by now: it is to be routed.
    Again,
}

impl Shared {
    /// Carries out what a client asks of an index that the table does not have.
    pub(super) async fn on_unknown_index(
        &self,
        request: &WriteRequest,
        deadline: Instant,
    ) -> Unrouted {
        let (uid, operation) = (&request.index, &request.operation);
        match operation {
            Operation::AddDocuments(_) | Operation::Settings { creates: true, .. }
                if request.may_create =>
            {
                if let Err(error) = prepare::check_apart(operation).await {
                    return Unrouted::Done(Err(error.into()));
                }
                // A repeated write must not bring back an index that was deleted since.
                if let Some(write) = request.idempotency
                    && let Err(error) = self.check_new(write, deadline).await
                {
                    return Unrouted::Done(Err(error));
                }
                match self.create(uid, None, None, deadline).await {
                    Ok(_) => Unrouted::Again,
                    Err(Some(error)) => Unrouted::Done(Err(error)),
                    Err(None) => self.wait_for_index(uid, deadline).await,
                }
            }
            Operation::AddDocuments(_)
            | Operation::Settings { .. }
            | Operation::DeleteOne { .. }
            | Operation::DeleteBatch { .. }
            | Operation::DeleteByFilter { .. }
            | Operation::DeleteAll
            | Operation::ResetSettings
            | Operation::CreateIndex { .. }
            | Operation::UpdateIndex { .. }
            | Operation::DeleteIndex => {
                if let Err(error) = prepare::check_apart(operation).await {
                    return Unrouted::Done(Err(error.into()));
                }
                let grace = deadline.min(Instant::now() + TABLE_GRACE);
                if self
                    .control
                    .wait_table(grace, |table| table.indexes.contains_key(uid))
                    .await
                {
                    return Unrouted::Again;
                }
                let mut failed = tasks::failed(task_of(operation), &tasks::index_not_found(uid));
                failed.custom_metadata.clone_from(&request.custom_metadata);
                failed.idempotency = request.idempotency;
                Unrouted::Done(self.register(uid, &failed).await)
            }
        }
    }

    async fn wait_for_index(&self, uid: &IndexUid, deadline: Instant) -> Unrouted {
        if self
            .control
            .wait_table(deadline, |table| table.indexes.contains_key(uid))
            .await
        {
            Unrouted::Again
        } else {
            Unrouted::Done(Err(WriteError::held("the routing table does not come")))
        }
    }

    /// Creates an index for a client that asked for it by name.
    pub(super) async fn create_by_name(
        &self,
        request: &WriteRequest,
        primary_key: Option<&str>,
        deadline: Instant,
    ) -> Result<Accepted, WriteError> {
        let uid = &request.index;
        let task = NewTask {
            idempotency: request.idempotency,
            ..tasks::creation(primary_key)
        };
        match self.create(uid, primary_key, Some(&task), deadline).await {
            Ok(Some(uid_of_task)) => Ok(accepted(uid, uid_of_task, &task)),
            Ok(None) => Err(WriteError::unknown(
                "the coordinators gave the index's creation no task",
            )),
            Err(Some(error)) => Err(error),
            Err(None) => {
                self.register(uid, &tasks::failed(task, &tasks::index_already_exists(uid)))
                    .await
            }
        }
    }

    /// Creates an index with this proxy as its writer. `Err(None)` when there is one already.
    async fn create(
        &self,
        uid: &IndexUid,
        primary_key: Option<&str>,
        task: Option<&NewTask>,
        deadline: Instant,
    ) -> Result<Option<TaskUid>, Option<WriteError>> {
        let index = NewIndex {
            uid: uid.clone(),
            primary_key: primary_key.map(str::to_owned),
            shards: None,
            replication_factor: None,
            writer: self.control.proxy_id(),
            task: task.cloned(),
        };
        let creating = self
            .catalog_until(deadline)
            .create_index(Uuid::now_v7(), &index)
            .await;
        match creating {
            Ok(created) => {
                if let Some(proxy) = index.writer {
                    self.created.note((created.incarnation, proxy));
                }
                let by = deadline.min(Instant::now() + OWN_TABLE);
                self.control.wait_epoch(created.epoch, by).await;
                Ok(created.task)
            }
            Err(error) => match error.rejection() {
                Some(Rejection::IndexExists(_)) => Err(None),
                _ => Err(Some(uncommitted(&error))),
            },
        }
    }

    /// Sets an index's primary key for a client that asked for it by name.
    pub(super) async fn update_by_name(
        &self,
        request: &WriteRequest,
        primary_key: Option<&str>,
        deadline: Instant,
    ) -> Result<Accepted, WriteError> {
        let uid = &request.index;
        let task = NewTask {
            idempotency: request.idempotency,
            ..tasks::update(primary_key)
        };
        let route = self.control.table().indexes.get(uid).cloned();
        let (Some(route), Some(key)) = (&route, primary_key) else {
            let task = match route {
                Some(_) => task,
                None => tasks::failed(task, &tasks::index_not_found(uid)),
            };
            return self.register(uid, &task).await;
        };
        let whose = (&route.name, route.incarnation);
        let setting = self
            .catalog_until(deadline)
            .set_primary_key(Uuid::now_v7(), whose, key, Some(&task))
            .await;
        match setting {
            Ok(Some(uid_of_task)) => Ok(accepted(uid, uid_of_task, &task)),
            Ok(None) => Err(WriteError::unknown(
                "the coordinators gave the change no task",
            )),
            Err(error) => {
                let failure: ApiError = match error.rejection() {
                    Some(Rejection::PrimaryKeyExists { primary_key, .. }) => {
                        let error = tasks::primary_key_already_exists(primary_key);
                        ApiError::new(error.code, format!("Index `{uid}`: {error}"))
                    }
                    Some(Rejection::UnknownIndex(_) | Rejection::OtherIncarnation(_)) => {
                        tasks::index_not_found(uid)
                    }
                    _ => return Err(uncommitted(&error)),
                };
                self.register(uid, &tasks::failed(task, &failure)).await
            }
        }
    }

    /// Registers a task that no node takes part in.
    async fn register(&self, uid: &IndexUid, task: &NewTask) -> Result<Accepted, WriteError> {
        let catalog = self.catalog.within(self.config.hold);
        match catalog.register_task(Uuid::now_v7(), Some(uid), task).await {
            Ok(registered) => Ok(accepted(uid, registered.task, task)),
            Err(error) => Err(uncommitted(&error)),
        }
    }

    /// The catalog, for a call that is to end by `deadline`.
    pub(super) fn catalog_until(&self, deadline: Instant) -> crate::catalog::Catalog {
        const LEAST: Duration = Duration::from_millis(100);
        self.catalog.within(
            deadline
                .saturating_duration_since(Instant::now())
                .max(LEAST),
        )
    }
}

fn task_of(operation: &Operation) -> NewTask {
    match operation {
        Operation::AddDocuments(add) => tasks::addition(0, 0, add.custom_metadata.clone()),
        Operation::DeleteOne { .. } => tasks::deletion_by_ids(1),
        Operation::DeleteBatch { body } => {
            let ids = miroir_core::document::parse_delete_batch(body);
            tasks::deletion_by_ids(ids.map_or(0, |ids| ids.len()))
        }
        Operation::DeleteByFilter { filter } => tasks::deletion_by_filter(filter),
        Operation::DeleteAll => tasks::deletion_of_all(),
        Operation::Settings { patch, .. } => tasks::settings(patch),
        Operation::ResetSettings => tasks::settings_reset(),
        Operation::CreateIndex { primary_key } => tasks::creation(primary_key.as_deref()),
        Operation::UpdateIndex { primary_key } => tasks::update(primary_key.as_deref()),
        Operation::DeleteIndex => tasks::index_deletion(),
    }
}

fn accepted(uid: &IndexUid, task_uid: TaskUid, task: &NewTask) -> Accepted {
    Accepted {
        task_uid,
        index_uid: uid.clone(),
        kind: task.kind,
        enqueued_at_ms: now_ms(),
        custom_metadata: task.custom_metadata.clone(),
    }
}
