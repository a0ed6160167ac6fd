//! The routing table of the newest state, built once for all sessions.

use std::sync::Arc;

use miroir_core::routing::RoutingTable;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

/// The newest table; `None` until the cluster is initialised.
pub type Tables = watch::Receiver<Option<Arc<RoutingTable>>>;

/// Builds a table whenever the epoch moves, until cancelled. Runs on every coordinator: followers serve
/// observers. A burst of commands makes one table.
pub async fn publish<C: Cluster>(
    cluster: C,
    tables: watch::Sender<Option<Arc<RoutingTable>>>,
    cancel: CancellationToken,
) {
    let mut applied = cluster.applied();
    loop {
        applied.mark_unchanged();
        let known = tables.borrow().as_ref().map(|table| table.epoch);
        let newer = cluster.read(|state| {
            (Some(state.epoch) != known)
                .then(|| RoutingTable::build(state))
                .flatten()
        });
        if let Some(table) = newer {
            tables.send_replace(Some(Arc::new(table)));
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}
