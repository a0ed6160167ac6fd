//! The routing table: all that a proxy needs to know, and nothing else.
//!
//! [`RoutingTable::build`] makes it from the state, [`delta`](TableDelta) carries what changed between two of
//! them, and the questions a proxy asks of it are answered in [`resolve`](RoutingTable::covering_set).

mod delta;
mod even;
mod resolve;
mod table;

pub use delta::{DeltaError, TableDelta};
pub use resolve::{NodeShare, Unservable};
pub use table::{
    IndexRoute, MoveRoute, NodeRoute, ProxyRoute, ReplicaRoute, RoutingTable, ShardRoute,
};
