//! What follows a step that failed: a pause, and patience with a request whose fate is unknown.

use std::time::Duration;

use miroir_core::id::NodeId;
use miroir_core::migration::{Phase, Record, Signals};
use miroir_meili::MeiliError;
use tokio_util::sync::CancellationToken;

use super::{MoveError, Nodes};
use crate::cluster::Cluster;
use crate::migration::actor::Actor;

/// Longest wait between two attempts at a step.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

impl<C: Cluster, N: Nodes> Actor<C, N> {
    /// Waits before the next attempt, and takes note of a request to a node that was given up.
    pub(super) async fn back_off(
        &mut self,
        record: &Record,
        attempts: u32,
        error: &MoveError,
        cancel: &CancellationToken,
    ) {
        let changed = changed_node(record);
        if error.unsettled() == Some(changed) {
            self.trusted = None;
            self.unsettled = Some(changed);
        }
        if is_busy(error) {
            self.pace.observe(Signals {
                refused: true,
                ..Signals::default()
            });
            self.mover.paces.note(self.id, self.pace);
        }
        let pause = Duration::from_millis(100 << attempts.min(6)).min(BACKOFF_MAX);
        let pause = self.unless_moved_on(record, async {
            tokio::time::sleep(pause).await;
            Ok(())
        });
        tokio::select! {
            () = cancel.cancelled() => {}
            _over = pause => {}
        }
    }

    /// Waits until a request that was given up can no longer arrive: whatever it was, it must not land behind
    /// what is sent next.
    pub(super) async fn settle(&mut self, record: &Record) -> Result<(), MoveError> {
        if let Some(node) = self.unsettled {
            self.unless_moved_on(record, self.settled(record, node))
                .await?;
            self.unsettled = None;
        }
        Ok(())
    }

    /// Ends once nothing that was sent to `node` before can arrive there any more.
    pub(super) async fn settled(&self, record: &Record, node: NodeId) -> Result<(), MoveError> {
        self.copy_on(record, node)?.wait_until_up().await;
        tokio::time::sleep(self.mover.options.late_request).await;
        Ok(())
    }
}

/// Whether a phase deletes what a node holds of the shard.
pub(super) fn deletes(phase: Phase) -> bool {
    match phase {
        Phase::Cleaning | Phase::Dropping => true,
        Phase::Planned
        | Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
        | Phase::CutOver
        | Phase::Holding
        | Phase::Done
        | Phase::Reversing
        | Phase::Cancelled => false,
    }
}

/// The node that an actor changes in the record's phase, or changed last.
pub(super) fn changed_node(record: &Record) -> NodeId {
    match record.phase {
        Phase::Cleaning | Phase::Done => record.replaces.unwrap_or(record.target),
        Phase::Planned
        | Phase::Preparing
        | Phase::Copying
        | Phase::CatchingUp
        | Phase::Fenced
        | Phase::Mirroring
        | Phase::CutOver
        | Phase::Holding
        | Phase::Reversing
        | Phase::Dropping
        | Phase::Cancelled => record.target,
    }
}

/// Whether a node refused for load.
fn is_busy(error: &MoveError) -> bool {
    matches!(
        error,
        MoveError::Node {
            error: MeiliError::Busy { .. },
            ..
        }
    )
}
