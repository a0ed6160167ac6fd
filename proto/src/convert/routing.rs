//! Routing tables.

use std::sync::Arc;

use miroir_core::cluster::ReplicaState;
use miroir_core::id::{
    Epoch, GroupId, Incarnation, IndexUid, MigrationId, NodeId, ProxyId, ShardId,
};
use miroir_core::migration::Phase;
use miroir_core::registry::Registry;
use miroir_core::routing::{
    IndexRoute, MoveRoute, NodeRoute, ProxyRoute, ReplicaRoute, RoutingTable, ShardRoute,
    TableDelta,
};

use super::ConvertError;
use crate::v1;

impl From<Phase> for v1::Phase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Planned => Self::Planned,
            Phase::Preparing => Self::Preparing,
            Phase::Copying => Self::Copying,
            Phase::CatchingUp => Self::CatchingUp,
            Phase::Fenced => Self::Fenced,
            Phase::Mirroring => Self::Mirroring,
            Phase::CutOver => Self::CutOver,
            Phase::Holding => Self::Holding,
            Phase::Cleaning => Self::Cleaning,
            Phase::Done => Self::Done,
            Phase::Reversing => Self::Reversing,
            Phase::Dropping => Self::Dropping,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<v1::Phase> for Phase {
    type Error = ConvertError;

    fn try_from(phase: v1::Phase) -> Result<Self, ConvertError> {
        Ok(match phase {
            v1::Phase::Unspecified => return Err(ConvertError::new("Phase", "value")),
            v1::Phase::Planned => Self::Planned,
            v1::Phase::Preparing => Self::Preparing,
            v1::Phase::Copying => Self::Copying,
            v1::Phase::CatchingUp => Self::CatchingUp,
            v1::Phase::Fenced => Self::Fenced,
            v1::Phase::Mirroring => Self::Mirroring,
            v1::Phase::CutOver => Self::CutOver,
            v1::Phase::Holding => Self::Holding,
            v1::Phase::Cleaning => Self::Cleaning,
            v1::Phase::Done => Self::Done,
            v1::Phase::Reversing => Self::Reversing,
            v1::Phase::Dropping => Self::Dropping,
            v1::Phase::Cancelled => Self::Cancelled,
        })
    }
}

impl From<ReplicaState> for v1::ReplicaState {
    fn from(state: ReplicaState) -> Self {
        match state {
            ReplicaState::InSync => Self::InSync,
            ReplicaState::Mirror => Self::Mirror,
            ReplicaState::Building => Self::Building,
            ReplicaState::Stale => Self::Stale,
        }
    }
}

impl TryFrom<v1::ReplicaState> for ReplicaState {
    type Error = ConvertError;

    fn try_from(state: v1::ReplicaState) -> Result<Self, ConvertError> {
        Ok(match state {
            v1::ReplicaState::Unspecified => {
                return Err(ConvertError::new("ReplicaRoute", "state"));
            }
            v1::ReplicaState::InSync => Self::InSync,
            v1::ReplicaState::Mirror => Self::Mirror,
            v1::ReplicaState::Building => Self::Building,
            v1::ReplicaState::Stale => Self::Stale,
        })
    }
}

fn node_to_proto((id, node): (&NodeId, &NodeRoute)) -> v1::NodeRoute {
    v1::NodeRoute {
        id: id.0,
        url: node.url.clone(),
        group: node.group.0,
        zone: node.zone.clone(),
    }
}

fn node_from_proto(node: v1::NodeRoute) -> (NodeId, NodeRoute) {
    (
        NodeId(node.id),
        NodeRoute {
            url: node.url,
            group: GroupId(node.group),
            zone: node.zone,
        },
    )
}

fn proxy_to_proto((id, proxy): (&ProxyId, &ProxyRoute)) -> v1::ProxyRoute {
    v1::ProxyRoute {
        id: id.0,
        url: proxy.url.clone(),
    }
}

fn proxy_from_proto(proxy: v1::ProxyRoute) -> (ProxyId, ProxyRoute) {
    (ProxyId(proxy.id), ProxyRoute { url: proxy.url })
}

fn registry(registry: Option<v1::Registry>) -> Result<Option<Arc<Registry>>, ConvertError> {
    registry
        .map(|registry| Registry::try_from(registry).map(Arc::new))
        .transpose()
}

impl From<&RoutingTable> for v1::Table {
    fn from(table: &RoutingTable) -> Self {
        Self {
            cluster_id: table.cluster_id.clone(),
            epoch: table.epoch.0,
            min_in_sync: table.min_in_sync.into(),
            nodes: table.nodes.iter().map(node_to_proto).collect(),
            groups: table.groups.iter().map(|group| group.0).collect(),
            proxies: table.proxies.iter().map(proxy_to_proto).collect(),
            indexes: table
                .indexes
                .values()
                .map(|index| index.as_ref().into())
                .collect(),
            registry: Some(table.registry.as_ref().into()),
            writes_held: table.writes_held,
        }
    }
}

impl TryFrom<v1::Table> for RoutingTable {
    type Error = ConvertError;

    fn try_from(table: v1::Table) -> Result<Self, ConvertError> {
        let min_in_sync = u8::try_from(table.min_in_sync)
            .map_err(|_| ConvertError::new("Table", "min_in_sync"))?;
        let indexes = table.indexes.into_iter().map(|index| {
            let route = IndexRoute::try_from(index)?;
            Ok((route.uid.clone(), Arc::new(route)))
        });
        Ok(Self {
            cluster_id: table.cluster_id,
            epoch: Epoch(table.epoch),
            min_in_sync,
            nodes: table.nodes.into_iter().map(node_from_proto).collect(),
            groups: table.groups.into_iter().map(GroupId).collect(),
            proxies: table.proxies.into_iter().map(proxy_from_proto).collect(),
            indexes: indexes.collect::<Result<_, ConvertError>>()?,
            registry: registry(table.registry)?.unwrap_or_default(),
            writes_held: table.writes_held,
        })
    }
}

impl From<&TableDelta> for v1::TableDelta {
    fn from(delta: &TableDelta) -> Self {
        Self {
            from: delta.from.0,
            to: delta.to.0,
            nodes: delta.nodes.as_ref().map(|n| v1::NodeRoutes {
                nodes: n.iter().map(node_to_proto).collect(),
            }),
            groups: delta.groups.as_ref().map(|g| v1::Groups {
                groups: g.iter().map(|group| group.0).collect(),
            }),
            proxies: delta.proxies.as_ref().map(|p| v1::ProxyRoutes {
                proxies: p.iter().map(proxy_to_proto).collect(),
            }),
            indexes: delta
                .indexes
                .iter()
                .map(|index| index.as_ref().into())
                .collect(),
            removed: delta.removed.iter().map(ToString::to_string).collect(),
            registry: delta.registry.as_deref().map(Into::into),
            writes_held: delta.writes_held,
        }
    }
}

impl TryFrom<v1::TableDelta> for TableDelta {
    type Error = ConvertError;

    fn try_from(delta: v1::TableDelta) -> Result<Self, ConvertError> {
        let removed = delta.removed.iter().map(|uid| IndexUid::parse(uid));
        Ok(Self {
            from: Epoch(delta.from),
            to: Epoch(delta.to),
            nodes: delta
                .nodes
                .map(|n| n.nodes.into_iter().map(node_from_proto).collect()),
            groups: delta
                .groups
                .map(|g| g.groups.into_iter().map(GroupId).collect()),
            proxies: delta
                .proxies
                .map(|p| p.proxies.into_iter().map(proxy_from_proto).collect()),
            indexes: delta
                .indexes
                .into_iter()
                .map(|index| IndexRoute::try_from(index).map(Arc::new))
                .collect::<Result<_, _>>()?,
            removed: removed
                .collect::<Result<_, _>>()
                .map_err(|_| ConvertError::new("TableDelta", "removed"))?,
            registry: registry(delta.registry)?,
            writes_held: delta.writes_held,
        })
    }
}

impl From<&IndexRoute> for v1::IndexRoute {
    fn from(index: &IndexRoute) -> Self {
        Self {
            uid: index.uid.to_string(),
            name: if index.name == index.uid {
                String::new()
            } else {
                index.name.to_string()
            },
            incarnation: index.incarnation.0,
            primary_key: index.primary_key.clone(),
            writer: index.writer.map(|proxy| proxy.0),
            settings_version: index.settings_version,
            settings: index.settings.to_string(),
            settings_before: index.settings_before.as_ref().map(ToString::to_string),
            node_settings: index
                .node_settings
                .iter()
                .map(|(node, version)| (node.0, *version))
                .collect(),
            leftovers: index
                .leftovers
                .iter()
                .map(|(node, shard)| v1::Leftover {
                    node: node.0,
                    shard: shard.0.into(),
                })
                .collect(),
            shards: index.shards.iter().map(Into::into).collect(),
            created_at_ms: index.created_at_ms,
            updated_at_ms: index.updated_at_ms,
        }
    }
}

impl TryFrom<v1::IndexRoute> for IndexRoute {
    type Error = ConvertError;

    fn try_from(index: v1::IndexRoute) -> Result<Self, ConvertError> {
        let wrong = |field| ConvertError::new("IndexRoute", field);
        let leftovers = index.leftovers.into_iter().map(|one| {
            let shard = u16::try_from(one.shard).map_err(|_| wrong("leftovers"))?;
            Ok((NodeId(one.node), ShardId(shard)))
        });
        let uid = IndexUid::parse(&index.uid).map_err(|_| wrong("uid"))?;
        // A coordinator that says none knows of no swaps.
        let name = match index.name.as_str() {
            "" => uid.clone(),
            name => IndexUid::parse(name).map_err(|_| wrong("name"))?,
        };
        Ok(Self {
            uid,
            name,
            incarnation: Incarnation(index.incarnation),
            primary_key: index.primary_key,
            writer: index.writer.map(ProxyId),
            settings_version: index.settings_version,
            settings: serde_json::from_str(&index.settings).map_err(|_| wrong("settings"))?,
            settings_before: index
                .settings_before
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|_| wrong("settings_before"))?,
            node_settings: index
                .node_settings
                .into_iter()
                .map(|(node, v)| (NodeId(node), v))
                .collect(),
            leftovers: leftovers.collect::<Result<_, _>>()?,
            shards: index
                .shards
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            created_at_ms: index.created_at_ms,
            updated_at_ms: index.updated_at_ms,
        })
    }
}

impl From<&ShardRoute> for v1::ShardRoute {
    fn from(shard: &ShardRoute) -> Self {
        let replica = |r: &ReplicaRoute| v1::ReplicaRoute {
            node: r.node.0,
            group: r.group.0,
            state: v1::ReplicaState::from(r.state).into(),
        };
        Self {
            replicas: shard.replicas.iter().map(replica).collect(),
            moving: shard.moving.map(|m| v1::MoveRoute {
                migration: m.migration.0,
                phase: v1::Phase::from(m.phase).into(),
                source: m.source.0,
                target: m.target.0,
            }),
        }
    }
}

impl TryFrom<v1::ShardRoute> for ShardRoute {
    type Error = ConvertError;

    fn try_from(shard: v1::ShardRoute) -> Result<Self, ConvertError> {
        let replica = |r: v1::ReplicaRoute| {
            Ok(ReplicaRoute {
                node: NodeId(r.node),
                group: GroupId(r.group),
                state: r.state().try_into()?,
            })
        };
        let moving = shard.moving.map(|m| {
            Ok(MoveRoute {
                migration: MigrationId(m.migration),
                phase: m.phase().try_into()?,
                source: NodeId(m.source),
                target: NodeId(m.target),
            })
        });
        Ok(Self {
            replicas: shard
                .replicas
                .into_iter()
                .map(replica)
                .collect::<Result<_, ConvertError>>()?,
            moving: moving.transpose()?,
        })
    }
}
