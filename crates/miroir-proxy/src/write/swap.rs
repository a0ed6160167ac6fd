//! What clients call indexes: a matter of the coordinators alone.

use miroir_core::cluster::IndexSwap;
use miroir_core::id::TaskUid;
use std::sync::atomic::Ordering;
use uuid::Uuid;

use super::finish::uncommitted;
use super::{WriteError, Writes};

impl Writes {
    /// Exchanges uids of indexes. When it returns, every proxy takes requests by the new ones.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`]; with an unknown fate the uids may be exchanged, now or soon.
    ///
    /// # Cancel safety
    /// Dropped, it tells nobody the answer; the uids may be exchanged.
    pub async fn swap(&self, swaps: &[IndexSwap]) -> Result<TaskUid, WriteError> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(WriteError::held("this proxy is shutting down"));
        }
        let _active = self.shared.active.begin();
        let catalog = self.shared.catalog.within(self.shared.config.hold);
        let swapping = catalog.swap_indexes(Uuid::now_v7(), swaps).await;
        swapping
            .map(|registered| registered.task)
            .map_err(|error| uncommitted(&error))
    }
}
