//! Where and how processes run that tests put elsewhere: on another address, behind a slow line, under another command.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Role;

/// What differs from the usual place. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Where a listener of this name listens, such as `proxy-1` or `coordinator-2-raft`; the layout gives the others
    /// ports of their own.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// The address that the cluster is told of a node, when something stands between them.
    pub fronts: BTreeMap<u16, SocketAddr>,
    /// The command that a process is started by, such as `ip netns exec NAME`. It must become the process by `exec`,
    /// or signals would miss it.
    pub wrappers: BTreeMap<Role, Vec<String>>,
}
