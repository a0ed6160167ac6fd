//! Reading tasks, and what is asked of them.

use std::collections::BTreeMap;

use miroir_core::cluster::{Idempotency, NewTask, Task, TaskQuery};
use miroir_core::id::{Epoch, IndexUid, NodeId, TaskUid};
use miroir_proto::{ConvertError, v1};
use serde_json::Value;
use tonic::{Code, Response};
use uuid::Uuid;

use super::{Catalog, CatalogError, RegisteredTask, registered};

/// Which tasks to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// The tasks that match.
    pub query: TaskQuery,
    /// The largest uid to return; with `reverse` the smallest.
    pub from: Option<TaskUid>,
    /// The most tasks to return; 20 when absent.
    pub limit: Option<u32>,
    /// Oldest first.
    pub reverse: bool,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskList {
    /// The tasks, newest first unless asked otherwise.
    pub results: Vec<Task>,
    /// How many match in all.
    pub total: u32,
    /// Where the next page begins; `None` on the last.
    pub next: Option<TaskUid>,
}

/// What of an index nodes have still to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTasks {
    /// By node the first and the last of its own tasks.
    pub nodes: BTreeMap<NodeId, (u32, u32)>,
    /// Whether further node tasks may come.
    pub open: bool,
    /// The newest task there is, of whatever index.
    pub newest: Option<TaskUid>,
    /// Copies that lack what has ended are out of use from this epoch on.
    pub epoch: Epoch,
}

impl PendingTasks {
    /// Whether everything has been carried out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && !self.open
    }
}

impl Catalog {
    /// A task, or `None` if there is none of that uid, or no longer.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn get_task(&self, task: TaskUid) -> Result<Option<Task>, CatalogError> {
        let query = TaskQuery {
            uids: vec![task],
            ..TaskQuery::default()
        };
        let list = self
            .list_tasks(&TaskFilter {
                query,
                limit: Some(1),
                ..TaskFilter::default()
            })
            .await?;
        Ok(list.results.into_iter().next())
    }

    /// The manifest of a dump of the whole cluster, as JSON; `None` without such a dump, or before nodes were asked.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn dump_manifest(&self, task: TaskUid) -> Result<Option<Value>, CatalogError> {
        let message = v1::GetDumpRequest { task: task.0 };
        let answer = self.call(message, |mut client, request| async move {
            match client.get_dump(request).await {
                Err(status) if status.code() == Code::NotFound => {
                    Ok(Response::new(v1::Dump::default()))
                }
                answered => answered,
            }
        });
        let dump = answer.await?;
        if dump.manifest.is_empty() {
            return Ok(None);
        }
        let manifest = serde_json::from_str(&dump.manifest);
        manifest.map(Some).map_err(|error| CatalogError::Protocol {
            detail: error.to_string(),
        })
    }

    /// A page of tasks.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn list_tasks(&self, filter: &TaskFilter) -> Result<TaskList, CatalogError> {
        let message = v1::ListTasksRequest {
            from: filter.from.map(|uid| uid.0),
            limit: filter.limit,
            reverse: filter.reverse,
            ..(&filter.query).into()
        };
        let answer = self.call(message, |mut client, request| async move {
            client.list_tasks(request).await
        });
        let answer = answer.await?;
        let results = answer
            .results
            .into_iter()
            .map(Task::try_from)
            .collect::<Result<_, ConvertError>>();
        Ok(TaskList {
            results: results.map_err(|error| CatalogError::Protocol {
                detail: error.to_string(),
            })?,
            total: answer.total,
            next: answer.next.map(TaskUid),
        })
    }

    /// What of an index nodes have still to carry out, of its tasks up to `up_to`.
    ///
    /// # Errors
    /// [`CatalogError`]; also when coordinators answer but none leads.
    pub async fn pending_tasks(
        &self,
        index: &IndexUid,
        up_to: TaskUid,
    ) -> Result<PendingTasks, CatalogError> {
        let message = v1::PendingTasksRequest {
            uid: index.to_string(),
            up_to: up_to.0,
        };
        let answer = self.call(message, |mut client, request| async move {
            client.pending_tasks(request).await
        });
        let answer = answer.await?;
        let nodes = answer.nodes.into_iter();
        Ok(PendingTasks {
            nodes: nodes
                .map(|one| (NodeId(one.node), (one.first, one.last)))
                .collect(),
            open: answer.open,
            newest: answer.newest.map(TaskUid),
            epoch: Epoch(answer.epoch),
        })
    }

    /// Makes sure that no write is known under a client's key.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Repeated`](miroir_core::cluster::Rejection::Repeated) and
    /// [`KeyReused`](miroir_core::cluster::Rejection::KeyReused).
    pub async fn check_key(&self, write: Idempotency) -> Result<(), CatalogError> {
        let message = v1::CheckKeyRequest {
            idempotency: Some(write.into()),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.check_key(request).await
        });
        answer.await.map(drop)
    }

    /// Counts the tasks that match, and calls none off (docs/adr/0011). `original_filter` is the client's own words.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn cancel_tasks(
        &self,
        id: Uuid,
        query: &TaskQuery,
        original_filter: &str,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = selection(id, query, original_filter);
        let answer = self.call(message, |mut client, request| async move {
            client.cancel_tasks(request).await
        });
        Ok(registered(answer.await?))
    }

    /// Forgets the finished tasks that match. `original_filter` is the client's own words.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn delete_tasks(
        &self,
        id: Uuid,
        query: &TaskQuery,
        original_filter: &str,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = selection(id, query, original_filter);
        let answer = self.call(message, |mut client, request| async move {
            client.delete_tasks(request).await
        });
        Ok(registered(answer.await?))
    }

    /// Registers a task that every node, or every node of `index`, carries out by itself.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn broadcast(
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
            client.broadcast(request).await
        });
        Ok(registered(answer.await?))
    }
}

fn selection(id: Uuid, query: &TaskQuery, original_filter: &str) -> v1::SelectTasksRequest {
    v1::SelectTasksRequest {
        request_id: id.to_string(),
        query: Some(query.into()),
        original_filter: original_filter.to_owned(),
    }
}
