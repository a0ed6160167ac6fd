//! The cluster as a whole, its coordinators, proxies and operations.

use miroir_proto::v1;
use serde::Serialize;

use super::some_text;
use crate::connect::{Answer, Survey};
use crate::output::View;
use crate::{format, table};

/// Whether the cluster works. The counts are those of the coordinator that answered.
#[derive(Debug, Serialize)]
pub struct Status {
    initialised: bool,
    cluster_id: Option<String>,
    leader: Option<u64>,
    leader_api_url: Option<String>,
    answered_by: Option<u64>,
    term: Option<u64>,
    epoch: Option<u64>,
    applied: Option<u64>,
    coordinators: Option<u32>,
    proxies: Option<u32>,
    nodes: Option<u32>,
    /// Only the leader looks at nodes.
    nodes_reachable: Option<u32>,
    groups: Option<u32>,
    indexes: Option<u32>,
    replicas_stale: Option<u32>,
    migrations_unfinished: Option<u32>,
    operations_unfinished: Option<u32>,
    tasks_unfinished: Option<u32>,
    /// Only the leader compares settings.
    settings_drift: Vec<SettingsDrift>,
    endpoints: Vec<EndpointStatus>,
}

/// Settings of a node that are not the desired ones.
#[derive(Debug, Serialize)]
pub struct SettingsDrift {
    index: String,
    node: u64,
    settings: Vec<String>,
    since_ms: u64,
    /// How often they were sent again.
    repairs: u32,
}

/// What one endpoint says of itself.
#[derive(Debug, Serialize)]
pub struct EndpointStatus {
    endpoint: String,
    coordinator: Option<u64>,
    /// Whom it takes for the leader.
    leader: Option<u64>,
    term: Option<u64>,
    applied: Option<u64>,
    error: Option<String>,
}

impl Status {
    /// What is known after everybody was asked.
    #[must_use]
    pub fn new(survey: &Survey) -> Self {
        let best = survey.by_preference().into_iter().next();
        let reply = best.map(|answer| &answer.status);
        let count = |field: fn(&v1::StatusReply) -> u32| reply.map(field);
        let leader = reply.map(|reply| reply.leader).filter(|id| *id != 0);
        Self {
            initialised: survey.cluster_id().is_some(),
            cluster_id: survey.cluster_id().map(ToOwned::to_owned),
            leader,
            leader_api_url: reply.and_then(|reply| some_text(reply.leader_api_url.clone())),
            answered_by: reply.map(|reply| reply.coordinator),
            term: reply.map(|reply| reply.term),
            epoch: reply.map(|reply| reply.epoch),
            applied: reply.map(|reply| reply.applied),
            coordinators: count(|reply| reply.coordinators),
            proxies: count(|reply| reply.proxies),
            nodes: count(|reply| reply.nodes),
            nodes_reachable: best
                .filter(|best| best.leads())
                .map(|best| best.status.nodes_reachable),
            groups: count(|reply| reply.groups),
            indexes: count(|reply| reply.indexes),
            replicas_stale: count(|reply| reply.replicas_stale),
            migrations_unfinished: count(|reply| reply.migrations_unfinished),
            operations_unfinished: count(|reply| reply.operations_unfinished),
            tasks_unfinished: count(|reply| reply.tasks_unfinished),
            settings_drift: reply.map(drift).unwrap_or_default(),
            endpoints: endpoints(survey),
        }
    }

    /// Whether the cluster is initialised.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.initialised
    }

    /// Whether a leader is known.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        self.leader.is_some()
    }
}

fn drift(reply: &v1::StatusReply) -> Vec<SettingsDrift> {
    let view = |one: &v1::SettingsDrift| SettingsDrift {
        index: one.index.clone(),
        node: one.node,
        settings: one.settings.clone(),
        since_ms: one.since_ms,
        repairs: one.repairs,
    };
    reply.settings_drift.iter().map(view).collect()
}

fn endpoints(survey: &Survey) -> Vec<EndpointStatus> {
    let answered = survey.answers().iter().map(
        |Answer {
             endpoint, status, ..
         }| EndpointStatus {
            endpoint: endpoint.clone(),
            coordinator: Some(status.coordinator),
            leader: Some(status.leader).filter(|id| *id != 0),
            term: Some(status.term),
            applied: Some(status.applied),
            error: None,
        },
    );
    let silent = survey
        .failures
        .iter()
        .map(|(endpoint, what)| EndpointStatus {
            endpoint: endpoint.to_owned(),
            coordinator: None,
            leader: None,
            term: None,
            applied: None,
            error: Some(what.to_owned()),
        });
    let mut all: Vec<_> = answered.chain(silent).collect();
    all.sort_by(|a, b| {
        (a.coordinator.is_none(), a.coordinator, &a.endpoint).cmp(&(
            b.coordinator.is_none(),
            b.coordinator,
            &b.endpoint,
        ))
    });
    all
}

impl View for Status {
    fn table(&self) -> String {
        let cluster = match &self.cluster_id {
            Some(id) => id.clone(),
            None if self.answered_by.is_none() => "unknown".to_owned(),
            None => "not initialised".to_owned(),
        };
        let beyond = if self.leader == self.answered_by {
            ""
        } else {
            ", not within reach"
        };
        let leader = match (self.leader, &self.leader_api_url) {
            (Some(id), Some(url)) => {
                format!(
                    "coordinator {id} at {url}, term {}{beyond}",
                    table::opt(self.term)
                )
            }
            (Some(id), None) => format!("coordinator {id}{beyond}"),
            (None, _) => "none".to_owned(),
        };
        let nodes = match (self.nodes, self.nodes_reachable) {
            (Some(nodes), Some(up)) => format!("{nodes}, {up} reachable"),
            (nodes, _) => table::opt(nodes),
        };
        let pairs = table::pairs([
            ("cluster", cluster),
            ("leader", leader),
            ("epoch", table::opt(self.epoch)),
            ("coordinators", table::opt(self.coordinators)),
            ("proxies", table::opt(self.proxies)),
            ("nodes", nodes),
            ("groups", table::opt(self.groups)),
            ("indexes", table::opt(self.indexes)),
            ("stale copies", table::opt(self.replicas_stale)),
            (
                "unfinished migrations",
                table::opt(self.migrations_unfinished),
            ),
            (
                "unfinished operations",
                table::opt(self.operations_unfinished),
            ),
            ("unfinished tasks", table::opt(self.tasks_unfinished)),
        ]);
        let rows = self.endpoints.iter().map(|seen| {
            let state = match (&seen.error, seen.leader) {
                (Some(error), _) => error.clone(),
                (None, None) => "knows no leader".to_owned(),
                (None, leader) if leader == seen.coordinator => "leads".to_owned(),
                (None, Some(leader)) => format!("follows {leader}"),
            };
            vec![
                seen.endpoint.clone(),
                table::opt(seen.coordinator),
                table::opt(seen.applied),
                state,
            ]
        });
        let endpoints = table::list(
            &["ENDPOINT", "COORDINATOR", "APPLIED", "STATE"],
            rows.collect(),
            "",
        );
        if self.settings_drift.is_empty() {
            return format!("{pairs}\n\n{endpoints}");
        }
        let rows = self.settings_drift.iter().map(|drift| {
            vec![
                drift.index.clone(),
                drift.node.to_string(),
                drift.settings.join(", "),
                format::time(drift.since_ms),
                drift.repairs.to_string(),
            ]
        });
        let columns = [
            "INDEX",
            "NODE",
            "SETTINGS THAT DIFFER",
            "SINCE",
            "SENT AGAIN",
        ];
        let drift = table::list(&columns, rows.collect(), "");
        format!("{pairs}\n\n{drift}\n\n{endpoints}")
    }
}

/// What `cluster init` did.
#[derive(Debug, Serialize)]
pub struct Initialised {
    /// The cluster's id.
    pub cluster_id: String,
    /// False when it was initialised before.
    pub created: bool,
}

impl View for Initialised {
    fn table(&self) -> String {
        let Self {
            cluster_id,
            created,
        } = self;
        if *created {
            format!("cluster {cluster_id} is initialised")
        } else {
            format!("cluster {cluster_id} was already initialised")
        }
    }
}

/// Every coordinator.
#[derive(Debug, Serialize)]
pub struct Coordinators {
    coordinators: Vec<Coordinator>,
}

#[derive(Debug, Serialize)]
struct Coordinator {
    id: u64,
    role: String,
    api_url: String,
    raft_url: String,
    matched: Option<u64>,
}

impl From<v1::ListCoordinatorsReply> for Coordinators {
    fn from(reply: v1::ListCoordinatorsReply) -> Self {
        let view = |v1::Coordinator {
                        id,
                        api_url,
                        raft_url,
                        role,
                        matched,
                    }| Coordinator {
            id,
            role,
            api_url,
            raft_url,
            matched,
        };
        Self {
            coordinators: reply.coordinators.into_iter().map(view).collect(),
        }
    }
}

impl View for Coordinators {
    fn table(&self) -> String {
        let row = |c: &Coordinator| {
            vec![
                c.id.to_string(),
                c.role.clone(),
                table::opt(c.matched),
                table::text(&c.api_url),
                table::text(&c.raft_url),
            ]
        };
        let rows = self.coordinators.iter().map(row).collect();
        table::list(
            &["ID", "ROLE", "MATCHED", "API", "RAFT"],
            rows,
            "no coordinators",
        )
    }
}

/// Every proxy.
#[derive(Debug, Serialize)]
pub struct Proxies {
    proxies: Vec<Proxy>,
}

#[derive(Debug, Serialize)]
struct Proxy {
    id: u64,
    name: String,
    url: String,
    lease: String,
    lost: bool,
    writes_epoch: u64,
    reads_epoch: u64,
}

impl From<v1::ListProxiesReply> for Proxies {
    fn from(reply: v1::ListProxiesReply) -> Self {
        let view = |v1::Proxy {
                        id,
                        name,
                        url,
                        lease,
                        lost,
                        writes_epoch,
                        reads_epoch,
                    }| Proxy {
            id,
            name,
            url,
            lease,
            lost,
            writes_epoch,
            reads_epoch,
        };
        Self {
            proxies: reply.proxies.into_iter().map(view).collect(),
        }
    }
}

impl View for Proxies {
    fn table(&self) -> String {
        let row = |p: &Proxy| {
            let lease = if p.lost {
                format!("{}, lost", p.lease)
            } else {
                p.lease.clone()
            };
            vec![
                p.id.to_string(),
                table::text(&p.name),
                table::text(&p.url),
                lease,
                p.writes_epoch.to_string(),
                p.reads_epoch.to_string(),
            ]
        };
        let header = ["ID", "NAME", "URL", "LEASE", "WRITES EPOCH", "READS EPOCH"];
        table::list(
            &header,
            self.proxies.iter().map(row).collect(),
            "no proxies",
        )
    }
}
