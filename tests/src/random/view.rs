//! What the cluster is like at a moment: what a random change can be about.

use miroir_dev::admin::Admin;
use miroir_proto::v1;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::INDEX;

/// The cluster at a moment, as its leader saw it.
#[derive(Debug)]
pub struct View {
    /// Nodes, groups, policy, hold.
    pub topology: v1::Topology,
    /// Where the copies of the index are that everybody writes to.
    pub shards: Vec<v1::ShardRoute>,
    /// How many copies of a shard of it there should be in a group.
    pub replication_factor: u32,
    /// Operations that are not over.
    pub operations: Vec<v1::Operation>,
    /// Migrations that are not over.
    pub migrations: Vec<v1::Migration>,
}

impl View {
    /// Asks the leader.
    pub async fn take(admin: &Admin) -> anyhow::Result<Self> {
        let index = admin.index(INDEX).await?;
        let mut operations = admin.operations().await?;
        operations.retain(is_under_way);
        Ok(Self {
            topology: admin.topology().await?,
            shards: index.shards,
            replication_factor: index.summary.map_or(1, |s| s.replication_factor),
            operations,
            migrations: admin.unfinished_migrations().await?,
        })
    }

    /// Whether a node at one of these URLs counts as up.
    pub fn answers(&self, urls: &[String]) -> bool {
        let mut nodes = self.topology.nodes.iter();
        nodes.any(|node| urls.contains(&node.url) && node.health == "up")
    }

    /// Nodes of a group.
    pub fn members(&self, group: u32) -> Vec<&v1::Node> {
        let nodes = self.topology.nodes.iter();
        nodes.filter(|node| node.group == group).collect()
    }

    /// Some node.
    pub fn some_node(&self, rng: &mut StdRng) -> Option<&v1::Node> {
        self.topology.nodes.choose(rng)
    }

    /// Some replica group.
    pub fn some_group(&self, rng: &mut StdRng) -> Option<&v1::Group> {
        self.topology.groups.choose(rng)
    }
}

/// Whether an operation is not over.
pub fn is_under_way(operation: &v1::Operation) -> bool {
    operation.state != "done" && operation.state != "cancelled"
}
