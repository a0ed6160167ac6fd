//! Which proxy writes an index that has no writer.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::ClusterState;
use crate::id::{Incarnation, IndexUid, ProxyId};

/// For every index without a writer, the live proxy with the fewest indexes.
///
/// `live` are the proxies with a lease now: giving an index to a proxy that is merely registered would leave
/// it without a writer for another lease.
#[must_use]
pub fn assign_writers(
    state: &ClusterState,
    live: &BTreeSet<ProxyId>,
) -> Vec<(IndexUid, Incarnation, ProxyId)> {
    let usable = |proxy: &ProxyId| state.proxies.get(proxy).is_some_and(|proxy| !proxy.lost);
    let mut load: BTreeMap<ProxyId, usize> = live
        .iter()
        .copied()
        .filter(usable)
        .map(|proxy| (proxy, 0))
        .collect();
    for writer in state.indexes.values().filter_map(|index| index.writer) {
        load.entry(writer).and_modify(|count| *count += 1);
    }
    let mut assigned = Vec::new();
    for index in state
        .indexes
        .values()
        .filter(|index| index.writer.is_none())
    {
        let Some((proxy, count)) = load
            .iter_mut()
            .min_by_key(|(proxy, count)| (**count, **proxy))
        else {
            break;
        };
        *count += 1;
        assigned.push((index.name().clone(), index.incarnation, *proxy));
    }
    assigned
}
