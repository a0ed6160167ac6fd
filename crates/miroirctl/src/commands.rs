//! The commands: each asks, and prints one document.

mod cluster;
mod index;
mod migration;
mod node;
mod status;
mod verify;
mod watch;

use miroir_proto::v1;

use crate::args::{
    ClusterCommand, Command, GroupCommand, IndexCommand, ListCommand, MigrationCommand, NodeCommand,
};
use crate::connect::Coordinators;
use crate::exit::Error;
use crate::output::Output;
use crate::view;

/// Runs one command.
pub async fn run(
    command: &Command,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    match command {
        Command::Status => status::status(coordinators, output).await,
        Command::Cluster(ClusterCommand::Init(args)) => {
            cluster::init(args, coordinators, output).await
        }
        Command::Node(NodeCommand::Add(args)) => node::add(args, coordinators, output).await,
        Command::Node(NodeCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await)
                .await?;
            output.print(&view::Nodes::from(reply))
        }
        Command::Group(GroupCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_groups(v1::ListGroupsRequest {}).await)
                .await?;
            output.print(&view::Groups::from(reply))
        }
        Command::Index(IndexCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_indexes(v1::ListIndexesRequest {}).await)
                .await?;
            output.print(&view::Indexes::from(reply))
        }
        Command::Index(IndexCommand::Show { uid }) => index::show(uid, coordinators, output).await,
        Command::Migration(MigrationCommand::List { operation, all }) => {
            migration::list(*operation, *all, coordinators, output).await
        }
        Command::Migration(MigrationCommand::Show { id }) => {
            migration::show(*id, coordinators, output).await
        }
        Command::Migration(MigrationCommand::Watch { operation }) => {
            watch::watch(*operation, coordinators, output).await
        }
        Command::Verify { uid, repair } => verify::verify(uid, *repair, coordinators, output).await,
        Command::Operation(ListCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_operations(v1::ListOperationsRequest {}).await)
                .await?;
            output.print(&view::Operations::from(reply))
        }
        Command::Coordinator(ListCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_coordinators(v1::ListCoordinatorsRequest {}).await)
                .await?;
            output.print(&view::Coordinators::from(reply))
        }
        Command::Proxy(ListCommand::List) => {
            let reply = coordinators
                .read(async |mut c| c.list_proxies(v1::ListProxiesRequest {}).await)
                .await?;
            output.print(&view::Proxies::from(reply))
        }
    }
}
