//! The administration service.

mod add_node;
mod init;
mod verify;
mod views;
mod watch;

use std::pin::Pin;

use futures::Stream;
use miroir_core::id::{IndexUid, MigrationId, OperationId};
use miroir_proto::v1;
use miroir_proto::v1::admin_server::Admin;
use tonic::{Request, Response, Status};

use super::status;
use crate::actor::Context;
use crate::raft::ReadError;

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

    /// Refuses unless this coordinator leads, naming the one that does.
    fn leading(&self) -> Result<(), Status> {
        let leadership = self.ctx.cluster.consensus().leadership().borrow().clone();
        if leadership.is_leader() {
            return Ok(());
        }
        Err(status::of_read(&ReadError::NotLeader {
            leader: leadership.leader,
        }))
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

    async fn add_node(
        &self,
        request: Request<v1::AddNodeRequest>,
    ) -> Result<Response<v1::AddNodeReply>, Status> {
        self.leading()?;
        add_node::add_node(&self.ctx, request.into_inner())
            .await
            .map(Response::new)
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
        let indexes = self
            .ctx
            .read(|state| state.indexes.values().map(views::index_summary).collect());
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

    async fn list_operations(
        &self,
        _: Request<v1::ListOperationsRequest>,
    ) -> Result<Response<v1::ListOperationsReply>, Status> {
        Ok(Response::new(self.ctx.read(views::operations)))
    }

    async fn list_migrations(
        &self,
        request: Request<v1::ListMigrationsRequest>,
    ) -> Result<Response<v1::ListMigrationsReply>, Status> {
        let request = request.into_inner();
        let operation = request.operation.map(OperationId);
        self.known_operation(operation)?;
        let at_ms = self.ctx.clock.now_ms();
        let reply = self
            .ctx
            .read(|state| views::migrations(state, operation, request.unfinished_only, at_ms));
        Ok(Response::new(reply))
    }

    async fn get_migration(
        &self,
        request: Request<v1::GetMigrationRequest>,
    ) -> Result<Response<v1::Migration>, Status> {
        let id = MigrationId(request.into_inner().id);
        let found = self
            .ctx
            .read(|state| state.migrations.get(&id).map(views::migration));
        found
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("there is no migration {id}")))
    }

    type WatchMigrationsStream = Reports;

    async fn watch_migrations(
        &self,
        request: Request<v1::WatchMigrationsRequest>,
    ) -> Result<Response<Reports>, Status> {
        let operation = request.into_inner().operation.map(OperationId);
        self.known_operation(operation)?;
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
        self.leading()?;
        verify::verify_index(&self.ctx, request.into_inner()).map(Response::new)
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

impl AdminService {
    fn known_operation(&self, operation: Option<OperationId>) -> Result<(), Status> {
        let Some(id) = operation else { return Ok(()) };
        if self.ctx.read(|state| state.operations.contains_key(&id)) {
            return Ok(());
        }
        Err(Status::not_found(format!("there is no operation {id}")))
    }
}
