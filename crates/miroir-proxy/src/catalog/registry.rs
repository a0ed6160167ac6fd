//! Changing the registry.

use miroir_core::cluster::Rejection;
use miroir_core::id::Epoch;
use miroir_core::registry::{Change, RegistryError};
use miroir_proto::v1;
use uuid::Uuid;

use super::{Catalog, CatalogError};

impl Catalog {
    /// Changes an object of the registry. Returns the epoch from which on tables have it.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::Registry`].
    pub async fn change_registry(&self, id: Uuid, change: &Change) -> Result<Epoch, CatalogError> {
        let message = v1::ChangeRegistryRequest::of(id.to_string(), change);
        let answer = self.call(message, |mut client, request| async move {
            client.change_registry(request).await
        });
        Ok(Epoch(answer.await?.epoch))
    }
}

impl CatalogError {
    /// Why the registry refused a change, if that is what happened.
    #[must_use]
    pub fn of_registry(&self) -> Option<&RegistryError> {
        match self.rejection() {
            Some(Rejection::Registry(error)) => Some(error),
            _ => None,
        }
    }
}
