//! Changing the registry.

use miroir_core::cluster::{NewTask, Rejection};
use miroir_core::id::Epoch;
use miroir_core::registry::{Change, RegistryError, RulesChange};
use miroir_proto::v1;
use uuid::Uuid;

use super::{Catalog, CatalogError, RegisteredTask, registered};

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

    /// Changes dynamic search rules. The task ends when nodes have them.
    ///
    /// # Errors
    /// [`CatalogError`], among others [`Rejection::Registry`].
    pub async fn change_rules(
        &self,
        id: Uuid,
        change: &RulesChange,
        task: &NewTask,
    ) -> Result<RegisteredTask, CatalogError> {
        let message = v1::RegisterTaskRequest {
            request_id: id.to_string(),
            uid: None,
            task: Some(task.into()),
            rules: Some(change.into()),
        };
        let answer = self.call(message, |mut client, request| async move {
            client.register_task(request).await
        });
        Ok(registered(answer.await?))
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
