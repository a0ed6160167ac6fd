//! Clients of the nodes, by id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use miroir_core::id::NodeId;
use miroir_core::routing::RoutingTable;
use miroir_meili::{MeiliError, NodeClient, Secret, http_client};

/// The clients of all nodes of one table. Cloning is cheap; connections are shared with the pools before and
/// after.
#[derive(Debug, Clone, Default)]
pub struct NodePool {
    clients: Arc<BTreeMap<NodeId, (String, NodeClient)>>,
}

impl NodePool {
    /// The client of a node; `None` when the table has no such node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&NodeClient> {
        self.clients.get(&node).map(|(_, client)| client)
    }

    /// All nodes with their clients.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &NodeClient)> {
        self.clients
            .iter()
            .map(|(node, (_, client))| (*node, client))
    }
}

/// Makes the pools.
pub(super) struct NodePools {
    http: reqwest::Client,
    master_key: Option<Secret>,
    timeout: Duration,
}

impl NodePools {
    pub(super) fn new(
        master_key: Option<Secret>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, MeiliError> {
        Ok(Self {
            http: http_client(connect_timeout)?,
            master_key,
            timeout,
        })
    }

    /// The pool for `table`, with the clients of `before` where the address is the same.
    pub(super) fn next(&self, before: &NodePool, table: &RoutingTable) -> NodePool {
        let same = before.clients.len() == table.nodes.len()
            && table.nodes.iter().all(|(id, node)| {
                before
                    .clients
                    .get(id)
                    .is_some_and(|(url, _)| *url == node.url)
            });
        if same {
            return before.clone();
        }
        let clients = table.nodes.iter().filter_map(|(id, node)| {
            if let Some(known) = before.clients.get(id).filter(|(url, _)| *url == node.url) {
                return Some((*id, known.clone()));
            }
            match NodeClient::new(self.http.clone(), &node.url, self.master_key.clone()) {
                Ok(client) => Some((*id, (node.url.clone(), client.with_timeout(self.timeout)))),
                Err(error) => {
                    tracing::error!(node = %id, %error, "the node cannot be used");
                    None
                }
            }
        });
        NodePool {
            clients: Arc::new(clients.collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::GroupId;
    use miroir_core::routing::NodeRoute;

    #[test]
    fn a_pool_follows_the_table() {
        let second = Duration::from_secs(1);
        let pools = NodePools::new(Some(Secret::new("key")), second, second).expect("client");
        let table = |urls: &[(u64, &str)]| {
            let node = |(id, url): &(u64, &str)| {
                (
                    NodeId(*id),
                    NodeRoute {
                        url: (*url).to_owned(),
                        group: GroupId(0),
                        zone: None,
                    },
                )
            };
            RoutingTable {
                nodes: urls.iter().map(node).collect(),
                ..RoutingTable::default()
            }
        };
        let shown = |pool: &NodePool| {
            let one = |(id, client): (NodeId, &NodeClient)| (id.0, client.base_url().to_owned());
            pool.iter().map(one).collect::<Vec<_>>()
        };
        let one = pools.next(&NodePool::default(), &table(&[(1, "http://127.0.0.1:1")]));
        assert_eq!(shown(&one), [(1, "http://127.0.0.1:1/".to_owned())]);
        let moved = pools.next(
            &one,
            &table(&[
                (1, "http://127.0.0.1:9"),
                (2, "http://127.0.0.1:2"),
                (3, "ftp://x"),
            ]),
        );
        assert_eq!(
            shown(&moved),
            [
                (1, "http://127.0.0.1:9/".to_owned()),
                (2, "http://127.0.0.1:2/".to_owned())
            ]
        );
        assert!(moved.get(NodeId(3)).is_none());
        let same = pools.next(&one, &table(&[(1, "http://127.0.0.1:1")]));
        assert!(Arc::ptr_eq(&same.clients, &one.clients));
    }
}
