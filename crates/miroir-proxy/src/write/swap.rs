//! What clients call indexes: a matter of the coordinators alone.

use std::sync::atomic::Ordering;

use miroir_core::cluster::{Idempotency, IndexRename, IndexSwap};
use miroir_core::id::TaskUid;
use uuid::Uuid;

use super::active::Active;
use super::finish::uncommitted;
use super::{WriteError, Writes};
use crate::catalog::{Catalog, CatalogError, RegisteredTask};

impl Writes {
    /// Exchanges uids of indexes. When it returns, every proxy takes requests by the new ones.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`]; with an unknown fate the uids may be exchanged, now or soon.
    ///
    /// # Cancel safety
    /// Dropped, it tells nobody the answer; the uids may be exchanged.
    pub async fn swap(
        &self,
        swaps: &[IndexSwap],
        idempotency: Option<Idempotency>,
    ) -> Result<TaskUid, WriteError> {
        let (catalog, _active) = self.catalog()?;
        let swapping = catalog.swap_indexes(Uuid::now_v7(), swaps, idempotency);
        answered(swapping.await)
    }

    /// Gives an index another uid. When it returns, every proxy takes requests by it.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`]; with an unknown fate the index may have that uid, now or soon.
    ///
    /// # Cancel safety
    /// As of [`swap`](Self::swap).
    pub async fn rename(&self, rename: &IndexRename) -> Result<TaskUid, WriteError> {
        let (catalog, _active) = self.catalog()?;
        answered(catalog.rename_index(Uuid::now_v7(), rename).await)
    }

    fn catalog(&self) -> Result<(Catalog, Active), WriteError> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(WriteError::held("this proxy is shutting down"));
        }
        let catalog = self.shared.catalog.within(self.shared.config.hold);
        Ok((catalog, self.shared.active.begin()))
    }
}

fn answered(answer: Result<RegisteredTask, CatalogError>) -> Result<TaskUid, WriteError> {
    match answer {
        Ok(registered) => Ok(registered.task),
        Err(error) => {
            let error = uncommitted(&error);
            match error {
                WriteError::Repeated { task, .. } => Ok(task),
                WriteError::Refused(_)
                | WriteError::Unavailable { .. }
                | WriteError::Moved
                | WriteError::Answer { .. } => Err(error),
            }
        }
    }
}
