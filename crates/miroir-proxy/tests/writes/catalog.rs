//! The scripted coordinator's catalog: requests become commands to the real cluster state.

use miroir_core::cluster::{
    AppliedSettings, Command, IndexRename, IndexSwap, NewIndex, Outcome, Task,
};
use miroir_core::id::{Incarnation, IndexUid, NodeId, ProxyId, TaskUid};
use miroir_proto::v1;
use miroir_proto::v1::catalog_server::Catalog;
use tonic::{Request, Response, Status};

use super::coordinator::{Service, now_ms, refusal};

fn whose(index: Option<v1::IndexRef>) -> Result<(IndexUid, Incarnation), Status> {
    let index = index.ok_or_else(|| Status::invalid_argument("no index"))?;
    index
        .try_into()
        .map_err(|_| Status::invalid_argument("no uid"))
}

fn new_task(task: Option<v1::NewTask>) -> Result<miroir_core::cluster::NewTask, Status> {
    let task = task.ok_or_else(|| Status::invalid_argument("no task"))?;
    task.try_into()
        .map_err(|_| Status::invalid_argument("a bad task"))
}

fn wrong(outcome: &Outcome) -> Status {
    Status::internal(format!("{outcome:?}"))
}

fn task_reply((outcome, epoch): (Outcome, u64)) -> Result<Response<v1::TaskReply>, Status> {
    match outcome {
        Outcome::TaskRegistered(TaskUid(task)) => Ok(Response::new(v1::TaskReply { task, epoch })),
        other => Err(wrong(&other)),
    }
}

#[tonic::async_trait]
impl Catalog for Service {
    async fn create_index(
        &self,
        request: Request<v1::CreateIndexRequest>,
    ) -> Result<Response<v1::CreateIndexReply>, Status> {
        let request = request.into_inner();
        let command = Command::CreateIndex(NewIndex {
            uid: IndexUid::parse(&request.uid)
                .map_err(|e| Status::invalid_argument(e.to_string()))?,
            primary_key: request.primary_key,
            shards: None,
            replication_factor: None,
            writer: request.writer.map(ProxyId),
            task: request.task.map(|task| new_task(Some(task))).transpose()?,
        });
        match self.inner.command(&request.request_id, &command)? {
            (Outcome::IndexCreated { incarnation, task }, epoch) => {
                Ok(Response::new(v1::CreateIndexReply {
                    incarnation: incarnation.0,
                    task: task.map(|task| task.0),
                    epoch,
                }))
            }
            (other, _) => Err(wrong(&other)),
        }
    }

    async fn set_primary_key(
        &self,
        request: Request<v1::SetPrimaryKeyRequest>,
    ) -> Result<Response<v1::SetPrimaryKeyReply>, Status> {
        let request = request.into_inner();
        let (uid, incarnation) = whose(request.index)?;
        let task = request.task.map(|task| new_task(Some(task))).transpose()?;
        let command = Command::SetPrimaryKey {
            uid,
            incarnation,
            primary_key: request.primary_key,
            task,
        };
        let (outcome, epoch) = self.inner.command(&request.request_id, &command)?;
        let task = match outcome {
            Outcome::TaskRegistered(TaskUid(task)) => Some(task),
            _ => None,
        };
        Ok(Response::new(v1::SetPrimaryKeyReply { task, epoch }))
    }

    async fn change_settings(
        &self,
        request: Request<v1::ChangeSettingsRequest>,
    ) -> Result<Response<v1::ChangeSettingsReply>, Status> {
        let request = request.into_inner();
        let (uid, incarnation) = whose(request.index)?;
        let desired = serde_json::from_str(&request.desired).expect("JSON");
        let (proxy, task) = (ProxyId(request.proxy), new_task(request.task)?);
        let command = Command::ChangeSettings {
            uid,
            incarnation,
            proxy,
            desired,
            task,
        };
        match self.inner.command(&request.request_id, &command)? {
            (Outcome::SettingsChanged { version, task }, epoch) => {
                Ok(Response::new(v1::ChangeSettingsReply {
                    version,
                    task: task.0,
                    epoch,
                }))
            }
            (other, _) => Err(wrong(&other)),
        }
    }

    async fn settings_enqueued(
        &self,
        request: Request<v1::SettingsEnqueuedRequest>,
    ) -> Result<Response<v1::SettingsEnqueuedReply>, Status> {
        let request = request.into_inner();
        let (uid, incarnation) = whose(request.index)?;
        let one = |a: &v1::AppliedSettings| AppliedSettings {
            node: NodeId(a.node),
            version: a.version,
            node_task: a.node_task,
        };
        if let Some(refused) = request.refused {
            let command = Command::RefuseSettings {
                uid,
                incarnation,
                proxy: ProxyId(request.proxy),
                version: refused.version,
                error: serde_json::from_str(&refused.error).expect("an error object"),
            };
            let (_, epoch) = self.inner.command(&request.request_id, &command)?;
            return Ok(Response::new(v1::SettingsEnqueuedReply { epoch }));
        }
        let command = Command::SettingsEnqueued {
            uid,
            incarnation,
            proxy: ProxyId(request.proxy),
            applied: request.applied.iter().map(one).collect(),
            task: request.task.map(TaskUid),
        };
        let (_, epoch) = self.inner.command(&request.request_id, &command)?;
        Ok(Response::new(v1::SettingsEnqueuedReply { epoch }))
    }

    async fn delete_index(
        &self,
        request: Request<v1::DeleteIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let (uid, incarnation) = whose(request.index)?;
        let (proxy, task) = (ProxyId(request.proxy), new_task(request.task)?);
        let deleted = self.inner.command(
            &request.request_id,
            &Command::DeleteIndex {
                uid,
                incarnation,
                proxy,
                called: request.called.and_then(|uid| IndexUid::parse(&uid).ok()),
                task,
            },
        )?;
        // The answer stalls, not the command.
        let mut stalls = self.inner.stalls.subscribe();
        stalls
            .wait_for(|stalls| !stalls)
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        task_reply(deleted)
    }

    async fn swap_indexes(
        &self,
        request: Request<v1::SwapIndexesRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let uid = |uid: &str| IndexUid::parse(uid).map_err(|e| Status::internal(e.to_string()));
        let swap = |swap: v1::IndexSwap| {
            Ok(IndexSwap {
                indexes: (uid(&swap.first)?, uid(&swap.second)?),
                rename: swap.rename,
            })
        };
        let swaps = request.swaps.into_iter().map(swap);
        let swaps = swaps.collect::<Result<_, Status>>()?;
        let command = Command::SwapIndexes {
            swaps,
            idempotency: None,
        };
        task_reply(self.inner.command(&request.request_id, &command)?)
    }

    async fn rename_index(
        &self,
        request: Request<v1::RenameIndexRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let uid = |uid: &str| IndexUid::parse(uid).map_err(|e| Status::internal(e.to_string()));
        let command = Command::RenameIndex(IndexRename {
            uid: uid(&request.uid)?,
            to: uid(&request.to)?,
            primary_key: request.primary_key,
            idempotency: None,
        });
        task_reply(self.inner.command(&request.request_id, &command)?)
    }

    async fn register_writes(
        &self,
        request: Request<v1::RegisterWritesRequest>,
    ) -> Result<Response<v1::RegisterWritesReply>, Status> {
        let mut stalls = self.inner.stalls.subscribe();
        stalls
            .wait_for(|stalls| !stalls)
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        let request = request.into_inner();
        if request.writes.len()
            > self
                .inner
                .writes_max
                .load(std::sync::atomic::Ordering::SeqCst)
        {
            return Err(Status::invalid_argument("the command is too long"));
        }
        let writes = request.writes.into_iter().map(TryInto::try_into);
        let writes = writes.collect::<Result<_, miroir_proto::ConvertError>>();
        let writes = writes.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let command = Command::RegisterWrites {
            proxy: ProxyId(request.proxy),
            writes,
        };
        let (outcome, epoch) = self.inner.command(&request.request_id, &command)?;
        let Outcome::WritesRegistered(results) = outcome else {
            return Err(wrong(&outcome));
        };
        let result = |result| v1::WriteResult {
            result: Some(match result {
                Ok(TaskUid(task)) => v1::write_result::Result::Task(task),
                Err(rejection) => v1::write_result::Result::Rejection(
                    serde_json::to_string(&rejection).expect("JSON"),
                ),
            }),
        };
        let results = results.into_iter().map(result).collect();
        Ok(Response::new(v1::RegisterWritesReply { results, epoch }))
    }

    async fn register_task(
        &self,
        request: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        let request = request.into_inner();
        let uid = request.uid.map(|uid| IndexUid::parse(&uid).expect("a uid"));
        let command = Command::RegisterTask {
            uid,
            task: new_task(request.task)?,
        };
        task_reply(self.inner.command(&request.request_id, &command)?)
    }

    async fn cancel_tasks(
        &self,
        _: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn delete_tasks(
        &self,
        _: Request<v1::SelectTasksRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn broadcast(
        &self,
        _: Request<v1::RegisterTaskRequest>,
    ) -> Result<Response<v1::TaskReply>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn check_key(
        &self,
        request: Request<v1::CheckKeyRequest>,
    ) -> Result<Response<v1::CheckKeyReply>, Status> {
        self.inner.check_leads()?;
        let write = request.into_inner().idempotency.expect("a key");
        let world = self.inner.world.lock().expect("no panic while locked");
        let checked = world
            .cluster
            .check_repeated(write.try_into().expect("digests"), now_ms());
        checked.map_err(|rejection| refusal(&rejection))?;
        Ok(Response::new(v1::CheckKeyReply {}))
    }

    async fn pending_tasks(
        &self,
        _: Request<v1::PendingTasksRequest>,
    ) -> Result<Response<v1::PendingTasksReply>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn get_task(&self, _: Request<v1::GetTaskRequest>) -> Result<Response<v1::Task>, Status> {
        Err(Status::unimplemented("not used"))
    }

    async fn get_dump(&self, _: Request<v1::GetDumpRequest>) -> Result<Response<v1::Dump>, Status> {
        Err(Status::not_found("no such dump"))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksReply>, Status> {
        self.inner.check_leads()?;
        let uids = request.into_inner().uids;
        let world = self.inner.world.lock().expect("no panic while locked");
        let wanted = |task: &&Task| uids.is_empty() || uids.contains(&task.uid.0);
        let results: Vec<v1::Task> = world
            .cluster
            .tasks
            .iter()
            .filter(wanted)
            .map(Into::into)
            .collect();
        let total = u32::try_from(results.len()).expect("few");
        Ok(Response::new(v1::ListTasksReply {
            results,
            total,
            next: None,
        }))
    }

    async fn change_registry(
        &self,
        request: Request<v1::ChangeRegistryRequest>,
    ) -> Result<Response<v1::ChangeRegistryReply>, Status> {
        let request = request.into_inner();
        let id = request.request_id.clone();
        let change = request.try_into().expect("a change");
        let (_, epoch) = self
            .inner
            .command(&id, &Command::ChangeRegistry { change })?;
        Ok(Response::new(v1::ChangeRegistryReply { epoch }))
    }
}
