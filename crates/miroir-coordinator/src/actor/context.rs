//! What every leader-only actor is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use miroir_core::cluster::ClusterState;
use miroir_core::id::NodeId;
use miroir_core::migration::PaceBounds;
use miroir_meili::NodeClient;

use super::{ScrubBoard, SettingsBoard};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::machine::Handle;
use crate::migration::{MoveOptions, Mover, NodeLoad, Nodes, Paces, Underway};
use crate::nodes::{HealthBoard, NodeHealth, NodePool, Reachability};
use crate::session::Sessions;

/// What every leader-only actor is given. Cheap to clone.
///
/// Leadership itself is not in it: an actor gets a token with its start that is cancelled when
/// leadership ends.
#[derive(Debug, Clone)]
pub struct Context<C = Handle> {
    /// The replicated state.
    pub cluster: C,
    /// This coordinator's configuration.
    pub config: Arc<Config>,
    /// Clients of the nodes.
    pub nodes: NodePool,
    /// Which nodes answer.
    pub health: HealthBoard,
    /// The proxies' sessions.
    pub sessions: Sessions,
    /// Which indexes are being changed by migrations.
    pub underway: Underway,
    /// How fast migrations copy.
    pub paces: Paces,
    /// What the last comparisons of copies showed.
    pub scrub: ScrubBoard,
    /// Where nodes have other settings than they are to have.
    pub settings: SettingsBoard,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl<C: Cluster> Context<C> {
    /// Looks at the newest applied state. `look` must be short: applying waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R {
        self.cluster.read(look)
    }

    /// The nodes of the cluster, by id.
    #[must_use]
    pub fn fleet(&self) -> Fleet<C> {
        Fleet {
            cluster: self.cluster.clone(),
            pool: self.nodes.clone(),
            health: self.health.clone(),
            sessions: self.sessions.clone(),
        }
    }

    /// What migrations are carried out with.
    #[must_use]
    pub fn mover(&self) -> Mover<C, Fleet<C>> {
        let config = &self.config;
        let raft_lease = config.raft.election_min_ms + config.raft.election_span_ms;
        Mover {
            cluster: self.cluster.clone(),
            nodes: self.fleet(),
            sessions: self.sessions.clone(),
            underway: self.underway.clone(),
            paces: self.paces.clone(),
            options: MoveOptions {
                chunk_docs: usize::try_from(config.migration.copy_chunk_docs).unwrap_or(usize::MAX),
                fence_budget: Duration::from_millis(config.migration.fence_budget_ms),
                late_request: Duration::from_millis(config.late_request_ms),
                // A leader that was cut off stops by itself once its own lease is over.
                takeover: Duration::from_millis(raft_lease + config.late_request_ms),
                pace: config.migration.adaptive.then_some(PaceBounds {
                    docs_per_s_min: config.migration.adaptive_docs_per_s_min,
                    queue_max: config.migration.adaptive_queue_max,
                    latency_max_ms: config.migration.adaptive_latency_max_ms,
                    reads_max_ms: config.migration.adaptive_reads_max_ms,
                }),
            },
        }
    }
}

/// Clients of the cluster's nodes, by id.
#[derive(Debug, Clone)]
pub struct Fleet<C = Handle> {
    cluster: C,
    pool: NodePool,
    health: HealthBoard,
    sessions: Sessions,
}

impl<C: Cluster> Nodes for Fleet<C> {
    fn client(&self, node: NodeId) -> Option<NodeClient> {
        let node = self.cluster.read(|state| state.nodes.get(&node).cloned())?;
        self.pool.client(&node).ok()
    }

    fn is_down(&self, node: NodeId) -> bool {
        self.health.reachability(node) == Reachability::Down
    }

    fn load(&self, node: NodeId) -> NodeLoad {
        let health = self.health.snapshot();
        let seen = health.get(&node);
        NodeLoad {
            queue: seen.and_then(|seen| seen.queue),
            latency_ms: seen.and_then(|seen| seen.latency_ms),
            reads_ms: self.sessions.reads_ms(node),
        }
    }

    async fn down(&self, node: NodeId) {
        let mut health = self.health.watch();
        let down = |health: &Arc<BTreeMap<NodeId, NodeHealth>>| {
            let known = health.get(&node);
            known.is_some_and(|known| known.reachability == Reachability::Down)
        };
        if health.wait_for(down).await.is_err() {
            // Nobody looks any more: leadership has ended, and with it whoever waits here.
            std::future::pending::<()>().await;
        }
    }
}
