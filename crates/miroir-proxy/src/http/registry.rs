//! Changing objects of the registry, and seeing them changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use miroir_core::registry::{Change, Collection, Entry, Expected, Registry, RegistryError};
use serde_json::Value;
use uuid::Uuid;

use super::Server;
use crate::catalog::CatalogError;
use crate::error::HttpError;

/// How long an answer waits until this proxy's table has what was committed.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
/// How often a change is formed anew when others change the same object.
const ATTEMPTS: usize = 8;

impl Server {
    /// The registry as this proxy knows it.
    pub(super) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.parts().control.table().registry)
    }

    /// Commits a change and waits until this proxy's table has it. `Err(Ok(_))` is why the registry
    /// refused it.
    pub(super) async fn change_registry(
        &self,
        change: &Change,
    ) -> Result<Arc<Registry>, Result<RegistryError, HttpError>> {
        let parts = self.parts();
        let committed = parts.catalog.change_registry(Uuid::now_v7(), change).await;
        let epoch = committed.map_err(|error| match error.of_registry() {
            Some(refused) => Ok(refused.clone()),
            None => Err(uncommitted(error)),
        })?;
        let deadline = Instant::now() + VISIBLE_WITHIN;
        if parts.control.wait_epoch(epoch, deadline).await {
            return Ok(self.registry());
        }
        let message = "The change is made, and this proxy has not heard of it yet.";
        Err(Err(HttpError::unavailable(
            "write_outcome_unknown",
            message,
        )))
    }

    /// Changes an object by what it is, or makes one of nothing. `edit` may be asked several times, when others
    /// change it too.
    ///
    /// # Errors
    /// What `edit` says; what `refuse` makes of the registry's refusal.
    pub(super) async fn edit_object(
        &self,
        (collection, name): (Collection, &str),
        edit: impl Fn(Option<&Value>) -> Result<Value, HttpError>,
        refuse: impl Fn(RegistryError) -> HttpError,
    ) -> Result<Arc<Entry>, HttpError> {
        for _ in 0..ATTEMPTS {
            let seen = self.registry();
            let entry = seen.get(collection, name);
            let change = Change {
                collection,
                name: name.to_owned(),
                expected: entry.map_or(Expected::Absent, |entry| Expected::Version(entry.version)),
                value: Some(edit(entry.map(|entry| &entry.value))?),
            };
            match self.change_registry(&change).await {
                Ok(registry) => {
                    let entry = registry.get(collection, name).cloned();
                    let name = name.to_owned();
                    return entry.ok_or_else(|| refuse(RegistryError::Unknown { name }));
                }
                // Somebody else was faster: again, on what is there now.
                Err(Ok(
                    RegistryError::Changed { .. }
                    | RegistryError::Exists { .. }
                    | RegistryError::Unknown { .. },
                )) => self.wait_for_registry_after(seen.version).await,
                Err(Ok(refused)) => return Err(refuse(refused)),
                Err(Err(error)) => return Err(error),
            }
        }
        let message = "Others keep changing the same object. Try again.";
        Err(HttpError::unavailable("writes_unavailable", message))
    }

    async fn wait_for_registry_after(&self, version: u64) {
        let deadline = Instant::now() + VISIBLE_WITHIN;
        let control = &self.parts().control;
        control
            .wait_table(deadline, |table| table.registry.version > version)
            .await;
    }
}

fn uncommitted(error: CatalogError) -> HttpError {
    match &error {
        CatalogError::Unknown { .. } => HttpError::unavailable(
            "write_outcome_unknown",
            format!("{error}. Look whether it was carried out, or try again."),
        ),
        CatalogError::NoLeader { .. }
        | CatalogError::Rejected(_)
        | CatalogError::Protocol { .. } => error.into(),
    }
}

/// The answer to a refusal that no client can provoke alone.
pub(super) fn of_refusal(refused: &RegistryError) -> HttpError {
    use miroir_core::api_error::{ApiError, Code};
    match refused {
        RegistryError::Changed { .. } => {
            HttpError::unavailable("writes_unavailable", format!("{refused}. Try again."))
        }
        RegistryError::Exists { .. }
        | RegistryError::Unknown { .. }
        | RegistryError::Full { .. }
        | RegistryError::IsIndex { .. }
        | RegistryError::NoIndex { .. }
        | RegistryError::Unfit { .. } => {
            ApiError::new(Code::BadRequest, format!("{refused}.")).into()
        }
    }
}
