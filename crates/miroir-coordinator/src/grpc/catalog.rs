//! The catalog service: what proxies ask to be committed, and the tasks that clients follow.

mod convert;
mod list;
mod pending;

use miroir_core::cluster::{Command, Outcome, Task};
use miroir_core::id::{Epoch, TaskUid};
use miroir_core::registry::{Change, Collection};
use miroir_proto::v1::catalog_server::Catalog;
use miroir_proto::{ConvertError, REJECTION_METADATA, v1};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::commit::commit;
use super::{dump, status};
use crate::actor::Context;
use crate::cluster::Cluster;
use crate::raft::ReadError;
use crate::session::Barriers;

/// The service.
#[derive(Debug, Clone)]
pub struct CatalogService {
    ctx: Context,
}

/// Whether what is read is everything that was ever acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Current,
    /// There is no leader to ask; this is what this coordinator last heard.
    Stale,
}

impl CatalogService {
    /// A service on this coordinator.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        Self { ctx }
    }

    async fn commit(&self, id: &str, command: &Command) -> Result<Outcome, Status> {
        commit(&self.ctx.cluster, id, command).await
    }

    /// An epoch that covers what was committed just now: from it on, tables have it.
    fn epoch(&self) -> u64 {
        self.ctx.read(|state| state.epoch.0)
    }

    /// Commits what answers a task.
    async fn commit_task(
        &self,
        id: &str,
        command: &Command,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let outcome = self.commit(id, command).await?;
        let Outcome::TaskRegistered(task) = outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        Ok(Response::new(v1::TaskReply {
            task: task.0,
            epoch: self.epoch(),
        }))
    }

    /// Commits what indexes are called from now on, and waits until no proxy takes requests by what they were called
    /// before. Whoever asked and does not wait so long learns nothing, asks again under the same id, and waits for the
    /// same.
    async fn commit_names(
        &self,
        id: &str,
        command: &Command,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let reply = self.commit_task(id, command).await;
        self.until_tables_have_what(&reply).await;
        reply
    }

    /// Waits until every proxy goes by a table with what was committed, or may not go by any. Also when it was refused: it
    /// may be a request that is repeated, whose first answer was lost before every proxy had it. But a coordinator that
    /// did not commit it has nothing to wait for.
    async fn until_tables_have_what<T>(&self, reply: &Result<T, Status>) {
        let is_refused = |status: &Status| status.metadata().get_bin(REJECTION_METADATA).is_some();
        if reply
            .as_ref()
            .err()
            .is_some_and(|status| !is_refused(status))
        {
            return;
        }
        let barriers = Barriers::new(self.ctx.cluster.clone(), self.ctx.sessions.clone());
        barriers.tables(Epoch(self.epoch())).await;
    }

    /// Makes sure that a read sees what was acknowledged; without a leader anywhere, a read that may be out of
    /// date is better than none. Where another coordinator leads, it is to be asked.
    async fn fresh(&self) -> Result<Freshness, Status> {
        match self.ctx.cluster.confirm_leadership().await {
            Ok(()) => Ok(Freshness::Current),
            Err(ReadError::NoQuorum { .. } | ReadError::NotLeader { leader: None }) => {
                Ok(Freshness::Stale)
            }
            Err(error) => Err(status::of_read(&error)),
        }
    }
}

fn answer<T>(message: T, freshness: Freshness) -> Response<T> {
    let mut response = Response::new(message);
    if freshness == Freshness::Stale {
        response
            .metadata_mut()
            .insert(status::STALE_METADATA, MetadataValue::from_static("1"));
    }
    response
}

/// Only who heard everything can say that there is no such task: clients ask for those they were just given.
fn unknown_task(uid: TaskUid, freshness: Freshness) -> Status {
    match freshness {
        Freshness::Current => Status::not_found(format!("Task `{uid}` not found.")),
        Freshness::Stale => Status::unavailable(format!(
            "task {uid} is not known here, and there is no leader to ask; try again later"
        )),
    }
}

/// The task without what Miroir keeps in its details for itself.
fn view(task: &Task) -> v1::Task {
    let mut view = v1::Task::from(task);
    view.details = list::visible(&task.details).to_string();
    view
}

#[tonic::async_trait]
impl Catalog for CatalogService {
    async fn create_index(
        &self,
        request: Request<v1::CreateIndexRequest>,
    ) -> Result<Response<v1::CreateIndexReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let outcome = self.commit(&id, &convert::create_index(request)?).await?;
        let Outcome::IndexCreated { incarnation, task } = outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        let task = task.map(|task| task.0);
        Ok(Response::new(v1::CreateIndexReply {
            incarnation: incarnation.0,
            task,
            epoch: self.epoch(),
        }))
    }

    async fn set_primary_key(
        &self,
        request: Request<v1::SetPrimaryKeyRequest>,
    ) -> Result<Response<v1::SetPrimaryKeyReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let outcome = self
            .commit(&id, &convert::set_primary_key(request)?)
            .await?;
        let task = if let Outcome::TaskRegistered(task) = outcome {
            Some(task.0)
        } else {
            None
        };
        if task.is_none() && outcome != Outcome::Done {
            return Err(status::of_unexpected(&outcome));
        }
        Ok(Response::new(v1::SetPrimaryKeyReply {
            task,
            epoch: self.epoch(),
        }))
    }

    async fn change_settings(
        &self,
        request: Request<v1::ChangeSettingsRequest>,
    ) -> Result<Response<v1::ChangeSettingsReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let outcome = self
            .commit(&id, &convert::change_settings(request)?)
            .await?;
        let Outcome::SettingsChanged { version, task } = outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        Ok(Response::new(v1::ChangeSettingsReply {
            version,
            task: task.0,
            epoch: self.epoch(),
        }))
    }

    async fn settings_enqueued(
        &self,
        request: Request<v1::SettingsEnqueuedRequest>,
    ) -> Result<Response<v1::SettingsEnqueuedReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let outcome = self
            .commit(&id, &convert::settings_enqueued(request)?)
            .await?;
        let Outcome::Done = outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        Ok(Response::new(v1::SettingsEnqueuedReply {
            epoch: self.epoch(),
        }))
    }

    async fn delete_index(
        &self,
        request: Request<v1::DeleteIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_task(&id, &convert::delete_index(request)?)
            .await
    }

    async fn swap_indexes(
        &self,
        request: Request<v1::SwapIndexesRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_names(&id, &convert::swap_indexes(request)?)
            .await
    }

    async fn rename_index(
        &self,
        request: Request<v1::RenameIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_names(&id, &convert::rename_index(request)?)
            .await
    }

    async fn register_writes(
        &self,
        request: Request<v1::RegisterWritesRequest>,
    ) -> Result<Response<v1::RegisterWritesReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let outcome = self
            .commit(&id, &convert::register_writes(request)?)
            .await?;
        let Outcome::WritesRegistered(results) = &outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        let results = results.iter().map(convert::write_result).collect();
        Ok(Response::new(v1::RegisterWritesReply {
            results,
            epoch: self.epoch(),
        }))
    }

    async fn register_task(
        &self,
        request: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_task(&id, &convert::register_task(request)?)
            .await
    }

    async fn cancel_tasks(
        &self,
        request: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_task(&id, &convert::cancel_tasks(request)?)
            .await
    }

    async fn delete_tasks(
        &self,
        request: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_task(&id, &convert::delete_tasks(request)?)
            .await
    }

    async fn broadcast(
        &self,
        request: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        self.commit_task(&id, &convert::broadcast(request)?).await
    }

    async fn check_key(
        &self,
        request: Request<v1::CheckKeyRequest>,
    ) -> Result<Response<v1::CheckKeyReply>, Status> {
        let write = convert::idempotency(request.into_inner())?;
        // What was registered elsewhere a moment ago must be seen: without a leader there is no answer.
        let confirmed = self.ctx.cluster.confirm_leadership().await;
        confirmed.map_err(|error| status::of_read(&error))?;
        let now_ms = self.ctx.clock.now_ms();
        let checked = self.ctx.read(|state| state.check_repeated(write, now_ms));
        checked.map_err(|rejection| status::of_rejection(&rejection))?;
        Ok(Response::new(v1::CheckKeyReply {}))
    }

    async fn pending_tasks(
        &self,
        request: Request<v1::PendingTasksRequest>,
    ) -> Result<Response<v1::PendingTasksReply>, Status> {
        let request = request.into_inner();
        let uid = convert::uid(&request.uid)?;
        // What is not known here may be pending all the same: without a leader there is no answer.
        let confirmed = self.ctx.cluster.confirm_leadership().await;
        confirmed.map_err(|error| status::of_read(&error))?;
        let up_to = TaskUid(request.up_to);
        let reply = self.ctx.read(|state| pending::pending(state, &uid, up_to));
        Ok(Response::new(reply))
    }

    async fn get_task(
        &self,
        request: Request<v1::GetTaskRequest>,
    ) -> Result<Response<v1::Task>, Status> {
        let uid = TaskUid(request.into_inner().uid);
        let freshness = self.fresh().await?;
        let found = self.ctx.read(|state| state.tasks.get(uid).map(view));
        let task = found.ok_or_else(|| unknown_task(uid, freshness))?;
        Ok(answer(task, freshness))
    }

    async fn get_dump(
        &self,
        request: Request<v1::GetDumpRequest>,
    ) -> Result<Response<v1::Dump>, Status> {
        let task = TaskUid(request.into_inner().task);
        let freshness = self.fresh().await?;
        let told = dump::told(&self.ctx, task).await;
        Ok(answer(told?, freshness))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksReply>, Status> {
        let request = request.into_inner();
        let freshness = self.fresh().await?;
        let page = self.ctx.read(|state| {
            let page = list::page(&state.tasks, &request)?;
            Ok(v1::ListTasksReply {
                results: page.tasks.into_iter().map(view).collect(),
                total: page.total,
                next: page.next.map(|uid| uid.0),
            })
        });
        let page = page.map_err(|error: ConvertError| status::of_convert(&error))?;
        Ok(answer(page, freshness))
    }

    async fn change_registry(
        &self,
        request: Request<v1::ChangeRegistryRequest>,
    ) -> Result<Response<v1::ChangeRegistryReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let change: Change = request
            .try_into()
            .map_err(|error| status::of_convert(&error))?;
        let renames = change.collection == Collection::Aliases;
        let committed = self.commit(&id, &Command::ChangeRegistry { change }).await;
        if renames {
            self.until_tables_have_what(&committed).await;
        }
        committed?;
        Ok(Response::new(v1::ChangeRegistryReply {
            epoch: self.epoch(),
        }))
    }
}
