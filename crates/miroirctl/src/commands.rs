//! The commands: each asks, and prints one document.

pub(crate) mod change;
mod cluster;
mod control;
mod dump;
mod index;
mod migration;
mod node;
mod status;
mod topology;
mod verify;
mod watch;

use miroir_proto::v1;

use crate::args::{
    ClusterCommand, Command, DumpCommand, GroupCommand, IndexCommand, ListCommand,
    MigrationCommand, NodeCommand, OperationCommand, PolicyCommand, ShardCommand,
};
use crate::connect::Coordinators;
use crate::drill;
use crate::dump as dumps;
use crate::exit::Error;
use crate::output::Output;
use crate::view;

/// Runs one command.
pub async fn run(
    command: &Command,
    coordinators: &Coordinators,
    output: &mut Output,
) -> Result<(), Error> {
    let (c, o) = (coordinators, output);
    match command {
        Command::Status => status::status(c, o).await,
        Command::Cluster(ClusterCommand::Init(args)) => cluster::init(args, c, o).await,
        Command::Node(command) => node(command, c, o).await,
        Command::Group(command) => group(command, c, o).await,
        Command::Index(command) => index(command, c, o).await,
        Command::Shard(command) => shard(command, c, o).await,
        Command::Rebalance(args) => topology::rebalance(args, c, o).await,
        Command::Hold(args) => topology::hold(args, c, o).await,
        Command::Release(sending) => topology::release(sending, c, o).await,
        Command::Policy(PolicyCommand::Set(args)) => topology::set_policy(args, c, o).await,
        Command::Policy(PolicyCommand::Show) => {
            let ask = c.read(async |mut c| c.get_topology(v1::GetTopologyRequest {}).await);
            o.print(&view::PolicyShown::from(ask.await?))
        }
        Command::Verify { uid, repair } => verify::verify(uid, *repair, c, o).await,
        Command::Drill(command) => Box::pin(drill::run(command, c, o)).await,
        Command::Dump(DumpCommand::Create(args)) => dump::create(args, c, o).await,
        Command::Dump(DumpCommand::Manifest(args)) => dump::manifest(args, c, o).await,
        Command::Dump(DumpCommand::Import(args)) => Box::pin(dumps::import(args, o)).await,
        Command::Migration(command) => migration(command, c, o).await,
        Command::Operation(command) => operation(command, c, o).await,
        Command::Coordinator(ListCommand::List) => {
            let request = v1::ListCoordinatorsRequest {};
            let ask = c.read(async |mut c| c.list_coordinators(request).await);
            o.print(&view::Coordinators::from(ask.await?))
        }
        Command::Proxy(ListCommand::List) => {
            let ask = c.read(async |mut c| c.list_proxies(v1::ListProxiesRequest {}).await);
            o.print(&view::Proxies::from(ask.await?))
        }
    }
}

async fn node(command: &NodeCommand, c: &Coordinators, o: &mut Output) -> Result<(), Error> {
    match command {
        NodeCommand::Add(args) => node::add(args, c, o).await,
        NodeCommand::Drain(args) => topology::drain(args, c, o).await,
        NodeCommand::Undrain(args) => topology::undrain(args, c, o).await,
        NodeCommand::Remove(args) => topology::remove_node(args, c, o).await,
        NodeCommand::List => {
            let ask = c.read(async |mut c| c.list_nodes(v1::ListNodesRequest {}).await);
            o.print(&view::Nodes::from(ask.await?))
        }
        NodeCommand::Show { id } => {
            let request = v1::GetNodeRequest { id: *id };
            let ask = c.read(async |mut c| c.get_node(request).await);
            o.print(&view::NodeShown::from(ask.await?))
        }
    }
}

async fn group(command: &GroupCommand, c: &Coordinators, o: &mut Output) -> Result<(), Error> {
    match command {
        GroupCommand::Add(args) => topology::add_group(args, c, o).await,
        GroupCommand::Remove(args) => topology::remove_group(args, c, o).await,
        GroupCommand::List => {
            let ask = c.read(async |mut c| c.list_groups(v1::ListGroupsRequest {}).await);
            o.print(&view::Groups::from(ask.await?))
        }
    }
}

async fn index(command: &IndexCommand, c: &Coordinators, o: &mut Output) -> Result<(), Error> {
    match command {
        IndexCommand::List => {
            let ask = c.read(async |mut c| c.list_indexes(v1::ListIndexesRequest {}).await);
            o.print(&view::Indexes::from(ask.await?))
        }
        IndexCommand::Show { uid } => index::show(uid, c, o).await,
        IndexCommand::SetReplicationFactor(args) => topology::set_factor(args, c, o).await,
    }
}

async fn shard(command: &ShardCommand, c: &Coordinators, o: &mut Output) -> Result<(), Error> {
    match command {
        ShardCommand::List { index } => {
            let request = v1::ListShardsRequest {
                index: index.clone(),
            };
            let ask = c.read(async |mut c| c.list_shards(request.clone()).await);
            o.print(&view::Shards::from(ask.await?))
        }
        ShardCommand::Explain { index, shard } => {
            let request = v1::ExplainShardRequest {
                index: index.clone(),
                shard: *shard,
            };
            let ask = c.read(async |mut c| c.explain_shard(request.clone()).await);
            o.print(&view::Explained::from(ask.await?))
        }
        ShardCommand::Move(args) => topology::move_shard(args, c, o).await,
        ShardCommand::Pin(args) => topology::pin(args, true, c, o).await,
        ShardCommand::Unpin(args) => topology::pin(args, false, c, o).await,
    }
}

async fn migration(
    command: &MigrationCommand,
    c: &Coordinators,
    o: &mut Output,
) -> Result<(), Error> {
    match command {
        MigrationCommand::List { operation, all } => migration::list(*operation, *all, c, o).await,
        MigrationCommand::Show { id } => migration::show(*id, c, o).await,
        MigrationCommand::Watch { operation } => watch::watch(*operation, c, o).await,
        MigrationCommand::Control(command) => control::migration(command, c, o).await,
    }
}

async fn operation(
    command: &OperationCommand,
    c: &Coordinators,
    o: &mut Output,
) -> Result<(), Error> {
    match command {
        OperationCommand::List => {
            let ask = c.read(async |mut c| c.list_operations(v1::ListOperationsRequest {}).await);
            o.print(&view::Operations::from(ask.await?))
        }
        OperationCommand::Show { id } => {
            let request = v1::GetOperationRequest { id: *id };
            let ask = c.read(async |mut c| c.get_operation(request).await);
            o.print(&view::OperationShown::from(ask.await?))
        }
        OperationCommand::Control(command) => control::operation(command, c, o).await,
    }
}
