//! The administration service.

mod admit;
mod change;
mod command;
mod dry_run;
mod init;
pub(crate) mod places;
mod progress;
mod step_down;
mod verify;
pub(crate) mod views;
mod watch;
pub(crate) mod work;

use std::pin::Pin;

use futures::Stream;
use miroir_core::cluster::{ClusterState, Command, NewTask, Outcome, Rejection, TaskKind};
use miroir_core::id::{IndexUid, MigrationId, NodeId, OperationId, TaskUid};
use miroir_proto::v1;
use miroir_proto::v1::admin_server::Admin;
use serde_json::json;
use tonic::{Request, Response, Status};

pub(crate) use change::change;

use super::commit::commit;
use super::{dump, status};
use crate::actor::Context;

/// The service.
#[derive(Debug, Clone)]
pub struct AdminService {
    ctx: Context,
}

type Reports = Pin<Box<dyn Stream<Item = Result<v1::ListMigrationsReply, Status>> + Send>>;

impl AdminService {
    /// A service on this coordinator.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        Self { ctx }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn init_cluster(
        &self,
        request: Request<v1::InitClusterRequest>,
    ) -> Result<Response<v1::InitClusterReply>, Status> {
        init::init_cluster(&self.ctx, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        Ok(Response::new(views::status(&self.ctx)))
    }

    async fn change(
        &self,
        request: Request<v1::ChangeRequest>,
    ) -> Result<Response<v1::ChangeReply>, Status> {
        Box::pin(change(&self.ctx, request.into_inner()))
            .await
            .map(Response::new)
    }

    async fn get_topology(
        &self,
        _: Request<v1::GetTopologyRequest>,
    ) -> Result<Response<v1::Topology>, Status> {
        Ok(Response::new(places::topology(&self.ctx)))
    }

    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::NodeDetail>, Status> {
        let id = NodeId(request.into_inner().id);
        places::node(&self.ctx, id).map(Response::new)
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesReply>, Status> {
        Ok(Response::new(views::nodes(&self.ctx)))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsReply>, Status> {
        Ok(Response::new(self.ctx.read(views::groups)))
    }

    async fn list_indexes(
        &self,
        _: Request<v1::ListIndexesRequest>,
    ) -> Result<Response<v1::ListIndexesReply>, Status> {
        let all = |state: &ClusterState| state.indexes.values().map(views::index_summary).collect();
        let mut indexes: Vec<v1::IndexSummary> = self.ctx.read(all);
        indexes.sort_by(|one, other| one.uid.cmp(&other.uid));
        Ok(Response::new(v1::ListIndexesReply { indexes }))
    }

    async fn get_index(
        &self,
        request: Request<v1::GetIndexRequest>,
    ) -> Result<Response<v1::IndexDetail>, Status> {
        let uid = request.into_inner().uid;
        let uid =
            IndexUid::parse(&uid).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let detail = self.ctx.read(|state| views::index_detail(state, &uid));
        detail
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("Index `{uid}` not found.")))
    }

    async fn list_shards(
        &self,
        request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<v1::ListShardsReply>, Status> {
        let uid = request.into_inner().index;
        let uid = uid.as_deref().map(command::uid).transpose()?;
        self.ctx
            .read(|state| places::shards(state, uid.as_ref()))
            .map(Response::new)
    }

    async fn explain_shard(
        &self,
        request: Request<v1::ExplainShardRequest>,
    ) -> Result<Response<v1::ExplainShardReply>, Status> {
        let v1::ExplainShardRequest { index, shard } = request.into_inner();
        explain(&self.ctx, &index, shard).map(Response::new)
    }

    async fn get_operation(
        &self,
        request: Request<v1::GetOperationRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        let id = OperationId(request.into_inner().id);
        operation(&self.ctx, id).map(Response::new)
    }

    async fn list_operations(
        &self,
        _: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsReply>, Status> {
        let now = self.ctx.clock.now_ms();
        let reply = self.ctx.read(|state| work::operations(state, now));
        Ok(Response::new(reply))
    }

    async fn list_migrations(
        &self,
        request: Request<v1::ListMigrationsRequest>,
    ) -> Result<Response<v1::ListMigrationsReply>, Status> {
        let request = request.into_inner();
        let operation = request.operation.map(OperationId);
        known_operation(&self.ctx, operation)?;
        let reply = migrations(&self.ctx, operation, request.unfinished_only);
        Ok(Response::new(reply))
    }

    async fn get_migration(
        &self,
        request: Request<v1::GetMigrationRequest>,
    ) -> Result<Response<v1::Migration>, Status> {
        let id = MigrationId(request.into_inner().id);
        migration(&self.ctx, id).map(Response::new)
    }

    type WatchMigrationsStream = Reports;

    async fn watch_migrations(
        &self,
        request: Request<v1::WatchMigrationsRequest>,
    ) -> Result<Response<Reports>, Status> {
        let operation = request.into_inner().operation.map(OperationId);
        known_operation(&self.ctx, operation)?;
        Ok(Response::new(Box::pin(watch::watch(
            self.ctx.clone(),
            operation,
        ))))
    }

    type VerifyIndexStream = verify::Verdicts;

    async fn verify_index(
        &self,
        request: Request<v1::VerifyIndexRequest>,
    ) -> Result<Response<verify::Verdicts>, Status> {
        change::leading(&self.ctx)?;
        verify::verify_index(&self.ctx, request.into_inner()).map(Response::new)
    }

    async fn create_dump(
        &self,
        request: Request<v1::CreateDumpRequest>,
    ) -> Result<Response<v1::CreateDumpReply>, Status> {
        let id = request.into_inner().request_id;
        let task = NewTask {
            kind: TaskKind::DumpCreation,
            details: json!({ "dumpUid": null }),
            custom_metadata: None,
            failure: None,
            idempotency: None,
        };
        let command = Command::Broadcast { uid: None, task };
        let outcome = commit(&self.ctx.cluster, &id, &command).await?;
        let Outcome::TaskRegistered(task) = outcome else {
            return Err(status::of_unexpected(&outcome));
        };
        Ok(Response::new(v1::CreateDumpReply { task: task.0 }))
    }

    async fn get_dump(
        &self,
        request: Request<v1::GetDumpRequest>,
    ) -> Result<Response<v1::Dump>, Status> {
        let task = TaskUid(request.into_inner().task);
        dump::told(&self.ctx, task).await.map(Response::new)
    }

    async fn step_down(
        &self,
        request: Request<v1::StepDownRequest>,
    ) -> Result<Response<v1::StepDownReply>, Status> {
        step_down::step_down(&self.ctx, &request.into_inner()).map(Response::new)
    }

    async fn list_coordinators(
        &self,
        _: Request<v1::ListCoordinatorsRequest>,
    ) -> Result<Response<v1::ListCoordinatorsReply>, Status> {
        Ok(Response::new(views::coordinators(&self.ctx)))
    }

    async fn list_proxies(
        &self,
        _: Request<v1::ListProxiesRequest>,
    ) -> Result<Response<v1::ListProxiesReply>, Status> {
        Ok(Response::new(views::proxies(&self.ctx)))
    }
}

fn known_operation(ctx: &Context, operation: Option<OperationId>) -> Result<(), Status> {
    let unknown = |state: &ClusterState| {
        operation.filter(|operation| !state.operations.contains_key(operation))
    };
    match ctx.read(unknown) {
        None => Ok(()),
        Some(id) => Err(status::of_rejection(&Rejection::UnknownOperation(id))),
    }
}

/// One operation.
pub(crate) fn operation(ctx: &Context, id: OperationId) -> Result<v1::Operation, Status> {
    let now = ctx.clock.now_ms();
    ctx.read(|state| {
        let found = state.operations.get(&id);
        found.map(|found| work::operation(state, found, now))
    })
    .ok_or_else(|| status::of_rejection(&Rejection::UnknownOperation(id)))
}

/// The migrations of an operation, or of all.
pub(crate) fn migrations(
    ctx: &Context,
    operation: Option<OperationId>,
    unfinished_only: bool,
) -> v1::ListMigrationsReply {
    let now = ctx.clock.now_ms();
    let mut reply = ctx.read(|state| work::migrations(state, operation, unfinished_only, now));
    work::add_paces(&mut reply.migrations, &ctx.paces);
    reply
}

/// One migration.
pub(crate) fn migration(ctx: &Context, id: MigrationId) -> Result<v1::Migration, Status> {
    let now = ctx.clock.now_ms();
    let found = ctx.read(|state| {
        let found = state.migrations.get(&id);
        found.map(|found| work::migration_in_full(state, found, now))
    });
    let mut found = found.ok_or_else(|| status::of_rejection(&Rejection::UnknownMigration(id)))?;
    work::add_paces(std::slice::from_mut(&mut found), &ctx.paces);
    Ok(found)
}

/// Why a shard is where it is.
pub(crate) fn explain(
    ctx: &Context,
    index: &str,
    shard: u32,
) -> Result<v1::ExplainShardReply, Status> {
    let shard = command::shard(ctx, index, shard)?;
    let uid = command::uid(index)?;
    ctx.read(|state| places::explain(state, &uid, shard))
}
