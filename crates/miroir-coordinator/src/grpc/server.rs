//! The two servers: one for clients, one for the other coordinators.

use std::net::SocketAddr;
use std::time::Duration;

use miroir_proto::v1::admin_server::AdminServer;
use miroir_proto::v1::catalog_server::CatalogServer;
use miroir_proto::v1::routing_server::RoutingServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::admin::AdminService;
use super::auth::CheckToken;
use super::catalog::CatalogService;
use super::health;
use super::routing::RoutingService;
use crate::actor::Context;
use crate::error::AppError;
use crate::machine::Handle;
use crate::raft::RaftServer;
use crate::session::Host;

/// Largest message in either direction, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// How often an idle connection is probed: a peer that lost its power says nothing.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Binds an address before anything is served there.
///
/// # Errors
/// [`AppError::Bind`] naming the address.
pub async fn bind(what: &'static str, addr: SocketAddr) -> Result<TcpListener, AppError> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| AppError::Bind {
        what,
        addr,
        detail: error.to_string(),
    })
}

fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .tcp_nodelay(true)
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Serves consensus until `stop`.
///
/// # Errors
/// [`AppError::Serve`] when the server ends otherwise.
pub async fn serve_raft(
    listener: TcpListener,
    service: RaftServer,
    check: CheckToken,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let service = InterceptedService::new(service, check);
    let served = builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming(listener), stop.cancelled());
    served.await.map_err(|error| AppError::Serve {
        what: "consensus",
        detail: error.to_string(),
    })
}

/// Serves administration, catalog, routing, health and reflection until `stop`, then until open calls end.
///
/// # Errors
/// [`AppError::Serve`] when the server ends otherwise.
pub async fn serve_api(
    listener: TcpListener,
    ctx: Context,
    host: Host<Handle>,
    check: CheckToken,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let failed = |detail: String| AppError::Serve {
        what: "API",
        detail,
    };
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let reports = health::report(reporter, ctx.cluster.clone(), stop.clone());
    let admin = AdminServer::new(AdminService::new(ctx.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let catalog = CatalogServer::new(CatalogService::new(ctx))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let routing = RoutingServer::new(RoutingService::new(host))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let reflection = |error: tonic_reflection::server::Error| failed(error.to_string());
    let served = builder()
        .add_service(InterceptedService::new(admin, check.clone()))
        .add_service(InterceptedService::new(catalog, check.clone()))
        .add_service(InterceptedService::new(routing, check))
        .add_service(health_service)
        .add_service(descriptions().build_v1().map_err(reflection)?)
        .add_service(descriptions().build_v1alpha().map_err(reflection)?)
        .serve_with_incoming_shutdown(incoming(listener), stop.cancelled());
    let (served, ()) = tokio::join!(served, reports);
    served.map_err(|error| failed(error.to_string()))
}

fn descriptions() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(miroir_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
