//! The standard health service: is this coordinator there, and can it do its work?
//!
//! The whole server and administration are serving from start to shutdown, also without a quorum, for that is
//! when an operator needs them. Catalog and routing are serving while a leader is known.

use miroir_proto::v1::admin_server::AdminServer;
use miroir_proto::v1::catalog_server::CatalogServer;
use miroir_proto::v1::routing_server::RoutingServer;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::admin::AdminService;
use super::catalog::CatalogService;
use super::routing::RoutingService;
use crate::machine::Handle;

const ALWAYS: [&str; 2] = ["", AdminServer::<AdminService>::NAME];
const WITH_LEADER: [&str; 2] = [
    CatalogServer::<CatalogService>::NAME,
    RoutingServer::<RoutingService<Handle>>::NAME,
];

/// Reports until `stop`, and then that nothing is served any more.
pub async fn report(reporter: HealthReporter, cluster: Handle, stop: CancellationToken) {
    let mut leadership = cluster.consensus().leadership();
    set(&reporter, &ALWAYS, true).await;
    loop {
        let led = leadership.borrow_and_update().leader.is_some();
        set(&reporter, &WITH_LEADER, led).await;
        tokio::select! {
            () = stop.cancelled() => break,
            changed = leadership.changed() => if changed.is_err() { break },
        }
    }
    set(&reporter, &ALWAYS, false).await;
    set(&reporter, &WITH_LEADER, false).await;
}

async fn set(reporter: &HealthReporter, services: &[&str], serving: bool) {
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}
