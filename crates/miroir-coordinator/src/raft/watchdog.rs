//! Looks after consensus: ends the process when it has died, and keeps its memory bounded.

use std::sync::Arc;

use openraft::{LogIdOptionExt, Raft};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::leadership::Metrics;
use super::types::TypeConfig;
use crate::storage::{LogStore, Storage, StoreError};

/// Called once, with the reason, when consensus cannot go on in this process.
pub type FatalHandler = Arc<dyn Fn(&str) + Send + Sync>;

/// Exit status of a process whose consensus died: "I/O error" in `sysexits.h`.
pub const EXIT_FATAL: i32 = 74;

/// The handler for production: says why and exits, so that a supervisor starts anew. What is
/// on disk is consistent; what is in this process is not trusted any more.
pub fn exit_on_fatal() -> FatalHandler {
    Arc::new(|reason| {
        tracing::error!(reason, "consensus cannot go on; exiting");
        std::process::exit(EXIT_FATAL);
    })
}

/// Waits until consensus or its storage has failed and calls `on_fatal`; or until `stop`.
pub(super) async fn watch_fatal(
    raft: Raft<TypeConfig>,
    storage: Storage,
    on_fatal: FatalHandler,
    stop: CancellationToken,
) {
    let reason = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        reason = storage_failure(storage.failure()) => reason,
        reason = core_failure(raft.metrics()) => reason,
    };
    // A shutdown looks like a failure from here; it is told apart by its token.
    if !stop.is_cancelled() {
        on_fatal(&reason);
    }
}

async fn storage_failure(mut failure: watch::Receiver<Option<StoreError>>) -> String {
    match failure.wait_for(Option::is_some).await {
        Ok(error) => error.as_ref().map_or_else(String::new, ToString::to_string),
        Err(_) => "the storage has ended".into(),
    }
}

async fn core_failure(mut metrics: watch::Receiver<Metrics>) -> String {
    match metrics.wait_for(|m| m.running_state.is_err()).await {
        Ok(metrics) => match &metrics.running_state {
            Err(fatal) => fatal.to_string(),
            Ok(()) => String::new(),
        },
        Err(_) => "the consensus core has ended".into(),
    }
}

/// Takes snapshots and purges when the entries in memory exceed `tail_bytes_max`: openraft
/// counts entries, and a few large ones can be more than thousands of usual ones.
pub(super) async fn bound_tail(
    raft: Raft<TypeConfig>,
    log: LogStore,
    tail_bytes_max: usize,
    stop: CancellationToken,
) {
    let mut metrics = raft.metrics();
    let mut asked_to_purge = None;
    let mut asked_to_snapshot = None;
    loop {
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let (applied, snapshot, purged) = {
            let m = metrics.borrow_and_update();
            (m.last_applied.index(), m.snapshot.index(), m.purged.index())
        };
        if log.tail_bytes() <= tail_bytes_max {
            continue;
        }
        let result = if snapshot > purged && asked_to_purge < snapshot {
            asked_to_purge = snapshot;
            raft.trigger().purge_log(snapshot.unwrap_or(0)).await
        } else if applied > snapshot && asked_to_snapshot <= snapshot {
            asked_to_snapshot = applied;
            raft.trigger().snapshot().await
        } else {
            continue;
        };
        if let Err(error) = result {
            tracing::debug!(%error, "consensus ended before its log was shortened");
            return;
        }
    }
}
