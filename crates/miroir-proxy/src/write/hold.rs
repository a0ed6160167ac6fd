//! How many bytes of writes may wait in this proxy.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::WriteError;

const UNIT_BYTES: usize = 1024;

/// A bound on the bytes of writes that are taken and not answered yet.
#[derive(Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT_BYTES)
            .unwrap_or(u32::MAX)
            .clamp(1, u32::MAX >> 4);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits for room for a write of `bytes`, in order of arrival. A write larger than the whole budget takes
    /// all of it.
    pub(super) async fn take(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, WriteError> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1)
            .unwrap_or(u32::MAX)
            .min(self.total);
        let taking = Arc::clone(&self.units).acquire_many_owned(units);
        match timeout_at(deadline.into(), taking).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed; if it were, nothing could be taken either.
            Ok(Err(_)) | Err(_) => Err(WriteError::held("too many writes are waiting")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn writes_wait_for_room_and_are_refused_when_none_comes() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = || Instant::now() + Duration::from_secs(20);
        let most = budget.take(8 * UNIT_BYTES, soon()).await.expect("room");
        let error = budget.take(2 * UNIT_BYTES, soon()).await.expect_err("full");
        assert_eq!((error.status(), error.outcome_unknown()), (503, false));
        let _small = budget.take(10, soon()).await.expect("one unit is left");
        let waiting = budget.take(2 * UNIT_BYTES, late());
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(most);
        drop(waiting.await.expect("room again"));
    }

    #[tokio::test]
    async fn a_write_beyond_the_budget_goes_when_it_is_alone() {
        let budget = Budget::new(UNIT_BYTES);
        let deadline = Instant::now() + Duration::from_secs(1);
        drop(budget.take(usize::MAX / 2, deadline).await.expect("alone"));
    }
}
