//! One actor for every migration that is under way, while this coordinator leads.

use std::collections::HashMap;

use miroir_core::id::MigrationId;
use miroir_core::migration::Phase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::actor::Actor;
use super::{Mover, Nodes};
use crate::cluster::Cluster;

/// Runs actors until cancelled, which must be when leadership ends. Leader-only.
pub async fn run<C: Cluster, N: Nodes>(mover: Mover<C, N>, cancel: CancellationToken) {
    // The last leader may have sent a node something a moment before it died. Nothing is done to any node
    // until that has arrived: copies of two leaders would overtake each other.
    tokio::select! {
        () = cancel.cancelled() => return,
        () = tokio::time::sleep(mover.options.takeover) => {}
    }
    let mut actors = JoinSet::new();
    let mut running: HashMap<tokio::task::Id, MigrationId> = HashMap::new();
    let mut applied = mover.cluster.applied();
    loop {
        applied.mark_unchanged();
        for id in waiting(&mover, &running) {
            let actor = Actor::new(mover.clone(), id);
            let task = actors.spawn(actor.run(cancel.clone()));
            running.insert(task.id(), id);
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = applied.changed() => if changed.is_err() { break },
            Some(ended) = actors.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(panic) => {
                        error!(%panic, "a migration's actor panicked; another takes over");
                        panic.id()
                    }
                };
                running.remove(&id);
            }
        }
    }
    // Actors see the cancellation between effects; an effect under way is given up with the connection, and the
    // next leader waits for it.
    while actors.join_next().await.is_some() {}
    info!("migrations rest");
}

/// Migrations that have a slot and no actor.
fn waiting<C: Cluster, N: Nodes>(
    mover: &Mover<C, N>,
    running: &HashMap<tokio::task::Id, MigrationId>,
) -> Vec<MigrationId> {
    mover.cluster.read(|state| {
        state
            .unfinished_migrations()
            .filter(|record| {
                record.phase != Phase::Planned && !running.values().any(|id| *id == record.id)
            })
            .map(|record| record.id)
            .collect()
    })
}
