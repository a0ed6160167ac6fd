//! What clients call indexes.

use miroir_core::cluster::{Idempotency, IndexRename, IndexSwap};
use miroir_proto::v1;
use uuid::Uuid;

use super::{Catalog, CatalogError, RegisteredTask, registered};

impl Catalog {
    /// Exchanges uids of indexes. It is answered once every proxy goes by the new ones, which may take as long as a
    /// lease when a proxy has died.
    ///
    /// # Errors
    /// [`CatalogError`]; with [`CatalogError::Unknown`] the uids may be exchanged by now.
    pub async fn swap_indexes(
        &self,
        id: Uuid,
        swaps: &[IndexSwap],
        idempotency: Option<Idempotency>,
    ) -> Result<RegisteredTask, CatalogError> {
        let swap = |swap: &IndexSwap| v1::IndexSwap {
            first: swap.indexes.0.to_string(),
            second: swap.indexes.1.to_string(),
            rename: swap.rename,
        };
        let message = v1::SwapIndexesRequest {
            request_id: id.to_string(),
            swaps: swaps.iter().map(swap).collect(),
            idempotency: idempotency.map(Into::into),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.swap_indexes(request).await
        });
        Ok(registered(answer.await?))
    }

    /// Gives an index another uid. It is answered as [`swap_indexes`](Self::swap_indexes) is.
    ///
    /// # Errors
    /// [`CatalogError`]; with [`CatalogError::Unknown`] it may have that uid by now.
    pub async fn rename_index(
        &self,
        id: Uuid,
        rename: &IndexRename,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = v1::RenameIndexRequest {
            request_id: id.to_string(),
            uid: rename.uid.to_string(),
            to: rename.to.to_string(),
            primary_key: rename.primary_key.clone(),
            idempotency: rename.idempotency.map(Into::into),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.rename_index(request).await
        });
        Ok(registered(answer.await?))
    }
}
